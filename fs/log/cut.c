/*
 * Cutting a damaged log where a person says so.
 *
 * Key idea: the walk starts at the log's start and judges each block as a mount does, so that it
 * ends exactly where a mount would go on from.  What a cut would lose is told by three witnesses:
 * the heads that are still readable behind that end, the catalog's newest head, and newest-head.
 *
 * A mount does not read below the newest head that its catalog knows.  So if only older bytes are
 * damaged, a mount still works and the damage costs a file or two, while a cut there would cost all
 * that was written since.  A second walk, from the catalog's newest head, finds this out.
 *
 * Invariants:
 *  1. Nothing is changed unless the log is damaged, no mount can go on with it, and the person
 *     named the position where the damage begins.
 *  2. At least one head stays.
 */

#include "cut.h"

#include "catalog.h"
#include "frame.h"
#include "history.h"
#include "judge.h"
#include "newest.h"
#include "params.h"
#include "scan.h"
#include "seal.h"
#include "store.h"
#include "tail.h"

#include "err.h"
#include "secret.h"
#include "when.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOST_LEN 512u

typedef unsigned long long ull;

struct cut {
	const struct log_cut_config *cfg;
	struct store *store;
	struct history history;
	struct segment_key *key; /* of the segment at hand */
	uint8_t *plain;		 /* BLOCK_PLAIN_MAX bytes */
	segment_no last;	 /* segment */
	char why[200];		 /* why the walk refused a block; empty: it refused none */
	log_pos refused;	 /* position of the refused block */
	bool damaged;
	/*
	 * What lies behind the end: how many heads are readable, and the newest that is known of.
	 */
	uint64_t n_heads;
	head_no newest;
	int64_t newest_ns;
};

static int use_key(struct cut *c, const uint8_t header[SEGMENT_BLOCK_LEN], segment_no number)
{
	struct segment_header h;
	int rc = segment_header_decode(header, number, &h);

	if (rc < 0)
		return rc;
	segment_key_free(c->key);
	c->key = NULL;
	return segment_key_new(c->cfg->log_key, &h, &c->key);
}

static int judge_block(struct cut *c, const struct scan_block *b)
{
	bool is_head = false;
	int rc = 0;

	if (!b->hole && !block_kind_is_clear(b->frame.kind)) {
		rc = c->key ? seal_open(c->key, b->pos, &b->frame, b->bytes, c->plain)
			    : -ERR_DAMAGED;
		if (rc == -ERR_DAMAGED)
			return err_say(rc, "its seal does not fit its bytes");
	}
	if (rc == 0)
		rc = history_step(&c->history, b, &is_head);
	if (rc == 0 && b->frame.kind == BLOCK_SEGMENT)
		rc = use_key(c, b->bytes, segment_of(b->pos));
	if (rc == 0 && is_head)
		history_forget_leaves(&c->history); /* no catalog is made here */
	return rc;
}

static int take_block(void *ctx, const struct scan_block *b)
{
	struct cut *c = ctx;
	int rc = judge_block(c, b);

	if (rc != -ERR_DAMAGED && rc != -ERR_TAMPERED && rc != -ERR_FORMAT)
		return rc;
	snprintf(c->why, sizeof(c->why), "%s", err_detail(rc));
	c->refused = b->pos;
	return SCAN_STOP;
}

static void know_of(struct cut *c, head_no number, int64_t time_ns)
{
	if (number <= c->newest || number <= c->history.head.number)
		return;
	c->newest = number;
	c->newest_ns = time_ns;
	c->damaged = true;
}

static int count_head(void *ctx, const struct head *h)
{
	struct cut *c = ctx;

	c->n_heads++;
	c->damaged = true;
	know_of(c, h->number, h->time_ns);
	return 0;
}

/* Count the heads that are still readable behind the end. */
static int find_heads(struct cut *c)
{
	return head_search(c->cfg->params, store_storage(c->store), c->history.end, UINT64_MAX,
			   count_head, c);
}

/* Ask the catalog and newest-head for the newest head that they know of. */
static void find_known(struct cut *c)
{
	struct catalog *catalog;
	struct head_ref ref;
	struct head noted;

	newest_known(c->cfg->params, store_storage(c->store), &noted);
	know_of(c, noted.number, noted.time_ns);
	if (catalog_open(c->cfg->dir, c->cfg->params->id, CATALOG_READ, &catalog) < 0)
		return;
	if (catalog_newest(catalog, &ref) == 0)
		know_of(c, ref.number, ref.time_ns);
	catalog_close(catalog);
}

/* Walk on from where ${c->history} stands, and find out whether a mount would stop at damage. */
static int walk(struct cut *c)
{
	struct scan_result found;
	struct tail_end end;
	int rc = store_last(c->store, &c->last);

	(void)store_met_unreadable(c->store);
	if (rc < 0)
		return rc == -ERR_ABSENT ? err_say(-ERR_DAMAGED, "its log is empty") : rc;
	rc = scan_blocks(store_storage(c->store), c->history.end, take_block, c, &found);
	if (rc == -ERR_DAMAGED) {
		snprintf(c->why, sizeof(c->why), "%s", err_detail(rc));
		c->refused = c->history.end;
		c->damaged = true;
		rc = 0;
	}
	if (rc == 0)
		rc = find_heads(c);
	if (rc < 0)
		return rc;
	find_known(c);
	end = tail_of_history(&c->history, c->why, c->refused);
	rc = tail_judge(c->cfg->params, store_storage(c->store), &end);
	/* A mount stops at this too, even where it lies behind all blocks. */
	c->damaged = c->damaged || rc == -ERR_DAMAGED || store_met_unreadable(c->store);
	return rc == -ERR_DAMAGED ? 0 : rc;
}

/* Set ${c->history} to the newest head that the catalog knows.  False: the catalog is of no use. */
static bool stand_at_known(struct cut *c)
{
	uint8_t header[SEGMENT_BLOCK_LEN];
	struct catalog *catalog;
	segment_no number;
	int rc;

	if (catalog_open(c->cfg->dir, c->cfg->params->id, CATALOG_READ, &catalog) < 0)
		return false;
	rc = history_resume(&c->history, catalog, store_storage(c->store));
	catalog_close(catalog);
	if (rc < 0 || c->history.head.number == 0)
		return false;
	number = segment_of(c->history.head.pos);
	rc = store_read(c->store, segment_start(number), sizeof(header), header);
	return rc == 0 && use_key(c, header, number) == 0;
}

/* The number of the head from which a mount goes on, whatever lies below it; 0: no mount does. */
static head_no mounted_from(const struct cut *whole)
{
	struct cut c = {.cfg = whole->cfg, .store = whole->store, .plain = whole->plain};
	head_no number = 0;

	history_init(&c.history, c.cfg->params);
	if (stand_at_known(&c)) {
		number = c.history.head.number;
		if (walk(&c) < 0 || c.damaged)
			number = 0;
	}
	segment_key_free(c.key);
	history_release(&c.history);
	return number;
}

/* Put into words all that is known of what lies behind the end. */
static void describe_loss(const struct cut *c, char out[LOST_LEN])
{
	char kept[WHEN_TEXT_LEN], lost[WHEN_TEXT_LEN] = "";

	when_format_seconds(c->history.head.time_ns, kept);
	if (c->newest == 0) {
		snprintf(out, LOST_LEN,
			 "the newest head that is whole is %llu of %s; of later ones nothing is "
			 "known, so it is what was written after that, for a second or for as "
			 "long as no head could be made",
			 (ull)c->history.head.number, kept);
		return;
	}
	when_format_seconds(c->newest_ns, lost);
	snprintf(out, LOST_LEN,
		 "the newest head that is whole is %llu of %s; heads %llu to %llu, the last of %s, "
		 "and all that changed with them, are behind it (%llu of them are still there)",
		 (ull)c->history.head.number, kept, (ull)c->history.head.number + 1, (ull)c->newest,
		 lost, (ull)c->n_heads);
}

static int cut_segments(struct cut *c)
{
	log_pos end = c->history.end;
	segment_no keep = segment_of(end - 1), last;
	int rc;

	while ((rc = store_last(c->store, &last)) == 0 && last > keep) {
		rc = store_remove(c->store, last);
		if (rc < 0)
			return rc;
	}
	return rc < 0 ? rc : store_truncate(c->store, keep, end - segment_start(keep));
}

static int cut_off(struct cut *c)
{
	const struct head *h = &c->history.head;
	const struct head_ref ref = {h->number, h->pos, h->stored_len, h->time_ns};
	struct newest n = {0};
	int rc = newest_forget(c->cfg->dir);

	if (rc == 0)
		rc = catalog_remove(c->cfg->dir);
	if (rc == 0)
		rc = cut_segments(c);
	if (rc == 0)
		newest_note(&n, c->cfg->params, store_storage(c->store), &ref);
	return rc;
}

static int decide(struct cut *c)
{
	log_pos end = c->history.end;
	char lost[LOST_LEN], text[LOST_LEN + 200];
	head_no from;

	if (c->history.head.number == 0)
		return err_say(-ERR_DAMAGED,
			       "%s: no head of its log is whole: nothing could be kept",
			       c->cfg->dir);
	if (!c->damaged)
		return err_say(
			-EINVAL,
			"%s: its log is not damaged; nothing was cut off, and a mount does what "
			"is to be done",
			c->cfg->dir);
	from = mounted_from(c);
	if (from > 0)
		return err_say(
			-EINVAL,
			"%s: nothing was cut off: its log is damaged at position %llu%s%s%s, "
			"but a mount goes on with it, from head %llu; heal it with 'embassy "
			"check VOLUME --repair --from' an embassy or another copy",
			c->cfg->dir, (ull)end, c->why[0] ? " (" : "", c->why, c->why[0] ? ")" : "",
			(ull)from);
	describe_loss(c, lost);
	if (c->cfg->pos != end)
		return err_say(
			-EINVAL,
			"%s: nothing was cut off: its log is whole up to position %llu; %s; to "
			"give that up, name that position%s%s%s",
			c->cfg->dir, (ull)end, lost, c->why[0] ? " (what lies there: " : "", c->why,
			c->why[0] ? ")" : "");
	snprintf(text, sizeof(text), "given up from position %llu on: %s", (ull)end, lost);
	c->cfg->report(c->cfg->ctx, text);
	return cut_off(c);
}

int log_cut(const struct log_cut_config *cfg)
{
	struct cut c = {.cfg = cfg};
	int rc = store_open(cfg->dir, STORE_WRITABLE | STORE_LOOK | STORE_AROUND, &c.store);

	if (rc < 0)
		return rc;
	history_init(&c.history, cfg->params);
	if (store_is_copy(c.store)) {
		rc = err_say(-EINVAL,
			     "%s: an embassy's copy; heal it from the home or from another copy",
			     cfg->dir);
		goto release;
	}
	c.plain = secret_alloc(BLOCK_PLAIN_MAX);
	rc = c.plain ? walk(&c) : -ENOMEM;
	if (rc == 0)
		rc = decide(&c);
	secret_free(c.plain);

release:
	segment_key_free(c.key);
	history_release(&c.history);
	store_close(c.store);
	return rc;
}
