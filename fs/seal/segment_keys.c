/*
 * A bounded cache of segment keys.
 *
 * Key idea: a table with one place per segment number modulo its size.  A newer key takes the
 * place; the older one lives on until its last holder has put it back.
 *
 * Invariant: a key's references are its holders and its place in the table.  The key is freed when
 * the last of them goes, so nobody ever holds a freed key.
 */

#include "segment_keys.h"

#include "err.h"
#include "frame.h"
#include "locks.h"
#include "params.h"
#include "secret.h"
#include "source.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct held_key {
	segment_no number; /* of the segment */
	struct segment_key *key;
	unsigned refs; /* Guarded by the cache's mu. */
};

struct segment_keys {
	struct source *src;
	uint8_t *log_key; /* secret */
	pthread_mutex_t mu;
	/* Each at its segment's number modulo the size, or NULL.  Guarded by mu. */
	struct held_key *place[SEGMENT_KEYS_MAX];
};

static void unref_locked(struct segment_keys *keys, struct held_key *k) REQUIRES(keys->mu);
static struct held_key *find_locked(struct segment_keys *keys, segment_no number)
	REQUIRES(keys->mu);
static void keep_locked(struct segment_keys *keys, struct held_key *k) REQUIRES(keys->mu);

int segment_keys_new(struct source *src, const uint8_t log_key[LOG_KEY_LEN],
		     struct segment_keys **out)
{
	struct segment_keys *keys = calloc(1, sizeof(*keys));

	if (!keys)
		return -ENOMEM;
	keys->log_key = secret_alloc(LOG_KEY_LEN);
	if (!keys->log_key) {
		free(keys);
		return -ENOMEM;
	}
	memcpy(keys->log_key, log_key, LOG_KEY_LEN);
	keys->src = src;
	pthread_mutex_init(&keys->mu, NULL);
	*out = keys;
	return 0;
}

static void unref_locked(struct segment_keys *keys, struct held_key *k)
{
	(void)keys; /* named for its lock */
	if (--k->refs > 0)
		return;
	segment_key_free(k->key);
	free(k);
}

void segment_keys_put(struct segment_keys *keys, struct held_key *k)
{
	pthread_mutex_lock(&keys->mu);
	unref_locked(keys, k);
	pthread_mutex_unlock(&keys->mu);
}

void segment_keys_free(struct segment_keys *keys)
{
	if (!keys)
		return;
	pthread_mutex_lock(&keys->mu);
	for (size_t i = 0; i < SEGMENT_KEYS_MAX; i++) {
		if (keys->place[i])
			unref_locked(keys, keys->place[i]);
	}
	pthread_mutex_unlock(&keys->mu);
	secret_free(keys->log_key);
	pthread_mutex_destroy(&keys->mu);
	free(keys);
}

static struct held_key *find_locked(struct segment_keys *keys, segment_no number)
{
	struct held_key *k = keys->place[number % SEGMENT_KEYS_MAX];

	if (!k || k->number != number)
		return NULL;
	k->refs++;
	return k;
}

static void keep_locked(struct segment_keys *keys, struct held_key *k)
{
	struct held_key **place = &keys->place[k->number % SEGMENT_KEYS_MAX];

	if (*place)
		unref_locked(keys, *place);
	k->refs++;
	*place = k;
}

static int load(struct segment_keys *keys, segment_no number, struct held_key **out)
{
	uint8_t block[SEGMENT_BLOCK_LEN];
	struct segment_header h;
	struct held_key *k;
	int rc;

	rc = keys->src->ops->header(keys->src, number, block);
	if (rc < 0)
		return rc;
	rc = segment_header_decode(block, number, &h);
	if (rc == -ERR_VERSION)
		return rc;
	if (rc < 0 || memcmp(h.volume, keys->src->params->id, VOLUME_ID_LEN) != 0)
		return err_say(-ERR_DAMAGED, "segment %llu: its header is not what was written",
			       (unsigned long long)number);
	k = malloc(sizeof(*k));
	if (!k)
		return -ENOMEM;
	*k = (struct held_key){.number = number, .refs = 1};
	rc = segment_key_new(keys->log_key, &h, &k->key);
	if (rc < 0) {
		free(k);
		return rc;
	}
	*out = k;
	return 0;
}

int segment_keys_get(struct segment_keys *keys, segment_no number, struct held_key **out)
{
	struct held_key *k, *other;
	int rc;

	pthread_mutex_lock(&keys->mu);
	k = find_locked(keys, number);
	pthread_mutex_unlock(&keys->mu);
	if (!k) {
		rc = load(keys, number, &k);
		if (rc < 0)
			return rc;
		/* Another thread may have loaded it meanwhile: then use that one. */
		pthread_mutex_lock(&keys->mu);
		other = find_locked(keys, number);
		if (other)
			unref_locked(keys, k);
		else
			keep_locked(keys, k);
		pthread_mutex_unlock(&keys->mu);
		if (other)
			k = other;
	}
	*out = k;
	return 0;
}

bool segment_keys_has(struct segment_keys *keys, segment_no number)
{
	struct held_key *k;

	pthread_mutex_lock(&keys->mu);
	k = find_locked(keys, number);
	if (k)
		unref_locked(keys, k);
	pthread_mutex_unlock(&keys->mu);
	return k;
}

const struct segment_key *segment_keys_key(const struct held_key *k)
{
	return k->key;
}
