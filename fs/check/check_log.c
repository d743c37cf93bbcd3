/*
 * Check, parts 1 and 2: the log from its first byte to its end, and the catalog against it.
 *
 * One sequential pass.  The chain of heads is judged as everywhere else (history.h).  After a break
 * in it, the pass still checks frames and seals, so that it finds all damage and not just the
 * first.
 *
 * The tail is special.  After the newest head, in the last segment, bytes that are not a block may
 * be what a crash left, and the next mount cuts them off: they are no damage.  tail_judge() decides
 * whether they can be that, here as at a mount.
 */

#include "check_internal.h"

#include "catalog.h"
#include "history.h"
#include "holes.h"
#include "keys.h"
#include "newest.h"
#include "scan.h"
#include "seal.h"
#include "secret.h"
#include "storage.h"
#include "store.h"
#include "tail.h"
#include "tile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRESS_BYTES (UINT64_C(16) << 20)

struct log_pass {
	struct check *c;
	struct history history;
	bool broken; /* the chain of heads is broken */
	log_pos end; /* of the last block found */
	segment_no last_segment;
	log_pos told;		 /* position of the last progress report */
	struct segment_key *key; /* of the current segment; NULL: none */
	uint8_t *plain;		 /* BLOCK_PLAIN_MAX + tag bytes */
	uint64_t random;

	struct catalog *catalog; /* NULL: missing or damaged */
	struct head_ref known;	 /* the catalog's newest head; number 0: none */
	struct head noted;	 /* the head in newest-head; likewise */
	bool catalog_wrong, catalog_whole;
	struct tile tile; /* of the catalog's leaves: number tile_index - 1; 0: none yet */
	uint64_t tile_index;
};

/* A position in words for people: the segment's file and the offset in it. */
#define AT_FMT "segment %" PRIu64 " offset %" PRIu64
#define AT(pos) segment_of(pos), (pos)-segment_start(segment_of(pos))

static void break_chain(struct log_pass *p, int rc, log_pos pos)
{
	p->broken = true;
	check_bad(p->c, rc, AT_FMT ": %s", AT(pos), err_detail(rc));
}

static int take_segment(struct log_pass *p, const struct scan_block *b)
{
	struct segment_header h;
	int rc;

	segment_key_free(p->key);
	p->key = NULL;
	p->c->counts->segments++;
	if (!p->c->cfg->keys || b->len != SEGMENT_BLOCK_LEN)
		return 0;
	rc = segment_header_decode(b->bytes, segment_of(b->pos), &h);
	if (rc == 0)
		rc = segment_key_new(p->c->cfg->keys->log_key, &h, &p->key);
	if (rc == -ENOMEM)
		return rc;
	if (rc < 0)
		check_bad(p->c, rc, AT_FMT ": its header can't be used: %s", AT(b->pos),
			  err_text(rc));
	return 0;
}

/* xorshift64*: good enough for sampling. */
static bool in_sample(struct log_pass *p)
{
	p->random ^= p->random >> 12;
	p->random ^= p->random << 25;
	p->random ^= p->random >> 27;
	return (p->random * UINT64_C(2685821657736338717) >> 32) % 100 < p->c->cfg->read_percent;
}

static int open_sealed(struct log_pass *p, const struct scan_block *b)
{
	struct check *c = p->c;
	int rc;

	if (b->frame.kind == BLOCK_DATA) {
		c->counts->data_total++;
		if (!in_sample(p))
			return 0;
	}
	if (!p->key || b->hole)
		return 0;
	rc = seal_open(p->key, b->pos, &b->frame, b->bytes, p->plain);
	if (rc == -ERR_DAMAGED) {
		/* The end of the log decides whether this is damage or a torn tail. */
		if (c->n_blocks < CHECK_BLOCKS_MAX)
			c->blocks[c->n_blocks++] = b->pos;
		return 0;
	}
	if (rc == 0) {
		c->counts->opened++;
		c->counts->data_opened += b->frame.kind == BLOCK_DATA;
	}
	return rc;
}

/* Below the newest head that the catalog knows it must have the leaf of each block that is here. */
static void compare_leaf(struct log_pass *p, const struct scan_block *b)
{
	const struct holes *holes = store_storage(p->c->store)->holes;
	leaf_no leaf = p->history.merkle.n - 1;
	uint64_t index = leaf / TILE_WIDTH;
	unsigned at = (unsigned)(leaf % TILE_WIDTH);
	int rc = 0;

	if (!p->catalog || p->catalog_wrong || b->pos >= p->known.pos || (holes && holes->n > 0))
		return;
	if (p->tile_index != index + 1) {
		rc = catalog_tile(p->catalog, index, &p->tile);
		p->tile_index = index + 1;
	}
	if (rc < 0 || at >= p->tile.n || memcmp(p->tile.hash[at], b->leaf, HASH_LEN) != 0)
		p->catalog_wrong = true;
}

/* The catalog may lack the newest heads, but it must not contradict the log. */
static void compare_head(struct log_pass *p, const struct head *h)
{
	struct head_ref ref, by_time;
	int rc;

	if (!p->catalog || p->catalog_wrong || h->number > p->known.number)
		return;
	rc = catalog_head(p->catalog, h->number, &ref);
	if (rc < 0 || ref.pos != h->pos || ref.stored_len != h->stored_len ||
	    ref.time_ns != h->time_ns)
		p->catalog_wrong = true;
	if (rc == 0 &&
	    (catalog_head_at(p->catalog, h->time_ns, &by_time) < 0 || by_time.number != h->number))
		p->catalog_wrong = true;
	if (rc == 0 && h->number == p->known.number) {
		struct merkle m;
		uint8_t root[HASH_LEN];

		rc = catalog_merkle(p->catalog, h->n_blocks, &m);
		if (rc == 0)
			merkle_root(&m, root);
		if (rc < 0 || memcmp(root, h->root, HASH_LEN) != 0)
			p->catalog_wrong = true;
	}
}

/*
 * A wrong root is a forgery only if every block below is as its writer sealed it; else it is
 * damage.
 */
static bool all_seals_fit(const struct log_pass *p)
{
	return p->c->n_blocks == 0 && p->c->cfg->keys && p->c->cfg->read_percent == 100;
}

/* Every byte below this position is stated by a known head. */
static log_pos stated_end(const struct log_pass *p)
{
	log_pos known = p->known.number > 0 ? p->known.pos + p->known.stored_len : 0;
	log_pos found = p->history.head.number > 0 ? head_end(&p->history.head) : 0;

	/* A head that is missing from the log stated all below it, whatever is there now. */
	if (p->noted.number > p->history.head.number && head_end(&p->noted) > known)
		known = head_end(&p->noted);
	return known > found ? known : found;
}

/*
 * tail_judge() for a log that ends at ${pos}.  ${rc}: why the block there was refused; 0: no block
 * is there.  Returns 0, or -ERR_DAMAGED with a detail.
 */
static int judge_tail_at(struct log_pass *p, log_pos pos, int rc, uint64_t *out_torn)
{
	struct tail_end end = tail_of_history(&p->history, NULL, pos);
	char why[200] = "";

	if (rc < 0)
		snprintf(why, sizeof(why), "%s", err_detail(rc));
	if (end.end != pos || rc == 0)
		end.suspect = pos;
	end.end = pos;
	end.acknowledged = p->catalog_whole;
	end.why = why;
	rc = tail_judge(&p->c->params, store_storage(p->c->store), &end);
	*out_torn = end.torn_bytes;
	return rc;
}

/* Can the block at ${pos}, which was refused with ${rc}, be what a crash left? */
static bool is_torn_at(struct log_pass *p, log_pos pos, int rc)
{
	char why[200];
	uint64_t torn;
	bool is_torn;

	if ((rc != -ERR_DAMAGED && rc != -ERR_TAMPERED) || segment_of(pos) != p->last_segment ||
	    pos < stated_end(p))
		return false;
	snprintf(why, sizeof(why), "%s", err_detail(rc));
	is_torn = judge_tail_at(p, pos, rc, &torn) == 0;
	(void)err_say(rc, "%s", why);
	return is_torn;
}

static int judge(struct log_pass *p, const struct scan_block *b)
{
	bool is_head = false;
	int rc;

	if (p->broken)
		return SCAN_GO;
	rc = history_step(&p->history, b, &is_head);
	if (rc == -ENOMEM)
		return rc;
	if (rc < 0) {
		if (is_torn_at(p, b->pos, rc))
			return SCAN_STOP;
		if (p->history.root_differs && !all_seals_fit(p))
			rc = err_say(-ERR_DAMAGED,
				     "a block below head %" PRIu64
				     " is damaged: its Merkle root does not fit%s",
				     p->history.head.number + 1,
				     p->c->n_blocks > 0 ? "" : "; --read-data finds out which");
		break_chain(p, rc, b->pos);
		return SCAN_GO;
	}
	compare_leaf(p, b);
	/* No catalog is filled here, so no leaves need be kept. */
	if (is_head) {
		p->c->counts->heads++;
		history_forget_leaves(&p->history);
		compare_head(p, &p->history.head);
	}
	return SCAN_GO;
}

static int on_block(void *ctx, const struct scan_block *b)
{
	struct log_pass *p = ctx;
	struct check_counts *counts = p->c->counts;
	int rc;

	rc = b->frame.kind == BLOCK_SEGMENT ? take_segment(p, b) : 0;
	if (rc < 0)
		return rc;
	rc = judge(p, b);
	if (rc != SCAN_GO)
		return rc;
	if (!block_kind_is_clear(b->frame.kind) && p->c->cfg->keys) {
		rc = open_sealed(p, b);
		if (rc < 0)
			return rc;
	}
	counts->blocks += b->hole ? hole_blocks(b->hole) : 1;
	counts->bytes += b->len;
	p->end = b->pos + b->len;
	if (p->end - p->told >= PROGRESS_BYTES) {
		p->told = p->end;
		check_progress(p->c, "log", p->end, segment_start(p->last_segment + 1));
	}
	return SCAN_GO;
}

/* Scan the log, and after a damaged segment scan on in the next one. */
static int scan_all(struct log_pass *p, struct scan_result *res)
{
	log_pos from = 0;
	segment_no next;
	int rc;

	for (;;) {
		p->end = from;
		rc = scan_blocks(store_storage(p->c->store), from, on_block, p, res);
		if (rc != -ERR_DAMAGED)
			return rc;
		p->broken = true;
		check_bad(p->c, rc, "%s", err_detail(rc));
		rc = store_next(p->c->store, segment_of(p->end) + 1, &next);
		if (rc == -ERR_ABSENT) {
			*res = (struct scan_result){.end = p->end, .verdict = SCAN_END};
			return 0;
		}
		if (rc < 0)
			return rc;
		from = segment_start(next);
	}
}

/* Blocks with wrong seals in the last segment, after all heads, may belong to the torn tail. */
static int judge_seals(struct log_pass *p, bool *out_torn)
{
	struct check *c = p->c;
	size_t kept = 0;
	uint64_t torn;
	int rc = 0;

	for (size_t i = 0; i < c->n_blocks; i++) {
		log_pos pos = c->blocks[i];

		rc = -ERR_DAMAGED;
		/* The first one ends the log; what follows it is judged with it. */
		if (*out_torn)
			continue;
		if (pos >= stated_end(p) && segment_of(pos) == p->last_segment)
			rc = judge_tail_at(p, pos, 0, &torn);
		if (rc == 0) {
			*out_torn = true;
			continue;
		}
		if (rc != -ERR_DAMAGED)
			return rc;
		c->blocks[kept++] = pos;
		check_bad(c, -ERR_DAMAGED, AT_FMT ": the block's seal does not fit its bytes",
			  AT(pos));
	}
	c->n_blocks = kept;
	return 0;
}

/* Judge the log's end: can the rest be a torn tail, and is all that the catalog has seen there? */
static int judge_end(struct log_pass *p, const struct scan_result *res)
{
	struct check *c = p->c;
	bool torn = false;
	uint64_t bytes = 0;
	int rc = judge_seals(p, &torn);

	if (rc < 0)
		return rc;
	if (p->broken)
		return 0;
	rc = tail_check_noted(store_storage(c->store), &p->noted, p->history.head.number);
	if (rc == 0 && res->end < stated_end(p))
		rc = err_say(-ERR_DAMAGED, "the log ends here, but head %" PRIu64 " lies beyond",
			     p->known.number);
	if (rc < 0) {
		break_chain(p, rc, res->end);
		return 0;
	}
	/* A mount does not look past a torn block. */
	if (!torn)
		rc = judge_tail_at(p, res->end, 0, &bytes);
	/* A mount stops at a page that the disk can't read, even if no block follows it. */
	if (rc == 0 && store_met_unreadable(c->store))
		rc = err_say(-ERR_DAMAGED,
			     "the log ends here, and some of what lies behind can't be read; where "
			     "no copy can heal it, --repair --cut gives it up");
	if (rc == -ERR_DAMAGED)
		break_chain(p, rc, res->end);
	else if (rc == 0 && (torn || bytes > 0))
		check_note(c, "the log's tail was torn by a crash; the next mount cuts it off");
	return rc == -ERR_DAMAGED ? 0 : rc;
}

/* May this user put a catalog there, and is the medium writable? */
static bool can_rebuild(const char *dir)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/catalog", dir);
	return faccessat(AT_FDCWD, dir, W_OK, AT_EACCESS) == 0 &&
	       (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0 || errno == ENOENT);
}

static int judge_catalog(struct log_pass *p)
{
	struct check *c = p->c;
	int rc;

	if (p->catalog && !p->catalog_wrong)
		return 0;
	if (p->broken) {
		check_note(c, "the catalog is %s; it is not rebuilt, since the log is damaged",
			   p->catalog ? "wrong" : "missing or damaged");
		return 0;
	}
	if (!can_rebuild(c->cfg->dir)) {
		check_note(
			c,
			"the catalog is %s; it is not rebuilt, since this user can't write there",
			p->catalog ? "wrong" : "missing, damaged or unreadable");
		return 0;
	}
	catalog_close(p->catalog);
	p->catalog = NULL;
	rc = catalog_rebuild(c->cfg->dir, &c->params, store_storage(c->store), NULL, NULL);
	if (rc < 0)
		return rc;
	c->counts->catalog_rebuilt = true;
	check_note(c, "the catalog was %s; it has been rebuilt from the log",
		   p->catalog_wrong ? "wrong" : "missing or damaged");
	return 0;
}

static int open_catalog(struct log_pass *p)
{
	int rc = catalog_open(p->c->cfg->dir, p->c->params.id, CATALOG_READ, &p->catalog);

	if (rc < 0) {
		p->catalog = NULL;
		/* Reading needs no catalog either. */
		return rc == -ERR_ABSENT || rc == -ERR_DAMAGED || rc == -EACCES ? 0 : rc;
	}
	p->catalog_whole = catalog_is_whole(p->catalog) > 0;
	rc = catalog_newest(p->catalog, &p->known);
	if (rc < 0) {
		memset(&p->known, 0, sizeof(p->known));
		p->catalog_wrong = rc != -ERR_ABSENT;
	}
	return 0;
}

int check_log(struct check *c)
{
	struct scan_result res = {.end = 0, .verdict = SCAN_END};
	struct log_pass *p;
	int rc;

	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->c = c;
	history_init(&p->history, &c->params);
	random_bytes(&p->random, sizeof(p->random));
	p->random |= 1;
	p->plain = secret_alloc(BLOCK_PLAIN_MAX);
	/* Read this first: a writer may append meanwhile. */
	newest_known(&c->params, store_storage(c->store), &p->noted);
	rc = p->plain ? store_last(c->store, &p->last_segment) : -ENOMEM;
	if (rc == -ERR_ABSENT)
		rc = err_say(-ERR_DAMAGED,
			     "%s: its log is empty; 'embassy init' did not end, or its "
			     "segments were removed",
			     c->cfg->dir);
	if (rc == 0)
		rc = open_catalog(p);
	if (rc == 0)
		rc = scan_all(p, &res);
	if (rc == 0)
		rc = judge_end(p, &res);
	if (rc == 0) {
		if (p->history.head.number == 0 && !p->broken)
			check_bad(c, -ERR_DAMAGED, "the log holds no head");
		rc = judge_catalog(p);
	}
	c->newest = p->history.head;

	catalog_close(p->catalog);
	segment_key_free(p->key);
	secret_free(p->plain);
	history_release(&p->history);
	free(p);
	return rc;
}
