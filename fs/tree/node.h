#ifndef NODE_H_
#define NODE_H_

/*
 * One node: the plaintext of a BLOCK_NODE block is the form in memory too, checked once when it
 * comes in, then searched as it is.
 *
 *   0      u8   level (0: leaf)
 *   1      u8   0
 *   2      u16  n, number of entries, at least 1
 *   4      u32  0
 *   8      u32  offset of entry i from the node's beginning, n of them
 *   8+4n   the entries, one after the other with nothing between or behind:
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
#define NODE_ENTRY_LEN 8u /* of an entry beside key and value: offset and lengths */
#define NODE_PLAIN_MIN (NODE_HEADER_LEN + NODE_ENTRY_LEN + 1u)
#define NODE_PLAIN_MAX ((64u << 10) + NODE_ENTRY_LEN + TREE_KEY_MAX + TREE_VALUE_MAX)

struct node {
	struct block_ptr ptr;
	uint32_t level, n;
	atomic_uint refs;   /* raised under the shard's lock only */
	bool hot;	    /* used since the clock's hand came by.  Guarded by the shard's lock. */
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
 * node_new(plain_len): one with ${plain_len} bytes to be filled, held once.  Returns NULL without
 * memory.  free() it, or give it to a cache.
 */
struct node *node_new(uint32_t plain_len);

/*
 * node_fault(plain, len, pos): why ${plain} is no well-formed node at position ${pos}, or NULL if
 * it is.  Checks lengths, offsets, the order of the keys, and that every child lies below ${pos}.
 */
const char *node_fault(const uint8_t *plain, size_t len, uint64_t pos);

/* node_adopt(n): take level and number of entries over from the plaintext, which is well-formed. */
void node_adopt(struct node *n);

/*
 * node_begin(plain, level, n): write a header.  The offsets and entries are the caller's to write.
 */
void node_begin(uint8_t *plain, uint32_t level, uint32_t n);

/* Entry ${i} < n; as a child in an inner node. */
void node_entry(const struct node *n, uint32_t i, struct node_item *out);
void node_child(const struct node *n, uint32_t i, struct block_ptr *out);

void block_ptr_encode(const struct block_ptr *ptr, uint8_t out[BLOCK_PTR_LEN]);
void block_ptr_decode(const uint8_t in[BLOCK_PTR_LEN], struct block_ptr *out);

/*
 * node_search(n, key, len, out_equal): the first entry with key >= ${key}; n->n if there is none.
 */
uint32_t node_search(const struct node *n, const void *key, size_t len, bool *out_equal);

/*
 * node_search_child(n, key, len): the child that ${key} belongs to: the last with first key <=
 * ${key}, else the first.
 */
uint32_t node_search_child(const struct node *n, const void *key, size_t len);

/*
 * tree_node_get(): as node_cache_get(), of a node that must be of ${level}; another is
 * -ERR_DAMAGED.
 */
MUST_CHECK int tree_node_get(struct node_cache *c, const struct block_ptr *ptr, uint32_t level,
			     struct need *need, struct node **out);

/* tree_root_check(root): 0, or -ERR_DAMAGED with a detail: a root that cannot be. */
struct tree_root;
MUST_CHECK int tree_root_check(const struct tree_root *root);

/*
 * node_cache_add(c, n): takes ${n}, just written and known to be well-formed, with its ptr set and
 * held once by the caller, who lets go here.
 */
void node_cache_add(struct node_cache *c, struct node *n);

#endif /* !NODE_H_ */
