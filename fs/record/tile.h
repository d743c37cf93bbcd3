#ifndef TILE_H_
#define TILE_H_

/*
 * The leaves of a log and the inner nodes over them, in tiles of up to 256 hashes
 * (c2sp.org/tlog-tiles): hash k of level 0 is leaf k; hash k of level l + 1 is the root over
 * tile k of level l, there once that tile is full.  Whole levels of 8 bits; only the last tile
 * of a level is partial.  Knows no storage: tiles are got and put through functions.
 */

#include "compiler.h"
#include "format.h"
#include "merkle.h"

#include <stddef.h>

#define TILE_WIDTH 256u
#define TILE_LEVELS 8u

struct tile {
	unsigned n;
	uint8_t hash[TILE_WIDTH][HASH_LEN];
};

/* The right edge: the partial tile of each level, and how many leaves there are. */
struct tile_edge {
	uint64_t n;
	struct tile level[TILE_LEVELS];
};

/*
 * Gives or takes the tile ${index} of ${level}.  get: -ERR_ABSENT if there is none.  Any error
 * stops what is under way.
 */
struct tile_io {
	int (*get)(void *ctx, unsigned level, uint64_t index, struct tile *out);
	int (*put)(void *ctx, unsigned level, uint64_t index, const struct tile *t);
	void *ctx;
};

/*
 * tile_edge_load(e, n, io): the edge after ${n} leaves.  tile_merkle(n, io, out): the same as
 * Merkle state. Tiles may hold more: what follows leaf n is passed over.
 * Returns 0; -ERR_ABSENT where a tile is not there or holds too few hashes; or the error of
 * io->get.
 */
MUST_CHECK int tile_edge_load(struct tile_edge *e, uint64_t n, const struct tile_io *io);
MUST_CHECK int tile_merkle(uint64_t n, const struct tile_io *io, struct merkle *out);

/*
 * tile_append(e, leaves, n, io): add ${n} leaves and put each tile that changed, full ones once.
 * Returns 0, or the error of io->put; ${e} is then to be loaded again.
 */
MUST_CHECK int tile_append(struct tile_edge *e, const uint8_t (*leaves)[HASH_LEN], size_t n,
			   const struct tile_io *io);

#endif /* !TILE_H_ */
