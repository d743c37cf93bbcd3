/*
 * Mending a copy: blocks that the owner sends once more, in the place of ones that are damaged or
 * missing.
 *
 * Key idea: a block's leaf hash covers its position and its bytes, and the catalog has the leaf
 * hash of every block that a head states.  So bytes with the right leaf hash are the ones that
 * were verified when they first came, and writing them where they belong can't harm.
 *
 * Invariants:
 *  1. Nothing is written before every block of the request has the leaf hash that the
 *     catalog has for it, and only below the stand's end.
 *  2. What is there and right is not written again, once it is durable (store_note()).
 *  3. No stream appends meanwhile: the mending holds the lock.
 */

#include "copy_internal.h"

#include "catalog.h"
#include "err.h"
#include "frame.h"
#include "msg.h"
#include "store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The length of the block at ${p}, whose leaf hash must be that of block number ${leaf}. */
static int judge_block(struct copy *c, uint64_t pos, uint64_t leaf, const uint8_t *p, size_t left,
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

static int need_segment(struct copy *c, uint64_t number)
{
	uint64_t size;
	int rc = store_size(c->store, number, &size);

	return rc == -ERR_ABSENT ? store_create(c->store, number) : rc;
}

/*
 * Write the block if it is not there.  What is there was durable when it was written first, or when it
 * was mended: settle() sees to that.
 */
static int write_block(struct copy *c, uint64_t pos, const uint8_t *p, size_t len, bool *noted,
		       uint32_t *out_blocks)
{
	uint8_t *there = malloc(len);
	int rc;

	if (!there)
		return -ENOMEM;
	rc = store_read(c->store, pos, len, there);
	if (rc == 0 && memcmp(there, p, len) == 0)
		goto done;
	rc = need_segment(c, segment_of(pos));
	if (rc == 0 && !*noted)
		rc = store_note(c->store, segment_of(pos));
	*noted = *noted || rc == 0;
	if (rc == 0)
		rc = store_write(c->store, pos, p, len, false);
	if (rc == 0) {
		++*out_blocks;
		msg_event(MSG_NOTICE, "volume-mended",
			  "%s: position %llu: %zu bytes mended by the owner", c->dir,
			  (unsigned long long)pos, len);
	}
done:
	free(there);
	return rc;
}

static int mend(struct copy *c, uint64_t pos, uint64_t leaf, const uint8_t *p, size_t len,
		uint32_t *out_blocks)
{
	size_t at, n = 0;
	bool noted = false;
	int rc = 0;

	for (at = 0; rc == 0 && at < len; at += n, leaf++)
		rc = judge_block(c, pos + at, leaf, p + at, len - at, &n);
	for (at = 0; rc == 0 && at < len; at += n) {
		struct frame f;

		rc = frame_decode(p + at, pos + at, &f);
		n = FRAME_LEN + f.body_len;
		if (rc == 0)
			rc = write_block(c, pos + at, p + at, n, &noted, out_blocks);
	}
	if (!noted)
		return rc;
	if (rc == 0)
		rc = store_sync(c->store, segment_of(pos));
	if (rc == 0)
		rc = store_unnote(c->store);
	/* Readers would see what is not on the disk, and the owner would take it for healed. */
	if (rc < 0)
		atomic_store(&c->unsettled, segment_of(pos) + 1);
	return rc;
}

/* A mending before this one may have failed to make durable what it wrote. */
static int settle(struct copy *c)
{
	int rc;

	if (atomic_load(&c->unsettled) == 0)
		return 0;
	rc = store_settle_noted(c->store);
	if (rc == 0)
		atomic_store(&c->unsettled, 0);
	return rc;
}

int copy_mend(struct copy *c, const char *who, uint64_t pos, uint64_t leaf, const void *data,
	      size_t len, uint32_t *out_blocks)
{
	struct copy_lock lock;
	struct copy_stand s;
	int rc;

	*out_blocks = 0;
	if (len == 0 || len > COPY_DATA_MAX || len > SEGMENT_SIZE - pos % SEGMENT_SIZE)
		return err_say(-EINVAL,
			       "%zu bytes at position %llu: whole blocks of one segment, "
			       "up to %u bytes, can be mended at a time",
			       len, (unsigned long long)pos, COPY_DATA_MAX);
	copy_get_stand(c, &s);
	if (pos >= s.end || len > s.end - pos)
		return err_say(-ERR_ABSENT, "position %llu: this copy ends at %llu",
			       (unsigned long long)pos, (unsigned long long)s.end);
	rc = copy_lock_briefly(c, who, &lock);
	if (rc < 0)
		return rc;
	rc = copy_recover_if_needed(c);
	if (rc == 0)
		rc = settle(c);
	if (rc == 0)
		rc = mend(c, pos, leaf, data, len, out_blocks);
	copy_unlock(c, &lock);
	return rc;
}
