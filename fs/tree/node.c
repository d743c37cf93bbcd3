/*
 * Tree nodes: checking and searching the stored form.
 *
 * Key idea: no decoding.  When node_fault() has accepted a node, it can be searched without further
 * checks: every offset and length lies inside.
 *
 * Invariants of an accepted node: entries follow each other with no gap and end with the plaintext;
 * keys ascend strictly; keys and values are within the limits; an inner node's pointers end at or
 * below the node's own position.
 */

#include "node.h"

#include "bytes.h"
#include "key.h"

#include <assert.h>
#include <stdlib.h>

_Static_assert(BLOCK_PTR_LEN == 16, "an inner node's values");
_Static_assert(NODE_PLAIN_MAX <= BLOCK_PLAIN_MAX, "a node fits in a block");

struct node *node_new(uint32_t plain_len)
{
	struct node *n = malloc(sizeof(*n) + plain_len);

	if (!n)
		return NULL;
	*n = (struct node){.ptr = {.plain_len = plain_len}, .hot = true};
	atomic_init(&n->refs, 1);
	return n;
}

void block_ptr_encode(const struct block_ptr *ptr, uint8_t out[BLOCK_PTR_LEN])
{
	put_le64(out, ptr->pos);
	put_le32(out + 8, ptr->stored_len);
	put_le32(out + 12, ptr->plain_len);
}

void block_ptr_decode(const uint8_t in[BLOCK_PTR_LEN], struct block_ptr *out)
{
	out->pos = get_le64(in);
	out->stored_len = get_le32(in + 8);
	out->plain_len = get_le32(in + 12);
}

static uint32_t offset_of(const uint8_t *plain, uint32_t i)
{
	return get_le32(plain + NODE_HEADER_LEN + 4 * (size_t)i);
}

static void entry_at(const uint8_t *plain, uint32_t off, struct node_item *out)
{
	const uint8_t *p = plain + off;

	out->key_len = get_le16(p);
	out->value_len = get_le16(p + 2);
	out->key = p + 4;
	out->value = out->key + out->key_len;
}

static const char *child_fault(const struct node_item *it, log_pos pos)
{
	struct block_ptr ptr;

	if (it->value_len != BLOCK_PTR_LEN)
		return "an inner entry that is no pointer";
	block_ptr_decode(it->value, &ptr);
	if (ptr.pos == 0 || ptr.pos >= pos || ptr.stored_len > pos - ptr.pos)
		return "a pointer to what does not lie below";
	if (ptr.plain_len < NODE_PLAIN_MIN || ptr.plain_len > NODE_PLAIN_MAX)
		return "a pointer to a node of impossible length";
	return NULL;
}

const char *node_fault(const uint8_t *plain, size_t len, log_pos pos)
{
	struct node_item it, last = {0};
	const char *fault;
	uint32_t n;
	size_t at;

	if (len < NODE_PLAIN_MIN || len > NODE_PLAIN_MAX)
		return "impossible length";
	n = get_le16(plain + 2);
	if (plain[1] != 0 || get_le32(plain + 4) != 0)
		return "unknown header";
	if (n == 0)
		return "no entries";
	at = NODE_HEADER_LEN + 4 * (size_t)n;
	for (uint32_t i = 0; i < n; i++) {
		if (at > len || len - at < 4 || offset_of(plain, i) != at)
			return "an offset that is wrong";
		entry_at(plain, (uint32_t)at, &it);
		if (it.key_len < 1 || it.key_len > TREE_KEY_MAX || it.value_len > TREE_VALUE_MAX)
			return "a key or value of impossible length";
		at += 4 + it.key_len + it.value_len;
		if (at > len)
			return "an entry that runs past the end";
		if (i > 0 && key_cmp(last.key, last.key_len, it.key, it.key_len) >= 0)
			return "keys out of order";
		fault = plain[0] > 0 ? child_fault(&it, pos) : NULL;
		if (fault)
			return fault;
		last = it;
	}
	return at == len ? NULL : "bytes behind the last entry";
}

void node_adopt(struct node *n)
{
	n->level = n->plain[0];
	n->n = get_le16(n->plain + 2);
}

void node_begin(uint8_t *plain, uint32_t level, uint32_t n)
{
	assert(level <= UINT8_MAX && n >= 1 && n <= UINT16_MAX);
	plain[0] = (uint8_t)level;
	plain[1] = 0;
	put_le16(plain + 2, (uint16_t)n);
	put_le32(plain + 4, 0);
}

void node_entry(const struct node *n, uint32_t i, struct node_item *out)
{
	assert(i < n->n);
	entry_at(n->plain, offset_of(n->plain, i), out);
}

void node_child(const struct node *n, uint32_t i, struct block_ptr *out)
{
	struct node_item it;

	assert(n->level > 0);
	node_entry(n, i, &it);
	block_ptr_decode(it.value, out);
}

uint32_t node_search(const struct node *n, const void *key, size_t len, bool *out_equal)
{
	uint32_t lo = 0, hi = n->n;

	*out_equal = false;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		struct node_item it;
		int d;

		node_entry(n, mid, &it);
		d = key_cmp(it.key, it.key_len, key, len);
		if (d == 0) {
			*out_equal = true;
			return mid;
		}
		if (d < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

uint32_t node_search_child(const struct node *n, const void *key, size_t len)
{
	bool equal;
	uint32_t i = node_search(n, key, len, &equal);

	return equal || i == 0 ? i : i - 1;
}
