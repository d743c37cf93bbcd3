/**
 * Recovery of a copy.
 *
 * Key idea: where the storage keeps commits, the newest one says where the copy stands: all below it
 * must be there, and what follows is cut off; the catalog is made from the log where it lacks heads.
 *
 * Where it keeps none, as a folder, a whole catalog says where the newest acknowledged head lies, give
 * or take what a power cut took from the catalog's unsynced writes; from there the log itself is judged
 * block by block, exactly as when it arrived.
 *
 *   catalog missing, or not fitting the log ->  an empty one in its place
 *   catalog not whole                       ->  made whole from the log; a head in it that lacks
 *                                               what it covers is damage then
 *   complete verified heads after it        ->  made durable and taken in
 *   what tail_judge() calls damage          ->  refused, each time; nothing is changed
 *   newest-head tells of a newer head       ->  likewise
 *   anything else after the newest head     ->  cut off; it was never acknowledged, and the home
 *                                               sends it again
 *
 * Invariants:
 *  1. Nothing below the newest verified head is ever cut.
 *  2. Bytes that are no block in a segment that is not the last are damage, and nothing is cut
 *     then: an appender finishes a segment durably before it begins the next.
 *  3. Nothing is cut, and nothing is appended, beside a catalog that is not whole.
 */

#include "copy_internal.h"

#include "catalog.h"
#include "err.h"
#include "history.h"
#include "msg.h"
#include "scan.h"
#include "storage.h"
#include "tail.h"

#include <stdio.h>

int copy_cut(struct copy *c, log_pos end)
{
	segment_no keep = end > 0 ? segment_of(end - 1) : 0, last;
	uint64_t size, len;
	int rc;

	/* From the back, so that a crash in between leaves a log without a gap. */
	while ((rc = storage_last(c->storage, &last)) == 0 && (last > keep || end == 0)) {
		rc = storage_remove(c->storage, last);
		if (rc < 0)
			return rc;
	}
	if (rc < 0 && rc != -ERR_ABSENT)
		return rc;
	if (end == 0)
		return 0;
	len = end - segment_start(keep);
	rc = storage_size(c->storage, keep, &size);
	if (rc < 0 && rc != -ERR_ABSENT)
		return rc;
	if (rc == -ERR_ABSENT || size < len)
		return err_say(-ERR_DAMAGED,
			       "%s: the log ends before position %llu, which was verified "
			       "and durable; restore it from another copy",
			       c->name, (unsigned long long)end);
	return size > len ? storage_truncate(c->storage, keep, len) : 0;
}

/* Open the catalog; ${fresh}: an empty one in its place. */
static int open_catalog(struct copy *c, bool fresh)
{
	struct kv *kv;
	int rc = storage_index(c->storage, fresh, &kv);

	return rc < 0 ? rc : catalog_open_in(kv, c->id, CATALOG_WRITE, &c->catalog);
}

static void close_catalog(struct copy *c)
{
	catalog_close(c->catalog);
	c->catalog = NULL;
}

/*
 * Open the catalog and stand at its newest head; -ERR_DAMAGED, -ERR_TAMPERED or -ERR_VERSION if it
 * is of no use.
 */
static int try_resume(struct copy *c, struct history *h)
{
	int rc = open_catalog(c, false);

	if (rc < 0)
		return rc;
	rc = history_resume(h, c->catalog, c->storage);
	if (rc < 0)
		close_catalog(c);
	return rc;
}

/*
 * Heads are put into the catalog when they are durable, and acknowledged after that.  So if its
 * newest is not in the log, the log was damaged, and nothing may be cut off where it seems to end.
 */
static int check_known_head(struct copy *c, const struct params *p)
{
	struct head_ref known;
	int rc = open_catalog(c, false);

	if (rc < 0)
		return rc == -ERR_DAMAGED || rc == -ERR_VERSION ? 0 : rc;
	rc = catalog_newest(c->catalog, &known);
	close_catalog(c);
	if (rc < 0)
		return rc == -ERR_ABSENT || rc == -ERR_DAMAGED ? 0 : rc;
	rc = tail_check_known(p, c->storage, &known);
	return rc == -ERR_DAMAGED ? err_say(rc, "%s: %s", c->name, err_detail(rc)) : rc;
}

static bool is_of_no_use(int rc)
{
	return rc == -ERR_DAMAGED || rc == -ERR_VERSION || rc == -ERR_TAMPERED;
}

/* Begin an empty catalog in the place of one that is of no use. */
static int begin_anew(struct copy *c, const struct params *p)
{
	int rc = check_known_head(c, p);

	return rc < 0 ? rc : open_catalog(c, true);
}

/*
 * Nothing tells what of the log was acknowledged.  So all heads that it holds count, and all that
 * they cover must be there.
 */
static int refuse(const struct copy *c, int why)
{
	return err_say(
		-ERR_DAMAGED,
		"%s: %s; the catalog was lost, so nothing tells whether that was "
		"acknowledged; the copy is left as it is: stop the server and heal the folder "
		"with 'embassy check %s --log-only --repair --from' another copy",
		c->name, err_detail(why), c->name);
}

/* Make a catalog whole whose newest head is the one that ends at ${from}. */
static int complete(struct copy *c, const struct params *p, log_pos from)
{
	segment_no last;
	int rc;

	if (storage_last(c->storage, &last) == 0)
		msg_event(MSG_NOTICE, "catalog-rebuilt",
			  "%s: the catalog is not whole; making it from the log", c->name);
	rc = storage_rewrite(c->storage, from);
	if (rc == 0)
		rc = catalog_catch_up(c->catalog, p, c->storage, NULL, NULL);
	if (rc == -ERR_DAMAGED || rc == -ERR_TAMPERED)
		return refuse(c, rc);
	return rc < 0 ? rc : catalog_set_whole(c->catalog);
}

/* Stand at the newest head of a catalog, or, where it is of no use, of an empty one. */
static int resume_any(struct copy *c, const struct params *p, struct history *h)
{
	int rc = try_resume(c, h);

	return is_of_no_use(rc) ? begin_anew(c, p) : rc;
}

/* Stand at the newest head of a catalog that is whole. */
static int resume(struct copy *c, const struct params *p, struct history *h)
{
	int rc = resume_any(c, p, h);

	if (rc == 0)
		rc = catalog_is_whole(c->catalog);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	rc = complete(c, p, h->end);
	if (rc < 0)
		return rc;
	history_release(h);
	history_init(h, p);
	return history_resume(h, c->catalog, c->storage);
}

/* The walk over what follows the newest head. */
struct tail {
	struct copy *copy;
	struct history *history;
	struct copy_committed committed;
	log_pos limit;	 /* no block beyond this position counts */
	char why[200];	 /* the walk stopped; empty: at what is no block */
	log_pos refused; /* the block for which it did */
};

static int take_head(struct tail *t, const struct scan_block *b)
{
	int rc = history_commit(t->history, t->copy->catalog);

	if (rc < 0)
		return rc;
	t->committed = (struct copy_committed){
		.end = b->pos + b->len,
		.head = t->history->head.number,
		.time_ns = t->history->head.time_ns,
		.head_pos = b->pos,
		.head_len = (uint32_t)b->len,
	};
	return SCAN_GO;
}

static int visit(void *ctx, const struct scan_block *b)
{
	struct tail *t = ctx;
	bool is_head = false;
	int rc;

	if (b->pos >= t->limit || b->len > t->limit - b->pos)
		return SCAN_STOP;
	rc = history_step(t->history, b, &is_head);
	if (rc == -ERR_DAMAGED || rc == -ERR_TAMPERED) {
		snprintf(t->why, sizeof(t->why), "%s", err_detail(rc));
		t->refused = b->pos;
		return SCAN_STOP;
	}
	if (rc < 0)
		return rc;
	return is_head ? take_head(t, b) : SCAN_GO;
}

/* Where the newest segment ends. */
static log_pos log_end(struct copy *c)
{
	segment_no last;
	uint64_t size;

	if (storage_last(c->storage, &last) < 0 || storage_size(c->storage, last, &size) < 0)
		return 0;
	return segment_start(last) + size;
}

/* A recovery that found more than what the catalog's newest head covers gives a line. */
static void tell_recovery(struct copy *c, const struct copy_committed *known, const struct tail *t,
			  log_pos end)
{
	if (end <= known->end && t->committed.head == known->head)
		return;
	msg_event(
		MSG_NOTICE, "volume-recovered",
		"%s: stands at head %llu, position %llu; %llu heads that its catalog did not have "
		"were taken in, and %llu bytes that no head covers cut off",
		c->name, (unsigned long long)t->committed.head,
		(unsigned long long)t->committed.end,
		(unsigned long long)(t->committed.head - known->head),
		(unsigned long long)(end > t->committed.end ? end - t->committed.end : 0));
}

void copy_note_newest(struct copy *c, const struct params *p, const struct copy_committed *s,
		      bool at_end)
{
	const struct head_ref ref = {s->head, s->head_pos, s->head_len, s->time_ns};

	/* A storage that keeps commits knows it better. */
	if (c->keeps_commits)
		return;
	if (newest_is_due(&c->noted, &ref, at_end))
		newest_note(&c->noted, p, c->storage, &ref);
}

/* Where the copy stands by the catalog's newest head; all zeros: it has none. */
static int committed_of_catalog(struct copy *c, struct copy_committed *out)
{
	struct head_ref ref;
	int rc = catalog_newest(c->catalog, &ref);

	*out = (struct copy_committed){0};
	if (rc == -ERR_ABSENT)
		return 0;
	if (rc == 0)
		*out = (struct copy_committed){ref.pos + ref.stored_len, ref.number, ref.time_ns,
					       ref.pos, ref.stored_len};
	return rc;
}

/* Log and catalog tell where the copy stands. */
static int judge_log(struct copy *c, const struct params *p, const struct head *noted,
		     struct history *h, struct tail *t)
{
	struct scan_result found;
	struct tail_end end;
	int rc;

	/*
	 * Bytes of a killed server, or of one whose sync failed, may be in the page cache only: they
	 * count when they are durable.
	 */
	rc = storage_rewrite(c->storage, h->end);
	if (rc < 0)
		return rc;
	rc = scan_blocks(c->storage, h->end, visit, t, &found);
	if (rc < 0)
		return rc;
	/* The catalog is whole by now. */
	end = tail_of_history(h, t->why, t->refused);
	end.acknowledged = true;
	rc = tail_judge(p, c->storage, &end);
	if (rc == 0)
		rc = tail_check_noted(c->storage, noted, t->committed.head);
	return rc == -ERR_DAMAGED ? err_say(rc, "%s: %s", c->name, err_detail(rc)) : rc;
}

/* The storage tells where the copy stands: all below must be there, and nothing else counts. */
static int judge_commit(struct copy *c, const struct storage_commit *commit, struct history *h,
			struct tail *t)
{
	struct scan_result found;
	int rc;

	t->limit = commit->end;
	rc = scan_blocks(c->storage, h->end, visit, t, &found);
	if (rc == -ERR_DAMAGED)
		snprintf(t->why, sizeof(t->why), "%s", err_detail(rc));
	else if (rc < 0)
		return rc;
	if (rc == 0 && t->committed.end == commit->end && t->committed.head == commit->head)
		return 0;
	return err_say(
		-ERR_DAMAGED,
		"%s: damage at position %llu, below %llu, where head %llu was committed%s%s; "
		"nothing was cut off; restore it from another copy",
		c->name, (unsigned long long)h->end, (unsigned long long)commit->end,
		(unsigned long long)commit->head, t->why[0] ? ": " : "", t->why);
}

/* A catalog that knows more than was committed is not this log's. */
static int resume_below(struct copy *c, const struct params *p, struct history *h, log_pos end)
{
	int rc = resume_any(c, p, h);

	if (rc < 0 || h->end <= end)
		return rc;
	close_catalog(c);
	history_release(h);
	history_init(h, p);
	return open_catalog(c, true);
}

int copy_recover_with(struct copy *c, const struct params *p, struct history *h)
{
	struct tail t = {.copy = c, .history = h, .limit = UINT64_MAX};
	struct storage_commit commit;
	struct copy_committed known;
	struct head noted;
	log_pos end_pos;
	int rc;

	rc = storage_newest(c->storage, &commit);
	if (rc < 0 && rc != -ERR_ABSENT)
		return rc;
	c->keeps_commits = rc == 0;
	newest_known(p, c->storage, &noted);
	rc = c->keeps_commits ? resume_below(c, p, h, commit.end) : resume(c, p, h);
	if (rc == 0)
		rc = committed_of_catalog(c, &t.committed);
	known = t.committed;
	if (rc == 0)
		rc = c->keeps_commits ? judge_commit(c, &commit, h, &t)
				      : judge_log(c, p, &noted, h, &t);
	if (rc < 0)
		return rc;
	end_pos = log_end(c);
	rc = copy_cut(c, t.committed.end);
	if (rc < 0)
		return rc;
	tell_recovery(c, &known, &t, end_pos);
	copy_publish(c, &t.committed);
	c->noted = newest_found(&noted);
	copy_note_newest(c, p, &t.committed, true);
	return 0;
}
