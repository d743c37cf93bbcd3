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

static unsigned edge_width(leaf_no n, unsigned level)
{
	return (unsigned)(n >> 8 * level) & (TILE_WIDTH - 1);
}

static uint64_t edge_index(leaf_no n, unsigned level)
{
	return level + 1 < TILE_LEVELS ? n >> 8 * (level + 1) : 0;
}

static bool is_zero(const uint8_t hash[HASH_LEN])
{
	for (unsigned i = 0; i < HASH_LEN; i++)
		if (hash[i])
			return false;
	return true;
}

/* How many hashes the subtree takes whose root is hash ${i} of a tile. */
static unsigned span_at(const struct tile *t, unsigned i)
{
	unsigned span = 1;

	while (i + span < t->n && is_zero(t->hash[i + span]))
		span++;
	return span;
}

/* The first ${out->n} hashes of a level's edge after ${n} leaves. */
static int edge_tile(leaf_no n, unsigned level, const struct tile_io *io, struct tile *out)
{
	unsigned width = edge_width(n, level);
	int rc;

	out->n = 0;
	if (width == 0)
		return 0;
	rc = io->get(io->ctx, level, edge_index(n, level), out);
	if (rc < 0)
		return rc;
	if (out->n < width || is_zero(out->hash[0]))
		return -ERR_ABSENT;
	if (out->n > width && is_zero(out->hash[width]))
		return -ERR_ABSENT;
	out->n = width;
	return 0;
}

int tile_edge_load(struct tile_edge *e, leaf_no n, const struct tile_io *io)
{
	for (unsigned level = 0; level < TILE_LEVELS; level++) {
		int rc = edge_tile(n, level, io, &e->level[level]);

		if (rc < 0)
			return rc;
	}
	e->n = n;
	return 0;
}

/* Fold hashes ${first} to ${end} - 1, which are whole subtrees, into ${out}. */
static int fold(const struct tile *t, unsigned first, unsigned end, struct merkle *out)
{
	merkle_init(out);
	for (unsigned i = first, span; i < end; i += span) {
		span = span_at(t, i);
		if (is_zero(t->hash[i]) || span > end - i)
			return -ERR_ABSENT;
		if ((span & (span - 1)) != 0 || i % span != 0)
			return err_say(-ERR_DAMAGED, "catalog: a tile's %u hashes are no subtree",
				       span);
		merkle_add_run(out, t->hash[i], (unsigned)__builtin_ctz(span));
	}
	return 0;
}

int tile_merkle(leaf_no n, const struct tile_io *io, struct merkle *out)
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
		rc = fold(&t, 0, t.n, &part);
		if (rc < 0)
			return rc;
		memcpy(m.peak[8 * level], part.peak[0], (size_t)8 * HASH_LEN);
	}
	*out = m;
	return 0;
}

int tile_root(const struct tile *t, unsigned first, unsigned n, uint8_t out[HASH_LEN])
{
	struct merkle m;
	int rc;

	if (first + n > t->n)
		return -ERR_ABSENT;
	rc = fold(t, first, first + n, &m);
	if (rc == 0)
		merkle_root(&m, out);
	return rc;
}

uint64_t leaf_row_count(const struct leaf_row *row)
{
	uint64_t n = row->n;

	for (size_t i = 0; i < row->n_runs; i++)
		n += (UINT64_C(1) << row->runs[i].height) - 1;
	return n;
}

bool tile_has_leaf(const struct tile *t, unsigned i)
{
	return i < t->n && !is_zero(t->hash[i]) && span_at(t, i) == 1;
}

/*
 * Add to ${level} the root over ${span} of its hashes, or, if that is 1, one hash; and to the
 * levels above the roots of the tiles that this fills.
 */
static int add_hash(struct tile_edge *e, unsigned level, const uint8_t hash[HASH_LEN],
		    unsigned span, const struct tile_io *io)
{
	uint8_t node[HASH_LEN];

	memcpy(node, hash, HASH_LEN);
	for (; level < TILE_LEVELS; level++, span = 1) {
		struct tile *t = &e->level[level];
		struct merkle m;
		int rc;

		assert(t->n + span <= TILE_WIDTH && t->n % span == 0);
		memcpy(t->hash[t->n], node, HASH_LEN);
		if (span > 1)
			memset(t->hash[t->n + 1], 0, (size_t)(span - 1) * HASH_LEN);
		t->n += span;
		if (t->n < TILE_WIDTH)
			return 0;
		rc = io->put(io->ctx, level, edge_index(e->n, level), t);
		if (rc == 0)
			rc = fold(t, 0, t->n, &m);
		if (rc < 0)
			return rc;
		merkle_root(&m, node);
		t->n = 0;
	}
	return 0;
}

static int add_run(struct tile_edge *e, const uint8_t root[HASH_LEN], unsigned height,
		   const struct tile_io *io)
{
	static const struct tile unknown = {.n = TILE_WIDTH};
	uint64_t n = UINT64_C(1) << height;
	int rc = 0;

	assert(height < 8 * TILE_LEVELS && e->n % n == 0);
	/* Put the last of its tiles of leaves, all unknown: it shows how many leaves there are. */
	if (n >= TILE_WIDTH)
		rc = io->put(io->ctx, 0, edge_index(e->n + n - 1, 0), &unknown);
	if (rc == 0)
		rc = add_hash(e, height / 8, root, 1u << height % 8, io);
	if (rc == 0)
		e->n += n;
	return rc;
}

int tile_append_row(struct tile_edge *e, const struct leaf_row *row, const struct tile_io *io)
{
	size_t r = 0;
	leaf_no before = e->n;

	for (size_t i = 0; i < row->n; i++) {
		bool is_run = r < row->n_runs && row->runs[r].at == i;
		int rc = is_run ? add_run(e, row->hash[i], row->runs[r].height, io)
				: add_hash(e, 0, row->hash[i], 1, io);

		if (rc < 0)
			return rc;
		if (is_run)
			r++;
		else
			e->n++;
	}
	assert(r == row->n_runs);
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
