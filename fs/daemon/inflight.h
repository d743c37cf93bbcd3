#ifndef INFLIGHT_H_
#define INFLIGHT_H_

/*
 * Requests that were read and not yet answered, in memory that outlives the process.  The kernel
 * sends them again to a successor, which reads here which changes of a request were already made.
 *
 * The volume notes the changes (note.h) under the request's number.
 *
 * Any thread; lock-free.
 */

#include "compiler.h"
#include "note.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define INFLIGHT_MAX 1024u /* a power of two */
#define INFLIGHT_AGE_MAX 16u /* takeovers after which a request not sent again is dropped */

struct inflight {
	struct inflight_entry {
		struct change_note note;   /* its tag is the request's number; 0: free */
		_Atomic uint64_t takeover; /* when it was last read, as a count of takeovers */
	} entry[INFLIGHT_MAX];
};

/*
 * inflight_use(f, takeover): note requests in ${f} from now on; NULL: note nothing.  ${takeover} is
 * the number of takeovers so far; entries that are too old are dropped.  Call it before any request
 * is read.
 */
void inflight_use(struct inflight *f, uint32_t takeover);

/* What is known about a request when it is read. */
struct inflight_request {
	struct change_note *note; /* where its changes are noted; NULL: not noted */
	uint32_t steps;		  /* changes that an earlier, killed process made for it */
	inode_no made;		  /* the inode that they created, or 0 */
};

/*
 * inflight_begin(unique, again, out): a request was read; ${again}: the kernel sent it once more.
 * inflight_end(unique): it was answered, by any thread.
 */
void inflight_begin(uint64_t unique, bool again, struct inflight_request *out);
void inflight_end(uint64_t unique);

/* inflight_note_of(ctx, unique): for volume_shm.note_of; tags are request numbers. */
struct change_note *inflight_note_of(void *ctx, uint64_t unique);

/*
 * inflight_has_made(ino): did a request under way create it?  If so the kernel doesn't know it yet.
 */
bool inflight_has_made(inode_no ino);

/* inflight_each(fn, ctx): call fn for each request under way.  Before any request is read. */
void inflight_each(void (*fn)(void *ctx, uint64_t unique), void *ctx);

/* inflight_clear(): forget all requests. */
void inflight_clear(void);

#endif /* !INFLIGHT_H_ */
