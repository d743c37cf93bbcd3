#ifndef COPY_H_
#define COPY_H_

/*
 * The server's copy of one volume: volume.conf, the owner's name, the log, and an index of it, in a
 * storage.  Everything below its end is verified and durable; nothing else is ever served.
 * Sees ciphertext only.
 */

#include "compiler.h"
#include "format.h"
#include "who.h"

#include <stdbool.h>
#include <stddef.h>

#define COPY_DATA_MAX (UINT32_C(4) << 20) /* bytes that a caller hands in at a time */

struct buf;
struct copy;
struct storage_pool;

/* Where a copy stands: it holds everything below end, whose newest head is head. */
struct copy_committed {
	log_pos end;
	head_no head; /* its number; 0: none yet */
	int64_t time_ns;
	log_pos head_pos;
	uint32_t head_len; /* of the head's block */
};

/*
 * copy_open(pool, id, out): open the volume, become its one writer, and recover it.  The copy then
 * stands where the storage's newest commit says.  If the storage keeps none, it starts at the
 * catalog's newest head, takes in whatever complete verified heads follow, and rebuilds the catalog
 * where it does not fit the log.  The rest of the log is cut off.
 * Returns 0; -ERR_NO_VOLUME; -ERR_LOCKED if another server writes to it; -ERR_DAMAGED,
 * -ERR_TAMPERED, -ERR_FORMAT, -ERR_VERSION with a detail; -errno.
 * copy_close(NULL) is a no-op; no other call may be under way.
 */
MUST_CHECK int copy_open(struct storage_pool *pool, const uint8_t id[VOLUME_ID_LEN],
			 struct copy **out);
void copy_close(struct copy *c);

/*
 * copy_ref(c), copy_unref(c): count the users of a copy: one that is in use is not closed for being
 * idle (vault_rest()).  vault_find() returns each copy with a count, which its caller gives back.
 * Any thread; neither blocks.  copy_unref(NULL) is a no-op.
 * copy_is_idle(c, idle_ns): whether nobody has used it for at least ${idle_ns}, or nobody uses it
 * and its files were removed.
 */
void copy_ref(struct copy *c);
void copy_unref(struct copy *c);
bool copy_is_idle(struct copy *c, uint64_t idle_ns);

/*
 * copy_gone(c): its files were removed or moved away, so what is still open holds nothing for later.
 * Tell whoever appends to end.  Any thread; does not block.  Returns whether it is the first call.
 */
bool copy_gone(struct copy *c);

/* copy_id(c): the volume's id, borrowed. */
const uint8_t *copy_id(const struct copy *c);

/* copy_get_committed(c, out): where it stands now.  Any thread. */
void copy_get_committed(struct copy *c, struct copy_committed *out);

/* copy_owned_by(c, who): whether ${who} may append to it and change its volume.conf. */
bool copy_owned_by(const struct copy *c, const char *who);

/* copy_get_params(c, out): append volume.conf, as stored.  Any thread.  Returns 0 or -ENOMEM. */
MUST_CHECK int copy_get_params(struct copy *c, struct buf *out);

/*
 * copy_put_params(c, text, len): replace volume.conf.  The same bytes again change nothing.  Any
 * thread.
 * Returns 0, durable; -ERR_STALE, with a detail, if the serial is not higher; -ERR_FORBIDDEN, with
 * a detail, if a grant was taken away or changed; as params_decode(); -EINVAL if it is another
 * volume's; -ERR_LOCKED, with a detail, if it grants a newer epoch and the appender of the older
 * one does not end in time; as copy_open(), if the copy had to be recovered; -errno.  Nothing of an
 * older epoch is committed after it.
 */
MUST_CHECK int copy_put_params(struct copy *c, const void *text, size_t len);

/*
 * copy_clip(c, pos, len, out_len): how many of the ${len} bytes at ${pos}, all in one segment, this
 * copy has.  Any thread.
 * Returns 0 with ${*out_len} > 0; -ERR_ABSENT, with a detail, if there are none; -EINVAL, with a
 * detail, if they cross a segment's end; -errno.
 */
MUST_CHECK int copy_clip(struct copy *c, log_pos pos, uint64_t len, uint64_t *out_len);

/*
 * copy_read(c, pos, len, out): bytes that copy_clip() allowed.  Any thread.  Returns 0, -ERR_ABSENT
 * or -errno.
 */
MUST_CHECK int copy_read(struct copy *c, log_pos pos, size_t len, void *out);

/*
 * copy_repair(c, who, pos, leaf, data, len, out_blocks): ${data} is whole adjacent blocks of one
 * segment that begin at ${pos}, the first being block number ${leaf} of the log.  Write, durably,
 * those that are missing here or differ from what this copy once verified.  No appender is at work
 * meanwhile: this call takes its place.  Any thread.
 * Returns 0, and how many were written; -ERR_FORBIDDEN (not the owner's, or not the bytes that were
 * verified here); -ERR_ABSENT (beyond what is held, or no head states it); -EINVAL; as
 * appender_begin(); -ENOSPC, -EIO, -ENOMEM; each with a detail.
 */
MUST_CHECK int copy_repair(struct copy *c, const char *who, log_pos pos, leaf_no leaf,
			   const void *data, size_t len, uint32_t *out_blocks);

/*
 * copy_prove(c, n, index, k, out): append the proof that blocks index[0] < index[1] < ... are among
 * the first ${n} (proof.h).  Any thread.
 * Returns 0; -ERR_ABSENT, with a detail, if no head here states ${n}; -ERR_LOCKED, as copy_heads();
 * -EINVAL; -ENOMEM; -ERR_DAMAGED; -EIO.
 *
 * copy_segments(c, known, numbers, n, headers, proof): append the header's block of each of these
 * segments, at most COPY_SEGMENTS_MAX, their numbers ascending, and the proof that they are among
 * the first ${known} blocks.  Any thread.
 * Returns 0; -ERR_ABSENT if a segment is not there or begins after those; -ERR_DAMAGED if its
 * header is no longer what was verified; each with a detail; or as copy_prove().
 */
#define COPY_SEGMENTS_MAX 64u
MUST_CHECK int copy_prove(struct copy *c, leaf_no n, const leaf_no *index, size_t k,
			  struct buf *out);
MUST_CHECK int copy_segments(struct copy *c, leaf_no known, const segment_no *numbers, size_t n,
			     struct buf *headers, struct buf *proof);

/* copy_hint(c, pos, len): these bytes will be read soon. */
void copy_hint(struct copy *c, log_pos pos, uint64_t len);

/* A head as it is served. */
struct copy_head {
	log_pos pos;
	uint32_t stored_len;
	const uint8_t *note; /* borrowed, during the call */
	size_t note_len;
	leaf_no n_blocks; /* below it, as it states: its own leaf's number */
};

/*
 * copy_heads(c, first, fn, ctx): each head from number ${first} on, until fn returns non-zero
 * (returned if negative).
 * copy_head_at(c, time_ns, fn, ctx): the newest head not after ${time_ns}; fn is not called if
 * there is none.  Any thread.
 * Each returns 0; fn's error; -ERR_DAMAGED, with a detail, if catalog and log do not agree;
 * -ERR_LOCKED, with a detail, if the copy is being recovered, and that takes long; -errno.
 */
typedef int copy_head_fn(void *ctx, const struct copy_head *h);
MUST_CHECK int copy_heads(struct copy *c, head_no first, copy_head_fn *fn, void *ctx);
MUST_CHECK int copy_head_at(struct copy *c, int64_t time_ns, copy_head_fn *fn, void *ctx);

#endif /* !COPY_H_ */
