/*
 * A ring of questions, and the thread that answers them in order, one at a time.
 */

#include "seeks.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct seeks {
	struct seeks_config cfg;
	pthread_t thread;
	pthread_mutex_t mu;
	pthread_cond_t wake;
	struct seek waiting[SEEKS_WAITING_MAX]; /* Guarded by mu, like all below. */
	unsigned first, n;
	bool stopping;
};

static void *run(void *arg)
{
	struct seeks *q = arg;

	pthread_mutex_lock(&q->mu);
	for (;;) {
		struct seek s;
		bool stopping;
		int rc;

		while (!q->stopping && q->n == 0)
			pthread_cond_wait(&q->wake, &q->mu);
		if (q->n == 0)
			break;
		s = q->waiting[q->first];
		q->first = (q->first + 1) % SEEKS_WAITING_MAX;
		q->n--;
		stopping = q->stopping;
		pthread_mutex_unlock(&q->mu);
		rc = stopping ? -EINTR : q->cfg.flush(q->cfg.ctx, s.ino);
		q->cfg.answer(q->cfg.ctx, &s, rc);
		pthread_mutex_lock(&q->mu);
	}
	pthread_mutex_unlock(&q->mu);
	return NULL;
}

int seeks_new(const struct seeks_config *cfg, struct seeks **out)
{
	struct seeks *q = calloc(1, sizeof(*q));
	int rc;

	if (!q)
		return -ENOMEM;
	q->cfg = *cfg;
	pthread_mutex_init(&q->mu, NULL);
	pthread_cond_init(&q->wake, NULL);
	rc = -pthread_create(&q->thread, NULL, run, q);
	if (rc < 0)
		goto free_all;
	*out = q;
	return 0;

free_all:
	pthread_cond_destroy(&q->wake);
	pthread_mutex_destroy(&q->mu);
	free(q);
	return rc;
}

void seeks_stop(struct seeks *q)
{
	bool stopped;

	if (!q)
		return;
	pthread_mutex_lock(&q->mu);
	stopped = q->stopping;
	q->stopping = true;
	pthread_cond_signal(&q->wake);
	pthread_mutex_unlock(&q->mu);
	if (stopped)
		return;
	q->cfg.cancel(q->cfg.ctx);
	pthread_join(q->thread, NULL);
}

void seeks_free(struct seeks *q)
{
	if (!q)
		return;
	seeks_stop(q);
	pthread_cond_destroy(&q->wake);
	pthread_mutex_destroy(&q->mu);
	free(q);
}

int seeks_ask(struct seeks *q, const struct seek *s)
{
	int rc = 0;

	pthread_mutex_lock(&q->mu);
	if (q->stopping) {
		rc = -EINTR;
	} else if (q->n == SEEKS_WAITING_MAX) {
		rc = -ENOMEM;
	} else {
		q->waiting[(q->first + q->n++) % SEEKS_WAITING_MAX] = *s;
		pthread_cond_signal(&q->wake);
	}
	pthread_mutex_unlock(&q->mu);
	return rc;
}
