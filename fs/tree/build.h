#ifndef BUILD_H_
#define BUILD_H_

/*
 * Writes a tree from what comes in key order: items, and subtrees of an old version that stay as
 * they are.  For fs/tree only.
 *
 * On each level one run of entries waits that is not yet a node.  A run that grows beyond a node
 * and a quarter gives off its front as a node; a run that is closed becomes one node, or two
 * halves.
 */

#include "block.h"
#include "cache.h"
#include "compiler.h"
#include "node.h"
#include "tree.h"

#define BUILD_NODE_MIN                                                                             \
	(TREE_NODE_TARGET / 4) /* a smaller run is not closed while a neighbour can join it */

struct build_level {
	uint8_t *data; /* the entries of the run as a node has them; ${len} bytes of ${cap} */
	size_t len, cap;
	uint32_t *at; /* where in data each begins; ${n} of ${at_cap} */
	uint32_t n, at_cap;
	uint8_t last[TREE_KEY_MAX]; /* the newest key; last_len 0: none yet */
	size_t last_len;
	struct node
		*old; /* the old node on this level whose entries came in last, held; may be NULL */
};

struct build {
	struct node_cache *cache;
	/* an old node that can't be read stays where it is, beside nodes that may be small */
	bool around;
	const struct block_io *io;
	struct build_level
		level[TREE_HEIGHT_MAX + 1]; /* the uppermost gets the root's entry only */
};

void build_init(struct build *b, struct node_cache *c, const struct block_io *io);
void build_release(struct build *b);

/*
 * Each returns 0; -ERR_DAMAGED (what comes is out of order, so the old tree is damaged, or the tree
 * gets too high); -ENOMEM; or what reading and appending returns.  After an error only
 * build_release() is left.
 */

/* build_item(): the next item. */
MUST_CHECK int build_item(struct build *b, const struct node_item *it);

/*
 * build_ref(b, level, first): next comes all of the old subtree that the entry ${first} points to,
 * whose root is of ${level}. It is kept as it is, unless a run before it is too small to be closed:
 * then as much of it is opened as joins that run.
 */
MUST_CHECK int build_ref(struct build *b, uint32_t level, const struct node_item *first);

/*
 * build_keep(b, level, first): the same, but what comes before is closed however small it is, and
 * nothing is read.
 */
MUST_CHECK int build_keep(struct build *b, uint32_t level, const struct node_item *first);

/*
 * build_open(b, level, ptr): next come entries of this old node, one by one.  Gives it borrowed,
 * until the next one of that level. If exactly its entries come to make a node, it is kept instead
 * of writing that one.
 */
MUST_CHECK int build_open(struct build *b, uint32_t level, const struct block_ptr *ptr,
			  struct node **out);

/* build_finish(b, out): nothing more comes; write all runs. */
MUST_CHECK int build_finish(struct build *b, struct tree_root *out);

#endif /* !BUILD_H_ */
