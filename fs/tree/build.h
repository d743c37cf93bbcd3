#ifndef BUILD_H_
#define BUILD_H_

/*
 * Writes a tree from input in key order: items, and subtrees of an old version that are kept as
 * they are.  For fs/tree only.
 *
 * Each level has one run of entries that are not yet a node.  When a run grows beyond a node and a
 * quarter, its front is written as a node.  A run that is closed becomes one node, or two halves.
 */

#include "block.h"
#include "cache.h"
#include "compiler.h"
#include "node.h"
#include "tree.h"

/* A run of fewer bytes is not closed while a neighbour can join it. */
#define BUILD_NODE_MIN (TREE_NODE_TARGET / 4)

struct build_level {
	uint8_t *data; /* the run's entries in the form that a node has; ${len} bytes of ${cap} */
	size_t len, cap;
	uint32_t *at; /* the offset in data of each entry; ${n} of ${at_cap} */
	uint32_t n, at_cap;
	uint8_t last[TREE_KEY_MAX]; /* the newest key; last_len 0: none yet */
	size_t last_len;
	/* The old node on this level that build_open() returned last, held; may be NULL. */
	struct node *old;
};

struct build {
	struct node_cache *cache;
	/* An old node that can't be read is kept in place; its neighbours may be small nodes. */
	bool around;
	const struct block_io *io;
	struct build_level level[TREE_HEIGHT_MAX + 1]; /* the last holds the root's entry only */
};

void build_init(struct build *b, struct node_cache *c, const struct block_io *io);
void build_release(struct build *b);

/*
 * Each returns 0; -ERR_DAMAGED (the input is out of order, so the old tree is damaged; or the tree
 * gets too high); -ENOMEM; or what reading and appending returns.  After an error the caller may
 * only call build_release().
 */

/* build_item(b, it): add the next item. */
MUST_CHECK int build_item(struct build *b, const struct node_item *it);

/*
 * build_ref(b, level, first): add all of the old subtree, with its root on ${level}, that the entry
 * ${first} points to.  It is kept unread, unless a run before it is too small to be closed: then it
 * is opened as far as is needed to fill that run.
 */
MUST_CHECK int build_ref(struct build *b, uint32_t level, const struct node_item *first);

/*
 * build_keep(b, level, first): the same, but the subtree is never read: the runs before it are
 * closed however small they are.
 */
MUST_CHECK int build_keep(struct build *b, uint32_t level, const struct node_item *first);

/*
 * build_open(b, level, ptr, out): read an old node whose entries the caller will add one by one,
 * some of them changed.  ${*out} is borrowed until the next call for that level.  If exactly its
 * entries become a node, the old node is referred to and nothing is written.
 */
MUST_CHECK int build_open(struct build *b, uint32_t level, const struct block_ptr *ptr,
			  struct node **out);

/* build_finish(b, out): the input is complete; write all runs and set ${*out} to the root. */
MUST_CHECK int build_finish(struct build *b, struct tree_root *out);

#endif /* !BUILD_H_ */
