/*
 * The chain of heads, judged block by block.
 *
 * Key idea: fold each block into the Merkle state as it comes; when a head comes, it must state
 * exactly what was counted.  So a verified head vouches for each byte before it.
 *
 * Invariants:
 *  1. Blocks follow each other without a gap inside a segment, and a segment begins with its
 *     header.
 *  2. The leaves, counting those that a run stands for, are the last of merkle.n; all before them
 *     are in the catalog.
 *  3. Whatever a block says, memory stays below HISTORY_LEAVES_MAX hashes.
 */

#include "history.h"

#include "catalog.h"
#include "holes.h"
#include "judge.h"
#include "params.h"
#include "scan.h"
#include "storage.h"
#include "tile.h"

#include "err.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAVES_FIRST 256u

typedef unsigned long long ull;

void history_init(struct history *h, const struct params *params)
{
	memset(h, 0, sizeof(*h));
	h->params = params;
	merkle_init(&h->merkle);
}

void history_release(struct history *h)
{
	free(h->leaves);
	free(h->runs);
	h->leaves = NULL;
	h->runs = NULL;
	h->n_leaves = h->cap_leaves = h->n_runs = h->cap_runs = 0;
}

void history_forget_leaves(struct history *h)
{
	h->n_leaves = h->n_runs = 0;
}

/* Room for one more leaf. */
static int reserve_leaf(struct history *h)
{
	size_t cap = h->cap_leaves ? 2 * h->cap_leaves : LEAVES_FIRST;
	void *p;

	if (h->n_leaves >= HISTORY_LEAVES_MAX)
		return err_say(-ERR_TAMPERED, "log: more than %u blocks without a head before %llu",
			       HISTORY_LEAVES_MAX, (ull)h->end);
	if (h->n_leaves < h->cap_leaves)
		return 0;
	p = realloc(h->leaves, cap * HASH_LEN);
	if (!p)
		return -ENOMEM;
	h->leaves = p;
	h->cap_leaves = cap;
	return 0;
}

/* Room for one more run. */
static int reserve_run(struct history *h)
{
	size_t cap = h->cap_runs ? 2 * h->cap_runs : 16;
	void *p;

	if (h->n_runs < h->cap_runs)
		return 0;
	p = realloc(h->runs, cap * sizeof(*h->runs));
	if (!p)
		return -ENOMEM;
	h->runs = p;
	h->cap_runs = cap;
	return 0;
}

static int judge_head(struct history *h, const struct scan_block *b, struct head *out)
{
	const struct head_known k = {.params = h->params,
				     .pos = b->pos,
				     .parent = &h->head,
				     .epoch = h->epoch,
				     .merkle = &h->merkle,
				     .root_differs = &h->root_differs};
	int rc = head_judge(&k, b->bytes, b->len, out);

	if (rc != -ERR_TAMPERED || h->n_gone == 0)
		return rc;
	return err_say(
		rc,
		"%s; it covers %llu blocks whose bytes are gone, and what stands for them may be "
		"wrong, or cross another head",
		err_detail(rc), (ull)h->n_gone);
}

static int judge_segment(const struct history *h, const struct scan_block *b, epoch_no *out_epoch)
{
	segment_no number = segment_of(b->pos);
	struct segment_header s;
	int rc;

	if (h->end > 0 && number <= segment_of(h->end - 1))
		return err_say(-ERR_DAMAGED, "segment %016llx: comes after %llu", (ull)number,
			       (ull)h->end);
	rc = segment_header_decode(b->bytes, number, &s);
	if (rc < 0)
		return err_say(rc, "segment %016llx: its header is %s", (ull)number, err_text(rc));
	if (memcmp(s.volume, h->params->id, VOLUME_ID_LEN) != 0)
		return err_say(-ERR_DAMAGED, "segment %016llx: of another volume", (ull)number);
	if (s.n_blocks_before != h->merkle.n)
		return err_say(-ERR_DAMAGED,
			       "segment %016llx: says that %llu blocks come before it, not %llu; "
			       "a segment may be missing",
			       (ull)number, (ull)s.n_blocks_before, (ull)h->merkle.n);
	if (s.epoch < h->epoch || !params_writer(h->params, s.epoch))
		return err_say(-ERR_TAMPERED, "segment %016llx: of epoch %llu, after %llu",
			       (ull)number, (ull)s.epoch, (ull)h->epoch);
	*out_epoch = s.epoch;
	return 0;
}

/* Judge what stands for blocks that are gone: a run must be a whole subtree where it lies. */
static int judge_hole(struct history *h, const struct scan_block *b)
{
	uint64_t n = hole_blocks(b->hole);

	if (h->merkle.n % n != 0)
		return err_say(-ERR_DAMAGED,
			       "block at %llu: a run of %llu blocks that are gone begins here, and "
			       "after %llu blocks it is no subtree",
			       (ull)b->pos, (ull)n, (ull)h->merkle.n);
	return scan_block_is_run(b) ? reserve_run(h) : 0;
}

static int judge_block(struct history *h, const struct scan_block *b, struct head *out_head,
		       epoch_no *out_epoch)
{
	if (!scan_block_is_run(b) && b->len != FRAME_LEN + b->frame.body_len)
		return err_say(-ERR_DAMAGED, "block at %llu: its length is not its frame's",
			       (ull)b->pos);
	if (b->frame.kind == BLOCK_SEGMENT)
		return judge_segment(h, b, out_epoch);
	if (b->pos != h->end || b->pos % SEGMENT_SIZE == 0)
		return err_say(-ERR_DAMAGED, "block at %llu: does not follow %llu", (ull)b->pos,
			       (ull)h->end);
	if (b->hole)
		return judge_hole(h, b);
	return b->frame.kind == BLOCK_HEAD ? judge_head(h, b, out_head) : 0;
}

/* Count a block that was judged; the room for it is reserved, so this can't fail. */
static void count_block(struct history *h, const struct scan_block *b)
{
	memcpy(h->leaves[h->n_leaves], b->leaf, HASH_LEN);
	if (b->hole) {
		if (scan_block_is_run(b))
			h->runs[h->n_runs++] = (struct leaf_run){.at = h->n_leaves,
								 .height = b->hole->height};
		merkle_add_run(&h->merkle, b->leaf, b->hole->height);
		h->n_gone += hole_blocks(b->hole);
	} else {
		merkle_add(&h->merkle, b->leaf);
	}
	h->n_leaves++;
	h->end = b->pos + b->len;
}

int history_step(struct history *h, const struct scan_block *b, bool *out_is_head)
{
	epoch_no epoch = h->epoch;
	struct head head;
	int rc;

	*out_is_head = false;
	h->root_differs = false;
	rc = judge_block(h, b, &head, &epoch);
	if (rc == 0)
		rc = reserve_leaf(h);
	if (rc < 0)
		return rc;

	count_block(h, b);
	h->epoch = epoch;
	if (b->frame.kind == BLOCK_HEAD) {
		h->head = head;
		h->n_gone = 0;
		*out_is_head = true;
	}
	return 0;
}

int history_commit(struct history *h, struct catalog *c)
{
	struct leaf_row row = {.hash = (const uint8_t(*)[HASH_LEN])h->leaves,
			       .runs = h->runs,
			       .n_runs = h->n_runs};
	uint64_t n_after = h->merkle.n - h->head.n_blocks;
	int rc;

	/*
	 * The head has proven what is gone below it.  Behind it nothing is gone: each block there has
	 * its leaf.
	 */
	assert(h->head.number > 0 && h->head.n_blocks <= h->merkle.n);
	assert(n_after <= h->n_leaves && (h->n_runs == 0 || h->n_gone == 0));
	row.n = h->n_leaves - (size_t)n_after;
	rc = catalog_add_row(c, &h->head, &row);
	if (rc < 0)
		return rc;
	memmove(h->leaves, h->leaves + row.n, (size_t)n_after * HASH_LEN);
	h->n_leaves = (size_t)n_after;
	h->n_runs = 0;
	return 0;
}

int history_read_head(const struct params *params, struct storage *st, const struct head_ref *ref,
		      struct head *out, uint8_t out_leaf[HASH_LEN])
{
	const struct head_known k = {.params = params, .ref = ref};
	uint8_t *block = malloc(HEAD_BLOCK_MAX);
	int rc = block ? head_read(&k, head_from_storage, st, block, out) : -ENOMEM;

	if (rc == 0 && out_leaf)
		leaf_hash(ref->pos, block, ref->stored_len, out_leaf);
	free(block);
	return rc;
}

/* Set ${h} to the position right after the head that ${ref} names. */
static int stand_at(struct history *h, struct catalog *c, struct storage *st,
		    const struct head_ref *ref)
{
	segment_no number = segment_of(ref->pos);
	uint8_t block[SEGMENT_BLOCK_LEN], leaf[HASH_LEN], root[HASH_LEN];
	struct segment_header s;
	int rc;

	rc = history_read_head(h->params, st, ref, &h->head, leaf);
	if (rc < 0)
		return rc;
	rc = storage_read(st, segment_start(number), sizeof(block), block);
	if (rc < 0)
		return rc;
	rc = segment_header_decode(block, number, &s);
	if (rc < 0)
		return err_say(rc, "segment %016llx: its header is %s", (ull)number, err_text(rc));
	rc = catalog_merkle(c, h->head.n_blocks, &h->merkle);
	if (rc < 0)
		return rc;
	merkle_root(&h->merkle, root);
	if (memcmp(root, h->head.root, HASH_LEN) != 0)
		return err_say(-ERR_DAMAGED,
			       "catalog: its leaves do not give the root of head %llu",
			       (ull)ref->number);
	rc = reserve_leaf(h);
	if (rc < 0)
		return rc;
	memcpy(h->leaves[h->n_leaves++], leaf, HASH_LEN);
	merkle_add(&h->merkle, leaf);
	h->end = head_end(&h->head);
	h->epoch = s.epoch;
	return 0;
}

int history_resume(struct history *h, struct catalog *c, struct storage *st)
{
	const struct params *params = h->params;
	struct head_ref ref;
	int rc;

	assert(h->merkle.n == 0 && h->n_leaves == 0);
	rc = catalog_newest(c, &ref);
	if (rc == -ERR_ABSENT)
		return 0;
	if (rc < 0)
		return rc;
	rc = stand_at(h, c, st, &ref);
	if (rc == 0)
		return 0;
	history_release(h);
	history_init(h, params);
	if (rc == -ERR_ABSENT)
		return err_say(-ERR_DAMAGED,
			       "catalog: log or leaves of its newest head, %llu, are not there",
			       (ull)ref.number);
	return rc;
}
