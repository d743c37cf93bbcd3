/*
 * The cache of tree nodes.
 *
 * Key idea: a hash table in shards, each with its own lock, and one clock for all.  The clock's
 * hand goes from shard to shard and looks at one node of each.  A node used since the last visit is
 * spared once.  So eviction begins only when the whole cache is full, not when one shard is.
 *
 * Invariants:
 *  1. A node is in the table from node_cache_add() until it is evicted.  Only a node without
 *     references is evicted and freed.
 *  2. References are taken under the shard's lock only.  So a node that has none while the lock is
 *     held gets none before the lock is released.
 *  3. At most one shard lock is held, and none across I/O.
 *  4. A log position is written once: the node at a position never changes.
 */

#include "cache.h"

#include "err.h"
#include "node.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#define SHARDS 16u
#define NODE_LEN_USUAL (8u << 10) /* a guess; the tables are sized by it */

struct shard {
	pthread_mutex_t mu;
	struct node **table; /* n_slots of them.  Guarded by mu. */
	struct node *hand;   /* in the ring of all nodes; NULL if empty.  Guarded by mu. */
} __attribute__((aligned(64)));

struct node_cache {
	struct shard shard[SHARDS];
	struct block_io io;
	size_t bytes_max;
	size_t n_slots; /* a power of two */
	atomic_size_t bytes, n_nodes;
	atomic_uint next_shard; /* where the clock's hand goes next */
};

static size_t weight(const struct node *n)
{
	return sizeof(*n) + n->ptr.plain_len;
}

int node_cache_new(size_t bytes_max, const struct block_io *io, struct node_cache **out)
{
	struct node_cache *c;

	c = aligned_alloc(64, sizeof(*c));
	if (!c)
		return -ENOMEM;
	*c = (struct node_cache){
		.io = *io,
		.bytes_max = bytes_max > NODE_CACHE_MIN ? bytes_max : NODE_CACHE_MIN,
		.n_slots = 8,
	};
	while (c->n_slots < c->bytes_max / NODE_LEN_USUAL / SHARDS)
		c->n_slots *= 2;
	for (size_t i = 0; i < SHARDS; i++) {
		struct shard *s = &c->shard[i];

		s->table = calloc(c->n_slots, sizeof(*s->table));
		if (!s->table)
			goto free_tables;
		pthread_mutex_init(&s->mu, NULL);
	}
	*out = c;
	return 0;

free_tables:
	for (size_t i = 0; i < SHARDS && c->shard[i].table; i++) {
		pthread_mutex_destroy(&c->shard[i].mu);
		free(c->shard[i].table);
	}
	free(c);
	return -ENOMEM;
}

static uint64_t mix(log_pos pos)
{
	pos *= UINT64_C(0x9e3779b97f4a7c15);
	return pos ^ pos >> 32;
}

static struct shard *shard_of(struct node_cache *c, log_pos pos)
{
	return &c->shard[mix(pos) % SHARDS];
}

static struct node **slot_of(struct node_cache *c, struct shard *s, log_pos pos)
{
	return &s->table[mix(pos) / SHARDS & (c->n_slots - 1)];
}

static struct node *find_locked(struct node_cache *c, struct shard *s, log_pos pos)
{
	struct node *n = *slot_of(c, s, pos);

	while (n && n->ptr.pos != pos)
		n = n->chain;
	return n;
}

/* Insert just behind the hand, so that the new node is visited last. */
static void link_locked(struct node_cache *c, struct shard *s, struct node *n)
{
	struct node **slot = slot_of(c, s, n->ptr.pos);

	n->chain = *slot;
	*slot = n;
	if (s->hand) {
		n->next = s->hand;
		n->prev = s->hand->prev;
		n->prev->next = n;
		n->next->prev = n;
	} else {
		n->next = n->prev = n;
		s->hand = n;
	}
	atomic_fetch_add(&c->bytes, weight(n));
	atomic_fetch_add(&c->n_nodes, 1);
}

static void unlink_locked(struct node_cache *c, struct shard *s, struct node *n)
{
	struct node **link = slot_of(c, s, n->ptr.pos);

	while (*link != n)
		link = &(*link)->chain;
	*link = n->chain;
	if (s->hand == n)
		s->hand = n->next == n ? NULL : n->next;
	n->prev->next = n->next;
	n->next->prev = n->prev;
	atomic_fetch_sub(&c->bytes, weight(n));
	atomic_fetch_sub(&c->n_nodes, 1);
}

void node_cache_free(struct node_cache *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < SHARDS; i++) {
		struct shard *s = &c->shard[i];
		struct node *n;

		while ((n = s->hand)) {
			assert(atomic_load(&n->refs) == 0);
			unlink_locked(c, s, n);
			free(n);
		}
		pthread_mutex_destroy(&s->mu);
		free(s->table);
	}
	assert(atomic_load(&c->bytes) == 0);
	free(c);
}

/* One step of the clock.  Returns the node under the shard's hand if it was evicted, or NULL. */
static struct node *tick_locked(struct node_cache *c, struct shard *s)
{
	struct node *n = s->hand;

	if (!n)
		return NULL;
	s->hand = n->next;
	if (atomic_load(&n->refs) > 0)
		return NULL;
	if (n->hot) {
		n->hot = false;
		return NULL;
	}
	unlink_locked(c, s, n);
	return n;
}

/* Evict until ${bytes} fit.  Gives up after two rounds: all remaining nodes are in use. */
static void make_room(struct node_cache *c, size_t bytes)
{
	size_t steps = 2 * atomic_load(&c->n_nodes) + SHARDS;

	while (atomic_load(&c->bytes) + bytes > c->bytes_max && steps-- > 0) {
		struct shard *s = &c->shard[atomic_fetch_add(&c->next_shard, 1) % SHARDS];
		struct node *victim;

		pthread_mutex_lock(&s->mu);
		victim = tick_locked(c, s);
		pthread_mutex_unlock(&s->mu);
		free(victim);
	}
}

/* Takes ${n}; returns it, or the node already cached for its position, with one reference. */
static struct node *add(struct node_cache *c, struct node *n)
{
	struct shard *s = shard_of(c, n->ptr.pos);
	struct node *was;

	make_room(c, weight(n));
	pthread_mutex_lock(&s->mu);
	was = find_locked(c, s, n->ptr.pos);
	if (was)
		atomic_fetch_add(&was->refs, 1);
	else
		link_locked(c, s, n);
	pthread_mutex_unlock(&s->mu);
	if (!was)
		return n;
	free(n);
	return was;
}

void node_cache_add(struct node_cache *c, struct node *n)
{
	node_put(c, add(c, n));
}

static int damaged(const struct block_ptr *ptr, const char *fault)
{
	return err_say(-ERR_DAMAGED, "tree node at position %" PRIu64 ": %s; use another copy",
		       ptr->pos, fault);
}

static int read_node(struct node_cache *c, const struct block_ptr *ptr, struct node **out)
{
	const char *fault;
	struct node *n;
	int rc;

	if (ptr->pos == 0 || ptr->plain_len < NODE_PLAIN_MIN || ptr->plain_len > NODE_PLAIN_MAX)
		return damaged(ptr, "a pointer that cannot be");
	n = node_new(ptr->plain_len);
	if (!n)
		return -ENOMEM;
	n->ptr = *ptr;
	rc = c->io.read(c->io.ctx, ptr, BLOCK_NODE, n->plain);
	if (rc < 0)
		goto free_node;
	fault = node_fault(n->plain, ptr->plain_len, ptr->pos);
	if (fault) {
		rc = damaged(ptr, fault);
		goto free_node;
	}
	node_adopt(n);
	*out = n;
	return 0;

free_node:
	free(n);
	return rc;
}

static struct node *hold(struct node_cache *c, const struct block_ptr *ptr)
{
	struct shard *s = shard_of(c, ptr->pos);
	struct node *n;

	pthread_mutex_lock(&s->mu);
	n = find_locked(c, s, ptr->pos);
	if (n) {
		atomic_fetch_add(&n->refs, 1);
		n->hot = true;
	}
	pthread_mutex_unlock(&s->mu);
	return n;
}

int node_cache_get(struct node_cache *c, const struct block_ptr *ptr, struct need *need,
		   struct node **out)
{
	struct node *n = hold(c, ptr);
	int rc;

	if (!n && need) {
		need->ptr = *ptr;
		return -ERR_NEED_NODE;
	}
	if (!n) {
		rc = read_node(c, ptr, &n);
		if (rc < 0)
			return rc;
		n = add(c, n);
	}
	if (n->ptr.stored_len != ptr->stored_len || n->ptr.plain_len != ptr->plain_len) {
		node_put(c, n);
		return damaged(ptr, "two pointers to it that differ");
	}
	*out = n;
	return 0;
}

void node_put(struct node_cache *c, struct node *n)
{
	unsigned was;

	(void)c;
	if (!n)
		return;
	was = atomic_fetch_sub(&n->refs, 1);
	assert(was > 0);
}

int node_cache_load(struct node_cache *c, const struct need *need, struct node **out)
{
	return node_cache_get(c, &need->ptr, NULL, out);
}

size_t node_cache_bytes(struct node_cache *c)
{
	return atomic_load(&c->bytes);
}
