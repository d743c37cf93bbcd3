/*
 * Writing a new version of the tree, bottom up.
 *
 * Key idea: the right edge of the tree being built is a stack of runs, one per level.  When a run
 * is long enough, its first entries become a node, and the pointer to that node is added to the run
 * above.  An old subtree joins the run above its root's level once the runs below that are closed.
 *
 * Invariants:
 *  1. All keys under a level's run lie before those under the runs of lower levels.
 *  2. A child is appended before the node that points to it, so every pointer leads to a lower
 *     position.
 *  3. A run that has written a node keeps at least BUILD_NODE_MIN bytes.  Only a run that has
 *     written none can be smaller.  It is closed when no more input comes on its level, and is then
 *     joined with the node before it; or beside a node that can't be read (b->around).
 *  4. A run is less than TREE_NODE_TARGET + BUILD_NODE_MIN bytes between calls.
 */

#include "build.h"

#include "bytes.h"
#include "err.h"
#include "key.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define RUN_MAX (TREE_NODE_TARGET + BUILD_NODE_MIN)

_Static_assert(BUILD_NODE_MIN >= 4 + NODE_ENTRY_LEN + TREE_KEY_MAX + BLOCK_PTR_LEN,
	       "an inner node that may be closed has at least two children");
_Static_assert(RUN_MAX + 4 + TREE_KEY_MAX + TREE_VALUE_MAX <= NODE_PLAIN_MAX, "a run is a node");

void build_init(struct build *b, struct node_cache *c, const struct block_io *io)
{
	*b = (struct build){.cache = c, .io = io};
}

void build_release(struct build *b)
{
	for (uint32_t l = 0; l <= TREE_HEIGHT_MAX; l++) {
		node_put(b->cache, b->level[l].old);
		free(b->level[l].data);
		free(b->level[l].at);
	}
}

/* The plaintext length of a node made of the first ${n} entries of a run. */
static size_t node_len(const struct build_level *lv, uint32_t n)
{
	return NODE_HEADER_LEN + 4 * (size_t)n + (n < lv->n ? lv->at[n] : lv->len);
}

static bool too_small(const struct build_level *lv)
{
	return node_len(lv, lv->n) < BUILD_NODE_MIN;
}

static void run_entry(const struct build_level *lv, uint32_t i, struct node_item *out)
{
	const uint8_t *p = lv->data + lv->at[i];

	assert(i < lv->n);
	out->key_len = get_le16(p);
	out->value_len = get_le16(p + 2);
	out->key = p + 4;
	out->value = out->key + out->key_len;
}

static int make_run_room(struct build_level *lv, size_t bytes)
{
	if (lv->len + bytes > lv->cap) {
		size_t cap = lv->len + bytes > RUN_MAX ? 2 * (lv->len + bytes) : RUN_MAX;
		uint8_t *p = realloc(lv->data, cap);

		if (!p)
			return -ENOMEM;
		lv->data = p;
		lv->cap = cap;
	}
	if (lv->n == lv->at_cap) {
		uint32_t cap = lv->at_cap > 0 ? 2 * lv->at_cap : 512;
		uint32_t *at = realloc(lv->at, cap * sizeof(*at));

		if (!at)
			return -ENOMEM;
		lv->at = at;
		lv->at_cap = cap;
	}
	return 0;
}

static int add(struct build *b, uint32_t level, const struct node_item *it);

static int add_child(struct build *b, uint32_t level, const uint8_t *key, size_t key_len,
		     const struct block_ptr *ptr)
{
	uint8_t value[BLOCK_PTR_LEN];
	struct node_item it = {key, value, key_len, sizeof(value)};

	if (level > TREE_HEIGHT_MAX)
		return err_say(-ERR_DAMAGED, "tree: too high; use another copy");
	block_ptr_encode(ptr, value);
	return add(b, level, &it);
}

/* Make a node, not yet written, of the ${n} entries of a run from ${from} on. */
static struct node *make_node(const struct build_level *lv, uint32_t level, uint32_t from,
			      uint32_t n)
{
	size_t begin = lv->at[from], end = from + n < lv->n ? lv->at[from + n] : lv->len;
	size_t head = NODE_HEADER_LEN + 4 * (size_t)n;
	struct node *node;

	node = node_new((uint32_t)(head + end - begin));
	if (!node)
		return NULL;
	node_begin(node->plain, level, n);
	for (uint32_t i = 0; i < n; i++)
		put_le32(node->plain + NODE_HEADER_LEN + 4 * (size_t)i,
			 (uint32_t)(head + lv->at[from + i] - begin));
	memcpy(node->plain + head, lv->data + begin, end - begin);
	node_adopt(node);
	return node;
}

/* Write ${n} entries from ${from} on as a node, and add its pointer to the run above. */
static int emit(struct build *b, uint32_t level, uint32_t from, uint32_t n)
{
	struct build_level *lv = &b->level[level];
	struct node *node = make_node(lv, level, from, n);
	struct node_item first;
	struct block_ptr ptr;
	int rc;

	if (!node)
		return -ENOMEM;
	assert(!node_fault(node->plain, node->ptr.plain_len, UINT64_MAX));
	if (lv->old && lv->old->ptr.plain_len == node->ptr.plain_len &&
	    memcmp(lv->old->plain, node->plain, node->ptr.plain_len) == 0) {
		ptr = lv->old->ptr;
		free(node);
	} else {
		rc = b->io->append(b->io->ctx, BLOCK_NODE, node->plain, node->ptr.plain_len, &ptr);
		if (rc < 0) {
			free(node);
			return rc;
		}
		node->ptr = ptr;
		node_cache_add(b->cache, node);
	}
	run_entry(lv, from, &first);
	return add_child(b, level + 1, first.key, first.key_len, &ptr);
}

/* Write the front of a long run as the longest node allowed. */
static int emit_front(struct build *b, uint32_t level)
{
	struct build_level *lv = &b->level[level];
	uint32_t n = lv->n - 1, rest;
	size_t begin;
	int rc;

	assert(lv->n > 1); /* no single entry fills a node */
	while (n > 1 && node_len(lv, n) > TREE_NODE_TARGET)
		n--;
	rc = emit(b, level, 0, n);
	if (rc < 0)
		return rc;

	begin = lv->at[n];
	rest = lv->n - n;
	memmove(lv->data, lv->data + begin, lv->len - begin);
	lv->len -= begin;
	for (uint32_t i = 0; i < rest; i++)
		lv->at[i] = lv->at[n + i] - (uint32_t)begin;
	lv->n = rest;
	return 0;
}

static int add(struct build *b, uint32_t level, const struct node_item *it)
{
	struct build_level *lv = &b->level[level];
	uint8_t *p;
	int rc;

	if (lv->last_len > 0 && key_cmp(lv->last, lv->last_len, it->key, it->key_len) >= 0)
		return err_say(-ERR_DAMAGED, "tree: items out of order; use another copy");
	rc = make_run_room(lv, 4 + it->key_len + it->value_len);
	if (rc < 0)
		return rc;

	lv->at[lv->n++] = (uint32_t)lv->len;
	p = lv->data + lv->len;
	put_le16(p, (uint16_t)it->key_len);
	put_le16(p + 2, (uint16_t)it->value_len);
	memcpy(p + 4, it->key, it->key_len);
	if (it->value_len > 0)
		memcpy(p + 4 + it->key_len, it->value, it->value_len);
	lv->len += 4 + it->key_len + it->value_len;
	memcpy(lv->last, it->key, it->key_len);
	lv->last_len = it->key_len;
	return node_len(lv, lv->n) >= RUN_MAX ? emit_front(b, level) : 0;
}

int build_item(struct build *b, const struct node_item *it)
{
	return add(b, 0, it);
}

/* Write a run as one node, or as two of about the same length. */
static int close_run(struct build *b, uint32_t level)
{
	struct build_level *lv = &b->level[level];
	uint32_t half = 1;
	int rc;

	if (node_len(lv, lv->n) <= TREE_NODE_TARGET) {
		rc = emit(b, level, 0, lv->n);
	} else {
		while (half + 1 < lv->n && lv->at[half] < lv->len / 2)
			half++;
		rc = emit(b, level, 0, half);
		if (rc == 0)
			rc = emit(b, level, half, lv->n - half);
	}
	if (rc == 0)
		lv->n = lv->len = 0;
	return rc;
}

/*
 * Close the runs from the leaves up to ${level}, and stop at the first one of less than ${len_min}
 * bytes.  ${*out_all}: none was that small, so all are closed.
 */
static int close_up_to(struct build *b, uint32_t level, size_t len_min, bool *out_all)
{
	*out_all = false;
	for (uint32_t l = 0; l <= level; l++) {
		struct build_level *lv = &b->level[l];
		int rc;

		if (lv->n == 0)
			continue;
		if (node_len(lv, lv->n) < len_min)
			return 0;
		rc = close_run(b, l);
		if (rc < 0)
			return rc;
	}
	*out_all = true;
	return 0;
}

int build_open(struct build *b, uint32_t level, const struct block_ptr *ptr, struct node **out)
{
	struct build_level *lv = &b->level[level];
	struct node *n;
	bool all;
	int rc;

	/*
	 * Close runs of at least half a node where an old node begins, so that unchanged old nodes
	 * come out with the same bytes and need not be written again.
	 */
	rc = close_up_to(b, level, TREE_NODE_TARGET / 2, &all);
	if (rc < 0)
		return rc;
	rc = tree_node_get(b->cache, ptr, level, NULL, &n);
	if (rc < 0)
		return rc;
	node_put(b->cache, lv->old);
	lv->old = n;
	*out = n;
	return 0;
}

int build_keep(struct build *b, uint32_t level, const struct node_item *first)
{
	struct block_ptr ptr;
	bool all;
	int rc;

	assert(first->value_len == BLOCK_PTR_LEN);
	rc = close_up_to(b, level, 0, &all);
	if (rc < 0)
		return rc;
	assert(all);
	block_ptr_decode(first->value, &ptr);
	return add_child(b, level + 1, first->key, first->key_len, &ptr);
}

/* Recursion is at most TREE_HEIGHT_MAX deep: each step is one level lower. */
int build_ref(struct build *b, uint32_t level, const struct node_item *first)
{
	struct block_ptr ptr;
	struct node *n;
	bool all;
	int rc;

	assert(first->value_len == BLOCK_PTR_LEN);
	rc = close_up_to(b, level, BUILD_NODE_MIN, &all);
	if (rc < 0)
		return rc;
	block_ptr_decode(first->value, &ptr);
	if (all)
		return add_child(b, level + 1, first->key, first->key_len, &ptr);

	rc = build_open(b, level, &ptr, &n);
	if (b->around && tree_unreadable(rc))
		return build_keep(b, level, first);
	for (uint32_t i = 0; rc == 0 && i < n->n; i++) {
		struct node_item it;

		node_entry(n, i, &it);
		rc = level == 0 ? build_item(b, &it) : build_ref(b, level - 1, &it);
	}
	return rc;
}

/* Does any level above ${level} have an entry? */
static bool any_above(const struct build *b, uint32_t level)
{
	for (uint32_t l = level + 1; l <= TREE_HEIGHT_MAX; l++) {
		if (b->level[l].n > 0)
			return true;
	}
	return false;
}

/*
 * Take the newest node of ${level} back out of the run above it, and put its entries before the run
 * on ${level}.  The caller knows that a level above has an entry.  If the run directly above is
 * empty, it takes a node back first (recursion upward).
 * Returns 0, or 1 if that node can't be read and stays where it is (b->around).
 */
static int take_back(struct build *b, uint32_t level)
{
	struct build_level *lv = &b->level[level], *up = &b->level[level + 1];
	struct build_level run = *lv;
	struct block_ptr ptr;
	struct node_item it;
	struct node *n;
	int rc = 0;

	assert(any_above(b, level));
	if (up->n == 0)
		rc = take_back(b, level + 1);
	if (rc != 0)
		return rc;

	run_entry(up, up->n - 1, &it);
	block_ptr_decode(it.value, &ptr);
	rc = tree_node_get(b->cache, &ptr, level, NULL, &n);
	if (rc < 0)
		return b->around && tree_unreadable(rc) ? 1 : rc;
	up->n--;
	up->len = up->at[up->n];
	up->last_len = 0;

	/* The run is set aside, and added again after the node's entries. */
	lv->data = NULL;
	lv->at = NULL;
	lv->len = lv->cap = lv->n = lv->at_cap = 0;
	lv->last_len = 0;
	for (uint32_t i = 0; rc == 0 && i < n->n; i++) {
		node_entry(n, i, &it);
		rc = add(b, level, &it);
	}
	for (uint32_t i = 0; rc == 0 && i < run.n; i++) {
		run_entry(&run, i, &it);
		rc = add(b, level, &it);
	}
	free(run.data);
	free(run.at);
	node_put(b->cache, n);
	return rc;
}

int build_finish(struct build *b, struct tree_root *out)
{
	*out = (struct tree_root){0};
	for (uint32_t l = 0; l <= TREE_HEIGHT_MAX; l++) {
		struct build_level *lv = &b->level[l];
		bool above = any_above(b, l);
		struct node_item it;
		int rc = 0;

		if (lv->n == 0 && !above)
			return 0; /* there was no input: the empty tree */
		if (lv->n == 1 && !above && l > 0) {
			run_entry(lv, 0, &it);
			block_ptr_decode(it.value, &out->ptr);
			out->height = l;
			return 0;
		}
		if (lv->n == 0)
			continue;
		if (above && too_small(lv))
			rc = take_back(b, l);
		if (rc >= 0)
			rc = close_run(b, l);
		if (rc < 0)
			return rc;
	}
	return err_say(-ERR_DAMAGED, "tree: too high; use another copy");
}
