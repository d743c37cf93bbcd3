#ifndef NODE_H_
#define NODE_H_

/*
 * One node.  The plaintext of a BLOCK_NODE block is also the form in memory: it is checked once
 * when it is read, and then searched in place.
 *
 *   0      u8   level (0: leaf)
 *   1      u8   0
 *   2      u16  n, number of entries, at least 1
 *   4      u32  0
 *   8      u32  offset of entry i from the node's beginning, n of them
 *   8+4n   the entries, one after the other, without padding:
 *          u16 key_len, u16 value_len, key, value
 *
 * Keys ascend strictly.  An inner node's values are block_ptrs, its keys the first keys of its
 * children.  For fs/tree only.
 */

#include "block.h"
#include "cache.h"
#include "compiler.h"
#include "overlay.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODE_HEADER_LEN 8u
#define NODE_ENTRY_LEN 8u /* an entry's bytes besides key and value: its offset and two lengths */
#define NODE_PLAIN_MIN (NODE_HEADER_LEN + NODE_ENTRY_LEN + 1u)
#define NODE_PLAIN_MAX ((64u << 10) + NODE_ENTRY_LEN + TREE_KEY_MAX + TREE_VALUE_MAX)

struct node {
	struct block_ptr ptr;
	uint32_t level, n;
	atomic_uint refs;   /* raised under the shard's lock only */
	bool hot;	    /* used since the clock's hand passed.  Guarded by the shard's lock. */
	struct node *chain; /* in the hash table.  Guarded by the shard's lock. */
	struct node *next, *prev; /* in the clock's ring.  Guarded by the shard's lock. */
	uint8_t plain[];
};

/* Bytes borrowed from a node. */
struct node_item {
	const uint8_t *key, *value;
	size_t key_len, value_len;
};

/*
 * node_new(plain_len): a node with room for ${plain_len} bytes of plaintext and one reference.
 * Returns NULL without memory.  The caller frees it with free(), or gives it to a cache.
 */
struct node *node_new(uint32_t plain_len);

/*
 * node_fault(plain, len, pos): why ${plain} is not a well-formed node at position ${pos}, or NULL
 * if it is.  Checks lengths, offsets, the order of the keys, and that every child lies below
 * ${pos}.
 */
const char *node_fault(const uint8_t *plain, size_t len, log_pos pos);

/* node_adopt(n): set level and number of entries from the plaintext, which is well-formed. */
void node_adopt(struct node *n);

/* node_begin(plain, level, n): write a header.  The caller writes the offsets and entries. */
void node_begin(uint8_t *plain, uint32_t level, uint32_t n);

/* Entry ${i} < n; node_child(): the pointer of that entry, in an inner node. */
void node_entry(const struct node *n, uint32_t i, struct node_item *out);
void node_child(const struct node *n, uint32_t i, struct block_ptr *out);

void block_ptr_encode(const struct block_ptr *ptr, uint8_t out[BLOCK_PTR_LEN]);
void block_ptr_decode(const uint8_t in[BLOCK_PTR_LEN], struct block_ptr *out);

/*
 * node_search(n, key, len, out_equal): the first entry with key >= ${key}; n->n if there is none.
 */
uint32_t node_search(const struct node *n, const void *key, size_t len, bool *out_equal);

/*
 * node_search_child(n, key, len): the child that ${key} belongs to: the last one with first key <=
 * ${key}, or the first child if there is none.
 */
uint32_t node_search_child(const struct node *n, const void *key, size_t len);

/*
 * tree_node_get(): as node_cache_get(); a node that is not of ${level} is -ERR_DAMAGED.
 */
MUST_CHECK int tree_node_get(struct node_cache *c, const struct block_ptr *ptr, uint32_t level,
			     struct need *need, struct node **out);

/* tree_root_check(root): 0, or -ERR_DAMAGED with a detail if no valid tree has such a root. */
struct tree_root;
MUST_CHECK int tree_root_check(const struct tree_root *root);

/*
 * node_cache_add(c, n): takes ${n}, which was just written, is well-formed and has its ptr set, and
 * the caller's reference to it.
 */
void node_cache_add(struct node_cache *c, struct node *n);

#endif /* !NODE_H_ */
