#ifndef TILE_H_
#define TILE_H_

/*
 * The leaves of a log and the inner nodes over them, in tiles of up to 256 hashes
 * (c2sp.org/tlog-tiles): hash k of level 0 is leaf k; hash k of level l + 1 is the root over tile k
 * of level l, there once that tile is full.  Whole levels of 8 bits; only the last tile of a level
 * is partial.  Knows no storage: tiles are got and put through functions.
 *
 * The leaves of a whole subtree may be unknown, and its root known (holes.h).  Then the root is
 * stored in the place of the subtree's first hash, in the highest level in which it has one.  The
 * places of its other hashes there hold zeros, which are no hash.  Lower levels have no tiles
 * there, except that the last of level 0 is there, and zero, so that the number of leaves shows.  A
 * state inside such a subtree can't be had.
 */

#include "compiler.h"
#include "format.h"
#include "merkle.h"

#include <stdbool.h>
#include <stddef.h>

#define TILE_WIDTH 256u
#define TILE_LEVELS 8u

struct tile {
	unsigned n;
	uint8_t hash[TILE_WIDTH][HASH_LEN];
};

/* The right edge: the partial tile of each level, and how many leaves there are. */
struct tile_edge {
	leaf_no n;
	struct tile level[TILE_LEVELS];
};

/*
 * Gets or puts tile ${index} of ${level}.  get: -ERR_ABSENT if there is none.  Any error ends the
 * operation under way.
 */
struct tile_io {
	int (*get)(void *ctx, unsigned level, uint64_t index, struct tile *out);
	int (*put)(void *ctx, unsigned level, uint64_t index, const struct tile *t);
	void *ctx;
};

/*
 * tile_edge_load(e, n, io): the edge after ${n} leaves.
 * tile_merkle(n, io, out): the same as Merkle state.
 * Tiles may hold more: what follows leaf n is ignored.
 * Returns 0; -ERR_ABSENT where a tile is missing or holds too few hashes, or leaf n lies inside a
 * subtree of which only the root is known; -ERR_DAMAGED if a tile is malformed; or the error of
 * io->get.
 */
MUST_CHECK int tile_edge_load(struct tile_edge *e, leaf_no n, const struct tile_io *io);
MUST_CHECK int tile_merkle(leaf_no n, const struct tile_io *io, struct merkle *out);

/* Hash ${at} of a row is no leaf, but the root over 2^height leaves; height > 0. */
struct leaf_run {
	size_t at;
	unsigned height;
};

/*
 * Hashes to be added, borrowed: leaves, except those that ${runs}, in ascending order, say are
 * roots.
 */
struct leaf_row {
	const uint8_t (*hash)[HASH_LEN];
	size_t n;
	const struct leaf_run *runs;
	size_t n_runs;
};

/* leaf_row_count(row): how many leaves it stands for. */
uint64_t leaf_row_count(const struct leaf_row *row);

/*
 * tile_root(t, first, n, out): the root over hashes ${first} to ${first} + ${n} - 1 of a tile,
 * which are a whole subtree.  Returns 0; -ERR_ABSENT if there are fewer, or they are part of a
 * subtree of which only the root is known; -ERR_DAMAGED, with a detail.
 */
MUST_CHECK int tile_root(const struct tile *t, unsigned first, unsigned n, uint8_t out[HASH_LEN]);

/* tile_has_leaf(t, i): whether hash ${i} is there, and is no subtree's. */
bool tile_has_leaf(const struct tile *t, unsigned i);

/*
 * tile_append_row(e, row, io): add the hashes of ${row}, each run where a whole subtree of its size
 * begins, and put each tile that changed, full ones once.
 * Returns 0, or the error of io->put; ${e} must then be loaded again.
 *
 * tile_append(e, leaves, n, io): the same for leaves alone.
 */
MUST_CHECK int tile_append_row(struct tile_edge *e, const struct leaf_row *row,
			       const struct tile_io *io);
MUST_CHECK static inline int tile_append(struct tile_edge *e, const uint8_t (*leaves)[HASH_LEN],
					 size_t n, const struct tile_io *io)
{
	const struct leaf_row row = {.hash = leaves, .n = n};

	return tile_append_row(e, &row, io);
}

#endif /* !TILE_H_ */
