/*
 * A table indexed by a hash of the inode number, with one entry per place.
 */

#include "relinked.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct record {
	inode_no ino;
	uint64_t until_ns;
};

struct relinked {
	uint64_t all_until_ns;
	atomic_uint_fast64_t
		until_ns; /* of the newest; read without mu to see that there are none */
	pthread_mutex_t mu;
	struct record table[RELINKED_MAX]; /* Guarded by mu. */
};

int relinked_new(uint64_t all_until_ns, struct relinked **out)
{
	struct relinked *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->all_until_ns = all_until_ns;
	pthread_mutex_init(&r->mu, NULL);
	*out = r;
	return 0;
}

void relinked_free(struct relinked *r)
{
	if (!r)
		return;
	pthread_mutex_destroy(&r->mu);
	free(r);
}

static struct record *record_of(struct relinked *r, inode_no ino)
{
	return &r->table[(ino * UINT64_C(0x9e3779b97f4a7c15) >> 32) % RELINKED_MAX];
}

void relinked_add(struct relinked *r, inode_no ino, uint64_t now_ns)
{
	assert(ino != 0);
	pthread_mutex_lock(&r->mu);
	*record_of(r, ino) = (struct record){.ino = ino, .until_ns = now_ns + RELINKED_NS};
	atomic_store(&r->until_ns, now_ns + RELINKED_NS);
	pthread_mutex_unlock(&r->mu);
}

bool relinked_is(struct relinked *r, inode_no ino, uint64_t now_ns)
{
	const struct record *found;
	bool is;

	if (now_ns < r->all_until_ns)
		return true;
	if (atomic_load(&r->until_ns) < now_ns)
		return false;
	pthread_mutex_lock(&r->mu);
	found = record_of(r, ino);
	is = found->ino == ino && found->until_ns >= now_ns;
	pthread_mutex_unlock(&r->mu);
	return is;
}
