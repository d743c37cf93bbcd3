#ifndef HISTORY_H_
#define HISTORY_H_

/*
 * The chain of heads, judged: what a copy of a log must satisfy step by step.  Used by
 * recovery, rebuild, check and the server alike, so that all judge alike.  Needs no key.
 */

#include "compiler.h"
#include "head.h"
#include "merkle.h"

#include <stdbool.h>
#include <stddef.h>

struct catalog;
struct head_ref;
struct leaf_run;
struct params;
struct scan_block;
struct storage;

/* Blocks since the newest head in a catalog: 128 MiB of hashes. */
#define HISTORY_LEAVES_MAX (4u << 20)

/* Where a copy stands: the newest verified head, and the blocks after it. */
struct history {
	const struct params *params; /* borrowed */
	struct head head;	     /* newest verified; number 0: none yet */
	struct merkle merkle;	     /* over every block so far, verified or not */
	log_pos end;		     /* position after the newest block so far */
	epoch_no epoch;		     /* of the segment that the newest block is in */
	uint8_t (*leaves)[HASH_LEN]; /* owned: of the last blocks, not yet in a catalog */
	size_t n_leaves, cap_leaves;
	struct leaf_run *runs; /* owned: which of ${leaves} are the roots of runs that are gone */
	size_t n_runs, cap_runs;
	uint64_t
		n_gone; /* gone blocks since the head, which nothing proves yet */
	bool root_differs; /* the last refused block was a head, wrong in its root alone */
};

/* history_init(h, params): an empty log.  history_release(): free its memory. */
void history_init(struct history *h, const struct params *params);
void history_release(struct history *h);

/*
 * history_resume(h, catalog, st): stand at the catalog's newest head, after checking that
 * the log holds that very head and that it verifies.  An empty catalog is the empty log.  ${h}
 * is fresh from history_init().
 * Returns 0; -ERR_DAMAGED if catalog and log do not agree (rebuild the catalog); -ERR_TAMPERED;
 * -errno.
 */
MUST_CHECK int history_resume(struct history *h, struct catalog *c, struct storage *st);

/*
 * history_step(h, b, out_is_head): judge the next block.  It must follow ${h->end}: same segment
 * and adjacent, or a segment header with a higher number (volume, epoch and n_blocks_before must
 * fit).  A head must have the next number, the right parent, a later time, the right position,
 * count and root, its segment's epoch, and a good signature by that epoch's writer; epochs do not
 * go back.  On success the block counts.  If it was a head, ${*out_is_head} is true, ${h->head} is
 * that head, and the caller puts it into the catalog (history_commit()) before the next step.
 * Borrows ${b}.
 * Blocks whose bytes are gone (b->hole) count by the hash that stands for them; a run must be a
 * whole subtree where it lies.  The next head proves them; until then ${h->n_gone} counts them.
 * Returns 0; -ERR_DAMAGED (does not follow); -ERR_TAMPERED (a head that lies or is not signed by
 * the writer, or more than HISTORY_LEAVES_MAX blocks without a head); -ERR_VERSION (of a newer
 * format); -ENOMEM.  On an error nothing has changed.
 */
MUST_CHECK int history_step(struct history *h, const struct scan_block *b, bool *out_is_head);

/*
 * history_forget_leaves(h): drop the leaves since the newest commit, for a caller that makes no
 * catalog.
 */
void history_forget_leaves(struct history *h);

/*
 * history_commit(h, c): put ${h->head} and its leaves into the catalog; the leaves after it
 * stay.  Returns as catalog_add_head().
 */
MUST_CHECK int history_commit(struct history *h, struct catalog *c);

/*
 * history_read_head(params, st, ref, out, out_leaf): read the head that ${ref} tells of from
 * the log, and verify it: frame, volume, position, number, signature by its epoch's writer.
 * ${out_leaf} (may be NULL) gets its block's leaf hash.
 * Returns 0; -ERR_ABSENT; -ERR_DAMAGED (no such head there); -ERR_TAMPERED; -ERR_VERSION;
 * -ENOMEM; -errno.
 */
MUST_CHECK int history_read_head(const struct params *params, struct storage *st,
				 const struct head_ref *ref, struct head *out,
				 uint8_t out_leaf[HASH_LEN]);

#endif /* !HISTORY_H_ */
