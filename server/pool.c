/*
 * A thread pool.
 *
 * Key idea: jobs are linked through themselves, so adding one cannot fail; whoever makes them
 * bounds their number.
 *
 * Invariant: a job is run once per pool_add(), and is not touched by the pool after its run() was
 * called.
 */

#include "pool.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct pool {
	pthread_mutex_t mu;
	pthread_cond_t more;
	/* Guarded by mu. */
	STAILQ_HEAD(, job) jobs;
	bool ending;
	/* Set before any thread but the maker's knows of the pool. */
	unsigned n_threads;
	pthread_t threads[POOL_THREADS_MAX];
};

static void *work(void *arg)
{
	struct pool *p = arg;

	pthread_mutex_lock(&p->mu);
	for (;;) {
		struct job *job = STAILQ_FIRST(&p->jobs);

		if (job) {
			STAILQ_REMOVE_HEAD(&p->jobs, entry);
			pthread_mutex_unlock(&p->mu);
			job->run(job);
			pthread_mutex_lock(&p->mu);
		} else if (p->ending) {
			break;
		} else {
			pthread_cond_wait(&p->more, &p->mu);
		}
	}
	pthread_mutex_unlock(&p->mu);
	return NULL;
}

int pool_new(unsigned n_threads, struct pool **out)
{
	struct pool *p = calloc(1, sizeof(*p));

	assert(n_threads >= 1 && n_threads <= POOL_THREADS_MAX);
	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->mu, NULL);
	pthread_cond_init(&p->more, NULL);
	STAILQ_INIT(&p->jobs);
	for (; p->n_threads < n_threads; p->n_threads++) {
		int rc = pthread_create(&p->threads[p->n_threads], NULL, work, p);

		if (rc != 0) {
			pool_free(p);
			return -rc;
		}
	}
	*out = p;
	return 0;
}

void pool_add(struct pool *p, struct job *job)
{
	pthread_mutex_lock(&p->mu);
	assert(!p->ending);
	STAILQ_INSERT_TAIL(&p->jobs, job, entry);
	pthread_cond_signal(&p->more);
	pthread_mutex_unlock(&p->mu);
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->mu);
	p->ending = true;
	pthread_cond_broadcast(&p->more);
	pthread_mutex_unlock(&p->mu);
	for (unsigned i = 0; i < p->n_threads; i++)
		pthread_join(p->threads[i], NULL);
	pthread_cond_destroy(&p->more);
	pthread_mutex_destroy(&p->mu);
	free(p);
}
