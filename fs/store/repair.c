/*
 * Healing a log from another copy.
 *
 * Key idea: a head vouches for every byte since the head before it, and a history that stands at
 * one head judges the stretch to the next without a key.  So each stretch is walked in the
 * folder; if it does not verify, in the source; and if it verifies there, the blocks that
 * differ are written.
 *
 * Invariants:
 *  1. Nothing is written before the whole stretch has verified, and each block is hashed
 *     again when it is written: a source that changes its mind writes nothing wrong.
 *  2. What is gone by the storage's table (holes.h) is neither damaged nor filled again; nor is it believed:
 *     with what stands for it a stretch must verify.
 *  3. A folder that holds a signed head which the source does not have is another history:
 *     nothing is written at all.
 */

#include "repair_internal.h"

#include "frame.h"
#include "head.h"
#include "history.h"
#include "holes.h"
#include "judge.h"
#include "params.h"
#include "scan.h"
#include "source.h"
#include "storage.h"
#include "store.h"

#include "err.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADS_PER_CALL 64u
#define REPORT_LEN 512u
#define PAGE_LEN 4096u

/* A block of a stretch, as it verified. */
struct piece {
	log_pos pos;
	size_t len;
	uint8_t leaf[HASH_LEN];
};

void repair_report(struct repair *r, const char *fmt, ...)
{
	char text[REPORT_LEN];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	r->cfg->report(r->cfg->ctx, text);
}

/* ---- walking a stretch ---- */

typedef int read_fn(struct repair *r, log_pos pos, size_t len, void *out);

static int read_folder(struct repair *r, log_pos pos, size_t len, void *out)
{
	return store_read(r->store, pos, len, out);
}

int repair_read_source(struct repair *r, log_pos pos, size_t len, void *out)
{
	return r->cfg->source->ops->read(r->cfg->source, pos, len, out);
}

/* The block at ${pos}; -ERR_ABSENT or -ERR_DAMAGED: there is none. */
static int read_block(struct repair *r, read_fn *read, log_pos pos, uint8_t *buf,
		      struct scan_block *b)
{
	int rc;

	if (SEGMENT_SIZE - pos % SEGMENT_SIZE < FRAME_LEN)
		return -ERR_ABSENT;
	rc = read(r, pos, FRAME_LEN, buf);
	if (rc == 0)
		rc = frame_decode(buf, pos, &b->frame);
	if (rc < 0)
		return rc;
	b->hole = NULL;
	b->pos = pos;
	b->bytes = buf;
	b->len = FRAME_LEN + b->frame.body_len;
	rc = read(r, pos + FRAME_LEN, b->frame.body_len, buf + FRAME_LEN);
	if (rc == 0)
		leaf_hash(pos, buf, b->len, b->leaf);
	return rc;
}

static int keep_piece(struct repair *r, const struct scan_block *b)
{
	struct piece *p;

	if (r->n_pieces == r->cap_pieces) {
		size_t cap = r->cap_pieces ? 2 * r->cap_pieces : 256;

		p = realloc(r->pieces, cap * sizeof(*p));
		if (!p)
			return -ENOMEM;
		r->pieces = p;
		r->cap_pieces = cap;
	}
	p = &r->pieces[r->n_pieces++];
	p->pos = b->pos;
	p->len = b->len;
	memcpy(p->leaf, b->leaf, HASH_LEN);
	return 0;
}

/* The block of the folder at ${pos}, or what stands for it. */
static int read_mine(struct repair *r, log_pos pos, struct scan_block *b)
{
	const struct hole *h = holes_at(store_storage(r->store)->holes, pos);

	if (!h)
		return read_block(r, read_folder, pos, r->good, b);
	if (h->pos != pos)
		return -ERR_DAMAGED;
	scan_hole(h, b);
	return 0;
}

static int read_either(struct repair *r, bool mine, log_pos pos, struct scan_block *b)
{
	return mine ? read_mine(r, pos, b) : read_block(r, repair_read_source, pos, r->good, b);
}

/*
 * Whether the folder's segment goes on behind its blocks, which end at ${pos}.  Other readers take that for
 * damage.  Returns 1, 0 or -errno.
 */
static int goes_on(struct repair *r, log_pos pos)
{
	segment_no number;
	uint64_t size;
	int rc;

	if (pos == 0)
		return 0;
	number = segment_of(pos - 1);
	rc = store_size(r->store, number, &size);
	if (rc < 0)
		return rc == -ERR_ABSENT ? 0 : rc;
	return size > pos - segment_start(number);
}

/* The next segment's first block follows ${pos}, in the folder, where no block is.  Returns 0 or -errno. */
static int leave_mine(struct repair *r, log_pos pos)
{
	int rc = pos == r->history.end ? goes_on(r, pos) : 0;

	return rc == 1 ? -ERR_DAMAGED : rc;
}

/* From where the history stands up to and with head ${h}: does it verify? */
static int walk_stretch(struct repair *r, bool mine, const struct head *h)
{
	log_pos pos = r->history.end;
	bool is_head = false;
	int rc = 0;

	r->n_pieces = 0;
	while (rc == 0 && !is_head) {
		struct scan_block b;

		rc = read_either(r, mine, pos, &b);
		/* A segment's blocks end somewhere; the next that exists goes on. */
		while (repair_no_block(rc) && segment_of(pos) < segment_of(h->pos)) {
			rc = mine ? leave_mine(r, pos) : 0;
			if (rc < 0)
				return rc;
			pos = segment_start(segment_of(pos) + 1);
			rc = read_either(r, mine, pos, &b);
		}
		if (rc == 0 && pos > h->pos)
			rc = -ERR_DAMAGED;
		if (rc == 0)
			rc = history_step(&r->history, &b, &is_head);
		if (rc == 0)
			rc = keep_piece(r, &b);
		pos += rc == 0 ? b.len : 0;
	}
	if (rc == 0 && !head_is_same(&r->history.head, h))
		rc = -ERR_DAMAGED;
	return rc;
}

/* Where a history stood, to go back to. */
struct stood {
	struct head head;
	struct merkle merkle;
	log_pos end;
	epoch_no epoch;
	uint64_t n_gone;
};

static struct stood stand(const struct history *h)
{
	return (struct stood){h->head, h->merkle, h->end, h->epoch, h->n_gone};
}

static void go_back(struct history *h, const struct stood *s)
{
	h->head = s->head;
	h->merkle = s->merkle;
	h->end = s->end;
	h->epoch = s->epoch;
	h->n_gone = s->n_gone;
	history_forget_leaves(h);
}

/* ---- writing ---- */

/* Have the file of a segment, as long as its blocks need or longer. */
static int need_segment(struct repair *r, segment_no number)
{
	uint64_t size;
	int rc = store_size(r->store, number, &size);

	if (rc != -ERR_ABSENT)
		return rc;
	rc = store_create(r->store, number);
	if (rc == 0)
		repair_report(r, "segment %016" PRIx64 ": was missing; made anew", number);
	return rc;
}

/* Before the first byte that is written into a segment: what is not synced must not be believed. */
static int note_segment(struct repair *r, segment_no number)
{
	int rc;

	if (r->noted && r->noted_segment == number)
		return 0;
	rc = store_note(r->store, number);
	if (rc < 0)
		return rc;
	r->noted = true;
	r->noted_segment = number;
	return 0;
}

/* Of a page that can't be read no part can be written.  What lies behind comes in its turn. */
static int put_block(struct repair *r, const struct scan_block *b)
{
	int rc = store_write(r->store, b->pos, b->bytes, b->len, false);

	if (rc != -EIO)
		return rc;
	rc = store_wipe(r->store, b->pos, b->len);
	return rc < 0 ? rc : store_write(r->store, b->pos, b->bytes, b->len, false);
}

static int write_piece(struct repair *r, const struct piece *p)
{
	struct scan_block b;
	int rc;

	/* What is gone is not damaged. */
	if (holes_at(store_storage(r->store)->holes, p->pos))
		return 0;
	if (store_read(r->store, p->pos, p->len, r->bad) == 0) {
		uint8_t leaf[HASH_LEN];

		leaf_hash(p->pos, r->bad, p->len, leaf);
		if (memcmp(leaf, p->leaf, HASH_LEN) == 0)
			return 0;
	}
	rc = read_block(r, repair_read_source, p->pos, r->good, &b);
	if (rc < 0)
		return rc;
	if (b.len != p->len || memcmp(b.leaf, p->leaf, HASH_LEN) != 0)
		return err_say(-ERR_TAMPERED,
			       "position %" PRIu64 ": the other copy gives other "
			       "bytes than a moment ago",
			       p->pos);
	rc = need_segment(r, segment_of(p->pos));
	if (rc == 0)
		rc = note_segment(r, segment_of(p->pos));
	if (rc == 0)
		rc = put_block(r, &b);
	if (rc < 0)
		return rc;
	r->counts->blocks++;
	r->counts->bytes += p->len;
	repair_report(r, "segment %" PRIu64 " offset %" PRIu64 ": healed, %zu bytes",
		      segment_of(p->pos), p->pos - segment_start(segment_of(p->pos)), p->len);
	return 0;
}

/* A segment that has a successor ends with its last block. */
static int end_segment(struct repair *r, log_pos end)
{
	segment_no number = segment_of(end - 1);
	uint64_t size, len = end - segment_start(number);
	int rc = store_size(r->store, number, &size);

	if (rc < 0)
		return rc;
	if (size == len)
		return store_sync(r->store, number);
	repair_report(r, "segment %016" PRIx64 ": its file had %" PRIu64 " bytes, and now %" PRIu64,
		      number, size, len);
	return store_truncate(r->store, number, len);
}

static int write_stretch(struct repair *r, log_pos from)
{
	log_pos end = from;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < r->n_pieces; i++) {
		const struct piece *p = &r->pieces[i];

		if (end > 0 && segment_of(end - 1) != segment_of(p->pos))
			rc = end_segment(r, end);
		if (rc == 0)
			rc = write_piece(r, p);
		end = p->pos + p->len;
	}
	return rc == 0 ? store_sync(r->store, segment_of(end - 1)) : rc;
}

/* ---- another history? ---- */

struct fork_search {
	struct repair *r;
	const struct head *newest;
	struct head *theirs; /* HEADS_PER_CALL: the newest answer, from head number first on */
	head_no first;
	size_t n;
};

/* The source's head ${number}.  It may be far away, so it is asked for many at a time. */
static int their_head(struct fork_search *f, head_no number, const struct head **out)
{
	struct source *s = f->r->cfg->source;
	int rc = 0;

	if (number < f->first || number - f->first >= f->n) {
		f->first = number;
		rc = s->ops->heads(s, number, HEADS_PER_CALL, f->theirs, &f->n);
		/* One behind it may be damaged there, which is no matter yet. */
		if (rc < 0)
			rc = s->ops->heads(s, number, 1, f->theirs, &f->n);
		if (rc < 0)
			f->n = 0;
	}
	/* The search would take it for the end of what is to be searched. */
	if (rc == -ERR_ABSENT)
		rc = err_say(-ERR_TAMPERED,
			     "the other copy denies head %" PRIu64 ", and shows later ones; nothing "
			     "is changed",
			     number);
	*out = &f->theirs[number - f->first];
	return rc;
}

static int compare_head(void *ctx, const struct head *mine)
{
	struct fork_search *f = ctx;
	const struct head *theirs;
	int rc;

	if (mine->number > f->newest->number)
		return 0;
	rc = their_head(f, mine->number, &theirs);
	if (rc < 0)
		return rc;
	if (head_is_same(mine, theirs))
		return 0;
	return err_say(-ERR_FORKED,
		       "head %" PRIu64 " at position %" PRIu64 " of this copy is not the other "
		       "copy's, which lies at %" PRIu64 ": they have different histories, and "
		       "nothing is changed",
		       mine->number, mine->pos, theirs->pos);
}

static int search_fork(struct repair *r, const struct head *newest)
{
	struct fork_search f = {.r = r, .newest = newest};
	int rc;

	f.theirs = malloc(HEADS_PER_CALL * sizeof(*f.theirs));
	if (!f.theirs)
		return -ENOMEM;
	rc = head_search(r->cfg->params, store_storage(r->store), 0, UINT64_MAX, compare_head, &f);
	free(f.theirs);
	return rc;
}

/* ---- from head to head ---- */

/* What is gone was not written again, and what stands for it may be what was wrong. */
static int check_holes(struct repair *r, const struct stood *before, const struct head *h)
{
	const struct holes *holes = store_storage(r->store)->holes;
	int rc;

	if (!holes || holes->n == 0)
		return 0;
	go_back(&r->history, before);
	rc = walk_stretch(r, true, h);
	if (!repair_no_block(rc) && rc != -ERR_TAMPERED)
		return rc;
	repair_report(r,
		      "before head %" PRIu64
		      " what stands for blocks that are gone is wrong: that can't be "
		      "healed",
		      h->number);
	return -ERR_DAMAGED;
}

static int repair_stretch(struct repair *r, const struct head *h)
{
	const struct stood before = stand(&r->history);
	int rc = walk_stretch(r, true, h);

	if (rc == 0 || rc == -ENOMEM)
		goto done;
	go_back(&r->history, &before);
	rc = walk_stretch(r, false, h);
	if (rc == 0)
		rc = write_stretch(r, before.end);
	if (rc == 0)
		rc = check_holes(r, &before, h);
done:
	history_forget_leaves(&r->history);
	return rc;
}

static int repair_all(struct repair *r, const struct head *newest)
{
	struct source *s = r->cfg->source;
	struct head *heads = malloc(HEADS_PER_CALL * sizeof(*heads));
	head_no next = 1;
	int rc = heads ? 0 : -ENOMEM;
	size_t n;

	while (rc == 0 && next <= newest->number) {
		rc = s->ops->heads(s, next, HEADS_PER_CALL, heads, &n);
		for (size_t i = 0; rc == 0 && i < n; i++, next++) {
			rc = repair_stretch(r, &heads[i]);
			if (rc == 0)
				r->counts->heads++;
		}
		if (rc == 0 && r->cfg->progress)
			r->cfg->progress(r->cfg->ctx, r->history.end, newest->pos);
	}
	free(heads);
	if (repair_no_block(rc) || rc == -ERR_TAMPERED) {
		/* The other copy is bad there too: beyond, no history can be told. */
		repair_report(r,
			      "from position %" PRIu64
			      " on nothing can be healed: the other copy is "
			      "damaged there too",
			      r->history.end);
		r->counts->failed++;
		rc = 0;
	}
	return rc;
}

/* Where the folder's blocks end that follow ${pos} in its segment. */
static log_pos blocks_end(struct repair *r, log_pos pos)
{
	segment_no number = segment_of(pos - 1);
	struct scan_block b;

	while (segment_of(pos) == number && read_mine(r, pos, &b) == 0)
		pos += b.len;
	return pos;
}

/*
 * A healing of the page in which a closed home's file ends, where that had to be written whole, may have
 * been cut short before the file had its length again.  Zeros up to the page's end are no block, and no
 * block was there that a catalog or newest-head tells of: those are asked as ever.
 */
static int shorten_last(struct repair *r)
{
	log_pos end = blocks_end(r, r->history.end);
	segment_no number = segment_of(end - 1), last;
	uint64_t size, len;
	int rc = store_last(r->store, &last);

	if (rc == 0)
		rc = store_size(r->store, number, &size);
	if (rc < 0 || store_is_copy(r->store) || number != last)
		return rc == -ERR_ABSENT ? 0 : rc;
	len = end - segment_start(number);
	if (size == SEGMENT_SIZE || size <= len || size - len >= PAGE_LEN || size % PAGE_LEN != 0)
		return 0;
	rc = store_read(r->store, end, (size_t)(size - len), r->bad);
	if (rc < 0 || r->bad[0] != 0 || memcmp(r->bad, r->bad + 1, (size_t)(size - len - 1)) != 0)
		return rc;
	return end_segment(r, end);
}

int repair_log(const struct repair_config *cfg, struct repair_counts *out)
{
	struct repair r = {.cfg = cfg, .counts = out};
	struct head newest;
	int rc;

	memset(out, 0, sizeof(*out));
	history_init(&r.history, cfg->params);
	rc = store_open(cfg->dir, STORE_WRITABLE | STORE_LOOK | STORE_AROUND, &r.store);
	if (rc < 0)
		return rc;
	store_storage(r.store)->holes = cfg->holes;
	r.good = malloc(BLOCK_STORED_MAX);
	r.bad = malloc(BLOCK_STORED_MAX);
	rc = r.good && r.bad ? cfg->source->ops->head_at(cfg->source, INT64_MAX, &newest) : -ENOMEM;
	if (rc == 0)
		rc = search_fork(&r, &newest);
	if (rc == 0)
		rc = repair_all(&r, &newest);
	if (rc == 0 && out->failed == 0 && r.history.end > 0)
		rc = shorten_last(&r);
	/* A stretch that could not be healed to its end left what was written of it to be synced. */
	if (rc == 0 && r.noted)
		rc = store_sync(r.store, r.noted_segment);
	if (rc == 0 && r.noted)
		rc = store_unnote(r.store);
	free(r.pieces);
	free(r.good);
	free(r.bad);
	store_close(r.store);
	history_release(&r.history);
	return rc;
}
