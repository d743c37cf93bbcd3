/*
 * fsync requests share rounds.
 *
 * A thread that finds no round under way makes one for its own request and answers it.  Then it
 * makes further rounds for requests that came meanwhile, until none waits.  So a lone caller pays
 * for no hand-over between threads, and many callers keep one worker busy, not all.  A request
 * joins only a round that begins after the request arrived.
 */

#define FUSE_USE_VERSION 312

#include "syncs.h"

#include "reply.h"
#include "volume.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct syncs {
	struct volume *volume;
	pthread_mutex_t mu;
	bool busy; /* Guarded by mu, like all below. */
	fuse_req_t waiting[SYNCS_WAITING_MAX];
	unsigned n;
};

int syncs_new(struct volume *v, struct syncs **out)
{
	struct syncs *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->volume = v;
	pthread_mutex_init(&s->mu, NULL);
	*out = s;
	return 0;
}

void syncs_free(struct syncs *s)
{
	if (!s)
		return;
	pthread_mutex_destroy(&s->mu);
	free(s);
}

/* Take the waiting requests; if there are none, end the rounds. */
static unsigned take(struct syncs *s, fuse_req_t *out)
{
	unsigned n;

	pthread_mutex_lock(&s->mu);
	n = s->n;
	memcpy(out, s->waiting, n * sizeof(*out));
	s->n = 0;
	if (n == 0)
		s->busy = false;
	pthread_mutex_unlock(&s->mu);
	return n;
}

void syncs_answer(struct syncs *s, fuse_req_t req)
{
	fuse_req_t round[SYNCS_WAITING_MAX];
	bool leader, full;
	unsigned n;
	int rc;

	pthread_mutex_lock(&s->mu);
	leader = !s->busy;
	full = !leader && s->n == SYNCS_WAITING_MAX;
	if (leader)
		s->busy = true;
	else if (!full)
		s->waiting[s->n++] = req;
	pthread_mutex_unlock(&s->mu);
	if (!leader && !full)
		return;

	rc = volume_sync(s->volume);
	reply_rc(req, INO_ROOT, rc);
	if (full)
		return;
	while ((n = take(s, round)) > 0) {
		rc = volume_sync(s->volume);
		for (unsigned i = 0; i < n; i++)
			reply_rc(round[i], INO_ROOT, rc);
	}
}
