/*
 * Healing another copy from the log in a folder.
 *
 * Key idea: the folder's log was checked, so each block of it is compared with what the other copy
 * gives at its place, and one that differs is handed to the caller, who sends it.  The other copy
 * judges it by what it once verified.
 *
 * Invariants:
 *  1. Nothing is sent before the other copy's newest head was found in the folder's log: a copy
 *     with another history gets none of this one's bytes.
 *  2. The folder is only read.
 */

#include "repair_internal.h"

#include "catalog.h"
#include "head.h"
#include "holes.h"
#include "judge.h"
#include "scan.h"
#include "source.h"
#include "storage.h"
#include "store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct comparison {
	struct repair *r;
	int (*put)(void *ctx, log_pos pos, leaf_no leaf, const void *bytes, size_t len);
	void *ctx;
	struct head newest; /* of the source */
	leaf_no leaf;
};

static int compare_block(void *ctx, const struct scan_block *b)
{
	struct comparison *c = ctx;
	struct repair *r = c->r;
	leaf_no leaf = c->leaf;
	int rc;

	c->leaf += b->hole ? hole_blocks(b->hole) : 1;

	if (b->pos > c->newest.pos)
		return SCAN_STOP;
	/* Here is nothing to repair it with. */
	if (b->hole)
		return SCAN_GO;
	rc = repair_read_source(r, b->pos, b->len, r->good);
	if (rc == 0 && memcmp(r->good, b->bytes, b->len) == 0)
		return SCAN_GO;
	if (rc < 0 && rc != -ERR_ABSENT && rc != -EIO && rc != -ERR_DAMAGED)
		return rc;
	rc = c->put(c->ctx, b->pos, leaf, b->bytes, b->len);
	if (rc == -ERR_UNREACHABLE || rc == -ENOMEM)
		return rc;
	if (rc < 0) {
		r->counts->failed++;
		repair_report(
			r, "segment %" PRIu64 " offset %" PRIu64 ": could not be healed there: %s",
			segment_of(b->pos), b->pos - segment_start(segment_of(b->pos)),
			err_detail(rc));
		return SCAN_GO;
	}
	r->counts->blocks++;
	r->counts->bytes += b->len;
	repair_report(r, "segment %" PRIu64 " offset %" PRIu64 ": healed there, %zu bytes",
		      segment_of(b->pos), b->pos - segment_start(segment_of(b->pos)), b->len);
	return SCAN_GO;
}

/* The newest head of the source must be one of the folder's before anything is sent. */
static int check_newest(struct repair *r, const struct head *newest)
{
	const struct head_ref ref = {newest->number, newest->pos, newest->stored_len,
				     newest->time_ns};
	const struct head_known k = {.params = r->cfg->params, .ref = &ref, .same = newest};
	struct head mine;
	int rc = head_read(&k, head_from_storage, store_storage(r->store), r->bad, &mine);

	if (!repair_no_block(rc) && rc != -ERR_TAMPERED)
		return rc;
	return err_say(-ERR_FORKED,
		       "head %" PRIu64 " of the other copy is not one of this copy's: they have "
		       "different histories",
		       newest->number);
}

int repair_other(const struct repair_config *cfg,
		 int (*put)(void *put_ctx, log_pos pos, leaf_no leaf, const void *bytes,
			    size_t len),
		 void *put_ctx, struct repair_counts *out)
{
	struct repair r = {.cfg = cfg, .counts = out};
	struct comparison c = {.r = &r, .put = put, .ctx = put_ctx};
	struct scan_result result;
	int rc;

	memset(out, 0, sizeof(*out));
	rc = store_open(cfg->dir, STORE_LOOK | STORE_AROUND, &r.store);
	if (rc < 0)
		return rc;
	store_storage(r.store)->holes = cfg->holes;
	r.good = malloc(BLOCK_STORED_MAX);
	r.bad = malloc(BLOCK_STORED_MAX);
	rc = r.good && r.bad ? cfg->source->ops->head_at(cfg->source, INT64_MAX, &c.newest)
			     : -ENOMEM;
	if (rc == 0)
		rc = check_newest(&r, &c.newest);
	if (rc == 0)
		rc = scan_blocks(store_storage(r.store), 0, compare_block, &c, &result);
	out->heads = rc == 0 ? c.newest.number : 0;
	free(r.good);
	free(r.bad);
	store_close(r.store);
	return rc;
}
