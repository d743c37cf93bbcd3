#ifndef LOG_SHM_H_
#define LOG_SHM_H_

/*
 * What a log leaves to its successor when its process is killed: the ring, and which of its bytes
 * are in no segment file yet.  It lies in memory that both processes share, so it has the dead
 * one's last stores, whatever that was doing.
 *
 *	written  every byte below is in a segment file
 *	filled   every block below is in the ring or in a file
 *	old_end  not 0 and written <= old_end: the segment before the newest ends here, and its
 *		 file is not finished
 *	slots    blocks from filled on that have a position, by count: folded <= i < pushed.  Done
 *		 means that the bytes are in the ring.  A block may be done, and relied on, before
 *		 one below it is.  What the dead process left unfinished in between becomes a
 *		 block that nothing points to, so that the walk finds the ones behind it.
 *
 * Order of stores, each made only after what it says is true: old_end before filled passes it;
 * written before the ring reuses the space of the bytes below it; filled before folded.
 */

#include "compiler.h"
#include "numbers.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct log_config;
struct store;

#define LOG_SLOTS 1024u /* blocks reserved and not yet folded */
#define LOG_SHM_VERSION 1u

struct shm_slot {
	log_pos pos;
	uint32_t len;
	_Atomic uint32_t done;
};

struct log_shm {
	uint32_t version;
	uint32_t ring_offset; /* from this struct to the ring's memory; 0: the ring is elsewhere */
	uint64_t ring_bytes;
	_Atomic log_pos written, filled, old_end;
	_Atomic uint64_t pushed, folded;
	struct shm_slot slots[LOG_SLOTS];
};

/* log_shm_bytes(ring_bytes): how much memory log_shm_init() needs, in whole huge pages. */
size_t log_shm_bytes(size_t ring_bytes);

/*
 * log_shm_init(mem, ring_bytes): lay out shared memory with nothing in it in log_shm_bytes() bytes
 * at ${mem}, which is aligned to a huge page (2 MiB).  Returns it.  log_shm_at(): where it is.
 */
struct log_shm *log_shm_init(void *mem, size_t ring_bytes);
struct log_shm *log_shm_at(void *mem, size_t ring_bytes);

/*
 * log_shm_reset(k): empty it; all that it held is durable.  A kill after any of its stores leaves
 * shared memory that log_rescue() accepts.
 */
void log_shm_reset(struct log_shm *k);

/*
 * log_rescue(cfg, st): write what cfg->shm holds into the segment files of ${st}, so that recovery
 * finds every block that was whole.  Changes nothing in the shared memory but positions that were
 * not filled, so it can be repeated if it is interrupted.
 * Returns 0; -ERR_VERSION for shared memory of another layout; -ERR_DAMAGED; -ENOSPC; -EIO;
 * -ENOMEM.
 */
MUST_CHECK int log_rescue(const struct log_config *cfg, struct store *st);

#endif /* !LOG_SHM_H_ */
