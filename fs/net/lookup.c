/*
 * From names to addresses.
 *
 * Key idea: a thread of its own calls getaddrinfo(), and the caller waits for it.  If the caller
 * gives up, that thread frees the question when the answer comes.
 */

#include "lookup.h"

#include "clock.h"
#include "thread.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define SLICE_NS (UINT64_C(100) * 1000 * 1000) /* how often a stop is looked for */

struct question {
	char *host, *port;
	pthread_mutex_t mu;
	pthread_cond_t answered;
	/* Guarded by mu. */
	bool done, left;
	int err;
	struct addrinfo *list;
};

static void question_free(struct question *q)
{
	free(q->host);
	free(q->port);
	pthread_cond_destroy(&q->answered);
	pthread_mutex_destroy(&q->mu);
	free(q);
}

static void *ask(void *arg)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	struct question *q = arg;
	int err = getaddrinfo(q->host, q->port, &hints, &list);
	bool left;

	pthread_mutex_lock(&q->mu);
	q->err = err;
	q->list = list;
	q->done = true;
	left = q->left;
	pthread_cond_signal(&q->answered);
	/* The waiting caller frees the question as soon as it gets the mutex. */
	pthread_mutex_unlock(&q->mu);
	if (!left)
		return NULL;
	if (err == 0)
		freeaddrinfo(list);
	question_free(q);
	return NULL;
}

static struct question *question_new(const char *host, const char *port)
{
	struct question *q = calloc(1, sizeof(*q));
	pthread_t thread;

	if (!q)
		return NULL;
	pthread_mutex_init(&q->mu, NULL);
	clock_cond_init(&q->answered);
	q->host = strdup(host);
	q->port = strdup(port);
	if (!q->host || !q->port || thread_start(&thread, ask, q) < 0) {
		question_free(q);
		return NULL;
	}
	pthread_detach(thread);
	return q;
}

int lookup(const char *host, const char *port, const atomic_bool *stop, uint64_t until_ns,
	   struct addrinfo **out, bool *out_late)
{
	struct question *q = question_new(host, port);
	int err;

	*out_late = false;
	if (!q)
		return EAI_MEMORY;
	pthread_mutex_lock(&q->mu);
	for (;;) {
		uint64_t now_ns = clock_mono_ns(), slice_ns = now_ns + SLICE_NS;

		if (q->done || atomic_load(stop) || now_ns >= until_ns)
			break;
		(void)!clock_wait(&q->answered, &q->mu, slice_ns < until_ns ? slice_ns : until_ns);
	}
	if (!q->done) {
		q->left = true;
		pthread_mutex_unlock(&q->mu);
		*out_late = true;
		return EAI_AGAIN;
	}
	err = q->err;
	*out = q->list;
	pthread_mutex_unlock(&q->mu);
	question_free(q);
	return err;
}
