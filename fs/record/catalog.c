/*
 * The catalog: an index over a log.
 *
 * Key idea: one atomic batch per head (its reference, its time, the leaves before it).  So the
 * catalog always stands exactly at a head, whatever kill or power cut stopped the
 * writer; what was lost is scanned for in the log.
 *
 * Invariants:
 *  1. Heads run 1, 2, 3 ... without a gap, and there are as many leaves as the newest head says.
 *  2. Tiles only grow, so the state at any older number of leaves can still be had.
 *  3. No lock is held over a callback.
 */

#include "catalog_internal.h"

#include "bytes.h"
#include "head.h"
#include "kv.h"
#include "proof.h"

#include "err.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_KEY_LEN 9u
#define TIME_KEY_LEN 17u
#define TILE_KEY_LEN 10u
#define HEAD_VALUE_LEN 20u
#define ABOUT_LEN (4u + VOLUME_ID_LEN)

static void number_key(head_no number, uint8_t out[NUMBER_KEY_LEN])
{
	out[0] = 'H';
	put_be64(out + 1, number);
}

static void time_key(int64_t time_ns, head_no number, uint8_t out[TIME_KEY_LEN])
{
	out[0] = 'T';
	put_be64(out + 1, (uint64_t)time_ns ^ UINT64_C(1) << 63);
	put_be64(out + 9, number);
}

static void tile_key(unsigned level, uint64_t index, uint8_t out[TILE_KEY_LEN])
{
	out[0] = 'M';
	out[1] = (uint8_t)level;
	put_be64(out + 2, index);
}

/* The last key not after ${key} of its kind and length, into ${out}. */
static int last_of_kind(struct catalog *c, const uint8_t *key, size_t len, uint8_t out[KV_KEY_MAX])
{
	size_t found_len;
	int rc = kv_last(c->kv, key, len, out, &found_len);

	if (rc < 0)
		return rc;
	if (found_len == 0 || out[0] != key[0])
		return -ERR_ABSENT;
	if (found_len != len)
		return err_say(-ERR_DAMAGED, "catalog: a '%c' key of %zu bytes", key[0], found_len);
	return 0;
}

static int put_about(struct catalog *c, const uint8_t about[ABOUT_LEN])
{
	struct kv_batch *b = kv_batch_new(c->kv);

	kv_batch_put(c->kv, b, "V", 1, about, ABOUT_LEN);
	return kv_batch_write(c->kv, b);
}

/* Is this the catalog of our volume?  A new one becomes that. */
static int check_about(struct catalog *c)
{
	uint8_t about[ABOUT_LEN], value[KV_KEY_MAX], key[KV_KEY_MAX];
	size_t len;
	int rc;

	put_le32(about, FORMAT_VERSION);
	memcpy(about + 4, c->id, VOLUME_ID_LEN);
	rc = kv_get(c->kv, "V", 1, value, sizeof(value), &len);
	if (rc == -ERR_ABSENT) {
		/* New is what has no key at all. */
		rc = kv_last(c->kv, "\xff", 1, key, &len);
		if (rc == -ERR_ABSENT)
			return c->mode == CATALOG_READ ? rc : put_about(c, about);
		len = 0;
	}
	if (rc < 0)
		return rc;
	if (len >= 4 && get_le32(value) > FORMAT_VERSION)
		return err_say(-ERR_VERSION, "catalog: %s", err_text(-ERR_VERSION));
	if (len != ABOUT_LEN || memcmp(value, about, len) != 0)
		return err_say(-ERR_DAMAGED, "catalog: not of this volume");
	return 0;
}

/* The catalog's folder as owned text, or NULL. */
static char *folder_of(const char *volume_dir)
{
	char *dir;

	return asprintf(&dir, "%s/catalog", volume_dir) < 0 ? NULL : dir;
}

int catalog_open_in(struct kv *kv, const uint8_t id[VOLUME_ID_LEN], enum catalog_mode mode,
		    struct catalog **out)
{
	struct catalog *c = calloc(1, sizeof(*c));
	int rc = -ENOMEM;

	if (!c) {
		kv_close(kv);
		return rc;
	}
	c->kv = kv;
	c->mode = mode;
	memcpy(c->id, id, VOLUME_ID_LEN);
	rc = check_about(c);
	if (rc < 0) {
		catalog_close(c);
		return rc;
	}
	*out = c;
	return 0;
}

int catalog_open(const char *volume_dir, const uint8_t id[VOLUME_ID_LEN], enum catalog_mode mode,
		 struct catalog **out)
{
	char *dir = folder_of(volume_dir);
	struct kv *kv;
	int rc;

	if (!dir)
		return -ENOMEM;
	rc = kv_open(dir, mode == CATALOG_WRITE, &kv);
	free(dir);
	return rc < 0 ? rc : catalog_open_in(kv, id, mode, out);
}

void catalog_close(struct catalog *c)
{
	if (!c)
		return;
	kv_close(c->kv);
	free(c);
}

int catalog_remove(const char *volume_dir)
{
	char *dir = folder_of(volume_dir);
	int rc;

	if (!dir)
		return -ENOMEM;
	rc = kv_remove(dir);
	if (rc < 0)
		err_say(rc, "%s: can't be removed: %s", dir, err_text(rc));
	free(dir);
	return rc;
}

int catalog_refresh(struct catalog *c)
{
	return kv_refresh(c->kv);
}

int catalog_reopen(struct catalog *c)
{
	int rc;

	assert(c->mode == CATALOG_WRITE);
	c->edge_known = false;
	rc = kv_reopen(c->kv, false);
	if (rc == 0)
		rc = check_about(c);
	if (rc != -ERR_DAMAGED)
		return rc;
	rc = kv_reopen(c->kv, true);
	return rc == 0 ? check_about(c) : rc;
}

int catalog_set_whole(struct catalog *c)
{
	struct kv_batch *b = kv_batch_new(c->kv);

	assert(c->mode == CATALOG_WRITE);
	kv_batch_put(c->kv, b, "W", 1, "", 0);
	return kv_batch_write_durable(c->kv, b);
}

int catalog_is_whole(struct catalog *c)
{
	uint8_t value[KV_KEY_MAX];
	size_t len;
	int rc = kv_get(c->kv, "W", 1, value, sizeof(value), &len);

	if (rc == -ERR_ABSENT)
		return 0;
	return rc < 0 ? rc : 1;
}

int catalog_head(struct catalog *c, head_no number, struct head_ref *out)
{
	uint8_t key[NUMBER_KEY_LEN], value[HEAD_VALUE_LEN];
	size_t len;
	int rc;

	number_key(number, key);
	rc = kv_get(c->kv, key, sizeof(key), value, sizeof(value), &len);
	if (rc < 0)
		return rc;
	if (len != HEAD_VALUE_LEN)
		return err_say(-ERR_DAMAGED, "catalog: the entry of head %llu has %zu bytes",
			       (unsigned long long)number, len);
	*out = (struct head_ref){
		.number = number,
		.pos = get_le64(value),
		.stored_len = get_le32(value + 8),
		.time_ns = (int64_t)get_le64(value + 12),
	};
	return 0;
}

/* The head that a key found in the catalog names must be there. */
static int named_head(struct catalog *c, head_no number, struct head_ref *out)
{
	int rc = catalog_head(c, number, out);

	if (rc == -ERR_ABSENT)
		return err_say(-ERR_DAMAGED, "catalog: names head %llu, which it lacks",
			       (unsigned long long)number);
	return rc;
}

int catalog_newest(struct catalog *c, struct head_ref *out)
{
	uint8_t key[NUMBER_KEY_LEN], found[KV_KEY_MAX];
	int rc;

	number_key(UINT64_MAX, key);
	rc = last_of_kind(c, key, sizeof(key), found);
	return rc < 0 ? rc : named_head(c, get_be64(found + 1), out);
}

int catalog_head_at(struct catalog *c, int64_t time_ns, struct head_ref *out)
{
	uint8_t key[TIME_KEY_LEN], found[KV_KEY_MAX];
	int rc;

	time_key(time_ns, UINT64_MAX, key);
	rc = last_of_kind(c, key, sizeof(key), found);
	return rc < 0 ? rc : named_head(c, get_be64(found + 9), out);
}

int catalog_heads(struct catalog *c, head_no from, int (*fn)(void *ctx, const struct head_ref *r),
		  void *ctx)
{
	struct head_ref ref;
	int rc = 0;

	for (head_no number = from ? from : 1; rc == 0 && number > 0; number++) {
		rc = catalog_head(c, number, &ref);
		if (rc == 0)
			rc = fn(ctx, &ref);
		else if (rc == -ERR_ABSENT)
			return 0;
	}
	return rc < 0 ? rc : 0;
}

static int get_tile(void *ctx, unsigned level, uint64_t index, struct tile *out)
{
	struct catalog *c = ctx;
	uint8_t key[TILE_KEY_LEN];
	size_t len;
	int rc;

	tile_key(level, index, key);
	rc = kv_get(c->kv, key, sizeof(key), out->hash, sizeof(out->hash), &len);
	if (rc < 0)
		return rc;
	if (len == 0 || len % HASH_LEN != 0)
		return err_say(-ERR_DAMAGED, "catalog: a tile of %zu bytes", len);
	out->n = (unsigned)(len / HASH_LEN);
	return 0;
}

/* How many leaves there are: the last tile of level 0 tells. */
static int count_leaves(struct catalog *c, leaf_no *out)
{
	uint8_t key[TILE_KEY_LEN], found[KV_KEY_MAX];
	struct tile t;
	uint64_t index;
	int rc;

	*out = 0;
	tile_key(0, UINT64_MAX, key);
	rc = last_of_kind(c, key, sizeof(key), found);
	if (rc < 0)
		return rc == -ERR_ABSENT ? 0 : rc;
	index = get_be64(found + 2);
	if (index >= UINT64_MAX / TILE_WIDTH)
		return err_say(-ERR_DAMAGED, "catalog: a tile's number is too high");
	rc = get_tile(c, 0, index, &t);
	if (rc == 0)
		*out = index * TILE_WIDTH + t.n;
	return rc;
}

int catalog_leaf(struct catalog *c, leaf_no index, uint8_t out[HASH_LEN])
{
	struct tile t;
	int rc = get_tile(c, 0, index / TILE_WIDTH, &t);

	if (rc == 0 && !tile_has_leaf(&t, index % TILE_WIDTH))
		rc = -ERR_ABSENT;
	if (rc == 0)
		memcpy(out, t.hash[index % TILE_WIDTH], HASH_LEN);
	return rc;
}

int catalog_tile(struct catalog *c, uint64_t index, struct tile *out)
{
	return get_tile(c, 0, index, out);
}

int catalog_merkle(struct catalog *c, leaf_no n, struct merkle *out)
{
	const struct tile_io io = {.get = get_tile, .ctx = c};

	return tile_merkle(n, &io, out);
}

int catalog_prove(struct catalog *c, leaf_no n, const leaf_no *index, size_t k, struct buf *out)
{
	const struct tile_io io = {.get = get_tile, .ctx = c};

	return proof_make(n, index, k, &io, out);
}

static int load_edge(struct catalog *c)
{
	const struct tile_io io = {.get = get_tile, .ctx = c};
	leaf_no n = 0;
	int rc = catalog_newest(c, &c->newest);

	if (rc == -ERR_ABSENT) {
		c->newest = (struct head_ref){.time_ns = INT64_MIN};
		rc = 0;
	}
	if (rc == 0)
		rc = count_leaves(c, &n);
	if (rc == 0)
		rc = tile_edge_load(&c->edge, n, &io);
	if (rc == -ERR_ABSENT)
		rc = err_say(-ERR_DAMAGED, "catalog: lacks a tile");
	c->edge_known = rc == 0;
	return rc;
}

/* Where tiles are put. */
struct putting {
	struct kv *kv;
	struct kv_batch *batch;
};

static int put_tile(void *ctx, unsigned level, uint64_t index, const struct tile *t)
{
	const struct putting *to = ctx;
	uint8_t key[TILE_KEY_LEN];

	tile_key(level, index, key);
	kv_batch_put(to->kv, to->batch, key, sizeof(key), t->hash, (size_t)t->n * HASH_LEN);
	return 0;
}

static void put_head(const struct putting *to, const struct head *h)
{
	uint8_t number[NUMBER_KEY_LEN], time[TIME_KEY_LEN], value[HEAD_VALUE_LEN];

	number_key(h->number, number);
	time_key(h->time_ns, h->number, time);
	put_le64(value, h->pos);
	put_le32(value + 8, h->stored_len);
	put_le64(value + 12, (uint64_t)h->time_ns);
	kv_batch_put(to->kv, to->batch, number, sizeof(number), value, sizeof(value));
	kv_batch_put(to->kv, to->batch, time, sizeof(time), "", 0);
}

static bool follows(const struct catalog *c, const struct head *h, uint64_t n_leaves)
{
	return h->n_blocks >= n_leaves && h->n_blocks - n_leaves == c->edge.n &&
	       h->number == c->newest.number + 1 && h->stored_len > 0 &&
	       (c->newest.number == 0 || h->time_ns > c->newest.time_ns);
}

int catalog_add_row(struct catalog *c, const struct head *h, const struct leaf_row *row)
{
	uint64_t n_leaves = leaf_row_count(row);
	struct tile_io io = {.put = put_tile};
	struct putting to = {.kv = c->kv};
	int rc = 0;

	assert(c->mode == CATALOG_WRITE);
	if (!c->edge_known)
		rc = load_edge(c);
	if (rc < 0)
		return rc;
	if (!follows(c, h, n_leaves))
		return err_say(-ERR_DAMAGED,
			       "catalog: head %llu with %llu leaves before block %llu does not "
			       "follow head %llu and %llu leaves",
			       (unsigned long long)h->number, (unsigned long long)n_leaves,
			       (unsigned long long)h->n_blocks,
			       (unsigned long long)c->newest.number, (unsigned long long)c->edge.n);

	/* Until the batch is written, the edge is ahead of what the catalog holds. */
	c->edge_known = false;
	to.batch = kv_batch_new(c->kv);
	io.ctx = &to;
	rc = tile_append_row(&c->edge, row, &io);
	assert(rc == 0); /* put_tile() cannot fail */
	put_head(&to, h);
	rc = kv_batch_write(c->kv, to.batch);
	if (rc < 0)
		return rc;
	c->newest = (struct head_ref){h->number, h->pos, h->stored_len, h->time_ns};
	c->edge_known = true;
	return 0;
}

int catalog_add_head(struct catalog *c, const struct head *h, const uint8_t (*leaves)[HASH_LEN],
		     size_t n_leaves)
{
	const struct leaf_row row = {.hash = leaves, .n = n_leaves};

	return catalog_add_row(c, h, &row);
}
