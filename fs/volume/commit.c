/*
 * From changes in memory to deltas in the log, and to heads over them.
 *
 * A flush takes the net effect of all pending changes from the overlay and appends it as one delta.
 * It takes it under the exclusive lock, and so takes whole operations only.  flush_mu keeps the
 * deltas in the log in the order of their numbers.  A delta that could not be appended is kept, and
 * is appended first at the next try: a failure loses nothing and reorders nothing.
 *
 * A head is made with flush_mu held.  So every delta below the head is in its list or in that of an
 * earlier head, and recovery need only look for further deltas above the newest head.
 */

#include "volume_internal.h"

#include "bytes.h"
#include "clock.h"
#include "log.h"
#include "params.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static head_no newest_head_number(struct volume *v) REQUIRES(v->flush_mu);
static int take_pending(struct volume *v, bool freeze) REQUIRES(v->flush_mu);
static int append_unsent(struct volume *v) REQUIRES(v->flush_mu);
static int find_net(struct volume *v, struct overlay *net, struct delta *out) REQUIRES(v->flush_mu);
static int roll_up(struct volume *v) REQUIRES(v->flush_mu);
static int list_deltas(struct volume *v, struct head *h) REQUIRES(v->flush_mu);
static int add_head_locked(struct volume *v, struct head *out) REQUIRES(v->flush_mu);

int commit_since_add(struct volume *v, const struct block_ptr *ptr, const void *plain, size_t len)
{
	struct since *s = &v->since;
	size_t before = s->plain.len;
	int rc;

	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 64;
		struct block_ptr *p = realloc(s->ptr, cap * sizeof(*p));

		if (!p)
			return -ENOMEM;
		s->ptr = p;
		s->cap = cap;
	}
	rc = buf_add_le32(&s->plain, (uint32_t)len);
	if (rc == 0)
		rc = buf_add(&s->plain, plain, len);
	if (rc < 0) {
		s->plain.len = before;
		return rc;
	}
	s->ptr[s->n++] = *ptr;
	return 0;
}

void commit_release(struct volume *v)
{
	buf_release(&v->unsent);
	buf_release(&v->since.plain);
	free(v->since.ptr);
}

/* The caller holds flush_mu, so no head is made meanwhile. */
static head_no newest_head_number(struct volume *v)
{
	struct head head;

	log_newest_head(v->log, &head);
	return head.number;
}

int commit_take_again(struct volume *v)
{
	struct view *view = &v->view;
	struct delta d = {
		.first_seq = view->seq + 1, .last_seq = view->seq + 1, .counts = view->counts};
	int rc = delta_begin(&v->unsent, &d);

	if (rc == 0)
		rc = overlay_take_delta(view->map.live, &v->unsent);
	if (rc < 0)
		buf_reset(&v->unsent);
	else
		v->unsent_seq = ++view->seq;
	return rc;
}

/* Move the pending changes into v->unsent. */
static int take_pending(struct volume *v, bool freeze)
{
	struct overlay *fresh = NULL;
	struct view *view = &v->view;
	int rc = 0;

	if (freeze) {
		rc = overlay_new(&fresh);
		if (rc < 0)
			return rc;
	}
	view_wrlock(view);
	if (overlay_pending_bytes(view->map.live) > 0) {
		rc = commit_take_again(v);
		if (rc == 0)
			journal_turn(&v->journal, view->seq + 1);
	} else {
		/* The entries in the journal have no net effect, so no delta will cover them. */
		journal_void(&v->journal);
	}
	if (rc == 0 && freeze) {
		assert(!view->map.frozen);
		view->map.frozen = view->map.live;
		view->map.live = fresh;
		fresh = NULL;
		if (v->journal.area)
			overlay_trace(view->map.live, &v->journal.trace);
		v->freezing = (struct checkpoint){.covers_seq = view->seq,
						  .from_head = newest_head_number(v),
						  .counts = view->counts};
	}
	view_unlock(view);
	overlay_free(fresh);
	return rc;
}

static int append_unsent(struct volume *v)
{
	struct block_ptr ptr;
	int rc;

	if (v->unsent.len == 0)
		return 0;
	assert(v->unsent.len <= BLOCK_PLAIN_MAX);
	rc = log_append(v->log, BLOCK_DELTA, v->unsent.p, v->unsent.len, v->cfg.params->compress,
			&ptr);
	if (rc < 0) {
		atomic_store(&v->blocked, true);
		return rc;
	}
	v->delta_end = ptr.pos + ptr.stored_len;
	rc = commit_since_add(v, &ptr, v->unsent.p, v->unsent.len);
	if (rc < 0) {
		/*
		 * The delta is in the log.  The next try appends it once more, which is harmless.
		 */
		atomic_store(&v->blocked, true);
		return rc;
	}
	buf_reset(&v->unsent);
	journal_sent(&v->journal);
	atomic_store(&v->blocked, false);
	return 0;
}

int commit_flush_locked(struct volume *v, bool freeze)
{
	int rc = append_unsent(v);

	if (rc == 0)
		rc = take_pending(v, freeze);
	if (rc == 0)
		rc = append_unsent(v);
	if (v->since.plain.len > SINCE_BYTES_MAX || v->since.n > SINCE_COUNT_MAX)
		scheduler_want_head(v);
	if (v->since.plain.len > SINCE_BYTES_FULL)
		atomic_store(&v->since_full, true);
	return rc;
}

int commit_flush(struct volume *v)
{
	int rc;

	pthread_mutex_lock(&v->flush_mu);
	rc = commit_flush_locked(v, false);
	pthread_mutex_unlock(&v->flush_mu);
	return rc;
}

int volume_sync(struct volume *v)
{
	uint64_t begin_ns = clock_mono_ns();
	log_pos end;
	int rc;

	pthread_mutex_lock(&v->flush_mu);
	rc = commit_flush_locked(v, false);
	end = v->delta_end;
	pthread_mutex_unlock(&v->flush_mu);
	if (rc == 0)
		rc = log_sync(v->log, end);
	/* A sync that fails may fail at once, so its duration says nothing. */
	if (rc == 0)
		figure_took(&v->syncs, clock_mono_ns() - begin_ns);
	return rc;
}

/* State of a rollup: appends its pieces. */
struct rollup {
	struct volume *v;
	struct delta d;
	struct buf plain;
	uint32_t n; /* pieces encoded so far */
};

static int append_piece(void *ctx, const void *records, size_t len)
{
	struct rollup *r = ctx;
	struct rolled *done = &r->v->rolled;
	int rc;

	if (r->n == HEAD_DELTAS_MAX)
		return -E2BIG;
	if (r->n++ < done->n)
		return 0;
	buf_reset(&r->plain);
	rc = delta_begin(&r->plain, &r->d);
	if (rc == 0)
		rc = buf_add(&r->plain, records, len);
	if (rc == 0)
		rc = log_append(r->v->log, BLOCK_DELTA, r->plain.p, r->plain.len,
				r->v->cfg.params->compress, &done->ptr[done->n]);
	if (rc == 0)
		done->n++;
	return rc;
}

/* Find the net effect of all deltas since the newest head. */
static int find_net(struct volume *v, struct overlay *net, struct delta *out)
{
	struct delta d;
	int rc = 0;

	for (size_t at = 0; rc == 0 && at < v->since.plain.len;) {
		uint32_t len = get_le32(v->since.plain.p + at);

		rc = delta_decode(v->since.plain.p + at + 4, len, &d);
		if (rc == 0 && at == 0)
			*out = d;
		if (rc == 0)
			rc = overlay_apply(net, d.records, d.records_len);
		at += 4 + len;
	}
	out->last_seq = d.last_seq;
	out->counts = d.counts;
	return rc;
}

/*
 * Append the net effect of many small deltas, so that a view reads a few blocks per head instead of
 * thousands.  The deltas themselves stay in the log.  If a try fails, here or when the head is
 * made, the pieces that it appended serve the next try as its first pieces, unless further deltas
 * were added since.
 */
static int roll_up(struct volume *v)
{
	struct rollup r = {.v = v};
	struct rolled *done = &v->rolled;
	struct overlay *net;
	int rc;

	if (done->of != v->since.n)
		*done = (struct rolled){.of = v->since.n};
	rc = overlay_new(&net);
	if (rc < 0)
		return rc;
	rc = find_net(v, net, &r.d);
	if (rc == 0)
		rc = overlay_encode(net, ROLLUP_PIECE_BYTES, append_piece, &r);
	done->whole = rc == 0;
	assert(rc < 0 || done->n == r.n);
	buf_release(&r.plain);
	overlay_free(net);
	return rc;
}

/*
 * Choose what the next head lists: all deltas since the newest head, or a rollup and the deltas
 * after it.
 */
static int list_deltas(struct volume *v, struct head *h)
{
	const struct rolled *done = &v->rolled;
	int rc;

	assert(done->of <= v->since.n);
	if (done->whole ? done->n + v->since.n - done->of > HEAD_DELTAS_MAX
			: v->since.n > ROLLUP_FROM) {
		rc = roll_up(v);
		if (rc < 0)
			return rc;
	}
	for (uint32_t i = 0; done->whole && i < done->n; i++)
		h->deltas[h->n_deltas++] = done->ptr[i];
	for (size_t i = done->whole ? done->of : 0; i < v->since.n; i++)
		h->deltas[h->n_deltas++] = v->since.ptr[i];
	return 0;
}

static uint64_t headless_bytes(struct volume *v)
{
	return log_end(v->log) - atomic_load(&v->head_end);
}

static uint64_t headless_blocks(struct volume *v)
{
	return log_blocks_below_end(v->log) - atomic_load(&v->head_blocks);
}

static int add_head_locked(struct volume *v, struct head *out)
{
	int rc;

	rc = commit_flush_locked(v, false);
	if (rc < 0)
		return rc;
	if (v->since.n == 0 && !v->checkpoint_news && headless_bytes(v) <= HEAD_LOG_BYTES &&
	    headless_blocks(v) <= HEAD_BLOCKS) {
		log_newest_head(v->log, out);
		return 0;
	}
	memset(out, 0, sizeof(*out));
	out->time_ns = volume_now_ns(v);
	out->checkpoint = v->checkpoint;
	rc = list_deltas(v, out);
	if (rc < 0)
		return rc;
	rc = log_add_head(v->log, out);
	if (rc < 0)
		return rc;
	v->since.n = 0;
	buf_reset(&v->since.plain);
	v->rolled = (struct rolled){0};
	atomic_store(&v->since_full, false);
	v->checkpoint_news = false;
	atomic_store(&v->head_end, head_end(out));
	atomic_store(&v->head_blocks, out->n_blocks);
	scheduler_head_made(v, out->time_ns);
	return 1;
}

/* Returns 1 if a head was made, 0 if there was no news, or an error. */
static int add_head(struct volume *v, struct head *out, uint64_t *out_roll_forward)
{
	int rc;

	/* Sync most of the data first, without flush_mu, which fsync and large operations need. */
	rc = log_sync(v->log, UINT64_MAX);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&v->flush_mu);
	rc = add_head_locked(v, out);
	*out_roll_forward = rc == 1 ? out->number - v->checkpoint_head : 0;
	pthread_mutex_unlock(&v->flush_mu);
	return rc;
}

int volume_add_head(struct volume *v, struct head *out)
{
	uint64_t roll_forward = 0;
	int rc = add_head(v, out, &roll_forward);

	scheduler_head_tried(v, rc);
	if (roll_forward >= HEADS_TO_CHECKPOINT)
		scheduler_want_checkpoint(v);
	if (rc == 1 && v->cfg.on_head)
		v->cfg.on_head(v->cfg.ctx, out);
	return rc < 0 ? rc : 0;
}

int commit_heads_keep_up(struct volume *v)
{
	uint64_t bytes = headless_bytes(v), blocks = headless_blocks(v);
	bool full = atomic_load(&v->since_full) || blocks > HEAD_BLOCKS_FULL;
	struct head head;
	int rc;

	if (full || bytes > HEAD_LOG_FULL) {
		/* While the clock's tries fail, one try per second is enough. */
		rc = scheduler_head_failing(v);
		if (rc == 0)
			rc = volume_add_head(v, &head);
		/*
		 * A full disk bounds the log by itself, and it must stay possible to delete files
		 * there.
		 */
		return rc == -ENOSPC && !full ? 0 : rc;
	}
	if (bytes > HEAD_LOG_BYTES || blocks > HEAD_BLOCKS)
		scheduler_want_head(v);
	return 0;
}
