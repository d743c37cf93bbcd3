#ifndef KV_OPS_H_
#define KV_OPS_H_

/*
 * A back end of kv.h: RocksDB (kv_rocks.c) or memory (kv_memory.c).  Each function does what kv.h
 * says of the one with its name; a batch belongs to the back end that made it.
 */

#include "kv.h"

struct kv_ops {
	void (*close)(struct kv *kv);
	int (*refresh)(struct kv *kv);
	int (*reopen)(struct kv *kv, bool fresh);
	int (*get)(struct kv *kv, const void *key, size_t key_len, void *out, size_t cap,
		   size_t *out_len);
	int (*last)(struct kv *kv, const void *key, size_t key_len, uint8_t out[KV_KEY_MAX],
		    size_t *out_len);
	struct kv_batch *(*batch_new)(void);
	void (*batch_put)(struct kv_batch *b, const void *key, size_t key_len, const void *value,
			  size_t len);
	int (*batch_write)(struct kv *kv, struct kv_batch *b, bool durable);
};

struct kv {
	const struct kv_ops *ops;
};

#endif /* !KV_OPS_H_ */
