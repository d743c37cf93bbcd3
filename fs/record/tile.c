/*
 * Tiles of hashes.
 *
 * Key idea: the bits of the leaf count n, eight at a time, say which tile of each level is partial
 * and how wide it is.  Tiles only ever grow, so the state after any earlier n is a
 * prefix of the same tiles.
 *
 * Invariant: level[l].n is (e->n >> 8 * l) & 255.
 */

#include "tile.h"

#include "err.h"

#include <assert.h>
#include <string.h>

static unsigned edge_width(uint64_t n, unsigned level)
{
	return (unsigned)(n >> 8 * level) & (TILE_WIDTH - 1);
}

static uint64_t edge_index(uint64_t n, unsigned level)
{
	return level + 1 < TILE_LEVELS ? n >> 8 * (level + 1) : 0;
}

/* The first ${out->n} hashes of a level's edge after ${n} leaves. */
static int edge_tile(uint64_t n, unsigned level, const struct tile_io *io, struct tile *out)
{
	unsigned width = edge_width(n, level);
	int rc;

	out->n = 0;
	if (width == 0)
		return 0;
	rc = io->get(io->ctx, level, edge_index(n, level), out);
	if (rc < 0)
		return rc;
	if (out->n < width)
		return -ERR_ABSENT;
	out->n = width;
	return 0;
}

int tile_edge_load(struct tile_edge *e, uint64_t n, const struct tile_io *io)
{
	for (unsigned level = 0; level < TILE_LEVELS; level++) {
		int rc = edge_tile(n, level, io, &e->level[level]);

		if (rc < 0)
			return rc;
	}
	e->n = n;
	return 0;
}

static void fold(const struct tile *t, struct merkle *out)
{
	merkle_init(out);
	for (unsigned i = 0; i < t->n; i++)
		merkle_add(out, t->hash[i]);
}

int tile_merkle(uint64_t n, const struct tile_io *io, struct merkle *out)
{
	struct merkle m, part;
	struct tile t;

	merkle_init(&m);
	m.n = n;
	for (unsigned level = 0; level < TILE_LEVELS; level++) {
		int rc = edge_tile(n, level, io, &t);

		if (rc < 0)
			return rc;
		/* Below 256 leaves of this level: peaks 0 to 7 are peaks of the whole. */
		fold(&t, &part);
		memcpy(m.peak[8 * level], part.peak[0], (size_t)8 * HASH_LEN);
	}
	*out = m;
	return 0;
}

/* Add one hash to ${level}, and the roots of tiles that it fills to the levels above. */
static int add_hash(struct tile_edge *e, unsigned level, const uint8_t hash[HASH_LEN],
		    const struct tile_io *io)
{
	uint8_t node[HASH_LEN];

	memcpy(node, hash, HASH_LEN);
	for (; level < TILE_LEVELS; level++) {
		struct tile *t = &e->level[level];
		struct merkle m;
		int rc;

		assert(t->n < TILE_WIDTH);
		memcpy(t->hash[t->n++], node, HASH_LEN);
		if (t->n < TILE_WIDTH)
			return 0;
		rc = io->put(io->ctx, level, edge_index(e->n, level), t);
		if (rc < 0)
			return rc;
		fold(t, &m);
		merkle_root(&m, node);
		t->n = 0;
	}
	return 0;
}

int tile_append(struct tile_edge *e, const uint8_t (*leaves)[HASH_LEN], size_t n,
		const struct tile_io *io)
{
	uint64_t before = e->n;

	for (size_t i = 0; i < n; i++) {
		int rc = add_hash(e, 0, leaves[i], io);

		if (rc < 0)
			return rc;
		e->n++;
	}
	for (unsigned level = 0; level < TILE_LEVELS; level++) {
		struct tile *t = &e->level[level];
		int rc;

		assert(t->n == edge_width(e->n, level));
		/* A partial tile has changed exactly where the level's own count has. */
		if (t->n == 0 || e->n >> 8 * level == before >> 8 * level)
			continue;
		rc = io->put(io->ctx, level, edge_index(e->n, level), t);
		if (rc < 0)
			return rc;
	}
	return 0;
}
