#ifndef JOURNAL_H_
#define JOURNAL_H_

/*
 * The changes that are in memory only, for whoever comes after a process that was killed.
 *
 * Two generations in shared memory: one is filled by operations, the other holds what the delta
 * holds that is on its way into the log.  A generation has the number of the delta that covers it,
 * so a delta found in the log says what is no longer needed.
 *
 *	operations --journal_publish--> filling --journal_turn--> on its way --journal_sent--> empty
 *
 * An operation is one entry: its records are traced behind the published length, and one store
 * makes them count, so a kill in the middle leaves nothing of it.
 *
 *	entry: u32 length of all, u32 0, u64 number, u64 tag, u64 next_ino, u64 inodes, u64 bytes,
 *	       records of a delta
 *
 * A journal without memory (j->area NULL) does nothing.  Not locked: whoever changes the overlay
 * holds the view's lock, which covers it; journal_used() needs none.
 */

#include "delta.h"
#include "overlay.h"

#include <stdatomic.h>

#define JOURNAL_VERSION 1u
#define JOURNAL_ENTRY_LEN 48u
#define JOURNAL_GEN_BYTES (4u << 20)
#ifndef JOURNAL_FLUSH_BYTES /* the simulation has smaller ones */
#define JOURNAL_FLUSH_BYTES (1u << 20) /* beyond this a delta is made */
#define JOURNAL_HIGH_BYTES (2u << 20)  /* beyond this operations make one first: the rest is for
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
	struct overlay_trace trace; /* of the filling generation; its room for an entry's head is
				       taken already */
};

size_t journal_bytes(void);

/* journal_init(j, mem, seq): an empty one in journal_bytes() bytes; ${seq}: of the next delta. */
void journal_init(struct journal *j, void *mem, uint64_t seq);

/*
 * journal_attach(j, mem): the one that a dead process left.  Nothing is published to it before
 * journal_resume().  Returns 0, or -ERR_VERSION or -ERR_DAMAGED with a detail.
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
 * journal_walk(j, gen, fn, ctx): the entries of a generation in order.  Stops at fn's first
 * non-zero, returned; else 0 or -ERR_DAMAGED with a detail.
 */
MUST_CHECK int journal_walk(const struct journal *j, unsigned gen,
			    int (*fn)(void *ctx, const struct journal_entry *e), void *ctx);

/*
 * journal_publish(j, tag, counts): what was traced since the last call, if anything, is an entry.
 * Returns its number or 0.
 */
uint64_t journal_publish(struct journal *j, uint64_t tag, const struct volume_counts *counts);

/*
 * journal_turn(j, seq): what was published is in a delta now, which is on its way; the next delta
 * has number ${seq}.  The other generation is empty (asserted).
 */
void journal_turn(struct journal *j, uint64_t seq);

/* journal_sent(j): that delta is in the log.  Any thread that holds the flush lock. */
void journal_sent(struct journal *j);

/* journal_void(j): what was published changed nothing. */
void journal_void(struct journal *j);

#endif /* !JOURNAL_H_ */
