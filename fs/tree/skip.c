/*
 * Skip list over bump-allocated chunks.
 *
 * Key idea: a node, its tower, its key and its first value are one piece of memory, so that a
 * comparison costs one cache miss.  Memory is freed only all at once, so that inserting is a few
 * stores.
 *
 * Invariants:
 *  1. Each level is a sub-list of the one below it; level 0 holds all nodes in strictly ascending
 *     key order.
 *  2. After skip_reserve(n, bytes) that much fits in the rest of the current chunk, or, failing
 *     that, in the spare chunk alone.
 *  3. skip_seek() and skip_floor() write nothing.
 */

#include "skip.h"

#include "key.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_MIN ((size_t)4 << 10)
#define CHUNK_MAX ((size_t)256 << 10)
#define ALIGN 8u
#define NODE_ROOM (sizeof(struct skip_node) + SKIP_HEIGHT * sizeof(void *) + ALIGN)

struct skip_chunk {
	struct skip_chunk *older;
	size_t size, used;
	uint8_t mem[] __attribute__((aligned(ALIGN)));
};

_Static_assert(sizeof(struct skip_node) == 24, "a node's header is kept small");

void skip_init(struct skip *s)
{
	*s = (struct skip){.chunk_next = CHUNK_MIN, .dice = UINT64_C(0x9e3779b97f4a7c15)};
}

static void free_chunks(struct skip_chunk *c)
{
	while (c) {
		struct skip_chunk *older = c->older;

		free(c);
		c = older;
	}
}

void skip_release(struct skip *s)
{
	free_chunks(s->chunk);
	free(s->spare);
	skip_init(s);
}

void skip_reset(struct skip *s)
{
	if (s->chunk) {
		free_chunks(s->chunk->older);
		s->chunk->older = NULL;
		s->chunk->used = 0;
	}
	memset(s->head, 0, sizeof(s->head));
	s->height = 0;
	s->n = s->payload = s->bytes = 0;
}

static size_t room(const struct skip_chunk *c)
{
	return c ? c->size - c->used : 0;
}

int skip_reserve(struct skip *s, size_t n, size_t bytes)
{
	struct skip_chunk *c;
	size_t want, size;

	if (__builtin_mul_overflow(n, NODE_ROOM, &want) ||
	    __builtin_add_overflow(want, bytes, &want) || want > SIZE_MAX / 2)
		return -ENOMEM;
	if (room(s->chunk) >= want || room(s->spare) >= want)
		return 0;

	size = want > s->chunk_next ? want : s->chunk_next;
	c = malloc(sizeof(*c) + size);
	if (!c)
		return -ENOMEM;
	c->size = size;
	c->used = 0;
	c->older = NULL;
	free(s->spare);
	s->spare = c;
	if (s->chunk_next < CHUNK_MAX)
		s->chunk_next *= 2;
	return 0;
}

static void *take(struct skip *s, size_t len)
{
	void *p;

	len = (len + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	if (room(s->chunk) < len) {
		assert(room(s->spare) >= len); /* reserved */
		s->spare->older = s->chunk;
		s->chunk = s->spare;
		s->spare = NULL;
	}
	p = s->chunk->mem + s->chunk->used;
	s->chunk->used += len;
	s->bytes += len;
	return p;
}

/*
 * Prefetch the node that follows on this level and on the one below while the current key is
 * compared: a walk's cost is nearly all cache misses.  A prefetch of NULL is harmless.
 */
static inline void fetch_ahead(struct skip_node *const *tower, uint32_t level)
{
	__builtin_prefetch(tower[level]);
	if (level > 0)
		__builtin_prefetch(tower[level - 1]);
}

/*
 * Walk down to the first node whose key is >= (${over} 0) or > (${over} 1) ${key}.  Unless NULL,
 * ${path} gets the links and ${before} the last node passed.
 */
static inline struct skip_node *descend(const struct skip *s, const void *key, size_t len, int over,
					struct skip_path *path, struct skip_node **before)
{
	struct skip_node *const *tower = s->head;
	struct skip_node *last = NULL, *bound = NULL;

	for (uint32_t l = s->height; l-- > 0;) {
		struct skip_node *n;

		fetch_ahead(tower, l);
		while ((n = tower[l]) != bound && n &&
		       key_cmp(skip_key(n), n->key_len, key, len) < over) {
			last = n;
			tower = n->next;
			fetch_ahead(tower, l);
		}
		bound = n;
		if (path)
			path->link[l] = (struct skip_node **)&tower[l];
	}
	*before = last;
	return bound;
}

struct skip_node *skip_seek(const struct skip *s, const void *key, size_t len)
{
	struct skip_node *before;

	return descend(s, key, len, 0, NULL, &before);
}

struct skip_node *skip_floor(const struct skip *s, const void *key, size_t len)
{
	struct skip_node *before;

	(void)descend(s, key, len, 1, NULL, &before);
	return before;
}

static void link_unused_levels(struct skip *s, struct skip_path *path)
{
	for (uint32_t l = s->height; l < SKIP_HEIGHT; l++)
		path->link[l] = &s->head[l];
}

struct skip_node *skip_find(struct skip *s, const void *key, size_t len, struct skip_path *path)
{
	link_unused_levels(s, path);
	return descend(s, key, len, 0, path, &path->before);
}

struct skip_node *skip_find_after(struct skip *s, const void *key, size_t len,
				  struct skip_path *path)
{
	link_unused_levels(s, path);
	return descend(s, key, len, 1, path, &path->before);
}

void skip_step(struct skip_path *path, struct skip_node *n)
{
	assert(*path->link[0] == n);
	for (uint32_t l = 0; l < n->height; l++)
		path->link[l] = &n->next[l];
	path->before = n;
}

/* Each level holds one in four of the nodes of the level below. */
static uint32_t roll_height(struct skip *s)
{
	uint32_t h = 1;
	uint64_t d;

	s->dice ^= s->dice << 13;
	s->dice ^= s->dice >> 7;
	s->dice ^= s->dice << 17;
	for (d = s->dice >> 20; h < SKIP_HEIGHT && (d & 3) == 0; d >>= 2)
		h++;
	return h;
}

struct skip_node *skip_insert(struct skip *s, struct skip_path *path, const void *key,
			      size_t key_len, const void *value, size_t value_len)
{
	uint32_t h = roll_height(s);
	struct skip_node *n;
	uint8_t *bytes;

	assert(key_len <= UINT16_MAX && value_len <= UINT16_MAX);
	n = take(s, sizeof(*n) + h * sizeof(n->next[0]) + key_len + value_len);
	bytes = (uint8_t *)&n->next[h];
	*n = (struct skip_node){
		.value = bytes + key_len,
		.key_len = (uint16_t)key_len,
		.value_len = (uint16_t)value_len,
		.value_cap = (uint16_t)value_len,
		.height = (uint8_t)h,
	};
	memcpy(bytes, key, key_len);
	if (value_len > 0)
		memcpy(bytes + key_len, value, value_len);

	for (uint32_t l = 0; l < h; l++) {
		n->next[l] = *path->link[l];
		*path->link[l] = n;
	}
	if (h > s->height)
		s->height = h;
	s->n++;
	s->payload += key_len + value_len;
	return n;
}

void skip_unlink(struct skip *s, struct skip_path *path)
{
	struct skip_node *n = *path->link[0];

	for (uint32_t l = 0; l < n->height; l++) {
		assert(*path->link[l] == n);
		*path->link[l] = n->next[l];
	}
	s->n--;
	s->payload -= (size_t)n->key_len + n->value_len;
}

void skip_set_value(struct skip *s, struct skip_node *n, const void *value, size_t len)
{
	assert(len <= UINT16_MAX);
	if (len > n->value_cap) {
		n->value = take(s, len);
		n->value_cap = (uint16_t)len;
	}
	if (len > 0)
		memmove(n->value, value, len);
	s->payload = s->payload - n->value_len + len;
	n->value_len = (uint16_t)len;
}

void skip_move_value(struct skip *s, struct skip_node *to, struct skip_node *from)
{
	s->payload -= to->value_len;
	to->value = from->value;
	to->value_len = from->value_len;
	to->value_cap = from->value_cap;
	from->value_len = from->value_cap = 0;
}
