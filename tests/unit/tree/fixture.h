#ifndef FIXTURE_H_
#define FIXTURE_H_

/*
 * What the tests of the tree share: a log in memory, a cache over it, and keys and values made of
 * numbers.
 */

#include "bytes.h"
#include "cache.h"
#include "memlog.h"
#include "overlay.h"
#include "tree.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

/* OK(call): it must return 0. */
#define OK(call) expect_ok((call), #call, __LINE__)

static inline void expect_ok(int rc, const char *call, int line)
{
	cr_assert_eq(rc, 0, "line %d: %s: %s", line, call, err_detail(rc));
}

struct fixture {
	struct memlog log;
	struct block_io io;
	struct node_cache *cache;
};

static inline void fixture_init(struct fixture *f)
{
	memlog_init(&f->log);
	f->io = memlog_io(&f->log);
	OK(node_cache_new(0, &f->io, &f->cache));
}

static inline void fixture_release(struct fixture *f)
{
	node_cache_free(f->cache);
	memlog_release(&f->log);
}

/* After a read that found a node missing. */
static inline int load_node(struct node_cache *c, const struct need *need)
{
	struct node *n;
	int rc = node_cache_load(c, need, &n);

	if (rc == 0)
		node_put(c, n);
	return rc;
}

/* A cache that has nothing yet. */
static inline void fixture_cool(struct fixture *f)
{
	node_cache_free(f->cache);
	OK(node_cache_new(0, &f->io, &f->cache));
}

/* Numbers that look random, the same for the same seed. */
struct dice {
	uint64_t s;
};

static inline uint64_t roll(struct dice *d)
{
	uint64_t z = (d->s += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline uint32_t roll_below(struct dice *d, uint32_t n)
{
	return (uint32_t)(roll(d) % n);
}

/* A new seed, printed; or the one in TREE_SEED, to see a failure again. */
static inline struct dice dice_new(void)
{
	const char *given = getenv("TREE_SEED");
	struct timespec now;
	struct dice d;

	clock_gettime(CLOCK_REALTIME, &now);
	d.s = given ? strtoull(given, NULL, 0)
		    : (uint64_t)now.tv_sec * 1000003u ^ (uint64_t)now.tv_nsec;
	fprintf(stderr, "TREE_SEED=%llu\n", (unsigned long long)d.s);
	return d;
}

/*
 * Keys in the order of their numbers, of lengths that differ: 4 bytes, then three quarters to all
 * of ${extra}.
 */
struct key {
	uint8_t b[TREE_KEY_MAX];
	size_t len;
};

static inline struct key key_of(uint32_t number, uint32_t extra)
{
	struct key k = {.len = 4};

	k.b[0] = (uint8_t)(number >> 24);
	k.b[1] = (uint8_t)(number >> 16);
	k.b[2] = (uint8_t)(number >> 8);
	k.b[3] = (uint8_t)number;
	if (extra > 0)
		k.len += extra - number * 2654435761u % (extra / 4 + 1);
	memset(k.b + 4, (int)(number & 0xff), k.len - 4);
	return k;
}

/* A value known by one number: its length and bytes follow from it. */
static inline size_t value_of(uint32_t stamp, uint32_t len_max, uint8_t out[TREE_VALUE_MAX])
{
	size_t len = stamp * 2246822519u % (len_max + 1);

	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(stamp + 31 * i);
	return len;
}

static inline void put_number(struct overlay *ov, uint32_t number, uint32_t extra, uint32_t stamp,
			      uint32_t len_max)
{
	struct key k = key_of(number, extra);
	uint8_t value[TREE_VALUE_MAX];
	size_t len = value_of(stamp, len_max, value);

	OK(overlay_reserve(ov, 1, k.len + len));
	overlay_put(ov, k.b, k.len, value, len);
}

static inline void del_number(struct overlay *ov, uint32_t number, uint32_t extra)
{
	struct key k = key_of(number, extra);

	OK(overlay_reserve(ov, 1, k.len));
	overlay_del(ov, k.b, k.len);
}

static inline void del_numbers(struct overlay *ov, uint32_t from, uint32_t to, uint32_t extra)
{
	struct key a = key_of(from, extra), b = key_of(to, extra);

	OK(overlay_reserve(ov, 1, a.len + b.len));
	overlay_del_range(ov, a.b, a.len, b.b, b.len);
}

/* Lay ${ov} over ${*root}. */
static inline void merge(struct fixture *f, struct tree_root *root, const struct overlay *ov)
{
	struct tree_root out;

	OK(tree_merge(f->cache, &f->io, root, ov, &out));
	*root = out;
}

/* A tree of the numbers from..to, each ${step}th. */
static inline struct tree_root plant(struct fixture *f, uint32_t from, uint32_t to, uint32_t step,
				     uint32_t extra, uint32_t len_max)
{
	struct tree_root root = {0};
	struct overlay *ov;

	OK(overlay_new(&ov));
	for (uint32_t i = from; i < to; i += step)
		put_number(ov, i, extra, i, len_max);
	merge(f, &root, ov);
	overlay_free(ov);
	return root;
}

/* What a walk over a sound tree finds. */
struct census {
	size_t nodes, items, small; /* small: under a quarter of the target, and not the root */
	uint64_t root_pos;
	uint64_t highest; /* position of any node */
	size_t longest;	  /* plaintext of any node */
};

static inline int count_node(void *ctx, const struct tree_walk_node *n)
{
	struct census *c = ctx;

	cr_assert_eq(n->rc, 0, "node at %llu: %s", (unsigned long long)n->ptr.pos,
		     err_detail(n->rc));
	c->nodes++;
	if (c->root_pos == 0)
		c->root_pos = n->ptr.pos;
	else if (n->ptr.plain_len < TREE_NODE_TARGET / 4)
		c->small++;
	if (n->ptr.pos > c->highest)
		c->highest = n->ptr.pos;
	if (n->ptr.plain_len > c->longest)
		c->longest = n->ptr.plain_len;
	return 0;
}

static inline int count_item(void *ctx, const uint8_t *key, size_t key_len, const uint8_t *value,
			     size_t value_len)
{
	struct census *c = ctx;

	(void)key, (void)key_len, (void)value, (void)value_len;
	c->items++;
	return 0;
}

static inline struct census census(struct fixture *f, const struct tree_root *root)
{
	struct census c = {0};

	OK(tree_walk(f->cache, root, count_node, count_item, &c));
	cr_assert_eq(c.highest, c.root_pos, "a pointer that does not lie below");
	cr_assert_leq(c.longest, TREE_NODE_TARGET);
	return c;
}

#endif /* !FIXTURE_H_ */
