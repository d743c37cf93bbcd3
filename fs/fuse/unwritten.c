/*
 * Files that are empty as far as we know, and of which the kernel may hold contents.
 *
 * "Begun" is an open-addressing set of inode numbers that grows.  "Created" is a table in which a
 * newer file takes an older one's place.
 *
 * Invariants:
 * - at most half of the set is in use, so a search ends
 * - no inode is in both
 */

#include "unwritten.h"

#include "clock.h"
#include "locks.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define TABLE_MIN 64u

struct unwritten {
	atomic_uint n; /* in the set; read without mu to see that there are none */
	pthread_mutex_t mu;
	uint64_t all_until_ns; /* any file may be begun; Guarded by mu, like all below. */
	inode_no *set;	       /* 0: free */
	unsigned cap;	       /* a power of two */
	inode_no created[UNWRITTEN_CREATED];
};

static int grow_locked(struct unwritten *u) REQUIRES(u->mu);

static unsigned hash(inode_no ino)
{
	return (unsigned)(ino * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

static unsigned place_in(const inode_no *set, unsigned cap, inode_no ino)
{
	unsigned i = hash(ino) & (cap - 1);

	while (set[i] != 0 && set[i] != ino)
		i = (i + 1) & (cap - 1);
	return i;
}

int unwritten_new(bool take_over, struct unwritten **out)
{
	struct unwritten *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	u->cap = TABLE_MIN;
	u->set = calloc(u->cap, sizeof(*u->set));
	if (!u->set) {
		free(u);
		return -ENOMEM;
	}
	if (take_over)
		u->all_until_ns = clock_mono_ns() + UNWRITTEN_TAKE_OVER_NS;
	pthread_mutex_init(&u->mu, NULL);
	*out = u;
	return 0;
}

void unwritten_free(struct unwritten *u)
{
	if (!u)
		return;
	pthread_mutex_destroy(&u->mu);
	free(u->set);
	free(u);
}

/* Make room for one more.  Returns -ENOMEM, also when the set has reached its bound. */
static int grow_locked(struct unwritten *u)
{
	unsigned cap = u->cap * 2;
	inode_no *set;

	if (atomic_load(&u->n) + 1 <= u->cap / 2)
		return 0;
	set = cap / 2 <= UNWRITTEN_MAX ? calloc(cap, sizeof(*set)) : NULL;
	if (!set)
		return -ENOMEM;
	for (unsigned i = 0; i < u->cap; i++)
		if (u->set[i] != 0)
			set[place_in(set, cap, u->set[i])] = u->set[i];
	free(u->set);
	u->set = set;
	u->cap = cap;
	return 0;
}

void unwritten_created(struct unwritten *u, inode_no ino)
{
	pthread_mutex_lock(&u->mu);
	u->created[hash(ino) % UNWRITTEN_CREATED] = ino;
	pthread_mutex_unlock(&u->mu);
}

bool unwritten_begun(struct unwritten *u, inode_no ino)
{
	inode_no *created = &u->created[hash(ino) % UNWRITTEN_CREATED];
	bool tell = false;
	unsigned i;

	assert(ino != 0);
	pthread_mutex_lock(&u->mu);
	i = place_in(u->set, u->cap, ino);
	if (u->set[i] == 0) {
		tell = *created != ino;
		if (!tell)
			*created = 0;
		if (grow_locked(u) == 0) {
			u->set[place_in(u->set, u->cap, ino)] = ino;
			atomic_fetch_add(&u->n, 1);
		} else {
			u->all_until_ns = UINT64_MAX; /* not recorded: so report too many */
		}
		assert(atomic_load(&u->n) <= u->cap / 2);
	}
	pthread_mutex_unlock(&u->mu);
	return tell;
}

void unwritten_ended(struct unwritten *u, inode_no ino)
{
	unsigned i;

	if (atomic_load(&u->n) == 0)
		return;
	pthread_mutex_lock(&u->mu);
	i = place_in(u->set, u->cap, ino);
	if (u->set[i] == ino) {
		u->set[i] = 0;
		atomic_fetch_sub(&u->n, 1);
		/*
		 * Close the gap, so that a search still finds the numbers that were pushed past
		 * this one.
		 */
		for (unsigned k = (i + 1) & (u->cap - 1); u->set[k] != 0;
		     k = (k + 1) & (u->cap - 1)) {
			inode_no moved = u->set[k];

			u->set[k] = 0;
			u->set[place_in(u->set, u->cap, moved)] = moved;
		}
	}
	pthread_mutex_unlock(&u->mu);
}

bool unwritten_is(struct unwritten *u, inode_no ino)
{
	inode_no *created = &u->created[hash(ino) % UNWRITTEN_CREATED];
	bool is;

	pthread_mutex_lock(&u->mu);
	is = u->set[place_in(u->set, u->cap, ino)] == ino;
	if (!is && u->all_until_ns != 0)
		is = u->all_until_ns > clock_mono_ns();
	if (!is && *created == ino)
		*created = 0;
	pthread_mutex_unlock(&u->mu);
	return is;
}
