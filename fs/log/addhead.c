/*
 * Adding a head: a signed statement of all that lies below it.
 *
 * Key idea: a head's length does not depend on the Merkle root or the signature, so its place
 * can be reserved before either is known.  Appends go on behind it; folding stops at its
 * slot, so the Merkle state is exactly that of the blocks below, and stays so until the head is
 * in place.  Nobody else waits, except those who sync what lies behind it.
 *
 * Invariants: a head is signed only when all bytes below it are durable; it goes into the catalog
 * only when it is durable itself; the next head is begun only when this one is in the catalog.
 */

#include "buf.h"
#include "catalog.h"
#include "err.h"
#include "frame.h"
#include "judge.h"
#include "log.h"
#include "log_internal.h"
#include "params.h"
#include "seal.h"
#include "sign.h"
#include "store.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void chain_head(struct log *log, struct head *h) REQUIRES(log->mu);

/* Fill in what does not depend on the head's position: volume, number, epoch, parent, time. */
static void chain_head(struct log *log, struct head *h)
{
	const struct head *parent = &log->hist.head;

	memcpy(h->volume, log->params->id, VOLUME_ID_LEN);
	h->number = parent->number + 1;
	h->epoch = log->epoch;
	h->parent_pos = parent->number ? parent->pos : 0;
	if (parent->number && h->time_ns <= parent->time_ns)
		h->time_ns = parent->time_ns + 1;
	memset(h->root, 0, HASH_LEN);
}

/*
 * Reserve the head's position, which fixes pos, n_blocks and stored_len.  ${*out_key}, the key of
 * its segment, stays valid until the head's slot is done.
 */
static int reserve_head(struct log *log, struct head *h, struct shm_slot **out_slot,
			const struct segment_key **out_key)
{
	struct buf text = {0};
	int rc;

	pthread_mutex_lock(&log->mu);
	rc = log_reserve_locked(log, BLOCK_HEAD, HEAD_BLOCK_MAX);
	if (rc < 0)
		goto unlock;
	chain_head(log, h);
	h->pos = log->reserved;
	h->n_blocks = log->hist.merkle.n + log_n_slots_locked(log);
	rc = head_encode_text(h, &text);
	if (rc < 0)
		goto unlock;
	h->stored_len = (uint32_t)(FRAME_LEN + text.len + log->head_sign_len);
	assert(h->stored_len <= HEAD_BLOCK_MAX);
	*out_slot = log_push_slot_locked(log, h->stored_len);
	*out_key = log->key;

unlock:
	pthread_mutex_unlock(&log->mu);
	buf_release(&text);
	return rc;
}

/* Compute the Merkle root, sign, and build the whole block in ${block}. */
static int build_head(struct log *log, struct head *h, uint8_t block[HEAD_BLOCK_MAX])
{
	struct frame f = {.kind = BLOCK_HEAD, .body_len = h->stored_len - FRAME_LEN};
	struct buf note = {0};
	struct merkle m;
	int rc;

	rc = log_sync(log, h->pos);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&log->mu);
	assert(log->filled == h->pos && log->durable == h->pos);
	assert(log->hist.merkle.n == h->n_blocks);
	m = log->hist.merkle;
	pthread_mutex_unlock(&log->mu);
	merkle_root(&m, h->root);

	rc = head_sign(h, log->writer_secret, &note);
	if (rc == 0) {
		assert(FRAME_LEN + note.len == h->stored_len);
		frame_encode(&f, h->pos, block);
		memcpy(block + FRAME_LEN, note.p, note.len);
	}
	buf_release(&note);
	return rc;
}

/*
 * If the head can't be built, its reserved position is filled with a sealed block that nothing
 * points to.  Otherwise the walk would end there and never reach the blocks behind it.
 */
static int build_filler(const struct segment_key *key, const struct head *h,
			uint8_t block[HEAD_BLOCK_MAX])
{
	static const uint8_t zeros[HEAD_BLOCK_MAX];
	uint32_t body_len = h->stored_len - FRAME_LEN;
	struct frame f = {
		.kind = BLOCK_DATA, .flags = (uint8_t)filler_flags(body_len), .body_len = body_len};

	return seal_block(key, h->pos, &f, zeros, opened_len(f.body_len, f.flags), block);
}

static void place_block(struct log *log, const struct head *h, const uint8_t *block)
{
	memcpy(ring_at(&log->ring, h->pos), block, h->stored_len);
	ring_wrap(&log->ring, h->pos, h->stored_len);
}

/*
 * After a failed write to the catalog, reopen it and let it catch up from the log, which holds
 * every head that it lacks, the pending one included.
 */
static int revive_catalog(struct log *log)
{
	struct head_ref newest;
	int rc = catalog_reopen(log->catalog);

	if (rc == 0)
		rc = catalog_catch_up(log->catalog, log->params, store_storage(log->store), NULL, NULL);
	if (rc == 0)
		rc = catalog_newest(log->catalog, &newest);
	if (rc < 0)
		return rc;
	if (newest.number != log->pending.number || newest.pos != log->pending.pos)
		return err_say(-ERR_DAMAGED, "catalog: opened anew, it ends at head %llu, not %llu",
			       (unsigned long long)newest.number,
			       (unsigned long long)log->pending.number);
	log->catalog_shut = false;
	return 0;
}

static int put_into_catalog(struct log *log, const uint8_t (*leaves)[HASH_LEN], size_t n)
{
	if (!log->catalog_shut && catalog_add_head(log->catalog, &log->pending, leaves, n) == 0)
		return 0;
	/*
	 * A background error also shuts RocksDB.  Its cause may be gone by now, so reopen the
	 * catalog.
	 */
	log->catalog_shut = true;
	return revive_catalog(log);
}

static bool shrink_spare(struct log *log)
{
	bool shrunk;

	pthread_mutex_lock(&log->mu);
	shrunk = log_shrink_spare_locked(log);
	pthread_mutex_unlock(&log->mu);
	return shrunk;
}

int log_catalog_pending(struct log *log)
{
	const struct head *h = &log->pending;
	struct history *hist = &log->hist;
	uint8_t(*leaves)[HASH_LEN];
	size_t n;
	int rc;

	rc = log_sync(log, head_end(h));
	if (rc < 0)
		return rc;
	/*
	 * Copy the leaves, so that appends go on meanwhile.  Only this caller ever removes leaves.
	 */
	pthread_mutex_lock(&log->mu);
	n = h->n_blocks - (hist->merkle.n - hist->n_leaves);
	leaves = malloc(n * HASH_LEN + 1);
	if (leaves)
		memcpy(leaves, hist->leaves, n * HASH_LEN);
	pthread_mutex_unlock(&log->mu);
	if (!leaves)
		return -ENOMEM;
	do {
		rc = put_into_catalog(log, (const uint8_t(*)[HASH_LEN])leaves, n);
	} while (rc == -ENOSPC && shrink_spare(log));
	free(leaves);
	if (rc < 0)
		return rc;

	pthread_mutex_lock(&log->mu);
	hist->n_leaves -= n;
	memmove(hist->leaves, hist->leaves + n, hist->n_leaves * HASH_LEN);
	log->newest = *h;
	pthread_mutex_unlock(&log->mu);
	log->pending.number = 0;
	log_note_newest(log, false);
	return 0;
}

void log_note_newest(struct log *log, bool at_end)
{
	const struct head *h = &log->newest;
	const struct head_ref ref = {h->number, h->pos, h->stored_len, h->time_ns};

	if (newest_is_due(&log->noted, &ref, at_end))
		newest_note(&log->noted, log->params, store_storage(log->store), &ref);
}

int log_add_head(struct log *log, struct head *h)
{
	uint8_t block[HEAD_BLOCK_MAX], leaf[HASH_LEN];
	const struct segment_key *key;
	struct shm_slot *slot;
	bool signed_head;
	int rc, filler;

	assert(h->n_deltas <= HEAD_DELTAS_MAX);
	if (log->pending.number) {
		rc = log_catalog_pending(log);
		if (rc < 0)
			return rc;
	}
	/*
	 * Once reserved, the position must be filled, at worst with a sealed filler: get the memory
	 * first.
	 */
	rc = seal_ready();
	if (rc < 0)
		return rc;
	rc = reserve_head(log, h, &slot, &key);
	if (rc < 0)
		return rc;
	rc = build_head(log, h, block);
	signed_head = rc == 0;
	filler = signed_head ? 0 : build_filler(key, h, block);
	if (filler == 0) {
		leaf_hash(h->pos, block, h->stored_len, leaf);
		place_block(log, h, block);
	}

	pthread_mutex_lock(&log->mu);
	if (filler < 0) {
		rc = log_stop_locked(log, filler, "sealing");
	} else {
		if (signed_head) {
			log->hist.head = *h;
			log->pending = *h;
		}
		log_slot_done_locked(log, slot, leaf);
	}
	pthread_mutex_unlock(&log->mu);
	if (rc < 0)
		return rc;
	return log_catalog_pending(log);
}
