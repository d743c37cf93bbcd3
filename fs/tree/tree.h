#ifndef TREE_H_
#define TREE_H_

/*
 * The tree on disk: a copy-on-write B+tree whose nodes are BLOCK_NODE blocks, immutable once
 * appended.  A root identifies a whole version.  Only tree_merge() makes new versions: it applies
 * an overlay's changes to a root and writes only the nodes that differ.
 */

#include "block.h"
#include "compiler.h"
#include "overlay.h"

#include <stdbool.h>

struct node_cache;
struct need;

#define TREE_HEIGHT_MAX 12u
#ifndef TREE_NODE_TARGET	     /* the simulation has a smaller one */
#define TREE_NODE_TARGET (16u << 10) /* plaintext bytes at which a node is split */
#endif

struct tree_root {
	struct block_ptr ptr; /* pos 0: the empty tree */
	uint32_t height;      /* levels; 1: the root is a leaf; 0: empty */
};

/*
 * tree_get(c, root, key, key_len, need, value, cap, out_len): copy the value of ${key} (at most
 * TREE_VALUE_MAX bytes) to ${value}.
 * Returns 0; -ENOENT; -ERR_DAMAGED, also if the value is longer than ${cap}; or as
 * node_cache_get().
 */
MUST_CHECK int tree_get(struct node_cache *c, const struct tree_root *root, const void *key,
			size_t key_len, struct need *need, void *value, size_t cap,
			size_t *out_len);

/*
 * A position in one version of the tree; holds the nodes on its path.  Embedded; begin with
 * tree_cursor_init(), end with tree_cursor_release().
 */
struct tree_cursor {
	struct node_cache *cache;
	struct tree_root root;
	struct need *need;
	struct node *path[TREE_HEIGHT_MAX]; /* indexed by level: the root is last */
	uint32_t slot[TREE_HEIGHT_MAX];
	bool valid;
};

void tree_cursor_init(struct tree_cursor *tc, struct node_cache *c, const struct tree_root *root,
		      struct need *need);
void tree_cursor_release(struct tree_cursor *tc);

/*
 * tree_seek(tc, key, key_len): go to the first item with key >= ${key}; tc->valid false if none.
 * tree_next(tc): go to the next item; ${tc} is valid (asserted).
 * After an error ${tc} is not valid; it can be used for another seek.
 * Returns 0; -ERR_DAMAGED, also if items are out of order; or as node_cache_get().
 */
MUST_CHECK int tree_seek(struct tree_cursor *tc, const void *key, size_t key_len);
MUST_CHECK int tree_next(struct tree_cursor *tc);

/* The item at a valid cursor, borrowed until the cursor moves. */
void tree_item(const struct tree_cursor *tc, const uint8_t **out_key, size_t *out_key_len,
	       const uint8_t **out_value, size_t *out_value_len);

/*
 * tree_merge(c, io, old, changes, out): append, with io->append, the nodes of a new version, which
 * is ${old} with ${changes} applied, and set ${*out} to its root.  Old nodes are read through ${c},
 * and new ones are added to it.  ${changes} is only read.  Memory is bounded: one path of
 * unfinished nodes.  Nodes have between a quarter and all of TREE_NODE_TARGET bytes where
 * neighbours allow.  A subtree inside a deleted range is dropped unread; one without changes is
 * kept unread.  A node that comes out unchanged is not written again, so changes without effect
 * give the old root.  No pointer of the result leads above what has been appended.
 * Returns 0, or an error of reading or appending; -ERR_DAMAGED, also if the old items are out of
 * order.  After an error the nodes appended so far are unreferenced and harmless.
 */
MUST_CHECK int tree_merge(struct node_cache *c, const struct block_io *io,
			  const struct tree_root *old, const struct overlay *changes,
			  struct tree_root *out);

/*
 * tree_unreadable(rc): does ${rc} mean that one node can't be read (damaged, absent from this copy,
 * or its disk fails), while others still may be?
 */
bool tree_unreadable(int rc);

#define TREE_GAPS_MAX 1024u

/* Where a merge kept the old tree as it is. */
struct tree_gap {
	struct block_ptr ptr; /* the node that can't be read */
	struct overlay_span span;
};

/* Zero-initialise; end with tree_gaps_release(). */
struct tree_gaps {
	struct tree_gap *gap; /* n of them, in key order */
	size_t n, cap;
	int rc;		  /* why the first one can't be read */
	char detail[256]; /* the same in words */
};

void tree_gaps_release(struct tree_gaps *g);

/*
 * tree_merge_around(c, io, old, changes, end, end_len, gaps, out): as tree_merge(), but a subtree
 * that contains a change and whose root can't be read (tree_unreadable()) is kept as it is.
 * ${gaps}, empty before, gets the key ranges in which ${changes} are not applied.  All keys of
 * ${old} are below ${end}: the last gap ends there at the latest, so changes to new keys are always
 * applied.  A neighbour of such a subtree may be a small node.
 * If the root itself can't be read, all keys below ${end} are one such gap.
 * Returns as tree_merge(); or the error of the first gap beyond TREE_GAPS_MAX.
 */
MUST_CHECK int tree_merge_around(struct node_cache *c, const struct block_io *io,
				 const struct tree_root *old, const struct overlay *changes,
				 const void *end, size_t end_len, struct tree_gaps *gaps,
				 struct tree_root *out);

/*
 * tree_walk(c, root, fn_node, fn_item, ctx): visit all nodes, parents first, and all items in key
 * order, verifying the structure (order, levels, bounds).  A node that can't be read, or is in the
 * wrong place, is given to fn_node with its error; if fn_node returns 0 the walk continues after
 * that subtree.  Without fn_node the walk ends with that error.  Either function may be NULL.
 * Returns 0 or the first non-zero of a function.
 */
struct tree_walk_node {
	struct block_ptr ptr;
	uint32_t level;	     /* 0: leaf */
	int rc;		     /* 0, or why it could not be read */
	const uint8_t *from; /* the first key that it covers, borrowed; length 0 for the root */
	size_t from_len;
};
MUST_CHECK int tree_walk(struct node_cache *c, const struct tree_root *root,
			 int (*fn_node)(void *ctx, const struct tree_walk_node *n),
			 int (*fn_item)(void *ctx, const uint8_t *key, size_t key_len,
					const uint8_t *value, size_t value_len),
			 void *ctx);

#endif /* !TREE_H_ */
