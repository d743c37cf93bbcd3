/*
 * Recovery: where does the log end, and what lies after its newest head?
 *
 * Key idea: blocks after the newest head are walked and opened with their keys.  The first that
 * fails in the last segment is where the log ends.  Whether a crash tore it there, so that it may
 * be cut, or it is damaged, is for tail_judge() to decide.
 *
 * Invariants:
 *  - The log is changed only after all checks are done, and only past its end.
 *  - A refusal leaves nothing behind that makes the next attempt decide otherwise.
 *  - No block that a signed head covers is ever cut off.
 *  - What counts as the log afterwards is durable before anyone builds on it.
 */

#include "catalog.h"
#include "compress.h"
#include "err.h"
#include "frame.h"
#include "log.h"
#include "log_internal.h"
#include "newest.h"
#include "params.h"
#include "scan.h"
#include "seal.h"
#include "store.h"
#include "tail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pointers {
	struct block_ptr *p;
	size_t n, cap;
};

struct recovery {
	const struct log_config *cfg;
	struct store *store;
	struct catalog *catalog;
	struct history *hist;
	struct pointers deltas, checkpoints;
	segment_no last;	 /* the last segment */
	bool fresh;		 /* the catalog was just made: all that it holds is from the log */
	struct head noted;	 /* the head that newest-head names; number 0: none */
	char why[200];		 /* why the walk stopped; empty: no whole block followed */
	log_pos refused;	 /* position of the block that it refused */
	struct segment_key *key; /* of key_segment; NULL: none yet */
	segment_no key_segment;
	uint8_t *plain; /* BLOCK_PLAIN_MAX bytes */
};

static int add_pointer(struct pointers *list, const struct block_ptr *ptr)
{
	size_t cap = list->cap ? 2 * list->cap : 64;
	void *p;

	if (list->n == list->cap) {
		p = realloc(list->p, cap * sizeof(*list->p));
		if (!p)
			return -ENOMEM;
		list->p = p;
		list->cap = cap;
	}
	list->p[list->n++] = *ptr;
	return 0;
}

static int set_key(struct recovery *r, const uint8_t header[SEGMENT_BLOCK_LEN], segment_no number)
{
	struct segment_header h;
	struct segment_key *key;
	int rc;

	rc = segment_header_decode(header, number, &h);
	if (rc == 0)
		rc = segment_key_new(r->cfg->log_key, &h, &key);
	if (rc < 0)
		return rc;
	segment_key_free(r->key);
	r->key = key;
	r->key_segment = number;
	return 0;
}

/* A walk that begins in the middle of a segment did not meet its header: read it for the key. */
static int ensure_key(struct recovery *r, segment_no number)
{
	uint8_t header[SEGMENT_BLOCK_LEN];
	int rc;

	if (r->key && r->key_segment == number)
		return 0;
	rc = store_read(r->store, segment_start(number), sizeof(header), header);
	return rc < 0 ? rc : set_key(r, header, number);
}

/* Open a sealed block and find its plaintext's length. */
static int open_block(struct recovery *r, const struct scan_block *b, uint32_t *out_plain_len)
{
	size_t len;
	int rc;

	rc = ensure_key(r, segment_of(b->pos));
	if (rc == 0)
		rc = seal_open(r->key, b->pos, &b->frame, b->bytes, r->plain);
	if (rc < 0)
		return rc;
	len = opened_len(b->frame.body_len, b->frame.flags);
	if (b->frame.flags & BLOCK_FLAG_ZSTD)
		return compress_plain_len(r->plain, len, out_plain_len);
	*out_plain_len = (uint32_t)len;
	return 0;
}

static int open_sealed(struct recovery *r, const struct scan_block *b, uint32_t *out_plain_len)
{
	int rc = open_block(r, b, out_plain_len);

	return rc == -ERR_DAMAGED ? err_say(rc, "its seal does not fit its bytes") : rc;
}

static int judge_block(struct recovery *r, const struct scan_block *b, bool *out_is_head,
		       uint32_t *out_plain_len)
{
	int rc = 0;

	*out_plain_len = 0;
	/*
	 * A block that is gone can't be opened: the next head proves it, or tail_judge() refuses
	 * it.
	 */
	if (!b->hole && !block_kind_is_clear(b->frame.kind))
		rc = open_sealed(r, b, out_plain_len);
	if (rc == 0)
		rc = history_step(r->hist, b, out_is_head);
	if (rc == 0 && b->frame.kind == BLOCK_SEGMENT)
		rc = set_key(r, b->bytes, segment_of(b->pos));
	return rc;
}

static int take_block(void *ctx, const struct scan_block *b)
{
	struct recovery *r = ctx;
	struct block_ptr ptr = {.pos = b->pos, .stored_len = (uint32_t)b->len};
	bool is_head = false;
	int rc;

	rc = judge_block(r, b, &is_head, &ptr.plain_len);
	if ((rc == -ERR_DAMAGED || rc == -ERR_TAMPERED || rc == -ERR_FORMAT) &&
	    segment_of(b->pos) == r->last) {
		snprintf(r->why, sizeof(r->why), "%s", err_detail(rc));
		r->refused = b->pos;
		return SCAN_STOP;
	}
	if (rc == -ERR_DAMAGED)
		return err_say(rc, "segment %016llx: the block at %llu is not what was written",
			       (unsigned long long)segment_of(b->pos), (unsigned long long)b->pos);
	if (rc < 0)
		return rc;

	if (is_head) {
		r->deltas.n = r->checkpoints.n = 0;
		return history_commit(r->hist, r->catalog);
	}
	if (b->hole)
		return SCAN_GO;
	if (b->frame.kind == BLOCK_DELTA)
		return add_pointer(&r->deltas, &ptr);
	if (b->frame.kind == BLOCK_CHECKPOINT)
		return add_pointer(&r->checkpoints, &ptr);
	return SCAN_GO;
}

/* Cut the last segment where the log ends, durably. */
static int cut_tail(struct recovery *r, log_pos end)
{
	log_pos start = segment_start(r->last);
	uint64_t size;
	int rc;

	if (end <= start)
		return store_remove(r->store, r->last);
	rc = store_size(r->store, r->last, &size);
	if (rc == 0 && size != end - start)
		rc = store_truncate(r->store, r->last, end - start);
	return rc;
}

static int rebuild_catalog(struct recovery *r)
{
	const struct log_config *cfg = r->cfg;
	int rc;

	r->fresh = true;
	rc = store_rewrite(r->store, 0);
	if (rc < 0)
		return rc;
	catalog_close(r->catalog);
	r->catalog = NULL;
	history_release(r->hist);
	history_init(r->hist, cfg->params);
	rc = catalog_rebuild(cfg->volume_dir, cfg->params, store_storage(r->store), NULL, NULL);
	if (rc == 0)
		rc = catalog_open(cfg->volume_dir, cfg->params->id, CATALOG_WRITE, &r->catalog);
	return rc < 0 ? rc : history_resume(r->hist, r->catalog, store_storage(r->store));
}

/* Resume at the newest head that the catalog knows; rebuild a catalog that is of no use. */
static int resume(struct recovery *r)
{
	const struct log_config *cfg = r->cfg;
	struct head_ref known = {0};
	int rc;

	rc = catalog_open(cfg->volume_dir, cfg->params->id, CATALOG_WRITE, &r->catalog);
	if (rc == -ERR_DAMAGED)
		return rebuild_catalog(r);
	if (rc == 0)
		rc = history_resume(r->hist, r->catalog, store_storage(r->store));
	/* An empty catalog is new, or as good as new. */
	r->fresh = rc == 0 && r->hist->head.number == 0;
	if (rc != -ERR_DAMAGED && rc != -ERR_TAMPERED)
		return rc;
	if (catalog_newest(r->catalog, &known) < 0)
		return rebuild_catalog(r);
	rc = tail_check_known(cfg->params, store_storage(r->store), &known);
	return rc < 0 ? rc : rebuild_catalog(r);
}

static int walk(struct recovery *r, struct log_tail *tail)
{
	struct scan_result result;
	struct tail_end end;
	int rc;

	tail->dropped_bytes = 0;
	newest_known(r->cfg->params, store_storage(r->store), &r->noted);
	rc = store_last(r->store, &r->last);
	if (rc == -ERR_ABSENT)
		return tail_check_noted(store_storage(r->store), &r->noted, 0);
	/*
	 * Durable first: the walk puts heads into the catalog, which must not be newer than the
	 * disk.
	 */
	if (rc == 0)
		rc = store_rewrite(r->store, r->hist->end);
	if (rc == 0)
		rc = scan_blocks(store_storage(r->store), r->hist->end, take_block, r, &result);
	if (rc < 0)
		return rc;
	end = tail_of_history(r->hist, r->why, r->refused);
	rc = tail_judge(r->cfg->params, store_storage(r->store), &end);
	if (rc == 0)
		rc = tail_check_noted(store_storage(r->store), &r->noted, r->hist->head.number);
	tail->dropped_bytes = end.torn_bytes;
	return rc < 0 ? rc : cut_tail(r, end.end);
}

/*
 * Clear a catalog that this attempt made, so that the next one finds what this one found.  What the
 * log does not hold, the cursors, stays.
 */
static void forget_catalog(const struct recovery *r)
{
	if (r->fresh)
		(void)!catalog_clear(r->cfg->volume_dir, r->cfg->params->id);
}

/* One attempt at recovery, from the start; on an error it leaves nothing behind. */
static int attempt(struct recovery *r, struct log_tail *tail)
{
	int rc = -ENOMEM;

	history_init(r->hist, r->cfg->params);
	r->plain = malloc(BLOCK_PLAIN_MAX);
	if (r->plain)
		rc = resume(r);
	if (rc == 0)
		rc = walk(r, tail);
	free(r->plain);
	segment_key_free(r->key);
	if (rc == 0)
		return 0;
	free(r->deltas.p);
	free(r->checkpoints.p);
	catalog_close(r->catalog);
	forget_catalog(r);
	return rc;
}

int log_recover(const struct log_config *cfg, struct store *store, struct catalog **out_catalog,
		struct history *hist, struct newest *out_noted, struct log_tail *tail)
{
	struct recovery r = {.cfg = cfg, .store = store, .hist = hist};
	int rc = attempt(&r, tail);

	/* On a full disk, shrinking the spare makes the room that the catalog takes. */
	while (rc == -ENOSPC && store_shrink_spare(store, 0)) {
		history_release(hist);
		r = (struct recovery){.cfg = cfg, .store = store, .hist = hist};
		rc = attempt(&r, tail);
	}
	if (rc < 0)
		return rc;

	*out_catalog = r.catalog;
	*out_noted = newest_found(&r.noted);
	tail->head = hist->head;
	tail->end = hist->end;
	tail->deltas = r.deltas.p;
	tail->n_deltas = r.deltas.n;
	tail->checkpoints = r.checkpoints.p;
	tail->n_checkpoints = r.checkpoints.n;
	return 0;
}
