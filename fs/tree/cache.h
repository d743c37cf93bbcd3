#ifndef CACHE_H_
#define CACHE_H_

/*
 * Tree nodes in memory: immutable, found by position, and shared by all readers of any version of
 * the tree.  Nodes not in use are bounded in bytes; those not used lately are evicted first.
 * Any thread; the cache has its own locks and holds none across I/O.
 */

#include "block.h"
#include "compiler.h"

struct node_cache;
struct node; /* one node, reference-counted */

/*
 * The smallest cache, in bytes.  One operation may find its nodes missing one by one; all that it
 * needs at a time fits into this many times over, so its restarts end.
 */
#ifndef NODE_CACHE_MIN /* the simulation has a smaller one */
#define NODE_CACHE_MIN ((size_t)1 << 20)
#endif

/*
 * node_cache_new(bytes_max, io, out): nodes are read through ${io} (copied).  ${bytes_max} is
 * raised to NODE_CACHE_MIN.  Returns 0 or -ENOMEM.
 */
MUST_CHECK int node_cache_new(size_t bytes_max, const struct block_io *io, struct node_cache **out);
void node_cache_free(struct node_cache *c); /* no node has references (asserted); NULL: no-op */

/* The node that a reader, which held a lock, did not find in the cache. */
struct need {
	struct block_ptr ptr;
#ifdef EMBASSYFS_RESTART
	/* In builds for tests: counts look-ups down; the one that reaches 0 gives up though no node
	   is missing, and ptr.pos is then 0.  0: off. */
	unsigned play;
#endif
};

/*
 * node_cache_get(c, ptr, need, out): a counted reference to the node at ${ptr}.  With ${need} no
 * I/O is done: if the node is not cached, ${*need} names it and -ERR_NEED_NODE is returned; the
 * caller releases its lock, calls node_cache_load() and begins again.  With ${need} NULL the node
 * is read.
 * Returns 0; -ERR_NEED_NODE; what io->read returns; -ERR_DAMAGED (not a well-formed node) with a
 * detail; -ENOMEM.
 */
MUST_CHECK int node_cache_get(struct node_cache *c, const struct block_ptr *ptr, struct need *need,
			      struct node **out);
void node_put(struct node_cache *c, struct node *n); /* NULL: no-op */

/*
 * node_cache_load(c, need, out): read the node, so that the next get finds it while the caller
 * holds ${*out}, a counted reference that node_put() releases.  The caller holds no lock.
 * Returns as node_cache_get() with ${need} NULL.
 */
MUST_CHECK int node_cache_load(struct node_cache *c, const struct need *need, struct node **out);

size_t node_cache_bytes(struct node_cache *c);

#endif /* !CACHE_H_ */
