#ifndef HOLES_H_
#define HOLES_H_

/*
 * What stands for blocks of a log whose bytes are gone: for one block its length, kind and leaf
 * hash; for an aligned run of 2^k blocks their bytes and the root of their Merkle subtree.
 *
 * This is a table in memory.  The caller that opens a storage fills it and attaches it (struct
 * storage, holes).  Each walk over the log then asks it first (scan.h), and goes on behind the
 * hole.  Nothing is true because the table says so: a head behind what is gone proves it, and a
 * table that no head proves is refused (tail.h).
 *
 * Only the bytes could prove how a stretch is divided among neighbours that are gone: a leaf hash
 * covers a position and bytes, not a length.
 *
 * Segment headers and heads never go.  A position that is not in the table has its bytes here; if
 * they are no block, that is damage, even if they are zeros.
 */

#include "compiler.h"
#include "format.h"

#include <stddef.h>

struct hole {
	log_pos pos;		/* where the block, or the first of the run, begins */
	uint64_t len;		/* stored bytes, frames included, of all its blocks */
	uint8_t height;		/* 2^height blocks; 0: one */
	uint8_t kind, flags;	/* of one block; 0 for a run */
	uint8_t hash[HASH_LEN]; /* leaf hash of one; root over the leaves of a run */
};

/* In ascending order of positions; none overlaps another.  Zeroed: nothing is gone. */
struct holes {
	struct hole *hole; /* owned */
	size_t n, cap;
};

/* hole_blocks(h): how many blocks it stands for. */
static inline uint64_t hole_blocks(const struct hole *h)
{
	return UINT64_C(1) << h->height;
}

/*
 * holes_add(t, h): append ${h} to ${t}.
 * Returns 0; -ENOMEM; -ERR_DAMAGED with a detail, and ${t} is as it was, if ${h} does not lie
 * behind the last one (they overlap, or are out of order), leaves its segment, covers a segment's
 * header, is a head, or has a length that no such blocks can have.
 */
MUST_CHECK int holes_add(struct holes *t, const struct hole *h);

/* holes_release(t): free its memory; it is empty then. */
void holes_release(struct holes *t);

/* holes_from(t, pos): the index of the first that ends after ${pos}; t->n: there is none. */
size_t holes_from(const struct holes *t, log_pos pos);

/* holes_at(t, pos): the one that ${pos} lies in, or NULL.  ${t} may be NULL: nothing is gone. */
const struct hole *holes_at(const struct holes *t, log_pos pos);

#endif /* !HOLES_H_ */
