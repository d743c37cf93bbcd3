/**
 * Recovery of a copy.
 *
 * Key idea: a whole catalog says where the newest acknowledged head lies, give or take what a power
 * cut took from the catalog's unsynced writes; from there the log itself is judged block by block,
 * exactly as when it arrived.
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
#include "file.h"
#include "history.h"
#include "msg.h"
#include "scan.h"
#include "store.h"
#include "tail.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

int copy_cut(struct copy *c, uint64_t end)
{
	uint64_t keep = end > 0 ? segment_of(end - 1) : 0, last, size, len;
	int rc;

	/* From the back, so that a crash in between leaves a log without a gap. */
	while ((rc = store_last(c->store, &last)) == 0 && (last > keep || end == 0)) {
		rc = store_remove(c->store, last);
		if (rc < 0)
			return rc;
	}
	if (rc < 0 && rc != -ERR_ABSENT)
		return rc;
	if (end == 0)
		return 0;
	len = end - segment_start(keep);
	rc = store_size(c->store, keep, &size);
	if (rc < 0 && rc != -ERR_ABSENT)
		return rc;
	if (rc == -ERR_ABSENT || size < len)
		return err_say(-ERR_DAMAGED,
			       "%s: the log ends before position %llu, which was verified "
			       "and durable; restore it from another copy",
			       c->dir, (unsigned long long)end);
	return size > len ? store_truncate(c->store, keep, len) : 0;
}

/*
 * Open the catalog and stand at its newest head; -ERR_DAMAGED, -ERR_TAMPERED or -ERR_VERSION if it
 * is of no use.
 */
static int try_resume(struct copy *c, struct history *h)
{
	int rc = catalog_open(c->dir, c->id, CATALOG_WRITE, &c->catalog);

	if (rc < 0)
		return rc;
	rc = history_resume(h, c->catalog, store_storage(c->store));
	if (rc < 0) {
		catalog_close(c->catalog);
		c->catalog = NULL;
	}
	return rc;
}

/*
 * Heads are put into the catalog when they are durable, and acknowledged after that.  So if its
 * newest is not in the log, the log was damaged, and nothing may be cut off where it seems to end.
 */
static int check_known_head(struct copy *c, const struct params *p)
{
	struct catalog *catalog;
	struct head_ref known;
	int rc = catalog_open(c->dir, c->id, CATALOG_WRITE, &catalog);

	if (rc < 0)
		return rc == -ERR_DAMAGED || rc == -ERR_VERSION ? 0 : rc;
	rc = catalog_newest(catalog, &known);
	catalog_close(catalog);
	if (rc < 0)
		return rc == -ERR_ABSENT || rc == -ERR_DAMAGED ? 0 : rc;
	rc = tail_check_known(p, store_storage(c->store), &known);
	return rc == -ERR_DAMAGED ? err_say(rc, "%s: %s", c->dir, err_detail(rc)) : rc;
}

static bool is_of_no_use(int rc)
{
	return rc == -ERR_DAMAGED || rc == -ERR_VERSION || rc == -ERR_TAMPERED;
}

/* Begin an empty catalog in the place of one that is of no use. */
static int begin_anew(struct copy *c, const struct params *p)
{
	int rc = check_known_head(c, p);

	if (rc < 0)
		return rc;
	rc = catalog_remove(c->dir);
	return rc < 0 ? rc : catalog_open(c->dir, c->id, CATALOG_WRITE, &c->catalog);
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
		c->dir, err_detail(why), c->dir);
}

/* Make a catalog whole whose newest head is the one that ends at ${from}. */
static int complete(struct copy *c, const struct params *p, uint64_t from)
{
	uint64_t last;
	int rc;

	if (store_last(c->store, &last) == 0)
		msg_event(MSG_NOTICE, "catalog-rebuilt",
			  "%s: the catalog is not whole; making it from the log", c->dir);
	rc = store_settle(c->store, from);
	if (rc == 0)
		rc = catalog_catch_up(c->catalog, p, store_storage(c->store), NULL, NULL);
	if (rc == -ERR_DAMAGED || rc == -ERR_TAMPERED)
		return refuse(c, rc);
	if (rc == 0)
		rc = file_sync_dir(AT_FDCWD, c->dir);
	return rc < 0 ? rc : catalog_set_whole(c->catalog);
}

/* Stand at the newest head of a catalog that is whole. */
static int resume(struct copy *c, const struct params *p, struct history *h)
{
	int rc = try_resume(c, h);

	if (is_of_no_use(rc))
		rc = begin_anew(c, p);
	if (rc == 0)
		rc = catalog_is_whole(c->catalog);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	rc = complete(c, p, h->end);
	if (rc < 0)
		return rc;
	history_release(h);
	history_init(h, p);
	return history_resume(h, c->catalog, store_storage(c->store));
}

/* The walk over what follows the newest head. */
struct tail {
	struct copy *copy;
	struct history *history;
	struct copy_stand stand;
	char why[200]; /* the walk stopped; empty: at what is no block */
	uint64_t refused; /* the block for which it did */
};

static int take_head(struct tail *t, const struct scan_block *b)
{
	int rc = history_commit(t->history, t->copy->catalog);

	if (rc < 0)
		return rc;
	t->stand = (struct copy_stand){
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

/* Where the newest segment's file ends. */
static uint64_t files_end(struct copy *c)
{
	uint64_t last, size;

	if (store_last(c->store, &last) < 0 || store_size(c->store, last, &size) < 0)
		return 0;
	return segment_start(last) + size;
}

/* A recovery that found more than what the catalog's newest head covers gives a line. */
static void tell_recovery(struct copy *c, const struct copy_stand *known, const struct tail *t,
			  uint64_t end)
{
	if (end <= known->end && t->stand.head == known->head)
		return;
	msg_event(
		MSG_NOTICE, "volume-recovered",
		"%s: stands at head %llu, position %llu; %llu heads that its catalog did not have "
		"were taken in, and %llu bytes that no head covers cut off",
		c->dir, (unsigned long long)t->stand.head, (unsigned long long)t->stand.end,
		(unsigned long long)(t->stand.head - known->head),
		(unsigned long long)(end > t->stand.end ? end - t->stand.end : 0));
}

void copy_note_newest(struct copy *c, const struct params *p, const struct copy_stand *s, bool at_end)
{
	const struct head_ref ref = {s->head, s->head_pos, s->head_len, s->time_ns};

	if (at_end ? ref.number > c->noted.number : newest_is_due(&c->noted, &ref))
		newest_note(&c->noted, c->dir, p, store_storage(c->store), &ref);
}

static int recover_with(struct copy *c, const struct params *p, struct history *h)
{
	struct tail t = {.copy = c, .history = h};
	struct copy_stand known;
	struct scan_result found;
	struct tail_end end;
	struct head_ref ref;
	struct head noted;
	uint64_t end_pos;
	int rc;

	newest_known(c->dir, p, &noted);
	rc = resume(c, p, h);
	if (rc < 0)
		return rc;
	rc = catalog_newest(c->catalog, &ref);
	if (rc == 0)
		t.stand = (struct copy_stand){ref.pos + ref.stored_len, ref.number, ref.time_ns,
					      ref.pos, ref.stored_len};
	else if (rc != -ERR_ABSENT)
		return rc;
	known = t.stand;
	/*
	 * Bytes of a killed server, or of one whose sync failed, may be in the page cache only: they
	 * count when they are durable.
	 */
	rc = store_settle(c->store, h->end);
	if (rc < 0)
		return rc;
	rc = scan_blocks(store_storage(c->store), h->end, visit, &t, &found);
	if (rc < 0)
		return rc;
	/* The catalog is whole by now. */
	end = tail_of_history(h, t.why, t.refused);
	end.acknowledged = true;
	rc = tail_judge(p, store_storage(c->store), &end);
	if (rc == 0)
		rc = tail_check_noted(store_storage(c->store), &noted, t.stand.head);
	if (rc == -ERR_DAMAGED)
		rc = err_say(rc, "%s: %s", c->dir, err_detail(rc));
	if (rc < 0)
		return rc;
	end_pos = files_end(c);
	rc = copy_cut(c, t.stand.end);
	if (rc < 0)
		return rc;
	tell_recovery(c, &known, &t, end_pos);
	copy_publish(c, &t.stand);
	c->noted = (struct newest){.number = noted.number, .pos = noted.pos};
	copy_note_newest(c, p, &t.stand, true);
	return 0;
}

int copy_recover(struct copy *c)
{
	struct conf *conf = copy_conf(c);
	struct history h;
	int rc;

	pthread_rwlock_wrlock(&c->gate);
	catalog_close(c->catalog);
	c->catalog = NULL;
	history_init(&h, &conf->params);
	rc = recover_with(c, &conf->params, &h);
	history_release(&h);
	if (rc < 0) {
		catalog_close(c->catalog);
		c->catalog = NULL;
	}
	pthread_rwlock_unlock(&c->gate);
	conf_put(conf);

	pthread_mutex_lock(&c->mu);
	c->must_recover = rc < 0;
	pthread_mutex_unlock(&c->mu);
	return rc;
}

void copy_must_recover(struct copy *c)
{
	pthread_mutex_lock(&c->mu);
	c->must_recover = true;
	pthread_mutex_unlock(&c->mu);
}

bool copy_needs_recovery(struct copy *c)
{
	bool must;

	pthread_mutex_lock(&c->mu);
	must = c->must_recover;
	pthread_mutex_unlock(&c->mu);
	return must;
}

int copy_recover_if_needed(struct copy *c)
{
	return copy_needs_recovery(c) ? copy_recover(c) : 0;
}

void copy_revive(struct copy *c)
{
	struct copy_lock lock;

	if (copy_lock_briefly(c, c->owner, &lock) < 0)
		return;
	(void)!copy_recover_if_needed(c);
	copy_unlock(c, &lock);
}
