/*
 * A walk over all of one version of the tree, for checks.
 *
 * Key idea: depth first.  Each node is given the key range that its parent assigns to it, and must
 * keep to it.  A node that fails is reported and skipped, so one damaged block hides only the nodes
 * below it.
 */

#include "tree.h"

#include "err.h"
#include "key.h"
#include "node.h"

#include <inttypes.h>

struct walk {
	struct node_cache *cache;
	int (*fn_node)(void *ctx, const struct tree_walk_node *n);
	int (*fn_item)(void *ctx, const uint8_t *key, size_t key_len, const uint8_t *value,
		       size_t value_len);
	void *ctx;
};

/* The keys that a subtree may hold: from <= key < to; a NULL bound is open. */
struct bounds {
	const uint8_t *from, *to;
	size_t from_len, to_len;
};

static int check_bounds(const struct node *n, const struct bounds *b)
{
	struct node_item first, last;

	node_entry(n, 0, &first);
	node_entry(n, n->n - 1, &last);
	if ((b->from && key_cmp(first.key, first.key_len, b->from, b->from_len) < 0) ||
	    (b->to && key_cmp(last.key, last.key_len, b->to, b->to_len) >= 0))
		return err_say(-ERR_DAMAGED,
			       "tree node at position %" PRIu64
			       ": keys out of its range; use another copy",
			       n->ptr.pos);
	return 0;
}

static int walk_items(struct walk *w, const struct node *leaf)
{
	struct node_item it;
	int rc = 0;

	for (uint32_t i = 0; i < leaf->n && w->fn_item && rc == 0; i++) {
		node_entry(leaf, i, &it);
		rc = w->fn_item(w->ctx, it.key, it.key_len, it.value, it.value_len);
	}
	return rc;
}

/* Recursion is at most TREE_HEIGHT_MAX deep: each level is one less, and checked. */
static int walk_node(struct walk *w, const struct block_ptr *ptr, uint32_t level,
		     const struct bounds *b)
{
	struct tree_walk_node seen = {
		.ptr = *ptr, .level = level, .from = b->from, .from_len = b->from_len};
	struct node *n = NULL;
	int rc;

	seen.rc = tree_node_get(w->cache, ptr, level, NULL, &n);
	if (seen.rc == 0)
		seen.rc = check_bounds(n, b);
	rc = w->fn_node ? w->fn_node(w->ctx, &seen) : seen.rc;
	if (rc != 0 || seen.rc < 0)
		goto put;

	if (level == 0)
		rc = walk_items(w, n);
	for (uint32_t i = 0; level > 0 && i < n->n && rc == 0; i++) {
		struct bounds child = *b;
		struct block_ptr child_ptr;
		struct node_item it;

		node_entry(n, i, &it);
		child.from = it.key;
		child.from_len = it.key_len;
		block_ptr_decode(it.value, &child_ptr);
		if (i + 1 < n->n) {
			node_entry(n, i + 1, &it);
			child.to = it.key;
			child.to_len = it.key_len;
		}
		rc = walk_node(w, &child_ptr, level - 1, &child);
	}
put:
	node_put(w->cache, n);
	return rc;
}

int tree_walk(struct node_cache *c, const struct tree_root *root,
	      int (*fn_node)(void *ctx, const struct tree_walk_node *n),
	      int (*fn_item)(void *ctx, const uint8_t *key, size_t key_len, const uint8_t *value,
			     size_t value_len),
	      void *ctx)
{
	struct walk w = {.cache = c, .fn_node = fn_node, .fn_item = fn_item, .ctx = ctx};
	struct bounds all = {0};

	if (root->ptr.pos == 0 && root->height == 0)
		return 0;
	if (root->ptr.pos == 0 || root->height == 0 || root->height > TREE_HEIGHT_MAX) {
		struct tree_walk_node seen = {
			.ptr = root->ptr,
			.rc = err_say(-ERR_DAMAGED,
				      "tree root at position %" PRIu64
				      ": of impossible height; use another copy",
				      root->ptr.pos)};

		return fn_node ? fn_node(ctx, &seen) : seen.rc;
	}
	return walk_node(&w, &root->ptr, root->height - 1, &all);
}
