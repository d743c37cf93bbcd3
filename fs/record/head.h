#ifndef HEAD_H_
#define HEAD_H_

/*
 * A head: a signed statement of the log's state.  Its bytes are a C2SP signed note
 * whose body is a C2SP tlog-checkpoint (c2sp.org/tlog-checkpoint, c2sp.org/signed-note)
 * with extension lines of ours; the note is the body of a BLOCK_HEAD block.
 */

#include "compiler.h"
#include "format.h"

#include <stddef.h>

struct buf;
struct figures;

#define HEAD_DELTAS_MAX 64u
#define HEAD_NOTE_MAX 8192u

struct head {
	uint8_t volume[VOLUME_ID_LEN];
	head_no number; /* 1, 2, 3 ... without a gap */
	epoch_no epoch;
	int64_t time_ns;	 /* strictly greater than the parent's */
	log_pos pos;		 /* where this head's block begins: it states all below */
	leaf_no n_blocks;	 /* blocks below pos */
	uint8_t root[HASH_LEN];	 /* Merkle root over them */
	log_pos parent_pos;	 /* the previous head's block; 0 for the first */
	struct block_ptr checkpoint; /* newest checkpoint below pos; pos 0: none yet */
	uint32_t n_deltas;
	/* In order; replayed on the parent's state, they give this head's. */
	struct block_ptr deltas[HEAD_DELTAS_MAX];
	/* Not in the note: known where the block is known. */
	uint32_t stored_len; /* of the head's own block; 0 if not known */
};

/* head_end(h): the position after the head's block: what a copy that holds the head must hold. */
static inline log_pos head_end(const struct head *h)
{
	return h->pos + h->stored_len;
}

/* head_figures(h, f): set the figures of the newest head. */
void head_figures(const struct head *h, struct figures *f);

/*
 * head_encode_text(h, out): append the note's body (the signed text) to ${out}.  Returns 0 or
 * -ENOMEM.
 */
MUST_CHECK int head_encode_text(const struct head *h, struct buf *out);

/*
 * head_decode(note, len, out): read a note, strictly (one spelling per value); does not verify it.
 * Returns 0; -ERR_FORMAT with a detail; -ERR_VERSION for extension lines it does not know.
 */
MUST_CHECK int head_decode(const void *note, size_t len, struct head *out);

/*
 * head_verify(note, len, public): check that one of the note's signature lines is by Ed25519 key
 * ${public} under the note's origin; further (witnesses') lines are ignored.
 * Returns 0 or -ERR_TAMPERED with a detail.
 */
MUST_CHECK int head_verify(const void *note, size_t len, const uint8_t public[SIGN_PUBLIC_LEN]);

#endif /* !HEAD_H_ */
