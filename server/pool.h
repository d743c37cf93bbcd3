#ifndef POOL_H_
#define POOL_H_

/*
 * A few threads for work that may block on the disk, so that the threads that serve the network
 * never do.
 */

#include "compiler.h"

#include <sys/queue.h>

#define POOL_THREADS_MAX 16u

struct pool;

/*
 * One piece of work; belongs to the caller and is queued at most once at a time, so a pool needs no
 * memory for it.
 */
struct job {
	void (*run)(struct job *job);
	STAILQ_ENTRY(job) entry;
};

/* pool_new(n_threads, out): Returns 0, -ENOMEM or -EAGAIN. */
MUST_CHECK int pool_new(unsigned n_threads, struct pool **out);

/*
 * pool_add(p, job): run ${job} on some thread, after those added before.  Any thread; does not
 * block.
 */
void pool_add(struct pool *p, struct job *job);

/* pool_free(p): end the threads, once the queue is empty.  NULL is a no-op. */
void pool_free(struct pool *p);

#endif /* !POOL_H_ */
