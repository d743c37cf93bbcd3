#ifndef APPENDER_H_
#define APPENDER_H_

/*
 * The one way by which bytes enter a copy.  Blocks are judged one by one in memory and written
 * behind; they count once a head over them has verified and all below it is durable.  After a
 * break, a lie or a full disk the copy stands where its newest committed head put it.
 */

#include "compiler.h"
#include "copy.h"
#include "units.h"

#define APPENDER_DATA_MAX COPY_DATA_MAX		  /* bytes of one step */
#define APPENDER_BEHIND_MAX (UINT64_C(4) << 30)	  /* bytes after the newest committed head */
#define APPENDER_BLOCKS_MAX (UINT64_C(1) << 20)	  /* blocks after it */
#define APPENDER_SEGMENTS_MAX 1024u		  /* segments begun after it */
#define APPENDER_POSITION_MAX (UINT64_C(1) << 62) /* where any log must end */
#define APPENDER_HEADS_MAX 64u			  /* heads that share one sync */
#define APPENDER_COMMIT_BYTES (UINT64_C(64) << 20)
#define APPENDER_COMMIT_NS (200 * NS_PER_MS)
/* of the disk, left free so that the catalog can be written */
#define APPENDER_RESERVE (UINT64_C(16) << 20)

struct appender;

struct appender_opening {
	epoch_no epoch;
	log_pos position;
	head_no head;
	/*
	 * cancel(ctx): another stream takes over; end soon.  Any thread, with a lock of the copy
	 * held: it must not block, nor call back.  Not called after appender_end() has returned.
	 */
	void (*cancel)(void *ctx);
	void *ctx;
};

/*
 * appender_begin(c, who, o, out): become the appender of ${c}.  An appender that is at work is told
 * to end, and waited for.
 * Returns 0; -ERR_FORBIDDEN if ${who} does not own it; -ERR_STALE if ${o} does not begin where the
 * copy stands or its epoch is not the newest granted; -ERR_LOCKED if the former appender does not
 * end in COPY_LOCK_WAIT_MS, or yet another replaced this one meanwhile; as copy_open(), if the copy
 * had to be recovered; -ENOMEM; each with a detail.
 */
MUST_CHECK int appender_begin(struct copy *c, const char *who, const struct appender_opening *o,
			      struct appender **out);

/*
 * appender_room(a, pos, len, out): where to put the ${len} bytes that begin at ${pos}, which must
 * follow what is there.  One thread at a time for this and all below.
 * Returns 0; -EINVAL (they do not follow, cross a segment's end, or are too many), -ERR_FORMAT (a
 * bound above is passed), -ERR_STALE (a newer epoch was granted), each with a detail; -ENOSPC,
 * -EIO.  After any error only appender_commit() and appender_end() may follow.
 */
MUST_CHECK int appender_room(struct appender *a, log_pos pos, size_t len, uint8_t **out);

/*
 * appender_take(a): judge the bytes put there: whole blocks, each the next of the history.  The
 * heads among those before the first bad one still count.
 * Returns 0; -ERR_DAMAGED or -ERR_TAMPERED, with a detail that names the position; -ENOSPC, -EIO,
 * -ENOMEM; then as above.
 */
MUST_CHECK int appender_take(struct appender *a);

/*
 * appender_has_heads(a): whether there are verified heads that are not committed.
 * appender_is_due(a): whether they should be committed now, and not wait for more.
 */
bool appender_has_heads(const struct appender *a);
bool appender_is_due(const struct appender *a);

/*
 * appender_commit(a, out): make every verified head, and all below, durable, and serve it.  Sets
 * ${*out} to where the copy stands.
 * Returns 0; -ENOSPC, -EIO, or -ERR_STALE (another server has taken the volume over), with a
 * detail: the copy stands where it stood.
 */
MUST_CHECK int appender_commit(struct appender *a, struct copy_committed *out);

/*
 * appender_end(a): cut off what no committed head covers, and let others append.  Frees ${a}.  NULL
 * is a no-op.
 * If the cut fails, the next appender's recovery makes up for it, and no such byte is served
 * meanwhile.
 */
void appender_end(struct appender *a);

#endif /* !APPENDER_H_ */
