/*
 * The cursors in a catalog: a few bytes under a name, such as what an embassy has acknowledged.
 *
 * Key idea: nothing in the log can make them anew, so each is written by itself, not in a head's
 * batch, and whoever clears a catalog carries them over by name (rebuild.c).
 *
 * Invariant: a walk over names keeps its place by the last name alone, and holds no lock over its
 * callback.
 */

#include "catalog_internal.h"

#include "err.h"
#include "kv.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define CURSOR_NAME_MAX (KV_KEY_MAX - 1)

static int cursor_key(const char *name, uint8_t out[KV_KEY_MAX], size_t *out_len)
{
	size_t len = strlen(name);

	if (len > CURSOR_NAME_MAX)
		return -ENAMETOOLONG;
	out[0] = 'C';
	memcpy(out + 1, name, len);
	*out_len = 1 + len;
	return 0;
}

int catalog_put_cursor(struct catalog *c, const char *name, const void *value, size_t len)
{
	uint8_t key[KV_KEY_MAX];
	struct kv_batch *b;
	size_t key_len;
	int rc = cursor_key(name, key, &key_len);

	assert(c->mode == CATALOG_WRITE);
	if (rc < 0)
		return rc;
	b = kv_batch_new(c->kv);
	kv_batch_put(c->kv, b, key, key_len, value, len);
	return kv_batch_write(c->kv, b);
}

int catalog_get_cursor(struct catalog *c, const char *name, void *value, size_t *len)
{
	uint8_t key[KV_KEY_MAX];
	size_t key_len, got;
	int rc = cursor_key(name, key, &key_len);

	if (rc == 0)
		rc = kv_get(c->kv, key, key_len, value, *len, &got);
	if (rc == 0)
		*len = got;
	return rc;
}

/* The greatest key that is below ${key}. */
static void step_before(uint8_t key[KV_KEY_MAX], size_t *len)
{
	if (key[*len - 1] == 0) {
		--*len;
		return;
	}
	key[*len - 1]--;
	memset(key + *len, 0xff, KV_KEY_MAX - *len);
	*len = KV_KEY_MAX;
}

int catalog_cursors(struct catalog *c, const char *prefix, int (*fn)(void *ctx, const char *name),
		    void *ctx)
{
	uint8_t all[KV_KEY_MAX], key[KV_KEY_MAX], found[KV_KEY_MAX + 1];
	size_t prefix_len, len = KV_KEY_MAX;
	int rc = cursor_key(prefix, all, &prefix_len);

	if (rc < 0)
		return rc;
	memset(key, 0xff, KV_KEY_MAX);
	memcpy(key, all, prefix_len);
	while (rc == 0) {
		rc = kv_last(c->kv, key, len, found, &len);
		if (rc == -ERR_ABSENT)
			return 0;
		if (rc < 0)
			return rc;
		if (len < prefix_len || memcmp(found, all, prefix_len) != 0)
			return 0;
		found[len] = '\0';
		if (strlen((const char *)found) != len)
			return err_say(-ERR_DAMAGED, "catalog: a cursor's name has a NUL");
		rc = fn(ctx, (const char *)found + 1);
		memcpy(key, found, len);
		step_before(key, &len);
	}
	return rc < 0 ? rc : 0;
}
