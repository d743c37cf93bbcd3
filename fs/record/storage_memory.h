#ifndef STORAGE_MEMORY_H_
#define STORAGE_MEMORY_H_

/*
 * storage.h in memory: for tests and the simulation.  It promises what storage.h asks for, and no
 * more; and it behaves as badly as storage.h allows: it fails when told to, loses in a crash what
 * was not durable, keeps its commits apart, and may carry out later what it has reported as failed.
 *
 * A memory holds the volumes; it outlives the pools that are opened from it, as a disk or a cluster
 * does.  Several pools of one memory act as several servers.
 */

#include "storage.h"

struct memory;

/* memory_new(seed): an empty one, whose dice follow from ${seed}; NULL: no memory for it. */
struct memory *memory_new(uint64_t seed);

/* memory_free(m): no pool of it is open, unless it died.  NULL is a no-op. */
void memory_free(struct memory *m);

/*
 * storage_memory_open(m, name, out): a pool in ${m}, with that name in messages (borrowed).
 * Returns 0 or -ENOMEM.
 */
MUST_CHECK int storage_memory_open(struct memory *m, const char *name, struct storage_pool **out);

/*
 * memory_set_fault(m, fn, ctx): before each operation fn(ctx, op) is asked, ${op} being the slot's
 * name in storage.h ("commit" for a write() with one; for "kv_..." see kv_memory.h).  0: it goes
 * on.  A negative errno: it fails with that, and does nothing.  MEMORY_LATE | E: a write fails with
 * -E, and is carried out later, or never.  NULL: no more faults.
 *
 * memory_set_pause(m, fn, ctx): fn(ctx) is called, without a lock, where an operation that makes
 * something durable takes its time: before it has had its effect, or after.
 */
/*
 * memory_set_deaf(m, yes): simulate a faulty back end: a commit is taken for durable, and its bytes
 * are not.
 */
#define MEMORY_LATE 0x10000
void memory_set_deaf(struct memory *m, bool yes);
void memory_set_fault(struct memory *m, int (*fn)(void *ctx, const char *op), void *ctx);
void memory_set_pause(struct memory *m, void (*fn)(void *ctx), void *ctx);

/* What a crash leaves of what was not durable. */
enum memory_crash {
	MEMORY_KILL, /* everything, still not durable: the processes died, and no more */
	MEMORY_NONE, /* nothing */
	MEMORY_SOME, /* any of it, sector by sector */
};

/*
 * memory_crash(m, how): crash.  All pools and storages of ${m} that are open are dead: every call
 * on them fails with -EIO and has no effect, except close().
 */
void memory_crash(struct memory *m, enum memory_crash how);

/* memory_expire(m): let all leases run out: the next take() by another succeeds. */
void memory_expire(struct memory *m);

/*
 * For tests that damage and inspect volume ${id} without its holder's knowledge, while no other
 * thread is in a call.
 *
 * memory_put(m, id, pos, bytes, len): write these bytes, durably; the segment grows, or is made.
 * memory_get(m, id, pos, bytes, len): read what readers see; false: less is there.
 * memory_len(m, id, number): the length of a segment; -1: there is none.
 * memory_drop(m, id, number): remove a segment.
 * memory_drop_index(m, id): remove the index, if the volume is there; not while it is open.
 */
void memory_put(struct memory *m, const uint8_t id[VOLUME_ID_LEN], log_pos pos, const void *bytes,
		size_t len);
bool memory_get(struct memory *m, const uint8_t id[VOLUME_ID_LEN], log_pos pos, void *bytes,
		size_t len);
int64_t memory_len(struct memory *m, const uint8_t id[VOLUME_ID_LEN], segment_no number);
void memory_drop(struct memory *m, const uint8_t id[VOLUME_ID_LEN], segment_no number);
void memory_drop_index(struct memory *m, const uint8_t id[VOLUME_ID_LEN]);

#endif /* !STORAGE_MEMORY_H_ */
