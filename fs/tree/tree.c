/*
 * Reading one version of the tree.
 *
 * Key idea: a path of held nodes from the root to a leaf, with one slot in each.  An inner node's
 * keys are the first keys of its children, so a key belongs to the last child whose first key is
 * not above it.
 *
 * Invariants: path[l] is a node of level l; while the cursor is valid, each slot is below its
 * node's number of entries.
 */

#include "tree.h"

#include "err.h"
#include "key.h"
#include "node.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

static int damaged(const struct block_ptr *ptr, const char *fault)
{
	return err_say(-ERR_DAMAGED, "tree node at position %" PRIu64 ": %s; use another copy",
		       ptr->pos, fault);
}

int tree_node_get(struct node_cache *c, const struct block_ptr *ptr, uint32_t level,
		  struct need *need, struct node **out)
{
	struct node *n;
	int rc;

	rc = node_cache_get(c, ptr, need, &n);
	if (rc < 0)
		return rc;
	if (n->level != level) {
		node_put(c, n);
		return damaged(ptr, "not of the level that points to it");
	}
	*out = n;
	return 0;
}

int tree_root_check(const struct tree_root *root)
{
	if (root->height > TREE_HEIGHT_MAX || (root->height == 0) != (root->ptr.pos == 0))
		return damaged(&root->ptr, "a root of impossible height");
	return 0;
}

int tree_get(struct node_cache *c, const struct tree_root *root, const void *key, size_t key_len,
	     struct need *need, void *value, size_t cap, size_t *out_len)
{
	struct block_ptr ptr = root->ptr;
	struct node_item it;
	struct node *n;
	bool found;
	uint32_t i;
	int rc;

	rc = tree_root_check(root);
	if (rc < 0)
		return rc;
	if (root->height == 0)
		return -ENOENT;
	for (uint32_t level = root->height - 1; level > 0; level--) {
		rc = tree_node_get(c, &ptr, level, need, &n);
		if (rc < 0)
			return rc;
		node_child(n, node_search_child(n, key, key_len), &ptr);
		node_put(c, n);
	}

	rc = tree_node_get(c, &ptr, 0, need, &n);
	if (rc < 0)
		return rc;
	i = node_search(n, key, key_len, &found);
	if (!found) {
		rc = -ENOENT;
		goto put;
	}
	node_entry(n, i, &it);
	if (it.value_len > cap) {
		rc = damaged(&ptr, "a value longer than its kind");
		goto put;
	}
	if (it.value_len > 0)
		memcpy(value, it.value, it.value_len);
	*out_len = it.value_len;
put:
	node_put(c, n);
	return rc;
}

void tree_cursor_init(struct tree_cursor *tc, struct node_cache *c, const struct tree_root *root,
		      struct need *need)
{
	*tc = (struct tree_cursor){.cache = c, .root = *root, .need = need};
}

static void drop_below(struct tree_cursor *tc, uint32_t level)
{
	for (uint32_t l = 0; l < level; l++) {
		node_put(tc->cache, tc->path[l]);
		tc->path[l] = NULL;
	}
}

void tree_cursor_release(struct tree_cursor *tc)
{
	drop_below(tc, TREE_HEIGHT_MAX);
	tc->valid = false;
}

/*
 * Go to the first item at or after ${key} of the subtree at ${ptr}, or to its very first item if
 * ${key} is NULL.  If there is none, the slot is past the leaf's last entry.
 */
static int descend(struct tree_cursor *tc, struct block_ptr ptr, uint32_t level, const void *key,
		   size_t key_len)
{
	bool equal;

	for (;; level--) {
		struct node *n;
		int rc;

		rc = tree_node_get(tc->cache, &ptr, level, tc->need, &n);
		if (rc < 0)
			return rc;
		tc->path[level] = n;
		if (level == 0) {
			tc->slot[0] = key ? node_search(n, key, key_len, &equal) : 0;
			return 0;
		}
		tc->slot[level] = key ? node_search_child(n, key, key_len) : 0;
		node_child(n, tc->slot[level], &ptr);
	}
}

/* Each leaf must begin after the one before it, or a walk of a damaged tree could loop. */
static int check_order(const struct node *before, const struct node *leaf)
{
	struct node_item last, first;

	node_entry(before, before->n - 1, &last);
	node_entry(leaf, 0, &first);
	if (key_cmp(last.key, last.key_len, first.key, first.key_len) >= 0)
		return damaged(&leaf->ptr, "it begins below the end of the one before it");
	return 0;
}

/* Move from past the end of a leaf to the first entry of the next leaf. */
static int next_leaf(struct tree_cursor *tc)
{
	struct node *before = tc->path[0];
	uint32_t level = 1;
	struct block_ptr ptr;
	int rc;

	tc->valid = false;
	while (level < tc->root.height && tc->slot[level] + 1 >= tc->path[level]->n)
		level++;
	if (level >= tc->root.height)
		return 0;

	tc->path[0] = NULL;
	drop_below(tc, level);
	node_child(tc->path[level], ++tc->slot[level], &ptr);
	rc = descend(tc, ptr, level - 1, NULL, 0);
	if (rc == 0)
		rc = check_order(before, tc->path[0]);
	node_put(tc->cache, before);
	tc->valid = rc == 0;
	return rc;
}

/* Does ${key} lie within the leaf at which ${tc} stands? */
static bool in_leaf(const struct tree_cursor *tc, const void *key, size_t key_len)
{
	const struct node *leaf = tc->path[0];
	struct node_item first, last;

	if (!tc->valid)
		return false;
	node_entry(leaf, 0, &first);
	node_entry(leaf, leaf->n - 1, &last);
	return key_cmp(first.key, first.key_len, key, key_len) <= 0 &&
	       key_cmp(key, key_len, last.key, last.key_len) <= 0;
}

int tree_seek(struct tree_cursor *tc, const void *key, size_t key_len)
{
	struct node_item it;
	bool equal;
	int rc;

	if (in_leaf(tc, key, key_len)) {
		tc->slot[0] = node_search(tc->path[0], key, key_len, &equal);
		return 0;
	}

	tree_cursor_release(tc);
	rc = tree_root_check(&tc->root);
	if (rc < 0 || tc->root.height == 0)
		return rc;
	rc = descend(tc, tc->root.ptr, tc->root.height - 1, key, key_len);
	if (rc < 0)
		return rc;
	if (tc->slot[0] < tc->path[0]->n) {
		tc->valid = true;
		return 0;
	}

	rc = next_leaf(tc);
	if (rc < 0 || !tc->valid)
		return rc;
	node_entry(tc->path[0], tc->slot[0], &it);
	if (key_cmp(it.key, it.key_len, key, key_len) < 0) {
		tc->valid = false;
		return damaged(&tc->path[0]->ptr,
			       "it begins below the range that its parent gives it");
	}
	return 0;
}

int tree_next(struct tree_cursor *tc)
{
	assert(tc->valid);
	if (++tc->slot[0] < tc->path[0]->n)
		return 0;
	return next_leaf(tc);
}

void tree_item(const struct tree_cursor *tc, const uint8_t **out_key, size_t *out_key_len,
	       const uint8_t **out_value, size_t *out_value_len)
{
	struct node_item it;

	assert(tc->valid);
	node_entry(tc->path[0], tc->slot[0], &it);
	*out_key = it.key;
	*out_key_len = it.key_len;
	*out_value = it.value;
	*out_value_len = it.value_len;
}
