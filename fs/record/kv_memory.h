#ifndef KV_MEMORY_H_
#define KV_MEMORY_H_

/*
 * kv.h in memory: for tests, and for an index that need not outlive its storage's opening.
 *
 * A kv_memory is a table that outlives its openings.  As with RocksDB, a process that dies loses
 * nothing; a power cut loses the newest batches, each as a whole; and a write that failed shuts the
 * table until it is opened anew.
 */

#include "kv.h"

struct kv_memory;

/* kv_memory_new(): an empty table, or NULL.  kv_memory_free(m): free it; nobody has it open. */
struct kv_memory *kv_memory_new(void);
void kv_memory_free(struct kv_memory *m);

/*
 * kv_memory_open(m, out): open the table for writing; ${m} NULL: a new one, which is freed on
 * close.
 * Returns 0; -ERR_LOCKED, with a detail, if another has it open; -ENOMEM.
 */
MUST_CHECK int kv_memory_open(struct kv_memory *m, struct kv **out);

/*
 * kv_memory_set_fault(m, fn, ctx): before each read and write fn(ctx, op) is asked, ${op} being
 * "kv_get" or "kv_write"; a negative errno makes it fail.  As with RocksDB, a write that fails so
 * may have taken effect all the same: it has if fn(ctx, "kv_stays") is not 0.  NULL: no more
 * faults.
 */
void kv_memory_set_fault(struct kv_memory *m, int (*fn)(void *ctx, const char *op), void *ctx);

/*
 * kv_memory_pending(m): how many batches a power cut may lose.  kv_memory_cut(m, lost): a power cut
 * that loses the newest ${lost} of them.
 * kv_memory_let_go(m, dead): close it behind its opener's back: the opener's calls fail with -EIO
 * from now on.  ${dead}: the opener's threads ended where they stood, and may have held the lock.
 */
size_t kv_memory_pending(const struct kv_memory *m);
void kv_memory_cut(struct kv_memory *m, size_t lost);
void kv_memory_let_go(struct kv_memory *m, bool dead);

#endif /* !KV_MEMORY_H_ */
