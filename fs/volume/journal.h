#ifndef JOURNAL_H_
#define JOURNAL_H_

/*
 * The changes that are only in memory, kept for the successor of a process that was killed.
 *
 * There are two generations in shared memory.  Operations fill one.  The other holds the changes of
 * the delta that is on its way into the log.  A generation has the number of the delta that covers
 * it, so a delta found in the log tells which generation is no longer needed.
 *
 *	operations --journal_publish--> filling --journal_turn--> on its way --journal_sent--> empty
 *
 * An operation is one entry.  Its records are written beyond the published length, and one atomic
 * store makes them count.  So a kill in the middle leaves no part of the operation.
 *
 *	entry: u32 length of all, u32 0, u64 number, u64 tag, u64 next_ino, u64 inodes, u64 bytes,
 *	       records of a delta
 *
 * A journal without memory (j->area NULL) does nothing.  It has no lock: the thread that changes
 * the overlay holds the view's lock, which covers the journal too; journal_used() needs none.
 */

#include "delta.h"
#include "overlay.h"

#include <stdatomic.h>

#define JOURNAL_VERSION 1u
#define JOURNAL_ENTRY_LEN 48u
#define JOURNAL_GEN_BYTES (4u << 20)
#ifndef JOURNAL_FLUSH_BYTES /* the simulation has smaller ones */
#define JOURNAL_FLUSH_BYTES (1u << 20) /* beyond this, a delta is made */
#define JOURNAL_HIGH_BYTES (2u << 20)  /* beyond this, operations make one first; the rest is for
					  those under way, 32 of 64 KiB at most */
#endif

struct journal_area {
	uint32_t version, gen_bytes;
	_Atomic uint64_t number; /* of the newest entry */
	_Atomic uint32_t filling;
	struct {
		_Atomic uint64_t seq; /* of the delta that covers it */
		_Atomic uint64_t len;
	} gen[2];
};

struct journal {
	struct journal_area *area;
	struct overlay_trace trace; /* of the filling generation; room for the next entry's
				       head is reserved already */
};

size_t journal_bytes(void);

/*
 * journal_init(j, mem, seq): make an empty journal in journal_bytes() bytes.  ${seq} is the number
 * of the next delta.
 */
void journal_init(struct journal *j, void *mem, uint64_t seq);

/*
 * journal_attach(j, mem): use the journal that a dead process left.  Nothing may be published to it
 * before journal_resume().  Returns 0, or -ERR_VERSION or -ERR_DAMAGED with a detail.
 */
MUST_CHECK int journal_attach(struct journal *j, void *mem);
void journal_resume(struct journal *j);

static inline unsigned journal_filling(const struct journal *j)
{
	return atomic_load_explicit(&j->area->filling, memory_order_relaxed);
}

static inline uint64_t journal_seq(const struct journal *j, unsigned gen)
{
	return atomic_load(&j->area->gen[gen].seq);
}

/* journal_used(j): bytes in the filling generation. */
static inline size_t journal_used(const struct journal *j)
{
	return j->area ? atomic_load_explicit(&j->area->gen[journal_filling(j)].len,
					      memory_order_relaxed)
		       : 0;
}

struct journal_entry {
	uint64_t number, tag;
	struct volume_counts counts;
	const uint8_t *records;
	size_t records_len;
};

/*
 * journal_walk(j, gen, fn, ctx): call ${fn} for the entries of a generation in order, and stop at
 * its first non-zero result.  Returns that; else 0, or -ERR_DAMAGED with a detail.
 */
MUST_CHECK int journal_walk(const struct journal *j, unsigned gen,
			    int (*fn)(void *ctx, const struct journal_entry *e), void *ctx);

/*
 * journal_publish(j, tag, counts): make the records traced since the last call, if any, one entry.
 * Returns its number, or 0 if there were none.
 */
uint64_t journal_publish(struct journal *j, uint64_t tag, const struct volume_counts *counts);

/*
 * journal_turn(j, seq): the published entries are now in a delta that is on its way to the log; the
 * next delta has number ${seq}.  The other generation must be empty (asserted).
 */
void journal_turn(struct journal *j, uint64_t seq);

/* journal_sent(j): that delta is in the log.  Any thread that holds flush_mu. */
void journal_sent(struct journal *j);

/* journal_void(j): the published entries had no net effect; drop them. */
void journal_void(struct journal *j);

#endif /* !JOURNAL_H_ */
