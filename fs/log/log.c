/*
 * The log: opening, appending, closing.
 *
 * An append first compresses, so that its stored length is known.  Then it reserves a position,
 * seals from the caller's bytes (or the compressed ones) straight into the ring, in parallel with
 * other threads, and marks its slot done.  A thread that then finds a batch full writes it out.
 *
 * See log_internal.h for the invariants and who does what.
 */

#include "log.h"

#include "blocks.h"
#include "buf.h"
#include "catalog.h"
#include "compress.h"
#include "err.h"
#include "frame.h"
#include "huge.h"
#include "log_internal.h"
#include "params.h"
#include "seal.h"
#include "sign.h"
#include "secret.h"
#include "store.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COMPRESS_MIN 64u /* shorter blocks gain nothing worth the time */

static bool flush_wanted(const struct log *log) REQUIRES(log->mu);

static void log_free(struct log *log)
{
	if (!log)
		return;
	blocks_free(log->blocks);
	segment_key_free(log->key);
	segment_key_free(log->old_key);
	history_release(&log->hist);
	catalog_close(log->catalog);
	store_close(log->store);
	secret_free(log->log_key);
	secret_free(log->writer_secret);
	ring_release(&log->ring);
	free(log->zeros);
	free(log->volume_dir);
	pthread_cond_destroy(&log->filled_up);
	pthread_cond_destroy(&log->io_free);
	pthread_mutex_destroy(&log->mu);
	free(log);
}

static void *secret_copy(const void *from, size_t len)
{
	void *p = secret_alloc(len);

	if (p)
		memcpy(p, from, len);
	return p;
}

/* A signature adds the same number of bytes to every head: measure it once. */
static int measure_signature(struct log *log)
{
	struct head h = {.number = 1, .epoch = log->epoch, .time_ns = 1};
	struct buf text = {0}, note = {0};
	int rc;

	memcpy(h.volume, log->params->id, VOLUME_ID_LEN);
	rc = head_encode_text(&h, &text);
	if (rc == 0)
		rc = head_sign(&h, log->writer_secret, &note);
	if (rc == 0)
		log->head_sign_len = note.len - text.len;
	buf_release(&text);
	buf_release(&note);
	return rc;
}

static int log_init(struct log *log, const struct log_config *cfg)
{
	size_t ring_bytes = cfg->ring_bytes ? cfg->ring_bytes : LOG_RING_DEFAULT;
	int rc = 0;

	assert(!cfg->shm || cfg->shm->ring_bytes == ring_bytes);
	log->params = cfg->params;
	log->volume_dir = strdup(cfg->volume_dir);
	log->epoch = params_epoch(cfg->params);
	log->first = UINT64_MAX;
	log->batch = ring_bytes / 4 < LOG_BATCH_MAX ? ring_bytes / 4 : LOG_BATCH_MAX;
	log->log_key = secret_copy(cfg->log_key, LOG_KEY_LEN);
	log->writer_secret = secret_copy(cfg->writer_secret, 64);
	log->zeros = huge_alloc(LOG_ZERO_AHEAD + LOG_TAIL_MAX + RING_PAGE);
	if (!log->volume_dir || !log->log_key || !log->writer_secret || !log->zeros)
		return -ENOMEM;
	memset(log->zeros, 0, LOG_ZERO_AHEAD);
	log->tail = log->zeros + LOG_ZERO_AHEAD;
	log->shm = cfg->shm ? cfg->shm : &log->own_shm;
	if (cfg->shm)
		ring_borrow(&log->ring, (uint8_t *)cfg->shm - cfg->shm->ring_offset, ring_bytes);
	else
		rc = ring_init(&log->ring, ring_bytes);
	if (rc < 0)
		return rc;
	log_source_init(log);
	rc = blocks_new(&log->source.source, log->log_key, &log->blocks);
	if (rc < 0)
		return rc;
	return measure_signature(log);
}

/* A head signed by the wrong key would be durable before anybody could see that it is worthless. */
static int check_writer(const struct log_config *cfg)
{
	const uint8_t *writer = params_writer(cfg->params, params_epoch(cfg->params));

	if (!writer || memcmp(writer, cfg->writer_secret + 32, SIGN_PUBLIC_LEN) != 0)
		return err_say(-ERR_WRONG_KEY, "%s: the writer key is not that of epoch %llu",
			       cfg->volume_dir,
			       (unsigned long long)params_epoch(cfg->params));
	return 0;
}

/* A mount that wrote nothing leaves the spare alone, unless opening shrank it on a full disk. */
static void rest_spare(struct log *log)
{
	if (log->store && (log->has_segment || store_spare_was_shrunk(log->store)))
		store_rest_spare(log->store);
}

int log_open(const struct log_config *cfg, struct log **out, struct log_tail *out_tail)
{
	struct log_tail tail = {0};
	struct log *log;
	int rc;

	rc = check_writer(cfg);
	if (rc < 0)
		return rc;
	log = calloc(1, sizeof(*log));
	if (!log)
		return -ENOMEM;
	pthread_mutex_init(&log->mu, NULL);
	pthread_cond_init(&log->io_free, NULL);
	pthread_cond_init(&log->filled_up, NULL);
	rc = log_init(log, cfg);
	if (rc == 0)
		rc = store_open(cfg->volume_dir, STORE_WRITABLE, &log->store);
	if (rc == 0 && cfg->rescue)
		rc = log_rescue(cfg, log->store);
	if (rc == 0)
		rc = log_recover(cfg, log->store, &log->catalog, &log->hist, &log->noted, &tail);
	if (rc < 0) {
		rest_spare(log);
		log_free(log);
		return rc;
	}

	/*
	 * All that the shared memory held is durable now: empty it, so that the ring can be used.
	 */
	log_shm_reset(log->shm);
	log->newest = log->hist.head;
	log->blocks_before = log->hist.merkle.n - atomic_load(&log->shm->pushed);
	log->reserved = log->durable = log->written = log->filled = tail.end;
	*out = log;
	*out_tail = tail;
	return 0;
}

int log_close(struct log *log)
{
	log_pos start = segment_start(log->segment);
	int rc;

	rc = log_sync(log, UINT64_MAX);
	pthread_mutex_lock(&log->mu);
	assert(!log->io_active && !log->making_spare);
	assert(log_n_slots_locked(log) == 0 || log->stuck);
	pthread_mutex_unlock(&log->mu);
	/*
	 * If something is not durable, the file stays as it is: recovery needs to find it that way.
	 */
	if (log->has_segment && !log->rolling && log->durable == log->reserved) {
		int cut = store_truncate(log->store, log->segment, log->reserved - start);

		rc = rc < 0 ? rc : cut;
		log_shm_reset(log->shm);
	}
	/* On a full disk, the truncation has made the room for this. */
	if (rc == 0 && log->pending.number)
		rc = log_catalog_pending(log);
	if (rc == 0)
		log_note_newest(log, true);
	catalog_close(log->catalog);
	log->catalog = NULL;
	/* Last, so that the steps above could use the room that it takes. */
	rest_spare(log);
	log_free(log);
	return rc;
}

static bool flush_wanted(const struct log *log)
{
	if (log->io_active || log->stuck)
		return false;
	if (log->rolling && log->old_end && log->filled > log->old_end)
		return true;
	return log->filled - page_down(log->written) >= log->batch;
}

/* Seal into the reserved place and count the block. */
static int fill_slot(struct log *log, struct shm_slot *slot, const struct segment_key *key,
		     const struct frame *f, const void *body, size_t body_len)
{
	uint8_t *at = ring_at(&log->ring, slot->pos);
	uint8_t leaf[HASH_LEN];
	int rc;

	rc = seal_block(key, slot->pos, f, body, body_len, at);
	if (rc == 0) {
		leaf_hash(slot->pos, at, slot->len, leaf);
		ring_wrap(&log->ring, slot->pos, slot->len);
	}
	pthread_mutex_lock(&log->mu);
	if (rc < 0) {
		/* A reserved position that stays empty ends the log: no walk gets past it. */
		rc = log_stop_locked(log, rc, "sealing");
	} else {
		log_slot_done_locked(log, slot, leaf);
		/* The append has succeeded; a sync of these bytes will report this error. */
		if (flush_wanted(log))
			(void)!log_flush_locked(log, false);
	}
	pthread_mutex_unlock(&log->mu);
	return rc;
}

int log_append(struct log *log, enum block_kind kind, const void *plain, size_t len, int level,
	       struct block_ptr *out)
{
	struct frame f = {.kind = (uint8_t)kind};
	const struct segment_key *key = NULL;
	const void *body = plain;
	struct shm_slot *slot = NULL;
	size_t body_len = len;
	uint32_t stored_len;
	int rc;

	assert(kind < BLOCK_KIND_END && !block_kind_is_clear(kind));
	assert(len > 0 && len <= BLOCK_PLAIN_MAX);
	/*
	 * A reserved position must be filled: run out of memory before the reservation, not after.
	 */
	rc = seal_ready();
	if (rc < 0)
		return rc;
	if (level != 0 && len >= COMPRESS_MIN &&
	    compress_block(plain, len, level, &body, &body_len))
		f.flags = BLOCK_FLAG_ZSTD;
	else if (kind == BLOCK_DATA)
		f.flags = (uint8_t)block_data_flags((uint32_t)len);
	f.body_len = sealed_len((uint32_t)body_len, f.flags);
	stored_len = FRAME_LEN + f.body_len;

	pthread_mutex_lock(&log->mu);
	rc = log_reserve_locked(log, kind, stored_len);
	if (rc == 0) {
		slot = log_push_slot_locked(log, stored_len);
		*out = (struct block_ptr){.pos = slot->pos,
					  .stored_len = stored_len,
					  .plain_len = (uint32_t)len};
		/* Stays valid: a key is freed only after all blocks under it are filled. */
		key = log->key;
	}
	pthread_mutex_unlock(&log->mu);
	if (rc < 0)
		return rc;
	return fill_slot(log, slot, key, &f, body, body_len);
}

void log_prepare(struct log *log)
{
	pthread_mutex_lock(&log->mu);
	/*
	 * A mount that writes nothing makes no spare; and a roll first uses up the one that is
	 * there.
	 */
	if (log->has_segment && !log->rolling && !log->stuck && !log->making_spare &&
	    log->spare != SPARE_WHOLE)
		(void)!log_make_spare_locked(log); /* the append that needs it meets the error */
	pthread_mutex_unlock(&log->mu);
}

log_pos log_end(struct log *log)
{
	return log->reserved;
}

uint64_t log_bytes(struct log *log)
{
	uint64_t bytes;

	/* On an error the figure is too high, rather than 0. */
	(void)!store_bytes(log->store, 0, log_durable_end(log), &bytes);
	return bytes;
}

leaf_no log_blocks_below_end(struct log *log)
{
	return log->blocks_before + atomic_load_explicit(&log->shm->pushed, memory_order_relaxed);
}

log_pos log_durable_end(struct log *log)
{
	return log->durable;
}

void log_newest_head(struct log *log, struct head *out)
{
	pthread_mutex_lock(&log->mu);
	*out = log->newest;
	pthread_mutex_unlock(&log->mu);
}

struct source *log_source(struct log *log)
{
	return &log->source.source;
}

struct blocks *log_blocks(struct log *log)
{
	return log->blocks;
}

struct catalog *log_catalog(struct log *log)
{
	return log->catalog;
}
