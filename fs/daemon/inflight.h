#ifndef INFLIGHT_H_
#define INFLIGHT_H_

/*
 * Requests that were read and not yet answered, in memory that outlives the process: so that its
 * successor, to whom the kernel gives them again, knows which changes of a request were made.
 *
 * A change is noted under the locks of the volume, after it is in the journal (volume.h,
 * volume_keep.changed).  If the process is killed between the two, the journal's entry, which has
 * the request's number too, makes up for it when it is replayed.
 *
 * Any thread; lock-free.  A thread handles one request at a time.
 */

#include "compiler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define INFLIGHT_MAX 1024u /* a power of two */
#define INFLIGHT_AGE_MAX 16u /* takeovers after which what was never asked again is dropped */

struct inflight {
	struct inflight_entry {
		_Atomic uint64_t unique; /* the kernel's number of the request; 0: free */
		_Atomic uint64_t state;	 /* number of its newest change << 16 | changes so far */
		_Atomic uint64_t made;	 /* the inode that they made, or 0 */
		_Atomic uint64_t takeover; /* when it was last read */
	} entry[INFLIGHT_MAX];
};

/*
 * inflight_use(f, takeover): what this process notes goes here from now on; ${takeover}: how many
 * there were.  Drops what is too old.  NULL: nothing is noted.  Before any request is read.
 */
void inflight_use(struct inflight *f, uint32_t takeover);

/*
 * inflight_begin(unique, again): this thread read a request; ${again}: the kernel gives it once
 * more.  inflight_end(unique): it is answered, by whichever thread.
 */
void inflight_begin(uint64_t unique, bool again);
void inflight_end(uint64_t unique);

/* inflight_changed(ctx, number, tag, made): as volume_keep.changed; tags are uniques. */
void inflight_changed(void *ctx, uint64_t number, uint64_t tag, uint64_t made);

/* inflight_mark(): as if this thread's request had made a change that is in no journal. */
void inflight_mark(void);

/*
 * inflight_steps(): how many changes of this thread's request a process that was killed had made
 * before this one read it.  inflight_made(): the inode that they made, or 0.
 */
uint32_t inflight_steps(void);
uint64_t inflight_made(void);

/* inflight_has_made(ino): a request under way made it; nobody has heard of it yet. */
bool inflight_has_made(uint64_t ino);

/* inflight_each(fn, ctx): the numbers of all that is under way.  Before any request is read. */
void inflight_each(void (*fn)(void *ctx, uint64_t unique), void *ctx);

/* inflight_clear(): none is. */
void inflight_clear(void);

#endif /* !INFLIGHT_H_ */
