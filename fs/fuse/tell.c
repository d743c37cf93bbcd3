/*
 * Notifications to the kernel that no request asked for.
 *
 * A table indexed by a hash of the inode number, with one entry per place.  If two inodes share a
 * place, the kernel is told of the older one at once.
 *
 * The kernel is not told at each write: after each notification it would ask for the attributes
 * again at the application's next write.
 *
 * Invariants:
 * - n_pending is the number of pending records
 * - for a pending record, the kernel is told by the thread, by tell_synced(), or by the caller
 *   whose inode takes the record's place
 */

#include "tell.h"

#include "clock.h"
#include "locks.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct record {
	inode_no ino; /* 0: free */
	uint64_t told_ns;
	bool pending;
};

struct tell {
	struct tell_config cfg;
	pthread_t thread;
	pthread_mutex_t mu;
	pthread_cond_t wake;
	struct record table[TELL_TABLE]; /* Guarded by mu, like all below. */
	unsigned n_pending;
	bool views, stopping;
	uint64_t round[TELL_TABLE]; /* used by the thread only */
};

static void settle_locked(struct tell *t, struct record *r, uint64_t now_ns) REQUIRES(t->mu);
static unsigned take_locked(struct tell *t) REQUIRES(t->mu);
static void gather_locked(struct tell *t) REQUIRES(t->mu);

static struct record *record_of(struct tell *t, inode_no ino)
{
	return &t->table[(ino * UINT64_C(0x9e3779b97f4a7c15) >> 32) % TELL_TABLE];
}

static void settle_locked(struct tell *t, struct record *r, uint64_t now_ns)
{
	assert(r->pending && t->n_pending > 0);
	r->pending = false;
	r->told_ns = now_ns;
	t->n_pending--;
}

/* Take all pending inodes into t->round.  Returns how many there are. */
static unsigned take_locked(struct tell *t)
{
	uint64_t now_ns = clock_mono_ns();
	unsigned n = 0;

	for (unsigned i = 0; i < TELL_TABLE && t->n_pending > 0; i++)
		if (t->table[i].pending) {
			t->round[n++] = t->table[i].ino;
			settle_locked(t, &t->table[i], now_ns);
		}
	assert(t->n_pending == 0);
	return n;
}

/* Wait until there are too many views, or until writes were gathered for long enough. */
static void gather_locked(struct tell *t)
{
	uint64_t until_ns;

	while (!t->stopping && !t->views && t->n_pending == 0)
		pthread_cond_wait(&t->wake, &t->mu);
	until_ns = clock_mono_ns() + TELL_GATHER_NS;
	while (!t->stopping && !t->views && clock_wait(&t->wake, &t->mu, until_ns) == 0)
		;
}

static void *run(void *arg)
{
	struct tell *t = arg;

	pthread_mutex_lock(&t->mu);
	for (;;) {
		bool views;
		unsigned n = 0;

		gather_locked(t);
		if (t->stopping)
			break;
		views = t->views;
		t->views = false;
		if (!views)
			n = take_locked(t);
		pthread_mutex_unlock(&t->mu);
		if (views)
			t->cfg.views(t->cfg.ctx);
		for (unsigned i = 0; i < n; i++)
			t->cfg.attributes(t->cfg.ctx, t->round[i]);
		pthread_mutex_lock(&t->mu);
	}
	pthread_mutex_unlock(&t->mu);
	return NULL;
}

int tell_new(const struct tell_config *cfg, struct tell **out)
{
	struct tell *t = calloc(1, sizeof(*t));
	int rc;

	if (!t)
		return -ENOMEM;
	t->cfg = *cfg;
	pthread_mutex_init(&t->mu, NULL);
	clock_cond_init(&t->wake);
	rc = -pthread_create(&t->thread, NULL, run, t);
	if (rc < 0)
		goto free_all;
	*out = t;
	return 0;

free_all:
	pthread_cond_destroy(&t->wake);
	pthread_mutex_destroy(&t->mu);
	free(t);
	return rc;
}

void tell_stop(struct tell *t)
{
	bool stopped;

	if (!t)
		return;
	pthread_mutex_lock(&t->mu);
	stopped = t->stopping;
	t->stopping = true;
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->mu);
	if (!stopped)
		pthread_join(t->thread, NULL);
}

void tell_free(struct tell *t)
{
	if (!t)
		return;
	tell_stop(t);
	pthread_cond_destroy(&t->wake);
	pthread_mutex_destroy(&t->mu);
	free(t);
}

void tell_written(struct tell *t, inode_no ino)
{
	struct record *r = record_of(t, ino);
	inode_no other = 0;

	assert(ino != 0);
	pthread_mutex_lock(&t->mu);
	if (r->ino != ino) {
		if (r->pending) {
			other = r->ino;
			settle_locked(t, r, 0);
		}
		*r = (struct record){.ino = ino};
	}
	if (!r->pending) {
		r->pending = true;
		if (t->n_pending++ == 0)
			pthread_cond_signal(&t->wake);
	}
	pthread_mutex_unlock(&t->mu);
	if (other != 0)
		t->cfg.attributes(t->cfg.ctx, other);
}

void tell_synced(struct tell *t, inode_no ino)
{
	struct record *r = record_of(t, ino);
	uint64_t now_ns;
	bool now = false;

	pthread_mutex_lock(&t->mu);
	if (r->ino == ino && r->pending) {
		now_ns = clock_mono_ns();
		now = r->told_ns == 0 || now_ns - r->told_ns >= TELL_SYNCED_NS;
		if (now)
			settle_locked(t, r, now_ns);
	}
	pthread_mutex_unlock(&t->mu);
	if (now)
		t->cfg.attributes(t->cfg.ctx, ino);
}

void tell_views(struct tell *t)
{
	pthread_mutex_lock(&t->mu);
	t->views = true;
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->mu);
}
