/*
 * Reservation of positions: the one serial step of an append.
 *
 * Key idea: the stored length is known before the position is, so a reservation is some
 * arithmetic under the lock; sealing happens outside, straight into the ring.  Slots remember
 * what is on its way, in order; as they are done, their leaves are folded and filled advances.
 *
 * See log_internal.h for the invariants.
 */

#include "clock.h"
#include "frame.h"
#include "log.h"
#include "log_internal.h"
#include "params.h"
#include "seal.h"
#include "secret.h"
#include "store.h"

#include "err.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool spare_lacks(const struct log *log) REQUIRES(log->mu);
static bool is_short(const struct log *log) REQUIRES(log->mu);
static int make_room_locked(struct log *log) REQUIRES(log->mu);
static int allocate_more_locked(struct log *log, enum block_kind kind) REQUIRES(log->mu);
static int reserve_leaves_locked(struct log *log) REQUIRES(log->mu);
static bool fits(const struct log *log, log_pos end) REQUIRES(log->mu);
static int new_segment_key(struct log *log, segment_no number, uint8_t block[SEGMENT_BLOCK_LEN],
			   struct segment_key **out) REQUIRES(log->mu);
static int begin_segment_locked(struct log *log) REQUIRES(log->mu);

void log_check_locked(struct log *log)
{
	unsigned n_slots = log_n_slots_locked(log);

	assert(log->durable <= log->written && log->written <= log->filled);
	assert(log->filled <= log->reserved);
	assert(log->reserved - page_down(log->written) <= log->ring.size);
	assert(n_slots <= LOG_SLOTS);
	assert((log->filled == log->reserved) == (n_slots == 0));
	assert(!log->old_end || log->rolling);
	assert(!log->rolling || log->has_segment);
	assert((log->old_key != NULL) == (log->old_end != 0));
	assert(n_slots == 0 || log->hist.n_leaves + n_slots <= log->hist.cap_leaves);
}

struct shm_slot *log_push_slot_locked(struct log *log, uint32_t len)
{
	struct log_shm *k = log->shm;
	uint64_t n = atomic_load_explicit(&k->pushed, memory_order_relaxed);
	struct shm_slot *s = &k->slots[n % LOG_SLOTS];

	assert(log_n_slots_locked(log) < LOG_SLOTS);
	s->pos = log->reserved;
	s->len = len;
	atomic_store_explicit(&s->done, 0, memory_order_relaxed);
	atomic_store_explicit(&k->pushed, n + 1, memory_order_release);
	log->reserved += len;
	return s;
}

void log_slot_done_locked(struct log *log, struct shm_slot *slot, const uint8_t leaf[HASH_LEN])
{
	struct log_shm *k = log->shm;
	struct history *h = &log->hist;
	bool grew = false;

	memcpy(log->slot_leaf[slot - k->slots], leaf, HASH_LEN);
	atomic_store_explicit(&slot->done, 1, memory_order_release);
	while (log_n_slots_locked(log) > 0) {
		uint64_t n = atomic_load_explicit(&k->folded, memory_order_relaxed);
		const uint8_t *next = log->slot_leaf[n % LOG_SLOTS];

		slot = &k->slots[n % LOG_SLOTS];
		if (!atomic_load_explicit(&slot->done, memory_order_relaxed))
			break;
		assert(h->n_leaves < h->cap_leaves);
		memcpy(h->leaves[h->n_leaves++], next, HASH_LEN);
		merkle_add(&h->merkle, next);
		log_set_filled(log, slot->pos + slot->len);
		atomic_store_explicit(&k->folded, n + 1, memory_order_release);
		grew = true;
	}
	if (grew)
		pthread_cond_broadcast(&log->filled_up);
}

/*
 * What a full disk refuses first: file data, and the nodes of a checkpoint, which can be as many as
 * the tree has and are of no use unless all of them fit.  The space that is set aside is for what
 * makes deleting possible: deltas and heads.  A head's rollup is among them: it takes no more space
 * than the deltas for which it stands, and only once.
 */
static bool is_bulk(enum block_kind kind)
{
	return kind == BLOCK_DATA || kind == BLOCK_NODE || kind == BLOCK_CHECKPOINT;
}

static bool spare_lacks(const struct log *log)
{
	return log->spare == SPARE_SHORT || log->spare == SPARE_NONE;
}

/* The segment began with a short spare: its space is for metadata until there is a whole spare. */
static bool is_short(const struct log *log)
{
	return log->has_segment && !log->rolling &&
	       log->allocated < segment_start(log->segment + 1);
}

int log_make_spare_locked(struct log *log)
{
	uint64_t len = 0;
	int rc;

	if (log->making_spare) {
		pthread_cond_wait(&log->io_free, &log->mu);
		return 0;
	}
	if (spare_lacks(log) && clock_mono_ns() < log->spare_retry_ns)
		return log->spare_rc;

	log->making_spare = true;
	pthread_mutex_unlock(&log->mu);
	rc = store_make_spare(log->store, &len);
	pthread_mutex_lock(&log->mu);
	log->making_spare = false;
	log->spare = rc < 0 ? SPARE_NONE : len < SEGMENT_SIZE ? SPARE_SHORT : SPARE_WHOLE;
	if (log->spare == SPARE_SHORT)
		rc = -ENOSPC;
	log->spare_rc = rc == 0 || rc == -ENOSPC ? rc : -EIO;
	log->spare_retry_ns = clock_mono_ns() + LOG_SPARE_RETRY_NS;
	pthread_cond_broadcast(&log->io_free);
	return log->spare_rc;
}

bool log_shrink_spare_locked(struct log *log)
{
	bool shrunk;

	if (log->rolling || log->making_spare || (log->spare != SPARE_WHOLE && !spare_lacks(log)))
		return false;
	log->making_spare = true;
	pthread_mutex_unlock(&log->mu);
	shrunk = store_shrink_spare(log->store, STORE_SPARE_MIN);
	pthread_mutex_lock(&log->mu);
	log->making_spare = false;
	if (shrunk) {
		log->spare = SPARE_SHORT;
		log->spare_rc = -ENOSPC;
		log->spare_retry_ns = clock_mono_ns() + LOG_SPARE_RETRY_NS;
	}
	pthread_cond_broadcast(&log->io_free);
	return shrunk;
}

/* Make room in the ring: do the I/O, or wait for who does it.  0: the caller looks again. */
static int make_room_locked(struct log *log)
{
	if (log->io_active) {
		pthread_cond_wait(&log->io_free, &log->mu);
		return 0;
	}
	if (log_flush_useful_locked(log))
		return log_flush_locked(log, false);
	/* The block that keeps the ring full is still being sealed. */
	assert(log_n_slots_locked(log) > 0);
	pthread_cond_wait(&log->filled_up, &log->mu);
	return 0;
}

/* Allocate more of a segment that began with a short spare.  0: the caller looks again. */
static int allocate_more_locked(struct log *log, enum block_kind kind)
{
	log_pos from = log->allocated, end = segment_start(log->segment + 1);
	log_pos to = from + STORE_SPARE_STEP < end ? from + STORE_SPARE_STEP : end;
	int rc;

	if (log->rolling) /* it has no file yet */
		return make_room_locked(log);
	if (log->making_spare) {
		pthread_cond_wait(&log->io_free, &log->mu);
		return 0;
	}
	if (clock_mono_ns() < log->allocate_retry_ns)
		return -ENOSPC;
	log->making_spare = true;
	pthread_mutex_unlock(&log->mu);
	rc = store_allocate(log->store, log->segment, from, to);
	pthread_mutex_lock(&log->mu);
	log->making_spare = false;
	pthread_cond_broadcast(&log->io_free);
	if (rc == 0)
		log->allocated = to;
	if (rc == -ENOSPC && !is_bulk(kind) && log_shrink_spare_locked(log))
		return 0;
	if (rc == -ENOSPC)
		log->allocate_retry_ns = clock_mono_ns() + LOG_SPARE_RETRY_NS;
	return rc;
}

/* Make room for the leaves of all slots, and of two more, so that folding cannot fail. */
static int reserve_leaves_locked(struct log *log)
{
	struct history *h = &log->hist;
	size_t need = h->n_leaves + log_n_slots_locked(log) + 2, cap;
	void *p;

	if (need <= h->cap_leaves)
		return 0;
	cap = h->cap_leaves < LOG_SLOTS ? LOG_SLOTS : 2 * h->cap_leaves;
	p = realloc(h->leaves, cap * HASH_LEN);
	if (!p)
		return -ENOMEM;
	h->leaves = p;
	h->cap_leaves = cap;
	return 0;
}

static bool fits(const struct log *log, log_pos end)
{
	return end <= page_down(log->written) + log->ring.size;
}

static int new_segment_key(struct log *log, segment_no number, uint8_t block[SEGMENT_BLOCK_LEN],
			   struct segment_key **out)
{
	struct segment_header h = {
		.number = number,
		.epoch = log->epoch,
		.n_blocks_before = log->hist.merkle.n + log_n_slots_locked(log),
		.created_ns = clock_wall_ns(),
		.cipher = log->params->cipher,
	};

	memcpy(h.volume, log->params->id, VOLUME_ID_LEN);
	random_bytes(h.salt, SALT_LEN);
	segment_header_encode(&h, block);
	return segment_key_new(log->log_key, &h, out);
}

/* Start a segment with its header block.  0: the caller looks again. */
static int begin_segment_locked(struct log *log)
{
	segment_no number = log->reserved ? segment_of(log->reserved - 1) + 1 : 0;
	log_pos start = segment_start(number);
	uint8_t block[SEGMENT_BLOCK_LEN], leaf[HASH_LEN];
	struct segment_key *key;
	int rc;

	/* One roll at a time: the segment before must have its file. */
	if (log->rolling || (log->has_segment && !fits(log, start + SEGMENT_BLOCK_LEN)))
		return make_room_locked(log);
	if ((log->spare != SPARE_WHOLE && log->spare != SPARE_SHORT) || log->making_spare) {
		rc = log_make_spare_locked(log);
		return log->spare == SPARE_SHORT ? 0 : rc;
	}
	rc = new_segment_key(log, number, block, &key);
	if (rc < 0)
		return rc;

	if (log->has_segment) {
		log_set_old_end(log, log->reserved);
		log->old_key = log->key;
	} else {
		log->reserved = start;
		log->first = start;
		log_set_written(log, start);
		log_set_filled(log, start);
		log->durable = start;
	}
	log->gap_from = log->reserved;
	log->key = key;
	log->segment = number;
	log->allocated = start + (log->spare == SPARE_WHOLE ? SEGMENT_SIZE : STORE_SPARE_MIN);
	log->has_segment = true;
	log->rolling = true;
	log->spare = SPARE_UNKNOWN;
	log->reserved = start;
	memcpy(ring_at(&log->ring, start), block, SEGMENT_BLOCK_LEN);
	leaf_hash(start, block, SEGMENT_BLOCK_LEN, leaf);
	log_slot_done_locked(log, log_push_slot_locked(log, SEGMENT_BLOCK_LEN), leaf);
	log_check_locked(log);
	return 0;
}

int log_reserve_locked(struct log *log, enum block_kind kind, uint32_t len_max)
{
	int rc = 0;

	while (rc == 0) {
		if (log->stuck)
			return -ERR_STUCK;
		if (kind != BLOCK_HEAD && log->hist.n_leaves + LOG_SLOTS >= HISTORY_LEAVES_MAX)
			return err_say(-ERR_STUCK, "log: too many blocks since the last head");
		rc = reserve_leaves_locked(log);
		if (rc < 0)
			return rc;
		if (is_bulk(kind) && spare_lacks(log))
			rc = log_make_spare_locked(log);
		else if (is_bulk(kind) && log->rolling && !log->old_end)
			/*
			 * Only after the roll is it known whether there is room for more than
			 * deltas.
			 */
			rc = make_room_locked(log);
		else if (is_bulk(kind) && is_short(log) && log->spare == SPARE_UNKNOWN)
			/* The thread that finished the roll is making the next spare. */
			rc = log_make_spare_locked(log);
		else if (log_n_slots_locked(log) + 2 > LOG_SLOTS)
			pthread_cond_wait(&log->filled_up, &log->mu);
		else if (!log->has_segment ||
			 log->reserved + len_max > segment_start(log->segment + 1))
			rc = begin_segment_locked(log);
		else if (log->reserved + len_max > log->allocated)
			rc = allocate_more_locked(log, kind);
		else if (!fits(log, log->reserved + len_max))
			rc = make_room_locked(log);
		else
			return 0;
	}
	return rc;
}
