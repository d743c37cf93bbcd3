/*
 * Repairing a copy: blocks that the owner sends once more, in the place of ones that are damaged or
 * missing.
 *
 * Key idea: a block's leaf hash covers its position and its bytes, and the catalog has the leaf
 * hash of every block that a head states.  So bytes with the right leaf hash are the ones that were
 * verified when they first came, and writing them where they belong can't harm.
 *
 * Invariants:
 *  1. Nothing is written before every block of the request has the leaf hash that the catalog has
 *     for it, and only below the committed end.
 *  2. What is there and right is not written again, once it is durable.
 *  3. No stream appends meanwhile: the repair holds the lock.
 */

#include "copy_internal.h"

#include "catalog.h"
#include "err.h"
#include "frame.h"
#include "msg.h"
#include "storage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The length of the block at ${p}, whose leaf hash must be that of block number ${leaf}. */
static int judge_block(struct copy *c, log_pos pos, leaf_no leaf, const uint8_t *p, size_t left,
		       size_t *out_len)
{
	uint8_t mine[HASH_LEN], theirs[HASH_LEN];
	struct frame f;
	int rc;

	if (left < FRAME_LEN || frame_decode(p, pos, &f) < 0 || f.body_len > left - FRAME_LEN)
		return err_say(-EINVAL, "position %llu: no whole block of that place",
			       (unsigned long long)pos);
	*out_len = FRAME_LEN + f.body_len;
	leaf_hash(pos, p, *out_len, theirs);
	pthread_rwlock_rdlock(&c->gate);
	rc = c->catalog ? catalog_leaf(c->catalog, leaf, mine) : -EIO;
	pthread_rwlock_unlock(&c->gate);
	if (rc == -ERR_ABSENT)
		return err_say(rc, "position %llu: no head here states block %llu",
			       (unsigned long long)pos, (unsigned long long)leaf);
	if (rc == 0 && memcmp(mine, theirs, HASH_LEN) != 0)
		rc = err_say(-ERR_FORBIDDEN,
			     "position %llu: these are not the bytes of block %llu that were "
			     "verified here before",
			     (unsigned long long)pos, (unsigned long long)leaf);
	return rc;
}

/* The blocks to be written. */
struct wanted {
	struct storage_piece *pieces; /* owned */
	size_t n, cap;
};

static int want(struct wanted *w, log_pos pos, const uint8_t *p, size_t len)
{
	size_t cap = w->cap ? 2 * w->cap : 16;
	void *more;

	if (w->n == w->cap) {
		more = realloc(w->pieces, cap * sizeof(*w->pieces));
		if (!more)
			return -ENOMEM;
		w->pieces = more;
		w->cap = cap;
	}
	w->pieces[w->n++] = (struct storage_piece){pos, p, len};
	return 0;
}

/*
 * Add the block to ${w} unless it is there and right.  What is there became durable when it was
 * first written, or when it was repaired: rewrite_unsynced() sees to that.
 */
static int look(struct copy *c, struct wanted *w, log_pos pos, const uint8_t *p, size_t len)
{
	uint8_t *there = malloc(len);
	int rc;

	if (!there)
		return -ENOMEM;
	rc = storage_read(c->storage, pos, len, there);
	if (rc != 0 || memcmp(there, p, len) != 0)
		rc = want(w, pos, p, len);
	free(there);
	return rc;
}

static int judge_all(struct copy *c, log_pos pos, leaf_no leaf, const uint8_t *p, size_t len)
{
	size_t n = 0;
	int rc = 0;

	for (size_t at = 0; rc == 0 && at < len; at += n, leaf++)
		rc = judge_block(c, pos + at, leaf, p + at, len - at, &n);
	return rc;
}

static int look_at_all(struct copy *c, struct wanted *w, log_pos pos, const uint8_t *p, size_t len)
{
	struct frame f;
	size_t n = 0;
	int rc = 0;

	for (size_t at = 0; rc == 0 && at < len; at += n) {
		rc = frame_decode(p + at, pos + at, &f);
		n = FRAME_LEN + f.body_len;
		if (rc == 0)
			rc = look(c, w, pos + at, p + at, n);
	}
	return rc;
}

static int repair_block(struct copy *c, log_pos pos, leaf_no leaf, const uint8_t *p, size_t len,
		uint32_t *out_blocks)
{
	struct wanted w = {0};
	int rc = judge_all(c, pos, leaf, p, len);

	if (rc == 0)
		rc = look_at_all(c, &w, pos, p, len);
	if (rc < 0 || w.n == 0)
		goto free_pieces;
	rc = storage_repair(c->storage, w.pieces, w.n);
	/*
	 * The bytes may be lost in a crash, and the owner must not take them for repaired: stop
	 * serving the segment.
	 */
	if (rc < 0) {
		atomic_store(&c->unsynced, segment_of(pos) + 1);
		goto free_pieces;
	}
	*out_blocks = (uint32_t)w.n;
	for (size_t i = 0; i < w.n; i++)
		msg_event(MSG_NOTICE, "volume-mended",
			  "%s: position %llu: %zu bytes mended by the owner", c->name,
			  (unsigned long long)w.pieces[i].pos, w.pieces[i].len);

free_pieces:
	free(w.pieces);
	return rc;
}

/* An earlier repair may have failed to make durable what it wrote: do it now. */
static int rewrite_unsynced(struct copy *c)
{
	int rc;

	if (atomic_load(&c->unsynced) == 0)
		return 0;
	rc = storage_repair(c->storage, NULL, 0);
	if (rc == 0)
		atomic_store(&c->unsynced, 0);
	return rc;
}

int copy_repair(struct copy *c, const char *who, log_pos pos, leaf_no leaf, const void *data,
		size_t len, uint32_t *out_blocks)
{
	struct copy_lock lock;
	struct copy_committed s;
	int rc;

	*out_blocks = 0;
	if (len == 0 || len > COPY_DATA_MAX || len > SEGMENT_SIZE - pos % SEGMENT_SIZE)
		return err_say(-EINVAL,
			       "%zu bytes at position %llu: whole blocks of one segment, "
			       "up to %u bytes, can be mended at a time",
			       len, (unsigned long long)pos, COPY_DATA_MAX);
	copy_get_committed(c, &s);
	if (pos >= s.end || len > s.end - pos)
		return err_say(-ERR_ABSENT, "position %llu: this copy ends at %llu",
			       (unsigned long long)pos, (unsigned long long)s.end);
	rc = copy_lock_briefly(c, who, &lock);
	if (rc < 0)
		return rc;
	rc = copy_recover_if_needed(c);
	if (rc == 0)
		rc = rewrite_unsynced(c);
	if (rc == 0)
		rc = repair_block(c, pos, leaf, data, len, out_blocks);
	copy_unlock(c, &lock);
	return rc;
}
