#ifndef ANCHOR_H_
#define ANCHOR_H_

/*
 * The head to which a reader holds all others.  Everything that the reader uses afterwards, segment
 * headers and other heads, is proven to lie under that head, or that head under it; so the reader
 * sees one history, whatever a copy holds.
 *
 * A head's own block is a leaf of every later head: leaf number n_blocks, since the head states
 * that many blocks below it.  So one kind of proof serves for both.
 */

#include "compiler.h"
#include "format.h"

#include <stddef.h>

struct head;

/* What ties a head to the tree; a zeroed one is no head. */
struct anchor {
	head_no number;
	leaf_no n_blocks; /* below the head's block: its leaf's number */
	uint8_t root[HASH_LEN];
	uint8_t leaf[HASH_LEN]; /* hash of the head's own block */
};

void anchor_of(const struct head *h, const uint8_t leaf[HASH_LEN], struct anchor *out);

/*
 * anchor_leaves(known, heads, n, index, out_k): choose the leaves that a proof has to show so that
 * ${n} heads, in the order of their numbers, and the known one, whose leaf is number ${known} (0:
 * none), are of one history.  These are the leaves of all heads but the last, in the tree below the
 * last; returns that tree's number of leaves.
 * ${index} has room for n + 1; ${*out_k} may be 0: nothing is to be proven.
 */
leaf_no anchor_leaves(leaf_no known, const leaf_no *heads, size_t n, leaf_no *index, size_t *out_k);

/*
 * anchor_admit(a, heads, n, proof, len): check that proof.  On success ${a} (which may be no head
 * yet) becomes the latest of ${heads} and itself.  ${n} is 1 to PROOF_LEAVES_MAX - 1.
 * Returns 0; -ERR_TAMPERED, without a detail and with nothing changed; -ENOMEM.
 */
MUST_CHECK int anchor_admit(struct anchor *a, const struct anchor *heads, size_t n,
			    const void *proof, size_t len);

/*
 * anchor_check_headers(a, volume, numbers, n, blocks, proof, len): whether the ${n} segment headers
 * ${blocks}, whole blocks one after the other, of segments numbers[0] < numbers[1] < ..., are those
 * below ${a}.  They need not be well formed.  ${n} is 1 to PROOF_LEAVES_MAX.
 * Returns 0; -ERR_TAMPERED, without a detail, also if one is not a header of volume ${volume} or of
 * its segment; -ERR_VERSION; -ENOMEM.
 */
MUST_CHECK int anchor_check_headers(const struct anchor *a, const uint8_t volume[VOLUME_ID_LEN],
				    const segment_no *numbers, size_t n, const uint8_t *blocks,
				    const void *proof, size_t len);

#endif /* !ANCHOR_H_ */
