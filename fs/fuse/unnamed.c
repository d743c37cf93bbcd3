/*
 * Inodes without a name that the kernel may still use.
 *
 * An open-addressing set of inode numbers.  A number of which the kernel forgot a reference is
 * queued for the thread.  The thread asks the kernel whether it still knows the inode.  If so, the
 * number stays in the set; if not, the thread removes it and calls gone().
 *
 * Invariants:
 * - gone() is called at most once for each unnamed_add(), and only after held() said no
 * - a number is in the queue at most once (its record says so), so the queue is no
 *   longer than the set
 */

#include "unnamed.h"

#include "clock.h"
#include "locks.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define TABLE_MIN 64u
#define GATHER_NS 10000000 /* time to wait for more: a wake-up costs more than the question */

struct record {
	inode_no ino; /* 0: free */
	bool queued;
};

struct unnamed {
	struct unnamed_config cfg;
	atomic_uint n; /* records in use; read without mu to see that there are none */
	pthread_mutex_t mu;
	pthread_cond_t wake;
	struct record *table; /* Guarded by mu, like all below. */
	unsigned cap;	      /* a power of two, at most half in use */
	inode_no *queue;      /* a stack of cap / 2 */
	unsigned n_queued;
	bool stopping;
	pthread_t thread;
};

static int grow_locked(struct unnamed *u) REQUIRES(u->mu);
static void erase_locked(struct unnamed *u, unsigned i) REQUIRES(u->mu);
static void gather_locked(struct unnamed *u) REQUIRES(u->mu);

static unsigned slot_of(const struct record *table, unsigned cap, inode_no ino)
{
	unsigned i = (unsigned)(ino * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (cap - 1);

	while (table[i].ino != 0 && table[i].ino != ino)
		i = (i + 1) & (cap - 1);
	return i;
}

static int grow_locked(struct unnamed *u)
{
	unsigned cap = u->cap ? u->cap * 2 : TABLE_MIN;
	struct record *table = calloc(cap, sizeof(*table));
	inode_no *queue = table ? realloc(u->queue, cap / 2 * sizeof(*queue)) : NULL;

	if (queue)
		u->queue = queue;
	if (!table || !queue) {
		free(table);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < u->cap; i++)
		if (u->table[i].ino != 0)
			table[slot_of(table, cap, u->table[i].ino)] = u->table[i];
	free(u->table);
	u->table = table;
	u->cap = cap;
	return 0;
}

/* Close the gap, so that a search still finds the records that were pushed past this one. */
static void erase_locked(struct unnamed *u, unsigned i)
{
	u->table[i].ino = 0;
	atomic_fetch_sub(&u->n, 1);
	for (unsigned k = (i + 1) & (u->cap - 1); u->table[k].ino != 0;
	     k = (k + 1) & (u->cap - 1)) {
		struct record r = u->table[k];

		u->table[k].ino = 0;
		u->table[slot_of(u->table, u->cap, r.ino)] = r;
	}
}

/* Wait until the queue has something, and a while longer for more. */
static void gather_locked(struct unnamed *u)
{
	uint64_t until_ns;

	while (!u->stopping && u->n_queued == 0)
		pthread_cond_wait(&u->wake, &u->mu);
	until_ns = clock_mono_ns() + GATHER_NS;
	while (!u->stopping && clock_wait(&u->wake, &u->mu, until_ns) == 0)
		;
}

static void *run(void *arg)
{
	struct unnamed *u = arg;

	pthread_mutex_lock(&u->mu);
	for (;;) {
		inode_no ino;
		unsigned i;
		bool held;

		if (u->n_queued == 0)
			gather_locked(u);
		if (u->stopping)
			break;
		ino = u->queue[--u->n_queued];
		/*
		 * From here on it counts as not queued: a forget that arrives while we ask makes us
		 * ask again.
		 */
		u->table[slot_of(u->table, u->cap, ino)].queued = false;
		pthread_mutex_unlock(&u->mu);
		held = u->cfg.held(u->cfg.ctx, ino);
		pthread_mutex_lock(&u->mu);
		if (held)
			continue;

		i = slot_of(u->table, u->cap, ino);
		assert(u->table[i].ino == ino);
		if (u->table[i].queued) /* the queue still has it: leave it to that round */
			continue;
		erase_locked(u, i);
		pthread_mutex_unlock(&u->mu);
		u->cfg.gone(u->cfg.ctx, ino);
		pthread_mutex_lock(&u->mu);
	}
	pthread_mutex_unlock(&u->mu);
	return NULL;
}

int unnamed_new(const struct unnamed_config *cfg, struct unnamed **out)
{
	struct unnamed *u = calloc(1, sizeof(*u));
	int rc;

	if (!u)
		return -ENOMEM;
	u->cfg = *cfg;
	pthread_mutex_init(&u->mu, NULL);
	clock_cond_init(&u->wake);
	rc = -pthread_create(&u->thread, NULL, run, u);
	if (rc < 0)
		goto free_all;
	*out = u;
	return 0;

free_all:
	pthread_cond_destroy(&u->wake);
	pthread_mutex_destroy(&u->mu);
	free(u);
	return rc;
}

void unnamed_stop(struct unnamed *u)
{
	bool stopped;

	if (!u)
		return;
	pthread_mutex_lock(&u->mu);
	stopped = u->stopping;
	u->stopping = true;
	pthread_cond_signal(&u->wake);
	pthread_mutex_unlock(&u->mu);
	if (!stopped)
		pthread_join(u->thread, NULL);
}

void unnamed_free(struct unnamed *u)
{
	if (!u)
		return;
	unnamed_stop(u);
	pthread_cond_destroy(&u->wake);
	pthread_mutex_destroy(&u->mu);
	free(u->table);
	free(u->queue);
	free(u);
}

void unnamed_add(struct unnamed *u, inode_no ino)
{
	unsigned n, i;

	assert(ino != 0);
	pthread_mutex_lock(&u->mu);
	n = atomic_load(&u->n);
	if (n < UNNAMED_MAX && (n + 1 <= u->cap / 2 || grow_locked(u) == 0)) {
		i = slot_of(u->table, u->cap, ino);
		if (u->table[i].ino == 0) {
			u->table[i] = (struct record){.ino = ino};
			atomic_fetch_add(&u->n, 1);
		}
	}
	pthread_mutex_unlock(&u->mu);
}

void unnamed_forget(struct unnamed *u, inode_no ino)
{
	unsigned i;

	if (atomic_load(&u->n) == 0)
		return;
	pthread_mutex_lock(&u->mu);
	i = u->cap ? slot_of(u->table, u->cap, ino) : 0;
	if (u->cap && u->table[i].ino == ino && !u->table[i].queued) {
		u->table[i].queued = true;
		u->queue[u->n_queued++] = ino;
		if (u->n_queued == 1)
			pthread_cond_signal(&u->wake);
	}
	pthread_mutex_unlock(&u->mu);
}
