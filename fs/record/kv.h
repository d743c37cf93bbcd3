#ifndef KV_H_
#define KV_H_

/*
 * Ordered keys and values: as much as the catalog needs.  kv_rocks.c keeps them in a folder with
 * RocksDB, and is the one place that includes it; for other back ends see kv_ops.h.  Keys are
 * ordered by memcmp().  Writes are not synced unless stated: a killed process loses none of them; a
 * power cut may lose the newest, whole batches at a time.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KV_KEY_MAX 256u

struct kv;
struct kv_batch;

/*
 * kv_open(dir, writable, out): ${writable} makes it where missing and excludes other writers;
 * otherwise no lock is taken, nothing is written, and reads see what was there on opening.
 * Returns 0; -ERR_ABSENT (not ${writable} and there is none); -ERR_LOCKED; -ERR_DAMAGED (RocksDB
 * refuses it); -errno; with a detail.  kv_close(NULL) is a no-op.
 */
MUST_CHECK int kv_open(const char *dir, bool writable, struct kv **out);
void kv_close(struct kv *kv);

/*
 * kv_refresh(kv): let a reader see what is there now.  On an error it sees what it saw before.  Any
 * thread.  Returns as kv_open().
 */
MUST_CHECK int kv_refresh(struct kv *kv);

/*
 * kv_reopen(kv, fresh): for a writer whose write failed, since RocksDB refuses all writes from then
 * on: open it anew; with ${fresh}, empty.  On an error reads and writes fail with -EIO until the
 * next kv_reopen().  Any thread.  Returns as kv_open(), or -errno.
 */
MUST_CHECK int kv_reopen(struct kv *kv, bool fresh);

/*
 * kv_get(kv, key, key_len, out, cap, out_len): the value of a key, of at most ${cap} bytes.
 * kv_last(kv, key, key_len, out, out_len): the greatest key that is not above ${key}; of at most
 * KV_KEY_MAX bytes.
 * A read that fails because a writer removed the reader's files is tried again on a new view.  Any
 * thread.
 * Return 0; -ERR_ABSENT if there is none; -ERR_DAMAGED (also if too long); -EIO.
 */
MUST_CHECK int kv_get(struct kv *kv, const void *key, size_t key_len, void *out, size_t cap,
		      size_t *out_len);
MUST_CHECK int kv_last(struct kv *kv, const void *key, size_t key_len, uint8_t out[KV_KEY_MAX],
		       size_t *out_len);

/*
 * kv_remove(dir): remove it.  What a power cut meanwhile leaves behind holds no key.  Nobody has it
 * open.
 * Returns 0, also if there is none, or -errno.
 */
MUST_CHECK int kv_remove(const char *dir);

/*
 * Changes that become visible all at once, or not at all.
 * kv_batch_new(kv): for a write to ${kv}.  NULL if there is no memory; callers may go on with NULL,
 * which the write refuses.
 */
struct kv_batch *kv_batch_new(struct kv *kv);
void kv_batch_put(struct kv *kv, struct kv_batch *b, const void *key, size_t key_len,
		  const void *value, size_t len);
/*
 * kv_batch_write(kv, b): takes ${b}.  kv_batch_write_durable(): the same, and no power cut loses
 * it, or what was written before it.  Any thread.  Return 0, -ENOSPC, -EIO, -ENOMEM, -ERR_DAMAGED.
 */
MUST_CHECK int kv_batch_write(struct kv *kv, struct kv_batch *b);
MUST_CHECK int kv_batch_write_durable(struct kv *kv, struct kv_batch *b);

#endif /* !KV_H_ */
