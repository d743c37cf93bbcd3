#ifndef CACHE_H_
#define CACHE_H_

/*
 * Tree nodes in memory: immutable, shared by everyone who reads any version of the tree, found by
 * position, at most so many bytes of them beside those in use, those not used lately dropped first.
 *  Any thread; own locks, never held across I/O.
 */

#include "block.h"
#include "compiler.h"

struct node_cache;
struct node; /* one decoded node, counted */

/*
 * Least bytes of a cache: what an operation that finds its nodes missing one by one needs at a time
 * fits in many times over.
 */
#ifndef NODE_CACHE_MIN /* the simulation has a smaller one */
#define NODE_CACHE_MIN ((size_t)1 << 20)
#endif

/*
 * node_cache_new(bytes_max, io, out): reads through ${io} (copied); ${bytes_max} is raised to
 * NODE_CACHE_MIN.  Returns 0 or -ENOMEM.
 */
MUST_CHECK int node_cache_new(size_t bytes_max, const struct block_io *io, struct node_cache **out);
void node_cache_free(struct node_cache *c); /* nobody holds a node (asserted); NULL: no-op */

/* The node that a reader under a lock found missing. */
struct need {
	struct block_ptr ptr;
#ifdef EMBASSYFS_RESTART
	/* builds for tests: the look-up in a map, counted down, that gives up though nothing is
	   missing; ptr.pos is then 0.  0: none */
	unsigned play;
#endif
};

/*
 * node_cache_get(c, ptr, need, out): a counted reference to the node at ${ptr}.  With ${need} no
 * I/O is done: if the node is not here, ${*need} says which and -ERR_NEED_NODE is returned; the
 * caller lets go of its lock, calls node_cache_load() and begins again.  Without, it is read.
 * Returns 0; -ERR_NEED_NODE; what io->read returns; -ERR_DAMAGED (not a well-formed node) with a
 * detail; -ENOMEM.
 */
MUST_CHECK int node_cache_get(struct node_cache *c, const struct block_ptr *ptr, struct need *need,
			      struct node **out);
void node_put(struct node_cache *c, struct node *n); /* NULL: no-op */

/*
 * node_cache_load(c, need, out): read it in, so that the next get finds it, as long as the caller
 * holds ${*out}: a counted reference, which node_put() gives back.  No lock of the caller's is held.
 * Returns as node_cache_get() without need.
 */
MUST_CHECK int node_cache_load(struct node_cache *c, const struct need *need, struct node **out);

size_t node_cache_bytes(struct node_cache *c);

#endif /* !CACHE_H_ */
