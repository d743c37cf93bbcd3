/*
 * The appender's way to the disk: batches, whole segments, commits.
 *
 * Key idea and invariants: see appender.c.  What must hold here above all is the order: no head
 * reaches the catalog before everything below its end is durable, and none is served before it is
 * in the catalog.
 */

#include "appender_internal.h"

#include "catalog.h"
#include "err.h"
#include "msg.h"
#include "storage.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

void appender_check(const struct appender *a)
{
	assert(a->base % APPENDER_PAGE == 0 && a->base <= a->end);
	assert(a->history.end == a->end || a->end == segment_start(a->segment));
	assert(a->end - a->base + a->room <= APPENDER_MEM_LEN);
	assert(!a->in_segment || a->base >= segment_start(a->segment));
	assert(!a->in_segment || a->end <= segment_start(a->segment + 1));
	assert(a->n_heads <= APPENDER_HEADS_MAX);
	assert(a->committed_end <= a->end);
}

static int disk_failed(struct appender *a, int rc)
{
	a->failed = a->disk_failed = true;
	/* Only the storage knows whether a commit that it reported as failed holds. */
	if (a->copy->keeps_commits)
		copy_must_recover(a->copy);
	if (rc == -ENOENT || rc == -ERR_ABSENT)
		(void)copy_gone(a->copy);
	if (rc == -ERR_STALE)
		rc = err_say(rc, "position %llu: another server has taken this volume over",
			     (unsigned long long)a->end);
	else
		rc = err_say(rc, "position %llu: %s; %s", (unsigned long long)a->end, err_text(rc),
			     rc == -ENOSPC || rc == -EDQUOT
				     ? "the server's disk is full, make room there"
			     : rc == -ENOENT || rc == -ERR_ABSENT
				     ? "somebody has removed the copy from the server's store"
				     : "look at the server's disk");
	msg_event(MSG_ERROR, "disk-failed", "%s: %s", a->copy->name, err_detail(rc));
	return rc;
}

/* Write the whole pages below end; they leave mem, and what follows them moves up. */
static int write_pages(struct appender *a)
{
	size_t len = (size_t)(a->end - a->base), whole = len / APPENDER_PAGE * APPENDER_PAGE;
	int rc;

	if (whole == 0)
		return 0;
	rc = storage_write(a->copy->storage, a->base, a->mem, whole, NULL);
	if (rc < 0)
		return disk_failed(a, rc);
	memmove(a->mem, a->mem + whole, len + a->room - whole);
	a->base += whole;
	return 0;
}

static int need_segment(struct appender *a)
{
	int rc = a->has_file || a->end == a->base ? 0
						  : storage_create(a->copy->storage, a->segment);

	if (rc < 0)
		return disk_failed(a, rc);
	a->has_file = a->has_file || a->end > a->base;
	return 0;
}

/* Write the last partial page, padded, and with it ${commit} (may be NULL). */
static int write_rest(struct appender *a, const struct storage_commit *commit)
{
	size_t part = (size_t)(a->end - a->base);
	log_pos pos = a->base;
	int rc;

	if (part == 0 && !commit)
		return 0;
	memcpy(a->page, a->mem, part);
	memset(a->page + part, 0, APPENDER_PAGE - part);
	/* A commit without a byte to write goes to the segment that it ends in. */
	if (part == 0)
		pos = (commit->end - 1) / APPENDER_PAGE * APPENDER_PAGE;
	rc = storage_write(a->copy->storage, pos, a->page, part > 0 ? APPENDER_PAGE : 0, commit);
	return rc < 0 ? disk_failed(a, rc) : 0;
}

int appender_write_out(struct appender *a)
{
	int rc = need_segment(a);

	return rc < 0 ? rc : write_pages(a);
}

int appender_finish_segment(struct appender *a)
{
	struct storage *st = a->copy->storage;
	int rc;

	rc = appender_write_out(a);
	if (rc == 0)
		rc = write_rest(a, NULL);
	if (rc < 0)
		return rc;
	rc = storage_drain(st);
	if (rc == 0)
		rc = storage_truncate(st, a->segment, a->end - segment_start(a->segment));
	if (rc < 0)
		return disk_failed(a, rc);
	a->in_segment = false;
	return 0;
}

/*
 * Put the verified heads, each with the leaves up to it, into the catalog; then forget those
 * leaves.
 */
static int catalog_heads_now(struct appender *a)
{
	struct history *h = &a->history;
	leaf_no first = h->merkle.n - h->n_leaves;
	size_t done = 0;
	int rc = 0;

	for (size_t i = 0; i < a->n_heads && rc == 0; i++) {
		size_t n = (size_t)(a->heads[i].n_blocks - first) - done;

		assert(done + n <= h->n_leaves);
		rc = catalog_add_head(a->copy->catalog, &a->heads[i], h->leaves + done, n);
		done += n;
	}
	if (rc < 0)
		return rc;
	memmove(h->leaves, h->leaves + done, (h->n_leaves - done) * HASH_LEN);
	h->n_leaves -= done;
	return 0;
}

static int make_durable(struct appender *a)
{
	const struct head *h = &a->heads[a->n_heads - 1];
	struct storage_commit commit = {.end = head_end(h), .head = h->number};
	int rc;

	rc = appender_write_out(a);
	if (rc == 0)
		rc = write_rest(a, &commit);
	if (rc < 0)
		return rc;
	pthread_rwlock_rdlock(&a->copy->gate);
	rc = catalog_heads_now(a);
	pthread_rwlock_unlock(&a->copy->gate);
	if (rc < 0) {
		/* RocksDB stays shut after a failed write until it is opened anew. */
		copy_must_recover(a->copy);
		return disk_failed(a, rc);
	}
	return 0;
}

int appender_commit(struct appender *a, struct copy_committed *out)
{
	const struct head *h;
	int rc;

	if (a->disk_failed)
		return err_say(-EIO, "position %llu: a write failed before",
			       (unsigned long long)a->end);
	if (a->n_heads > 0) {
		rc = make_durable(a);
		if (rc < 0)
			return rc;
		h = &a->heads[a->n_heads - 1];
		*out = (struct copy_committed){head_end(h), h->number, h->time_ns, h->pos,
					       h->stored_len};
		copy_publish(a->copy, out);
		copy_note_newest(a->copy, &a->conf->params, out, false);
		a->committed_end = head_end(h);
		a->committed_blocks = h->n_blocks;
		a->n_segments = 0;
		a->n_heads = 0;
		appender_check(a);
	}
	copy_get_committed(a->copy, out);
	return 0;
}
