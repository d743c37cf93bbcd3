#ifndef PROOF_H_
#define PROOF_H_

/*
 * Inclusion proofs: that some leaves are under a root (RFC 9162, 2.1.3), for several leaves at
 * once.
 *
 * Going down the tree over n leaves from its root, left before right, a subtree that holds none of
 * the leaves in question is one hash of the proof, and one that is a single leaf in question is
 * left out.  For one leaf these are the hashes of the RFC's audit path in another order.
 * proto/PROTOCOL.md, "Proofs".
 */

#include "compiler.h"
#include "format.h"

#include <stddef.h>

struct buf;
struct tile_io;

#define PROOF_LEAVES_MAX 1025u /* in one proof: the heads of a reply and one more */

/*
 * proof_make(n, index, k, io, out): append to ${out} the proof that the ${k} leaves index[0] <
 * index[1] < ... are among the first ${n}.  k is 1 to PROOF_LEAVES_MAX.  Uses io->get alone.
 * Returns 0; -ERR_ABSENT where a tile is missing or holds too few hashes, or a leaf in question
 * lies in a run of which only the root is known (tile.h); -EINVAL if an index is not below ${n} or
 * they do not ascend; -ENOMEM; or the error of io->get.
 */
MUST_CHECK int proof_make(leaf_no n, const leaf_no *index, size_t k, const struct tile_io *io,
			  struct buf *out);

/*
 * proof_check(n, root, index, leaf, k, proof, len): whether the ${len} bytes ${proof} prove that
 * the leaf hashes leaf[i] are those of leaves index[i] under ${root}, of ${n} leaves.  The proof is
 * not trusted: it may be any bytes.
 * Returns 0 or -ERR_TAMPERED, without a detail: the caller knows what it asked whom.
 */
MUST_CHECK int proof_check(leaf_no n, const uint8_t root[HASH_LEN], const leaf_no *index,
			   const uint8_t (*leaf)[HASH_LEN], size_t k, const void *proof,
			   size_t len);

#endif /* !PROOF_H_ */
