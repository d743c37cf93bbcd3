/*
 * The head that a reader holds on to.
 *
 * Key idea: of two heads of one history the later one's tree holds the earlier one's block.  A
 * writer signs a head over a log that it has recovered and judged, so what lies below the earlier
 * head is a prefix of what lies below the later.
 *
 * Invariant: an anchor only ever becomes a later head whose tree holds it.
 */

#include "anchor.h"

#include "err.h"
#include "frame.h"
#include "head.h"
#include "proof.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void anchor_of(const struct head *h, const uint8_t leaf[HASH_LEN], struct anchor *out)
{
	out->number = h->number;
	out->n_blocks = h->n_blocks;
	memcpy(out->root, h->root, HASH_LEN);
	memcpy(out->leaf, leaf, HASH_LEN);
}

leaf_no anchor_leaves(leaf_no known, const leaf_no *heads, size_t n, leaf_no *index, size_t *out_k)
{
	bool placed = known == 0;
	size_t k = 0;

	assert(n > 0);
	for (size_t i = 0; i < n; i++) {
		if (!placed && known <= heads[i]) {
			if (known < heads[i])
				index[k++] = known;
			placed = true;
		}
		index[k++] = heads[i];
	}
	if (!placed)
		index[k++] = known;
	*out_k = k - 1;
	return index[k - 1];
}

/* The head whose own block is leaf number ${index}. */
static const struct anchor *find(const struct anchor *a, const struct anchor *heads, size_t n,
				 leaf_no index)
{
	for (size_t i = 0; i < n; i++)
		if (heads[i].n_blocks == index)
			return &heads[i];
	assert(a->number > 0 && a->n_blocks == index);
	return a;
}

/* Two heads with the same leaf must be the same head. */
static bool same(const struct anchor *x, const struct anchor *y)
{
	return x->number == y->number && memcmp(x->leaf, y->leaf, HASH_LEN) == 0;
}

struct admission {
	leaf_no n_blocks[PROOF_LEAVES_MAX], index[PROOF_LEAVES_MAX];
	uint8_t leaf[PROOF_LEAVES_MAX][HASH_LEN];
};

/*
 * Whether numbers grow with leaves, and the known head, if it is among these, is unchanged there.
 */
static bool in_order(const struct anchor *a, const struct anchor *heads, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct anchor *h = &heads[i];

		if (i > 0 && h->n_blocks <= heads[i - 1].n_blocks)
			return false;
		if (a->number == 0)
			continue;
		if (h->n_blocks == a->n_blocks && !same(h, a))
			return false;
		if (h->n_blocks < a->n_blocks && h->number >= a->number)
			return false;
		if (h->n_blocks > a->n_blocks && h->number <= a->number)
			return false;
	}
	return true;
}

int anchor_admit(struct anchor *a, const struct anchor *heads, size_t n, const void *proof,
		 size_t len)
{
	const struct anchor *top;
	struct admission *d;
	leaf_no n_leaves;
	size_t k, at = 0;
	int rc = 0;

	assert(n > 0 && n < PROOF_LEAVES_MAX);
	if (!in_order(a, heads, n))
		return -ERR_TAMPERED;
	d = malloc(sizeof(*d));
	if (!d)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		d->n_blocks[i] = heads[i].n_blocks;
	n_leaves = anchor_leaves(a->number ? a->n_blocks : 0, d->n_blocks, n, d->index, &k);
	top = find(a, heads, n, n_leaves);
	/* Both ascend, so each search goes on where the one before ended. */
	for (size_t i = 0; i < k; i++) {
		while (at < n && heads[at].n_blocks < d->index[i])
			at++;
		memcpy(d->leaf[i], find(a, heads + at, at < n ? 1 : 0, d->index[i])->leaf,
		       HASH_LEN);
	}
	if (k > 0)
		rc = proof_check(n_leaves, top->root, d->index, (const uint8_t(*)[HASH_LEN])d->leaf,
				 k, proof, len);
	else if (len > 0)
		rc = -ERR_TAMPERED;
	if (rc == 0)
		*a = *top;
	free(d);
	return rc;
}

int anchor_check_headers(const struct anchor *a, const uint8_t volume[VOLUME_ID_LEN],
			 const segment_no *numbers, size_t n, const uint8_t *blocks,
			 const void *proof, size_t len)
{
	struct admission *d;
	int rc = 0;

	assert(n > 0 && n <= PROOF_LEAVES_MAX);
	d = malloc(sizeof(*d));
	if (!d)
		return -ENOMEM;
	for (size_t i = 0; rc == 0 && i < n; i++) {
		const uint8_t *block = blocks + i * SEGMENT_BLOCK_LEN;
		struct segment_header h;

		rc = segment_header_decode(block, numbers[i], &h);
		if (rc == -ERR_DAMAGED || (rc == 0 && memcmp(h.volume, volume, VOLUME_ID_LEN) != 0))
			rc = -ERR_TAMPERED;
		if (rc < 0)
			break;
		d->index[i] = h.n_blocks_before;
		leaf_hash(segment_start(numbers[i]), block, SEGMENT_BLOCK_LEN, d->leaf[i]);
	}
	if (rc == 0)
		rc = proof_check(a->n_blocks, a->root, d->index,
				 (const uint8_t(*)[HASH_LEN])d->leaf, n, proof, len);
	free(d);
	return rc;
}
