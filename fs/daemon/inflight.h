#ifndef INFLIGHT_H_
#define INFLIGHT_H_

/*
 * Requests that were read and not yet answered, in memory that outlives the process: so that its
 * successor, to whom the kernel gives them again, knows which changes of a request were made.
 *
 * The volume notes the changes (note.h), under the request's number.
 *
 * Any thread; lock-free.
 */

#include "compiler.h"
#include "note.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define INFLIGHT_MAX 1024u /* a power of two */
#define INFLIGHT_AGE_MAX 16u /* takeovers after which what was never asked again is dropped */

struct inflight {
	struct inflight_entry {
		struct change_note note;   /* its tag is the kernel's number of it; 0: free */
		_Atomic uint64_t takeover; /* when it was last read */
	} entry[INFLIGHT_MAX];
};

/*
 * inflight_use(f, takeover): what this process notes goes here from now on; ${takeover}: how many
 * there were.  Drops what is too old.  NULL: nothing is noted.  Before any request is read.
 */
void inflight_use(struct inflight *f, uint32_t takeover);

/* What is known of a request when it is read. */
struct inflight_request {
	struct change_note *note; /* where its changes are noted; NULL: nowhere */
	uint32_t steps;		  /* changes that a process that was killed had made before */
	uint64_t made;		  /* the inode that they made, or 0 */
};

/*
 * inflight_begin(unique, again, out): a request was read; ${again}: the kernel gives it once more.
 * inflight_end(unique): it is answered, by whichever thread.
 */
void inflight_begin(uint64_t unique, bool again, struct inflight_request *out);
void inflight_end(uint64_t unique);

/* inflight_note_of(ctx, unique): as volume_keep.note_of; tags are uniques. */
struct change_note *inflight_note_of(void *ctx, uint64_t unique);

/* inflight_has_made(ino): a request under way made it; nobody has heard of it yet. */
bool inflight_has_made(uint64_t ino);

/* inflight_each(fn, ctx): the numbers of all that is under way.  Before any request is read. */
void inflight_each(void (*fn)(void *ctx, uint64_t unique), void *ctx);

/* inflight_clear(): none is. */
void inflight_clear(void);

#endif /* !INFLIGHT_H_ */
