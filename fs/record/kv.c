/* kv.h, passed on to the back end that keeps the table. */

#include "kv.h"

#include "kv_ops.h"

void kv_close(struct kv *kv)
{
	if (kv)
		kv->ops->close(kv);
}

int kv_refresh(struct kv *kv)
{
	return kv->ops->refresh(kv);
}

int kv_reopen(struct kv *kv, bool fresh)
{
	return kv->ops->reopen(kv, fresh);
}

int kv_get(struct kv *kv, const void *key, size_t key_len, void *out, size_t cap, size_t *out_len)
{
	return kv->ops->get(kv, key, key_len, out, cap, out_len);
}

int kv_last(struct kv *kv, const void *key, size_t key_len, uint8_t out[KV_KEY_MAX],
	    size_t *out_len)
{
	return kv->ops->last(kv, key, key_len, out, out_len);
}

struct kv_batch *kv_batch_new(struct kv *kv)
{
	return kv->ops->batch_new();
}

void kv_batch_put(struct kv *kv, struct kv_batch *b, const void *key, size_t key_len,
		  const void *value, size_t len)
{
	kv->ops->batch_put(b, key, key_len, value, len);
}

int kv_batch_write(struct kv *kv, struct kv_batch *b)
{
	return kv->ops->batch_write(kv, b, false);
}

int kv_batch_write_durable(struct kv *kv, struct kv_batch *b)
{
	return kv->ops->batch_write(kv, b, true);
}
