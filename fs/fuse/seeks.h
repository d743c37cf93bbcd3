#ifndef SEEKS_H_
#define SEEKS_H_

/*
 * Questions where a file's data and holes are (SEEK_DATA, SEEK_HOLE) in a live mount, and how many
 * blocks a file has of which nothing is stored yet.  The kernel
 * asks without writing back first what it holds dirty, so it has to be made to, and that takes
 * writes that the workers serve: a thread of its own waits for it.  Knows nothing of FUSE.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stdint.h>

/* Questions that wait; each has a system call behind it, which holds its file's lock. */
#define SEEKS_WAITING_MAX 1024u

struct seek {
	void *req; /* whom to answer */
	uint64_t ino;
	uint64_t off;
	bool hole;
	uint32_t asks; /* for what else than a hole or data; 0: for these */
};

struct seeks_config {
	/* flush(ctx, ino): returns once all that was written before is in the volume; or -errno. */
	int (*flush)(void *ctx, uint64_t ino);
	/* answer(ctx, s, rc): ${rc} is what flush() returned. */
	void (*answer)(void *ctx, const struct seek *s, int rc);
	/* cancel(ctx): flush() returns soon, now and from now on.  Called by seeks_stop(). */
	void (*cancel)(void *ctx);
	void *ctx;
};

struct seeks;

/*
 * seeks_new(cfg, out): starts the thread, which calls flush() and answer().  Returns 0, -ENOMEM
 * or -EAGAIN.
 */
MUST_CHECK int seeks_new(const struct seeks_config *cfg, struct seeks **out);

/*
 * seeks_stop(q): answers what waits with -EINTR and ends the thread; seeks_ask() refuses from then on.
 * Again: nothing.  Returns when the thread has ended.
 * seeks_free(q): the same, and frees it.  NULL is a no-op for both.
 */
void seeks_stop(struct seeks *q);
void seeks_free(struct seeks *q);

/*
 * seeks_ask(q, s): answer() will be called, once, from the thread.  Any thread; never waits for
 * a flush.  Returns 0; or -ENOMEM if SEEKS_WAITING_MAX wait, or -EINTR after seeks_stop(): then it will
 * not.
 */
MUST_CHECK int seeks_ask(struct seeks *q, const struct seek *s);

#endif /* !SEEKS_H_ */
