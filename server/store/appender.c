/*
 * Appending to a copy.
 *
 * Key idea: bytes arrive in a staging buffer that mirrors the end of one segment, page by page.
 * They are judged where they lie; whole batches leave for the disk past the page cache; the last,
 * partial page stays in the buffer and is written padded with zeros at each commit, and again when
 * it has grown.
 *
 *   mem:    | base ............................ end |  free
 *           '- page-aligned position of mem[0]      '- position after the newest judged block
 *
 * Commit, in this order: bytes written, segment synced, heads put into the catalog, committed state
 * published; the caller then acknowledges.  A crash before the catalog's write is repaired from the
 * log; a crash before the sync loses only what was never acknowledged.
 *
 * Invariants (check):
 *  1. base is page-aligned, base <= end, and both lie in segment `segment` (or at its end).
 *  2. history.end == end, except before a new segment's header is judged: every byte below end was
 *     judged, none above.
 *  3. A segment is finished (written, synced, its file cut to its exact length) before the next is
 *     created, so only the last file of a log may end in anything but a whole block.
 *  4. Bytes, blocks, segments and heads after the committed state are bounded by the APPENDER_*
 *     constants.
 *  5. Once failed, nothing more is judged; what failed on the disk is never committed.
 */

#include "appender_internal.h"

#include "clock.h"
#include "err.h"
#include "frame.h"
#include "huge.h"
#include "msg.h"
#include "scan.h"
#include "storage.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int judge_epoch(const struct appender *a)
{
	epoch_no newest = params_epoch(&a->conf->params);

	if (a->epoch == newest)
		return 0;
	return err_say(-ERR_STALE, "epoch %llu: the newest granted here is %llu; %s",
		       (unsigned long long)a->epoch, (unsigned long long)newest,
		       a->epoch < newest ? "another home has taken this volume over"
					 : "send the newer volume.conf first");
}

static int judge_opening(struct appender *a, const struct appender_opening *o)
{
	struct copy_committed s;
	int rc;

	rc = judge_epoch(a);
	if (rc < 0)
		return rc;
	copy_get_committed(a->copy, &s);
	if (o->position != s.end || o->head != s.head)
		return err_say(-ERR_STALE,
			       "head %llu at position %llu: this copy stands at head %llu and "
			       "position %llu; begin there",
			       (unsigned long long)o->head, (unsigned long long)o->position,
			       (unsigned long long)s.head, (unsigned long long)s.end);
	return 0;
}

/* Start at the newest head, with the log's last partial page in memory. */
static int load(struct appender *a)
{
	struct copy *c = a->copy;
	int rc = -EIO;

	pthread_rwlock_rdlock(&c->gate);
	if (c->catalog)
		rc = history_resume(&a->history, c->catalog, c->storage);
	pthread_rwlock_unlock(&c->gate);
	if (rc < 0)
		return rc;
	a->end = a->committed_end = a->history.end;
	a->committed_blocks = a->history.merkle.n;
	a->base = a->end / APPENDER_PAGE * APPENDER_PAGE;
	a->segment = segment_of(a->end);
	/* At a segment's very end, or in the empty log, the next block begins a segment. */
	a->in_segment = a->has_file = a->end % SEGMENT_SIZE != 0;
	if (a->end == a->base)
		return 0;
	return storage_read(c->storage, a->base, (size_t)(a->end - a->base), a->mem);
}

static int begin_locked(struct appender *a, const struct appender_opening *o)
{
	int rc;

	rc = copy_recover_if_needed(a->copy);
	if (rc < 0)
		return rc;
	a->conf = copy_conf(a->copy);
	history_init(&a->history, &a->conf->params);
	rc = judge_opening(a, o);
	if (rc < 0)
		return rc;
	rc = load(a);
	if (rc == 0)
		appender_check(a);
	return rc;
}

static void appender_free(struct appender *a)
{
	if (a->conf) {
		history_release(&a->history);
		conf_put(a->conf);
	}
	free(a->heads);
	free(a->page);
	free(a->mem);
	free(a);
}

int appender_begin(struct copy *c, const char *who, const struct appender_opening *o,
		   struct appender **out)
{
	struct appender *a;
	int rc = -ENOMEM;

	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->copy = c;
	a->lock = (struct copy_lock){.cancel = o->cancel, .ctx = o->ctx};
	a->epoch = o->epoch;
	a->heads = malloc(APPENDER_HEADS_MAX * sizeof(*a->heads));
	a->mem = huge_alloc(APPENDER_MEM_LEN);
	a->page = aligned_alloc(APPENDER_PAGE, APPENDER_PAGE);
	if (!a->heads || !a->mem || !a->page)
		goto free_appender;
	rc = copy_lock(c, who, &a->lock);
	if (rc < 0)
		goto free_appender;
	rc = begin_locked(a, o);
	if (rc < 0)
		goto unlock;
	*out = a;
	return 0;

unlock:
	copy_unlock(c, &a->lock);
free_appender:
	appender_free(a);
	return rc;
}

static int failed(struct appender *a, int rc)
{
	a->failed = true;
	return rc;
}

/* A newer volume.conf may fence this epoch, or grant what the next blocks need. */
static int follow_conf(struct appender *a)
{
	struct conf *conf = copy_conf(a->copy);

	if (conf == a->conf) {
		conf_put(conf);
		return 0;
	}
	conf_put(a->conf);
	a->conf = conf;
	a->history.params = &conf->params;
	return judge_epoch(a);
}

static int judge_bounds(const struct appender *a, size_t len)
{
	if (a->end - a->committed_end + len > APPENDER_BEHIND_MAX ||
	    a->history.merkle.n - a->committed_blocks > APPENDER_BLOCKS_MAX ||
	    a->n_segments >= APPENDER_SEGMENTS_MAX)
		return err_say(-ERR_FORMAT,
			       "position %llu: too much since the newest head; a head must "
			       "come at least every %llu MiB, %llu blocks and %u segments",
			       (unsigned long long)a->end,
			       (unsigned long long)(APPENDER_BEHIND_MAX >> 20),
			       (unsigned long long)APPENDER_BLOCKS_MAX, APPENDER_SEGMENTS_MAX);
	return 0;
}

/* The catalog shares the disk, and shuts for good when a write finds it full: so stop before. */
static int judge_space(struct appender *a, size_t len)
{
	uint64_t space;
	int rc = storage_space(a->copy->storage, &space);

	if (rc == 0 && space < APPENDER_RESERVE + (a->end - a->base) + len)
		rc = -ENOSPC;
	return rc < 0 ? err_say(rc, "position %llu: %s; make room on the server's disk",
				(unsigned long long)a->end, err_text(rc))
		      : 0;
}

static int judge_range(const struct appender *a, log_pos pos, size_t len)
{
	uint64_t offset = pos % SEGMENT_SIZE;
	bool follows = a->in_segment && pos == a->end && offset != 0;
	bool begins = offset == 0 && pos >= a->end && pos < APPENDER_POSITION_MAX;

	if (len == 0 || len > APPENDER_DATA_MAX || len > SEGMENT_SIZE - offset)
		return err_say(-EINVAL,
			       "%zu bytes at position %llu: a message holds 1 byte to %u, all in "
			       "one segment",
			       len, (unsigned long long)pos, APPENDER_DATA_MAX);
	if (!follows && !begins)
		return err_say(-EINVAL,
			       "position %llu: the data before ended at %llu, and no segment "
			       "begins here",
			       (unsigned long long)pos, (unsigned long long)a->end);
	return 0;
}

static int begin_segment(struct appender *a, log_pos pos)
{
	int rc = a->in_segment ? appender_finish_segment(a) : 0;

	if (rc < 0)
		return rc;
	a->segment = segment_of(pos);
	a->base = a->end = pos;
	a->in_segment = true;
	a->has_file = false;
	a->n_segments++;
	return 0;
}

int appender_room(struct appender *a, log_pos pos, size_t len, uint8_t **out)
{
	int rc;

	assert(!a->failed && a->room == 0);
	rc = judge_range(a, pos, len);
	if (rc == 0)
		rc = judge_bounds(a, len);
	if (rc == 0)
		rc = judge_space(a, len);
	if (rc == 0)
		rc = follow_conf(a);
	if (rc < 0)
		return failed(a, rc);
	if (pos % SEGMENT_SIZE == 0) {
		rc = begin_segment(a, pos);
		if (rc < 0)
			return rc;
	}
	a->room = len;
	appender_check(a);
	*out = a->mem + (a->end - a->base);
	return 0;
}

/* Keep what the catalog will need of the head just judged. */
static void remember_head(struct appender *a, const struct scan_block *b)
{
	struct head *h = &a->heads[a->n_heads];

	*h = a->history.head;
	h->stored_len = (uint32_t)b->len;
	if (a->n_heads++ == 0)
		a->first_head_ns = clock_mono_ns();
}

/* Read the first of the blocks that are not judged yet. */
static int read_block(const struct appender *a, struct scan_block *b)
{
	const uint8_t *p = a->mem + (a->end - a->base);

	b->hole = NULL;
	b->pos = a->end;
	b->bytes = p;
	if (a->room < FRAME_LEN || frame_decode(p, b->pos, &b->frame) < 0)
		return err_say(-ERR_DAMAGED,
			       "position %llu: no block begins here; check the home's log",
			       (unsigned long long)b->pos);
	b->len = FRAME_LEN + (size_t)b->frame.body_len;
	if (b->len > a->room)
		return err_say(-ERR_DAMAGED,
			       "position %llu: a block of %zu bytes, of which only %zu came; "
			       "a message holds whole blocks",
			       (unsigned long long)b->pos, b->len, a->room);
	leaf_hash(b->pos, b->bytes, b->len, b->leaf);
	return 0;
}

static int take_block(struct appender *a)
{
	struct copy_committed ignored;
	struct scan_block b;
	bool is_head = false;
	int rc;

	if (a->n_heads == APPENDER_HEADS_MAX) {
		rc = appender_commit(a, &ignored);
		if (rc < 0)
			return rc;
	}
	rc = read_block(a, &b);
	if (rc == 0)
		rc = history_step(&a->history, &b, &is_head);
	if (rc < 0)
		return failed(a, rc);
	a->end += b.len;
	a->room -= b.len;
	if (is_head)
		remember_head(a, &b);
	return 0;
}

int appender_take(struct appender *a)
{
	int rc = 0;

	assert(!a->failed);
	while (rc == 0 && a->room > 0)
		rc = take_block(a);
	a->room = 0;
	appender_check(a);
	if (rc == 0 && a->end - a->base >= APPENDER_BATCH)
		rc = appender_write_out(a);
	return rc;
}

bool appender_has_heads(const struct appender *a)
{
	return a->n_heads > 0 && !a->disk_failed;
}

bool appender_is_due(const struct appender *a)
{
	return appender_has_heads(a) && (a->end - a->committed_end >= APPENDER_COMMIT_BYTES ||
					 clock_mono_ns() - a->first_head_ns >= APPENDER_COMMIT_NS);
}

/* Cut off what no committed head covers. */
static int cut_back(struct appender *a, log_pos end)
{
	int rc;

	/*
	 * A head whose write to the catalog failed may be in it all the same, and the log must not
	 * be older than the catalog.  Recovery finds out which, and cuts.
	 */
	if (copy_needs_recovery(a->copy))
		return 0;
	rc = a->disk_failed ? storage_take(a->copy->storage) : 0;
	return rc < 0 ? rc : copy_cut(a->copy, end);
}

void appender_end(struct appender *a)
{
	struct copy_committed s;
	int rc;

	if (!a)
		return;
	copy_get_committed(a->copy, &s);
	rc = cut_back(a, s.end);
	if (rc < 0) {
		msg_event(MSG_WARN, "cut-failed",
			  "%s: what follows position %llu could not be cut off: %s", a->copy->name,
			  (unsigned long long)s.end, err_detail(rc));
		copy_must_recover(a->copy);
	}
	copy_note_newest(a->copy, &a->conf->params, &s, true);
	copy_unlock(a->copy, &a->lock);
	appender_free(a);
}
