/*
 * The Merkle tree hash of RFC 6962 section 2.1, grown leaf by leaf.
 *
 * Key idea: a tree of n leaves is a row of complete subtrees, one for each bit set in n, the
 * largest first.  A new leaf is a subtree of one; two of equal size merge, as a carry runs
 * through a binary counter.
 *
 * Invariant: peak[i] means something exactly where bit i of n is set.
 */

#include "merkle.h"

#include "hash.h"

#include <assert.h>
#include <string.h>

#define LEAVES_MAX UINT64_MAX

void merkle_init(struct merkle *m)
{
	memset(m, 0, sizeof(*m));
}

void merkle_node(const uint8_t left[HASH_LEN], const uint8_t right[HASH_LEN], uint8_t out[HASH_LEN])
{
	static const uint8_t prefix = 0x01;

	sha256_parts(&prefix, 1, left, HASH_LEN, right, HASH_LEN, out);
}

void merkle_add_run(struct merkle *m, const uint8_t root[HASH_LEN], unsigned height)
{
	uint64_t n = UINT64_C(1) << height;
	uint8_t node[HASH_LEN];
	unsigned i;

	/* Each block takes at least one of the 64-bit positions, so there can't be more leaves. */
	assert(height < 64 && m->n <= LEAVES_MAX - n && (m->n & (n - 1)) == 0);
	memcpy(node, root, HASH_LEN);
	for (i = height; m->n >> i & 1; i++)
		merkle_node(m->peak[i], node, node);
	memcpy(m->peak[i], node, HASH_LEN);
	m->n += n;
}

void merkle_add(struct merkle *m, const uint8_t leaf[HASH_LEN])
{
	merkle_add_run(m, leaf, 0);
}

void merkle_root(const struct merkle *m, uint8_t out[HASH_LEN])
{
	bool first = true;

	if (m->n == 0) {
		sha256_parts(NULL, 0, NULL, 0, NULL, 0, out);
		return;
	}
	/* From the right: each peak is the left sibling of all that is smaller than it. */
	for (unsigned i = 0; i < 64; i++) {
		if (!(m->n >> i & 1))
			continue;
		if (first)
			memcpy(out, m->peak[i], HASH_LEN);
		else
			merkle_node(m->peak[i], out, out);
		first = false;
	}
}
