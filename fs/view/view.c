/*
 * Views: opening a namespace at a head, and resolving a time to a head.
 *
 * A view is a checkpoint's tree with the deltas of the heads after it applied.  Opening costs one
 * checkpoint and a bounded roll-forward, however long the history, because the writer takes
 * checkpoints often enough.
 */

#include "view_state.h"

#include "blocks.h"
#include "clock.h"
#include "msg.h"
#include "source.h"
#include "thread.h"
#include "units.h"
#include "when.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUTURE_NS_MAX (60 * NS_PER_S) /* the most that two clocks may differ */
#define HEADS_PER_CALL 1024u /* the writer takes a checkpoint after as many heads */
#define HEADS_BACK 64u
#define CHECKPOINTS_MAX 4u /* that are tried, the newest first */
#define FIRST_INO (INO_ROOT + 1)

int view_init(struct view *v, const struct view_config *cfg)
{
	int rc;

	memset(v, 0, sizeof(*v));
	v->cfg = *cfg;
	v->map.cache = cfg->cache;
	v->counts.next_ino = FIRST_INO;
	rc = overlay_new(&v->map.live);
	if (rc < 0)
		return rc;

	rwlock_init(&v->mu);
	return 0;
}

void view_release(struct view *v)
{
	overlay_free(v->map.live);
	overlay_free(v->map.frozen);
	pthread_rwlock_destroy(&v->mu);
}

/* Read a delta.  ${out} points into ${*out_plain}, which the caller frees. */
static int read_delta(struct view *v, const struct block_ptr *ptr, uint8_t **out_plain,
		      struct delta *out)
{
	uint8_t *plain;
	int rc;

	if (ptr->plain_len > BLOCK_PLAIN_MAX)
		return err_say(-ERR_DAMAGED, "the delta at position %" PRIu64 " has a wrong length",
			       ptr->pos);
	plain = malloc(ptr->plain_len + 1);
	if (!plain)
		return -ENOMEM;
	rc = blocks_read(v->cfg.blocks, ptr, BLOCK_DELTA, plain);
	if (rc == 0)
		rc = delta_decode(plain, ptr->plain_len, out);
	if (rc < 0) {
		free(plain);
		return rc;
	}
	*out_plain = plain;
	return 0;
}

/* Apply a delta to the view, unless the map contains all of it. */
static int apply(struct view *v, const struct block_ptr *ptr, const struct delta *d)
{
	int rc;

	/* Pieces of one rollup share their numbers; applying one twice does no harm. */
	if (d->last_seq < v->seq)
		return 0;
	rc = overlay_apply(v->map.live, d->records, d->records_len);
	if (rc == -ERR_FORMAT)
		rc = err_say(-ERR_DAMAGED, "the delta at position %" PRIu64 " is malformed",
			     ptr->pos);
	if (rc < 0)
		return rc;
	v->seq = d->last_seq;
	v->counts = d->counts;
	return 0;
}

static int apply_listed(struct view *v, const struct block_ptr *ptr)
{
	struct delta d;
	uint8_t *plain;
	int rc = read_delta(v, ptr, &plain, &d);

	if (rc < 0)
		return rc;
	rc = apply(v, ptr, &d);
	free(plain);
	return rc;
}

int view_apply_tail(struct view *v, const struct block_ptr *ptr, uint64_t *seq, uint8_t **out_plain)
{
	struct delta d;
	uint8_t *plain;
	int rc = read_delta(v, ptr, &plain, &d);

	*out_plain = NULL;
	if (rc < 0)
		return rc;
	/*
	 * A piece of a rollup whose head was never made, because the writer was killed; later
	 * pieces may be missing.  Its contents also lie before it, as the single deltas that it
	 * rolled up.
	 */
	if (d.first_seq < d.last_seq || d.last_seq <= *seq) {
		free(plain);
		return 0;
	}
	rc = apply(v, ptr, &d);
	if (rc < 0) {
		free(plain);
		return rc;
	}
	*seq = d.last_seq;
	*out_plain = plain;
	return 0;
}

/*
 * Apply the deltas that heads from_head + 1 to last list.  Heads are fetched in few calls, because
 * each may be a round trip.
 */
static int roll_forward(struct view *v, head_no from_head, head_no last)
{
	struct source *src = v->cfg.source;
	uint64_t left = last - from_head;
	size_t room = left < HEADS_PER_CALL ? (size_t)left : HEADS_PER_CALL;
	struct head *heads;
	int rc = 0;

	if (left == 0)
		return 0;
	heads = malloc(room * sizeof(*heads));
	if (!heads)
		return -ENOMEM;
	for (head_no next = from_head + 1; rc == 0 && next <= last;) {
		size_t want = last - next + 1 < room ? (size_t)(last - next + 1) : room;
		size_t n = 0;

		rc = src->ops->heads(src, next, want, heads, &n);
		if (rc == 0 && n == 0)
			rc = err_say(-ERR_ABSENT, "head %" PRIu64 " is not in this copy", next);
		for (size_t i = 0; rc == 0 && i < n; i++) {
			for (uint32_t k = 0; k < heads[i].n_deltas; k++)
				blocks_hint(v->cfg.blocks, &heads[i].deltas[k]);
		}
		for (size_t i = 0; rc == 0 && i < n; i++) {
			for (uint32_t k = 0; rc == 0 && k < heads[i].n_deltas; k++)
				rc = apply_listed(v, &heads[i].deltas[k]);
		}
		next += n;
	}
	free(heads);
	return rc;
}

/* Read the checkpoint at ${ptr}, for a state not before head ${number}; pos 0: the empty namespace. */
static int read_checkpoint(struct view *v, const struct block_ptr *ptr, head_no number,
			   struct checkpoint *out)
{
	int rc;

	*out = (struct checkpoint){.counts = v->counts};
	if (ptr->pos == 0)
		return 0;
	rc = checkpoint_read(v->cfg.blocks, ptr, out);
	if (rc == 0 && out->from_head > number)
		rc = err_say(-ERR_DAMAGED,
			     "the checkpoint at position %" PRIu64
			     " follows a head that it belongs below",
			     ptr->pos);
	return rc;
}

/* Read ${n} heads from number ${first} on. */
static int read_heads(struct source *src, head_no first, size_t n, struct head *out)
{
	for (size_t got = 0, more; got < n; got += more) {
		int rc = src->ops->heads(src, first + got, n - got, out + got, &more);

		if (rc == 0 && more == 0)
			rc = -ERR_ABSENT;
		if (rc < 0)
			return rc;
	}
	return 0;
}

/*
 * Find, from head ${*number} downwards, one that names another checkpoint than ${*ptr}, and replace both
 * by it and by its checkpoint.  The first heads of a volume name none.
 */
static int find_other_checkpoint(struct view *v, head_no *number, struct block_ptr *ptr)
{
	struct head *heads = malloc(HEADS_BACK * sizeof(*heads));
	int rc = heads ? 0 : -ENOMEM;

	while (rc == 0) {
		size_t n = *number < HEADS_BACK ? (size_t)*number : HEADS_BACK;

		rc = n > 0 ? read_heads(v->cfg.source, *number - n + 1, n, heads) : -ERR_ABSENT;
		while (rc == 0 && n > 0 && heads[n - 1].checkpoint.pos == ptr->pos) {
			n--;
			*number -= 1;
		}
		if (rc == 0 && n > 0) {
			*ptr = heads[n - 1].checkpoint;
			break;
		}
	}
	free(heads);
	return rc;
}

/*
 * A checkpoint says nothing that the one before it and the deltas since do not say.  So one whose block
 * can't be read costs time only.
 */
static int find_checkpoint(struct view *v, struct block_ptr *ptr, head_no number,
			   struct checkpoint *out)
{
	int rc = read_checkpoint(v, ptr, number, out), why = rc;
	head_no from = number;
	char detail[200];

	if (!tree_unreadable(rc))
		return rc;
	snprintf(detail, sizeof(detail), "%s", err_detail(rc));
	for (unsigned i = 1; tree_unreadable(rc) && i < CHECKPOINTS_MAX; i++) {
		if (find_other_checkpoint(v, &from, ptr) < 0)
			break;
		rc = read_checkpoint(v, ptr, number, out);
	}
	if (rc < 0)
		return err_say(why, "%s", detail);
	msg_warn("a checkpoint can't be read: %s; an earlier one is used, with all that changed "
		 "since",
		 detail);
	return 0;
}

int view_load(struct view *v, struct block_ptr *ptr, const struct head *head,
	      struct checkpoint *out_checkpoint)
{
	struct checkpoint c;
	int rc = find_checkpoint(v, ptr, head->number, &c);

	if (rc < 0)
		return rc;
	v->map.base = c.root;
	v->base_end = c.counts.next_ino;
	v->counts = c.counts;
	v->seq = c.covers_seq;
	*out_checkpoint = c;
	return roll_forward(v, c.from_head, head->number);
}

void view_base_ends(struct view *v)
{
	struct item_key end;

	item_key(&end, v->base_end, ITEM_INODE);
	_Static_assert(ITEM_PREFIX_LEN <= MAP_END_MAX, "the key fits");
	memcpy(v->map.end, end.b, end.len);
	v->map.end_len = end.len;
}

int view_open(const struct view_config *cfg, const struct head *head, struct view **out)
{
	struct block_ptr ptr = head->checkpoint;
	struct checkpoint checkpoint;
	struct view *v;
	int rc;

	v = malloc(sizeof(*v));
	if (!v)
		return -ENOMEM;
	rc = view_init(v, cfg);
	if (rc < 0)
		goto free_view;
	v->head = *head;
	rc = view_load(v, &ptr, head, &checkpoint);
	if (rc < 0)
		goto release_view;
	*out = v;
	return 0;

release_view:
	view_release(v);
free_view:
	free(v);
	return rc;
}

void view_close(struct view *v)
{
	if (!v)
		return;
	view_release(v);
	free(v);
}

const struct head *view_head(const struct view *v)
{
	return &v->head;
}

size_t view_bytes(const struct view *v)
{
	return sizeof(*v) + overlay_bytes(v->map.live);
}

void view_usage(struct view *v, struct view_usage *out)
{
	view_rdlock(v);
	out->inodes = v->counts.inodes;
	out->bytes = v->counts.bytes;
	out->next_ino = v->counts.next_ino;
	view_unlock(v);
}

static int one_head(struct source *src, head_no number, struct head *out)
{
	size_t n = 0;
	int rc = src->ops->heads(src, number, 1, out, &n);

	if (rc == -ERR_ABSENT || (rc == 0 && n == 0))
		return err_say(-ERR_NO_STATE, "there is no head %" PRIu64 "; see 'embassy heads'",
			       number);
	return rc;
}

static int snapshot_head(const struct view_config *cfg, const char *name, struct head *out)
{
	struct snapshot s;
	struct head newest;
	struct view *v;
	int rc;

	rc = cfg->source->ops->head_at(cfg->source, INT64_MAX, &newest);
	if (rc < 0)
		return rc;
	rc = view_open(cfg, &newest, &v);
	if (rc < 0)
		return rc;
	rc = view_snapshot(v, name, &s);
	view_close(v);
	if (rc == -ENOENT)
		return err_say(-ERR_NO_STATE, "there is no snapshot '%s'; see 'embassy snapshots'",
			       name);
	return rc < 0 ? rc : one_head(cfg->source, s.head, out);
}

/* A time in whole seconds means the end of that second, so that changes within it are visible. */
static int64_t end_of_second(int64_t time_ns)
{
	return time_ns % NS_PER_S == 0 && time_ns <= INT64_MAX - NS_PER_S ? time_ns + NS_PER_S - 1
									  : time_ns;
}

/*
 * Refuse a time after both the newest head and this clock.  It is a local time without its offset,
 * or a typing mistake, and would silently show the newest state.
 */
static int refuse_future(int64_t time_ns, const struct head *newest)
{
	char asked[WHEN_TEXT_LEN], now[WHEN_TEXT_LEN], head[WHEN_TEXT_LEN];
	int64_t now_ns = clock_wall_ns();

	if (time_ns <= now_ns + FUTURE_NS_MAX || time_ns <= newest->time_ns + FUTURE_NS_MAX)
		return 0;
	when_format_seconds(time_ns, asked);
	when_format_seconds(now_ns, now);
	when_format_seconds(newest->time_ns, head);
	return err_say(-ERR_BAD_TIME,
		       "%s has not come yet: it is %s here, and the newest head is of %s; a local "
		       "time needs its offset, like +02:00; 'latest' is the newest",
		       asked, now, head);
}

int view_resolve(const struct view_config *cfg, const struct when *when, struct head *out)
{
	struct source *src = cfg->source;
	char text[WHEN_TEXT_LEN];
	int rc;

	switch (when->kind) {
	case WHEN_LATEST:
		return src->ops->head_at(src, INT64_MAX, out);
	case WHEN_TIME:
		rc = src->ops->head_at(src, end_of_second(when->time_ns), out);
		if (rc == -ERR_TOO_EARLY) {
			when_format(when->time_ns, text);
			return err_say(rc, "%s is before the volume began; see 'embassy heads'",
				       text);
		}
		return rc < 0 ? rc : refuse_future(when->time_ns, out);
	case WHEN_HEAD:
		return one_head(src, when->head, out);
	case WHEN_SNAPSHOT:
		return snapshot_head(cfg, when->snapshot, out);
	}
	return -ERR_BAD_TIME;
}
