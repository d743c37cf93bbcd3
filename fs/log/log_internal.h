#ifndef LOG_INTERNAL_H_
#define LOG_INTERNAL_H_

/*
 * What log.c, reserve.c, flush.c, addhead.c, logsource.c and recover.c share.
 *
 *	first <= ... <= durable <= written <= filled <= reserved
 *
 *	reserved  the next block begins here
 *	filled    every block below is in the ring (or on disk) and folded into the Merkle tree
 *	written   every byte below is in a segment file
 *	durable   every byte below survives a crash
 *
 * Between the last block of a segment and the start of the next there is a gap without bytes; each
 * of the four marks crosses it in one step.
 *
 * Segments, with the function that makes each transition:
 *
 *	no segment --begin_segment_locked--> rolling --finish_roll--> in segment --+
 *	                                       ^                                   |
 *	                                       +------begin_segment_locked---------+
 *
 * While rolling, blocks go into the ring for a segment that has no file yet; its spare is known to
 * exist.  The next thread to do I/O finishes the old segment's file (written, synced, cut), and
 * only then gives the new one its name.  So after any crash a segment with a successor is whole.
 *
 * Threads: one lock, mu, guards all that changes.  It is held over memory copies and hashes, never
 * over I/O.  I/O on segment files is done by one thread at a time, the one that set io_active; it
 * never waits for a reservation to be filled.  A thread that has reserved a position fills it
 * without waiting for any later one, so that filled always advances.
 *
 * Errors: bytes that could not be written for lack of space stay in the ring and are tried again.
 * After any other failed write, sync or cut, what is on disk is unknown: stuck is set for good.
 */

#include "format.h"
#include "history.h"
#include "locks.h"
#include "log_shm.h"
#include "newest.h"
#include "ring.h"
#include "source.h"

#include <pthread.h>
#include <stdatomic.h>

struct blocks;
struct catalog;
struct log_config;
struct log_tail;
struct params;
struct segment_key;
struct store;

#define LOG_RING_MIN ((size_t)4 << 20)
#define LOG_BATCH_MAX ((uint64_t)4 << 20) /* bytes of one write-out */
#define LOG_SPARE_RETRY_NS UINT64_C(200000000)
#define LOG_TAIL_MAX (64u << 10)	/* so much is copied to be written with a partial page */
#define LOG_SMALL_SYNC (256u << 10)	/* a sync of less than this is small */
#define LOG_SMALL_SYNCS 8u		/* so many in a row start the zeroing ahead */
#define LOG_ZERO_AHEAD ((uint64_t)1 << 20)
#define LOG_ZERO_LOW ((uint64_t)128 << 10) /* zero further when less than this is left */

enum spare_state {
	SPARE_UNKNOWN, /* not tried since the last one was used */
	SPARE_WHOLE,
	SPARE_SHORT, /* no file data until it is whole: retry at spare_retry_ns */
	SPARE_NONE,  /* could not be made; spare_rc says why; retry likewise */
};

struct log_source {
	struct source source; /* first: the ops get a pointer to it */
	struct log *log;
};

struct log {
	/* Set by log_open(), then constant. */
	const struct params *params;
	char *volume_dir;	/* owned */
	struct store *store;	/* owned */
	struct catalog *catalog; /* owned */
	struct blocks *blocks;	/* owned */
	struct log_source source;
	uint8_t *log_key;	/* secret */
	uint8_t *writer_secret; /* secret */
	epoch_no epoch;
	struct ring ring;
	struct log_shm *shm;	/* the slots, and every mark that a successor needs */
	struct log_shm own_shm; /* used where there will be no successor; it has no ring */
	uint64_t batch;		/* write out when so many bytes wait */
	leaf_no blocks_before;	/* in the log when the first slot was pushed */
	size_t head_sign_len;	/* bytes that signing adds to a head's text */

	/* Used by the I/O owner only, the thread that set io_active. */
	uint8_t *zeros; /* LOG_ZERO_AHEAD zero bytes, and behind them the tail */
	uint8_t *tail;	/* the last pages of a sync, padded */

	/* Used by log_add_head() only, which has one caller at a time. */
	struct head pending;	/* in the log, not yet in the catalog; number 0: none */
	bool catalog_shut;	/* a write to it failed: it must be opened anew */
	struct newest noted;	/* what newest-head says */

	pthread_mutex_t mu;
	pthread_cond_t io_free;   /* io_active or making_spare became false, or stuck true */
	pthread_cond_t filled_up; /* filled grew, or stuck became true */

	/* Guarded by mu (durable and reserved may be read without it). */
	log_pos first;		 /* where this mount's ring begins; UINT64_MAX: nothing in it yet */
	log_pos written, filled; /* by log_set_written(), log_set_filled() */
	_Atomic log_pos durable, reserved;
	uint8_t slot_leaf[LOG_SLOTS][HASH_LEN]; /* leaf hashes of the slots that are done */
	struct history hist;	 /* head: newest in the chain; merkle, leaves: of what is filled */
	struct head newest;	 /* newest durable head in the catalog */
	bool has_segment, rolling;
	segment_no segment; /* where reservations go */
	log_pos allocated;  /* up to here the segment has its space on the disk */
	uint64_t allocate_retry_ns;
	log_pos gap_from;	 /* end of the segment before it, or its own start */
	struct segment_key *key; /* of segment */
	log_pos old_end;	 /* while rolling: end of the segment to finish; 0: none */
	struct segment_key *old_key; /* while old_end */
	bool io_active, stuck;
	bool making_spare; /* or giving it back, or allocating more of the segment */
	enum spare_state spare;
	int spare_rc;
	uint64_t spare_retry_ns;
	unsigned small_syncs; /* in a row */
	bool no_zeroing;      /* zeroing failed once */
	log_pos zeroed_end;   /* in segment: zeros were written up to here */
};

/* log_check_locked(log): the invariants above. */
void log_check_locked(struct log *log) REQUIRES(log->mu);

/* Marks that the shared memory has as well; see log_shm.h for the order. */
static inline void log_set_written(struct log *log, log_pos pos) REQUIRES(log->mu);
static inline void log_set_filled(struct log *log, log_pos pos) REQUIRES(log->mu);
static inline void log_set_old_end(struct log *log, log_pos pos) REQUIRES(log->mu);

static inline void log_set_written(struct log *log, log_pos pos)
{
	log->written = pos;
	atomic_store_explicit(&log->shm->written, pos, memory_order_release);
}

static inline void log_set_filled(struct log *log, log_pos pos)
{
	log->filled = pos;
	atomic_store_explicit(&log->shm->filled, pos, memory_order_release);
}

static inline void log_set_old_end(struct log *log, log_pos pos)
{
	log->old_end = pos;
	atomic_store_explicit(&log->shm->old_end, pos, memory_order_release);
}

static inline unsigned log_n_slots_locked(const struct log *log) REQUIRES(log->mu);

/* How many blocks are reserved and not yet folded. */
static inline unsigned log_n_slots_locked(const struct log *log)
{
	const struct log_shm *k = log->shm;

	return (unsigned)(atomic_load_explicit(&k->pushed, memory_order_relaxed) -
			  atomic_load_explicit(&k->folded, memory_order_relaxed));
}

/*
 * log_reserve_locked(log, kind, len_max): wait until a block of up to ${len_max} bytes can begin at
 * log->reserved, rolling over to a new segment where needed.  May drop and retake mu.
 * Returns 0, -ENOSPC, -ENOMEM, -EIO or -ERR_STUCK.
 */
MUST_CHECK int log_reserve_locked(struct log *log, enum block_kind kind, uint32_t len_max)
	REQUIRES(log->mu);

/*
 * log_push_slot_locked(log, len): take the position, after log_reserve_locked() and before mu
 * is dropped.
 */
struct shm_slot *log_push_slot_locked(struct log *log, uint32_t len) REQUIRES(log->mu);

/*
 * log_slot_done_locked(log, slot, leaf): the block is in the ring; folds what has become
 * contiguous.
 */
void log_slot_done_locked(struct log *log, struct shm_slot *slot, const uint8_t leaf[HASH_LEN])
	REQUIRES(log->mu);

/*
 * log_make_spare_locked(log): try to get a whole spare.  Returns 0 when the state may have changed,
 * so that the caller looks again; or why there is no whole spare.  May drop and retake mu.
 */
MUST_CHECK int log_make_spare_locked(struct log *log) REQUIRES(log->mu);

/*
 * log_shrink_spare_locked(log): on a full disk, shrink the spare to make room for what the caller
 * could not write.  Drops and retakes mu.  False: there is no room to be had.
 */
MUST_CHECK bool log_shrink_spare_locked(struct log *log) REQUIRES(log->mu);

/*
 * log_flush_locked(log, sync): do one round of I/O as its owner: finish a roll if possible, then
 * write out what is filled: whole pages, at most a batch; with ${sync}, all of it, and sync.
 * io_active must be false.  Drops and retakes mu.
 * Returns 0, -ENOSPC (the next round tries again), -EIO or -ERR_STUCK.
 */
MUST_CHECK int log_flush_locked(struct log *log, bool sync) REQUIRES(log->mu);

/* log_flush_useful_locked(log): whether log_flush_locked(log, false) has anything to do. */
bool log_flush_useful_locked(const struct log *log) REQUIRES(log->mu);

/* log_stop_locked(log, rc, what): set stuck for good, and log why, once.  Returns ${rc}. */
int log_stop_locked(struct log *log, int rc, const char *what) REQUIRES(log->mu);

/*
 * log_catalog_pending(log): make log->pending durable and put it into the catalog.  By
 * log_add_head()'s one caller only.  Returns as log_sync(), or -ENOMEM.
 */
MUST_CHECK int log_catalog_pending(struct log *log) EXCLUDES(log->mu);

/*
 * log_note_newest(log, at_end): write newest-head if it is due; with ${at_end}, also if the file
 * names a lower head.  By log_add_head()'s one caller only.
 */
void log_note_newest(struct log *log, bool at_end);

/* log_source_init(log): ready log->source. */
void log_source_init(struct log *log);

/*
 * log_recover(cfg, store, out_catalog, hist, out_noted, tail): recover the log as log_open()
 * describes.  On success ${*out_catalog} is open and the caller's, ${hist} stands at the log's end,
 * ${*out_noted} is the head that newest-head names, and ${tail} is filled in.  The caller releases
 * ${hist}, whatever is returned.
 */
MUST_CHECK int log_recover(const struct log_config *cfg, struct store *store,
			   struct catalog **out_catalog, struct history *hist,
			   struct newest *out_noted, struct log_tail *tail);

#endif /* !LOG_INTERNAL_H_ */
