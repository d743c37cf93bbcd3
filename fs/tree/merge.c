/*
 * Merging an overlay into a tree.
 *
 * Key idea: one pass over both in key order.  A subtree without a change in its key range goes into
 * the new tree unread.  A subtree inside a deleted range is left out unread.  Only other nodes are
 * opened.
 *
 * A merge around damage keeps a subtree that can't be read in its place and skips the changes that
 * fall into it.  The caller is told which key ranges those are.
 *
 * Invariants: all changes with keys before the pass's position are applied; ${range} is the first
 * deleted range that ends after that position.
 */

#include "tree.h"

#include "build.h"
#include "err.h"
#include "overlay_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* The upper end of a subtree's keys, exclusive; key NULL: open. */
struct bound {
	const uint8_t *key;
	size_t len;
};

struct merge {
	struct build build;
	const struct skip_node *change; /* the next entry of the overlay */
	const struct skip_node *range;	/* the first deleted range not yet passed */
	struct tree_gaps *gaps;		/* NULL: an unreadable node ends the merge with its error */
	struct bound end;		/* all keys of the old tree are below this */
};

static bool below(const struct skip_node *n, const struct bound *to)
{
	return n && (!to->key || key_cmp(skip_key(n), n->key_len, to->key, to->len) < 0);
}

static int apply_change(struct merge *m)
{
	const struct skip_node *n = m->change;
	struct node_item it = {skip_key(n), n->value, n->key_len, n->value_len};

	m->change = n->next[0];
	return n->flags & ENTRY_GONE ? 0 : build_item(&m->build, &it);
}

static int apply_changes_below(struct merge *m, const struct bound *to)
{
	int rc = 0;

	while (rc == 0 && below(m->change, to))
		rc = apply_change(m);
	return rc;
}

/* Does a deleted range cover ${key}, the pass's position? */
static bool deleted(struct merge *m, const uint8_t *key, size_t len)
{
	while (m->range && key_cmp(m->range->value, m->range->value_len, key, len) <= 0)
		m->range = m->range->next[0];
	return m->range && key_cmp(skip_key(m->range), m->range->key_len, key, len) <= 0;
}

static int merge_leaf(struct merge *m, const struct node *leaf, const struct bound *to)
{
	for (uint32_t i = 0; i < leaf->n; i++) {
		struct node_item it;
		struct bound here;
		int rc;

		node_entry(leaf, i, &it);
		here = (struct bound){it.key, it.key_len};
		rc = apply_changes_below(m, &here);
		if (rc < 0)
			return rc;
		if (m->change &&
		    key_cmp(skip_key(m->change), m->change->key_len, it.key, it.key_len) == 0)
			rc = apply_change(m);
		else if (!deleted(m, it.key, it.key_len))
			rc = build_item(&m->build, &it);
		if (rc < 0)
			return rc;
	}
	return apply_changes_below(m, to);
}

bool tree_unreadable(int rc)
{
	return rc == -ERR_DAMAGED || rc == -ERR_ABSENT || rc == -EIO;
}

void tree_gaps_release(struct tree_gaps *g)
{
	free(g->gap);
	*g = (struct tree_gaps){0};
}

static int add_gap(struct tree_gaps *g, const struct block_ptr *ptr, const struct bound *from,
		   const struct bound *to, int why)
{
	struct tree_gap *gap;

	if (g->n == TREE_GAPS_MAX)
		return why;
	if (g->n == 0) {
		g->rc = why;
		snprintf(g->detail, sizeof(g->detail), "%s", err_detail(why));
	}
	if (g->n == g->cap) {
		size_t cap = g->cap ? 2 * g->cap : 8;

		gap = realloc(g->gap, cap * sizeof(*gap));
		if (!gap)
			return -ENOMEM;
		g->gap = gap;
		g->cap = cap;
	}
	gap = &g->gap[g->n++];
	gap->ptr = *ptr;
	gap->span.from_len = from->len;
	memcpy(gap->span.from, from->key, from->len);
	gap->span.to_len = to->key ? to->len : 0;
	if (to->key)
		memcpy(gap->span.to, to->key, to->len);
	return 0;
}

/* Keep the subtree of merge_subtree() at ${ptr}, which could not be read (error ${why}). */
static int leave_subtree(struct merge *m, uint32_t level, const struct node_item *self,
			 const struct bound *to, const struct block_ptr *ptr, int why)
{
	struct bound from = {self->key, self->key_len}, gap_to = *to;
	int rc = 0;

	if (key_cmp(m->end.key, m->end.len, from.key, from.len) > 0 &&
	    (!to->key || key_cmp(m->end.key, m->end.len, to->key, to->len) < 0))
		gap_to = m->end;
	/* There is nothing old before this subtree's first key. */
	rc = apply_changes_below(m, &from);
	if (rc == 0 && (below(m->change, &gap_to) || below(m->range, &gap_to)))
		rc = add_gap(m->gaps, ptr, &from, &gap_to, why);
	if (rc == 0)
		rc = build_keep(&m->build, level, self);
	if (rc < 0)
		return rc;
	while (below(m->change, &gap_to))
		m->change = m->change->next[0];
	return apply_changes_below(m, to);
}

/*
 * Merge the subtree that ${self} points to, with its root on ${level}.  Its keys lie from self's
 * key (for the tree's first subtree: from any lower key) up to ${to}.  Recursion is at most
 * TREE_HEIGHT_MAX deep.
 */
static int merge_subtree(struct merge *m, uint32_t level, const struct node_item *self,
			 const struct bound *to)
{
	bool begins_deleted = deleted(m, self->key, self->key_len);
	struct node *n, *readable = NULL;
	struct block_ptr ptr;
	int rc;

	if (begins_deleted && to->key &&
	    key_cmp(m->range->value, m->range->value_len, to->key, to->len) >= 0)
		return apply_changes_below(m, to);
	if (!below(m->change, to) && !below(m->range, to))
		return build_ref(&m->build, level, self);

	block_ptr_decode(self->value, &ptr);
	if (m->gaps) {
		rc = tree_node_get(m->build.cache, &ptr, level, NULL, &readable);
		if (rc < 0)
			return tree_unreadable(rc) ? leave_subtree(m, level, self, to, &ptr, rc)
						   : rc;
	}
	rc = build_open(&m->build, level, &ptr, &n);
	node_put(m->build.cache, readable);
	if (rc < 0)
		return rc;
	if (level == 0)
		return merge_leaf(m, n, to);
	for (uint32_t i = 0; i < n->n && rc == 0; i++) {
		struct bound child_to = *to;
		struct node_item it;

		if (i + 1 < n->n) {
			node_entry(n, i + 1, &it);
			child_to = (struct bound){it.key, it.key_len};
		}
		node_entry(n, i, &it);
		rc = merge_subtree(m, level - 1, &it, &child_to);
	}
	return rc;
}

/* Stands for the first key of a root that can't be read: no key is lower. */
static const uint8_t first_of_all[] = {0};

/* The root has no entry in a node above it, so its own first key is used. */
static int merge_root(struct merge *m, struct node_cache *c, const struct tree_root *old)
{
	struct node_item first = {0};
	uint8_t value[BLOCK_PTR_LEN];
	struct bound none = {0};
	struct node *n;
	int rc;

	block_ptr_encode(&old->ptr, value);
	rc = tree_node_get(c, &old->ptr, old->height - 1, NULL, &n);
	if (m->gaps && tree_unreadable(rc)) {
		first = (struct node_item){first_of_all, value, sizeof(first_of_all),
					   sizeof(value)};
		return leave_subtree(m, old->height - 1, &first, &none, &old->ptr, rc);
	}
	if (rc < 0)
		return rc;
	node_entry(n, 0, &first);
	first.value = value;
	first.value_len = sizeof(value);
	rc = merge_subtree(m, old->height - 1, &first, &none);
	node_put(c, n);
	return rc;
}

static int merge(struct merge *m, struct node_cache *c, const struct block_io *io,
		 const struct tree_root *old, const struct overlay *changes, struct tree_root *out)
{
	struct bound none = {0};
	int rc;

	m->change = changes->entries.head[0];
	m->range = changes->ranges.head[0];
	rc = tree_root_check(old);
	if (rc < 0)
		return rc;
	if (!m->change && !m->range) {
		*out = *old;
		return 0;
	}
	build_init(&m->build, c, io);
	m->build.around = m->gaps;
	if (old->height > 0)
		rc = merge_root(m, c, old);
	else
		rc = apply_changes_below(m, &none);
	if (rc == 0)
		rc = build_finish(&m->build, out);
	build_release(&m->build);
	return rc;
}

int tree_merge(struct node_cache *c, const struct block_io *io, const struct tree_root *old,
	       const struct overlay *changes, struct tree_root *out)
{
	struct merge m = {0};

	return merge(&m, c, io, old, changes, out);
}

int tree_merge_around(struct node_cache *c, const struct block_io *io, const struct tree_root *old,
		      const struct overlay *changes, const void *end, size_t end_len,
		      struct tree_gaps *gaps, struct tree_root *out)
{
	struct merge m = {.gaps = gaps, .end = {end, end_len}};

	assert(gaps->n == 0 && end_len > 0);
	return merge(&m, c, io, old, changes, out);
}
