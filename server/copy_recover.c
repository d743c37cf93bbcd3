/*
 * Recovery of a copy.
 *
 * Key idea: the catalog says where the newest acknowledged head lies, give or take what a power cut
 * took from the catalog's unsynced writes; from there the log itself is judged block by block,
 * exactly as when it arrived.
 *
 *   catalog missing or not fitting the log  ->  rebuilt from the whole log, once
 *   complete verified heads after it        ->  made durable and taken in
 *   anything after the newest head          ->  cut off; it was never acknowledged, and the home
 *   sends it again
 *
 * Invariants:
 *  1. Nothing below the newest verified head is ever cut.
 *  2. Bytes that are no block in a segment that is not the last are damage, and nothing is cut
 *     then: an appender finishes a segment durably before it begins the next.
 */

#include "copy_internal.h"

#include "appender.h"
#include "catalog.h"
#include "err.h"
#include "history.h"
#include "msg.h"
#include "scan.h"
#include "store.h"

#include <assert.h>
#include <errno.h>

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
 * Open the catalog and stand at its newest head; -ERR_DAMAGED or -ERR_ABSENT if it must be rebuilt.
 */
static int try_resume(struct copy *c, struct history *h)
{
	uint64_t last;
	int rc;

	rc = catalog_open(c->dir, c->id, CATALOG_WRITE, &c->catalog);
	if (rc < 0)
		return rc;
	rc = history_resume(h, c->catalog, c->store);
	/*
	 * A log with blocks beside an empty catalog: one that was lost, or a copy that was cut off
	 * early.
	 */
	if (rc == 0 && h->head.number == 0 && store_last(c->store, &last) == 0)
		rc = -ERR_DAMAGED;
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
	struct head head;
	int rc = catalog_open(c->dir, c->id, CATALOG_WRITE, &catalog);

	if (rc < 0)
		return rc == -ERR_DAMAGED || rc == -ERR_VERSION ? 0 : rc;
	rc = catalog_newest(catalog, &known);
	catalog_close(catalog);
	if (rc < 0)
		return rc == -ERR_ABSENT || rc == -ERR_DAMAGED ? 0 : rc;
	rc = history_read_head(p, c->store, &known, &head, NULL);
	if (rc != -ERR_DAMAGED && rc != -ERR_TAMPERED && rc != -ERR_ABSENT)
		return rc;
	return err_say(-ERR_DAMAGED,
		       "%s: head %llu at position %llu is in the catalog, but not in the log; "
		       "stop the server and heal the folder with 'embassy check %s --log-only "
		       "--repair --from' another copy",
		       c->dir, (unsigned long long)known.number, (unsigned long long)known.pos,
		       c->dir);
}

static int resume(struct copy *c, const struct params *p, struct history *h)
{
	int rc = try_resume(c, h);

	if (rc != -ERR_DAMAGED && rc != -ERR_VERSION && rc != -ERR_TAMPERED)
		return rc;
	rc = check_known_head(c, p);
	if (rc < 0)
		return rc;
	msg_warn("%s: the catalog does not fit the log; rebuilding it", c->dir);
	rc = store_settle(c->store, 0);
	if (rc < 0)
		return rc;
	history_release(h);
	history_init(h, p);
	rc = catalog_rebuild(c->dir, p, c->store, NULL, NULL);
	if (rc < 0)
		return rc;
	rc = catalog_open(c->dir, c->id, CATALOG_WRITE, &c->catalog);
	if (rc < 0)
		return rc;
	return history_resume(h, c->catalog, c->store);
}

/* The walk over what follows the newest head. */
struct tail {
	struct copy *copy;
	struct history *history;
	struct copy_stand stand;
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
	if (rc == -ERR_DAMAGED || rc == -ERR_TAMPERED)
		return SCAN_STOP;
	if (rc < 0)
		return rc;
	return is_head ? take_head(t, b) : SCAN_GO;
}

static int recover_with(struct copy *c, const struct params *p, struct history *h)
{
	struct tail t = {.copy = c, .history = h};
	struct scan_result found;
	struct head_ref ref;
	int rc;

	rc = resume(c, p, h);
	if (rc < 0)
		return rc;
	rc = catalog_newest(c->catalog, &ref);
	if (rc == 0)
		t.stand = (struct copy_stand){ref.pos + ref.stored_len, ref.number, ref.time_ns,
					      ref.pos, ref.stored_len};
	else if (rc != -ERR_ABSENT)
		return rc;
	/*
	 * Bytes of a killed server, or of one whose sync failed, may be in the page cache only: they
	 * count when they are durable.
	 */
	rc = store_settle(c->store, h->end);
	if (rc < 0)
		return rc;
	rc = scan_blocks(c->store, h->end, visit, &t, &found);
	if (rc < 0)
		return rc;
	rc = copy_cut(c, t.stand.end);
	if (rc < 0)
		return rc;
	copy_publish(c, &t.stand);
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

static void go_on(void *ctx)
{
	(void)ctx; /* it is over soon */
}

void copy_revive(struct copy *c)
{
	struct appender_opening o = {.cancel = go_on};
	struct conf *conf = copy_conf(c);
	struct copy_stand s;
	struct appender *place;

	copy_get_stand(c, &s);
	o.epoch = params_epoch(&conf->params);
	o.position = s.end;
	o.head = s.head;
	conf_put(conf);
	/* It recovers first.  If more was found than the stand, it then refuses the position. */
	if (appender_begin(c, c->owner, &o, &place) == 0)
		appender_end(place);
}

void copy_must_recover(struct copy *c)
{
	pthread_mutex_lock(&c->mu);
	c->must_recover = true;
	pthread_mutex_unlock(&c->mu);
}
