#ifndef SEEKS_H_
#define SEEKS_H_

/*
 * Questions about a live mount's files: where data and holes are (SEEK_DATA, SEEK_HOLE), and how
 * many blocks a file has of which nothing is stored yet.
 *
 * The kernel asks without writing back its dirty pages first, so it has to be made to.  The
 * write-back sends writes that the workers serve, so a separate thread waits for it.  Knows nothing
 * of FUSE.
 */

#include "compiler.h"
#include "numbers.h"

#include <stdbool.h>
#include <stdint.h>

/* Questions that may wait.  Behind each is a system call, which holds its file's lock. */
#define SEEKS_WAITING_MAX 1024u

struct seek {
	void *req; /* whom to answer */
	inode_no ino;
	uint64_t off;
	bool hole;
	uint32_t asks; /* another kind of question; 0: data or hole */
};

struct seeks_config {
	/* flush(ctx, ino): returns 0 once everything written before is in the volume; or -errno. */
	int (*flush)(void *ctx, inode_no ino);
	/* answer(ctx, s, rc): ${rc} is what flush() returned. */
	void (*answer)(void *ctx, const struct seek *s, int rc);
	/* cancel(ctx): make flush() return soon, now and from now on.  seeks_stop() calls it. */
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
 * seeks_stop(q): answer the waiting questions with -EINTR and end the thread; seeks_ask() refuses
 * from then on.  Returns when the thread has ended.  A second call does nothing.
 * seeks_free(q): the same, and free it.  NULL is a no-op for both.
 */
void seeks_stop(struct seeks *q);
void seeks_free(struct seeks *q);

/*
 * seeks_ask(q, s): the thread will call answer(), once.  Any thread; never waits for a flush.
 * Returns 0; -ENOMEM if SEEKS_WAITING_MAX questions wait, or -EINTR after seeks_stop(): on an error
 * answer() is not called.
 */
MUST_CHECK int seeks_ask(struct seeks *q, const struct seek *s);

#endif /* !SEEKS_H_ */
