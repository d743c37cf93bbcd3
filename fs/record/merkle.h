#ifndef MERKLE_H_
#define MERKLE_H_

/*
 * The Merkle tree hash of RFC 6962 section 2.1, grown leaf by leaf.  Keeps only the roots
 * of the complete subtrees at the right edge (at most 64), so it is small for any log.
 */

#include "format.h"

struct merkle {
	leaf_no n; /* leaves so far; bit i set: peak[i] is the root of a complete 2^i subtree */
	uint8_t peak[64][HASH_LEN];
};

void merkle_init(struct merkle *m);
void merkle_add(struct merkle *m, const uint8_t leaf[HASH_LEN]);

/*
 * merkle_add_run(m, root, height): the same as adding 2^height leaves whose tree hash is ${root}.
 * The number of leaves before them is a multiple of 2^height, and height < 64.
 */
void merkle_add_run(struct merkle *m, const uint8_t root[HASH_LEN], unsigned height);

/* merkle_root(m, out): the tree hash of all leaves so far (of none: SHA-256 of nothing). */
void merkle_root(const struct merkle *m, uint8_t out[HASH_LEN]);

/* merkle_node(left, right, out): SHA-256(0x01 || left || right). */
void merkle_node(const uint8_t left[HASH_LEN], const uint8_t right[HASH_LEN],
		 uint8_t out[HASH_LEN]);

#endif /* !MERKLE_H_ */
