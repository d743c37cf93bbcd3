#ifndef TELL_H_
#define TELL_H_

/*
 * Notifications to the kernel that no request asked for, sent by a thread that holds no request.
 *
 * The kernel keeps a file's attributes until it changes them itself.  It does not know that the
 * file's number of blocks changes when it writes the file back.  So some time after a write it is
 * told to ask again, once for all writes in between.  It is also asked to forget views of the past
 * when there are too many.
 */

#include "compiler.h"
#include "numbers.h"
#include "units.h"

#include <stdint.h>

struct tell;

#define TELL_GATHER_NS UINT64_C(250000000)  /* how long writes to a file are gathered */
#define TELL_SYNCED_NS NS_PER_S /* between two answers to syncs of one file */
#define TELL_TABLE 4096u

struct tell_config {
	/* attributes(ctx, ino): have the kernel forget the attributes.  No lock is held. */
	void (*attributes)(void *ctx, inode_no ino);
	/* views(ctx): have the kernel forget views, if there are too many.  No lock is held. */
	void (*views)(void *ctx);
	void *ctx;
};

/*
 * tell_new(cfg, out): returns 0 or -errno.
 * tell_stop(t): end the thread; nothing more is told.  A second call does nothing.
 * tell_free(t): the same, and free it.  NULL is a no-op for both.
 */
MUST_CHECK int tell_new(const struct tell_config *cfg, struct tell **out);
void tell_stop(struct tell *t);
void tell_free(struct tell *t);

/*
 * tell_written(t, ino): the kernel wrote back cached contents of ${ino}.  Any thread; calls
 * attributes() for another file if the two share a place in the table.
 * tell_synced(t, ino): an application may look at the attributes now, since it waited for its sync:
 * tell at once, but at most once in TELL_SYNCED_NS.  Any thread; calls attributes().
 * tell_views(t): there may be too many views.  Any thread.
 */
void tell_written(struct tell *t, inode_no ino);
void tell_synced(struct tell *t, inode_no ino);
void tell_views(struct tell *t);

#endif /* !TELL_H_ */
