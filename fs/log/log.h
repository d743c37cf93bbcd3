#ifndef LOG_H_
#define LOG_H_

/*
 * The log of a live volume: append, group commit, heads, recovery of the tail.
 *
 * Callers seal their own blocks, in parallel, into a ring buffer (the tail); only the reservation
 * of a position is serial.  The thread that finds a batch full, or must sync, writes the ring out
 * with O_DIRECT; one fdatasync serves all that wait.  Every open continues the log in a fresh
 * segment, so a position under one salt is never written twice.
 */

#include "block.h"
#include "compiler.h"
#include "head.h"

#include <stdbool.h>

struct log;
struct log_shm;
struct params;
struct source;
struct catalog;
struct blocks;

#ifndef LOG_RING_DEFAULT /* the simulation has a smaller one */
#define LOG_RING_DEFAULT ((size_t)16 << 20)
#endif

struct log_config {
	const char *volume_dir;
	const struct params *params;  /* borrowed, must outlive the log */
	const uint8_t *log_key;	      /* LOG_KEY_LEN bytes, copied into locked memory */
	const uint8_t *writer_secret; /* 64 bytes Ed25519, copied into locked memory; its epoch
					 is params_epoch() */
	size_t ring_bytes;	      /* power of two, 4 to 64 MiB; 0: 16 MiB */
	struct log_shm *shm;	      /* log_shm.h; its ring becomes the log's; NULL: none */
	bool rescue;		      /* first write out what ${shm} holds */
};

/* What recovery found after the newest head. */
struct log_tail {
	struct head head; /* newest head; number 0: none (a volume just made) */
	log_pos end;	  /* where the log ends */
	struct block_ptr *deltas; /* owned by the caller (free): BLOCK_DELTA blocks after the
				     head, in order */
	size_t n_deltas;
	struct block_ptr *checkpoints; /* owned by the caller (free): BLOCK_CHECKPOINT blocks
					  after the head, in order */
	size_t n_checkpoints;
	uint64_t dropped_bytes; /* bytes behind the end, no whole block, that were cut off */
};

/*
 * log_open(cfg, out, out_tail): open the log in ${cfg->volume_dir} for writing.  The caller holds
 * the volume's lock.  With cfg->rescue, log_rescue() runs first, and its errors are returned too;
 * the shared memory is empty on success.
 * Recovery resumes at the catalog's newest head (a missing or damaged catalog is rebuilt), walks
 * the blocks after it, opening each with its key, up to the first that is torn, and cuts the last
 * segment there.  An empty VOLUME/log is a volume just made.
 * Returns 0; -ERR_DAMAGED (bytes before the last segment's tail, or before any signed head, are not
 * what was written, or a head that the catalog knows is gone: the log is not changed);
 * -ERR_TAMPERED; -ERR_VERSION; -ERR_WRONG_KEY (the writer key is not that of the newest epoch);
 * -errno.
 */
MUST_CHECK int log_open(const struct log_config *cfg, struct log **out, struct log_tail *out_tail);

/*
 * log_close(log): make all durable, cut the last segment to its length, leave a short spare.  No
 * other thread may be using ${log}.  Frees it whatever it returns: 0 or the first error.
 */
MUST_CHECK int log_close(struct log *log);

/*
 * log_append(log, kind, plain, len, level, out): compress at zstd ${level} (0: do not; the result
 * is kept only where it saves at least 1/16), seal and append the 1 to BLOCK_PLAIN_MAX bytes of a
 * sealed ${kind}.  Readable on return, durable after log_sync().  Blocks while the ring is full.
 * Any thread.
 * Returns 0; -ENOSPC (while there is no whole spare, BLOCK_DATA, BLOCK_NODE and BLOCK_CHECKPOINT
 * are refused, so that deltas still have room; they are accepted again once there is space);
 * -ENOMEM; -EIO; -ERR_STUCK after a failed write or sync whose effect is unknown, or when no head
 * was added for HISTORY_LEAVES_MAX blocks.
 */
MUST_CHECK int log_append(struct log *log, enum block_kind kind, const void *plain, size_t len,
			  int level, struct block_ptr *out);

/*
 * log_sync(log, upto): return when every byte below ${upto} (UINT64_MAX: all appended so far) is
 * durable.  Any thread.
 * Returns 0; -ENOSPC (nothing is lost, a later sync tries again); -EIO or -ERR_STUCK (permanent:
 * every later sync of bytes that are not durable fails too).
 */
MUST_CHECK int log_sync(struct log *log, log_pos upto);

/*
 * log_add_head(log, h): ${h} gives checkpoint and deltas (and time_ns, raised if it is not after
 * the newest head's); the rest is filled in.  Syncs, signs, appends the head, syncs, puts it
 * into the catalog; on return ${h} is durable and complete.  Blocks appended by other threads
 * meanwhile may or may not be below it.  One caller at a time.
 * Returns as log_sync(), or -ENOMEM.  After an error the head may still have become part of the
 * log; if so, the next call begins by putting it into the catalog.
 */
MUST_CHECK int log_add_head(struct log *log, struct head *h);

/*
 * log_end(log): position after the newest reservation.  log_blocks_below_end(log): how many blocks
 * lie below it, as a head states it.  log_durable_end(log): everything below is durable.  Any
 * thread, cheap.
 */
log_pos log_end(struct log *log);
leaf_no log_blocks_below_end(struct log *log);
log_pos log_durable_end(struct log *log);

/* log_bytes(log): how many bytes the durable log takes in its segment files.  Any thread. */
uint64_t log_bytes(struct log *log);

/*
 * log_newest_head(log, out): a copy of the newest head that is durable and in the catalog; number
 * 0 if none.  Any thread.
 */
void log_newest_head(struct log *log, struct head *out);

/*
 * log_prepare(log): make a spare segment once the log is being written.  A housekeeping thread
 * calls it now and then.
 */
void log_prepare(struct log *log);

/*
 * The log as a source (serves bytes still in the ring too) and its parts, all borrowed, valid
 * until log_close().
 */
struct source *log_source(struct log *log);
struct blocks *log_blocks(struct log *log);
struct catalog *log_catalog(struct log *log);

#endif /* !LOG_H_ */
