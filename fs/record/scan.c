/*
 * Walk the blocks of a log in order.
 *
 * Key idea: read forward through a window of 4 MiB; a frame says how far its block reaches.  Where
 * a segment's bytes end, the walk goes on in the next segment that exists.  It may run beside a
 * writer, so a bad place in a segment that got a successor meanwhile is read from the file once
 * more: the writer finishes a segment before it names the next.
 *
 * Where bytes are gone, nothing is read: the walk gives the hole that stands for them instead, and
 * goes on at its end.  Each hole must be met, in the order of the table, exactly where a block
 * ends.
 *
 * Invariants: pos lies in [window's start, size]; nothing is read past the size of the file or of a
 * segment.
 */

#include "scan.h"

#include "holes.h"
#include "storage.h"

#include "err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_LEN ((size_t)4 << 20)
#define NO_SEGMENT "is of a segment that is not there"

_Static_assert(WINDOW_LEN > BLOCK_STORED_MAX, "a block fits the window");

struct walk {
	struct storage *st;
	uint8_t *buf; /* WINDOW_LEN bytes: the positions from buf_pos on */
	log_pos buf_pos;
	size_t buf_len;
	segment_no number;		     /* segment */
	uint64_t size;			     /* of its file */
	log_pos pos;			     /* the next block begins here */
	log_pos looked_at;		     /* a bad place that was read twice; UINT64_MAX: none */
	log_pos end;			     /* after the last accepted block */
	const struct hole *hole, *holes_end; /* holes that were not met yet; equal: none */
	bool after_hole;		     /* a hole ends at pos */
};

/* What lies at walk->pos. */
enum place { PLACE_BLOCK, PLACE_END, PLACE_ZEROS, PLACE_BAD };

static uint64_t bytes_left(const struct walk *w)
{
	uint64_t size = w->size < SEGMENT_SIZE ? w->size : SEGMENT_SIZE;

	return segment_start(w->number) + size - w->pos;
}

static int look_again(struct walk *w)
{
	uint64_t off = w->pos - segment_start(w->number);
	int rc = storage_size(w->st, w->number, &w->size);

	w->buf_len = 0;
	if (rc == -ERR_ABSENT)
		return err_say(-ERR_DAMAGED, "segment %016llx: missing",
			       (unsigned long long)w->number);
	if (rc == 0 && w->size < off)
		rc = err_say(-ERR_DAMAGED,
			     "segment %016llx: ends at offset %llu, before a block at %llu",
			     (unsigned long long)w->number, (unsigned long long)w->size,
			     (unsigned long long)off);
	return rc;
}

/*
 * Get ${len} bytes from pos on into the window.  -ERR_ABSENT: the writer has cut the file
 * meanwhile.
 */
static int fill(struct walk *w, size_t len, const uint8_t **out)
{
	uint64_t left = bytes_left(w);
	size_t keep = 0, want;
	int rc;

	if (w->pos >= w->buf_pos && w->pos - w->buf_pos < w->buf_len)
		keep = (size_t)(w->buf_pos + w->buf_len - w->pos);
	if (keep < len) {
		memmove(w->buf, w->buf + w->buf_len - keep, keep);
		w->buf_pos = w->pos;
		w->buf_len = keep;
		want = left < WINDOW_LEN ? (size_t)left : WINDOW_LEN;
		rc = storage_read(w->st, w->pos + keep, want - keep, w->buf + keep);
		if (rc < 0)
			return rc;
		w->buf_len = want;
	}
	*out = w->buf + (w->pos - w->buf_pos);
	return 0;
}

static bool all_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

bool scan_block_is_run(const struct scan_block *b)
{
	return b->hole && b->hole->height > 0;
}

void scan_hole(const struct hole *h, struct scan_block *out)
{
	*out = (struct scan_block){.pos = h->pos, .len = (size_t)h->len, .hole = h};
	if (h->height == 0)
		out->frame = (struct frame){.body_len = (uint32_t)h->len - FRAME_LEN,
					    .kind = h->kind,
					    .flags = h->flags};
	memcpy(out->leaf, h->hash, HASH_LEN);
}

static int refuse_hole(const struct walk *w, const char *why)
{
	return err_say(
		-ERR_DAMAGED,
		"segment %016llx: what stands for %llu bytes at offset %llu, which are gone, %s",
		(unsigned long long)segment_of(w->hole->pos), (unsigned long long)w->hole->len,
		(unsigned long long)(w->hole->pos % SEGMENT_SIZE), why);
}

/* Take the next hole, which begins at or before pos. */
static int look_at_hole(struct walk *w, struct scan_block *b)
{
	if (w->hole->pos < w->pos)
		return refuse_hole(w, segment_of(w->hole->pos) == w->number
					      ? "begins inside a block that is here"
					      : NO_SEGMENT);
	if (w->hole->len > bytes_left(w))
		return refuse_hole(w, "reaches beyond the end of its segment");
	scan_hole(w->hole++, b);
	return PLACE_BLOCK;
}

/* Returns enum place, with ${*b} for a block; -ERR_ABSENT (look again); -errno. */
static int look(struct walk *w, struct scan_block *b)
{
	uint64_t left = bytes_left(w);
	size_t len = left < FRAME_LEN ? (size_t)left : FRAME_LEN;
	int rc;

	if (w->hole != w->holes_end && w->hole->pos <= w->pos)
		return look_at_hole(w, b);
	b->hole = NULL;
	if (left == 0)
		return w->size > SEGMENT_SIZE ? PLACE_BAD : PLACE_END;
	rc = fill(w, len, &b->bytes);
	if (rc < 0)
		return rc;
	if (all_zero(b->bytes, len))
		return w->size > SEGMENT_SIZE ? PLACE_BAD : PLACE_ZEROS;
	if (len < FRAME_LEN || frame_decode(b->bytes, w->pos, &b->frame) < 0)
		return PLACE_BAD;
	b->pos = w->pos;
	b->len = FRAME_LEN + b->frame.body_len;
	if (b->len > left)
		return PLACE_BAD;
	rc = fill(w, b->len, &b->bytes);
	if (rc < 0)
		return rc;
	leaf_hash(b->pos, b->bytes, b->len, b->leaf);
	return PLACE_BLOCK;
}

static int enter_segment(struct walk *w, segment_no number, log_pos pos)
{
	w->number = number;
	w->pos = pos;
	return look_again(w);
}

static int no_block(const struct walk *w)
{
	return err_say(-ERR_DAMAGED, "segment %016llx: no block at offset %llu%s",
		       (unsigned long long)w->number,
		       (unsigned long long)(w->pos - segment_start(w->number)),
		       w->after_hole ? ", where bytes that are gone end by what stands for them"
				     : "");
}

/* The segment has no block at pos: go on in the next one, or say how the log ends. */
static int leave_segment(struct walk *w, enum place place, bool *out_more,
			 enum scan_verdict *out_verdict)
{
	/* A hole of this segment that was not met: then the segment should have more blocks. */
	bool more_here = w->hole != w->holes_end && segment_of(w->hole->pos) == w->number;
	segment_no next;
	int rc = w->number < SEGMENT_NUMBER_MAX ? storage_next(w->st, w->number + 1, &next)
						: -ERR_ABSENT;

	if (rc < 0 && rc != -ERR_ABSENT)
		return rc;
	if (rc == -ERR_ABSENT && !more_here) {
		*out_more = false;
		*out_verdict = place == PLACE_BAD ? SCAN_TORN : SCAN_END;
		return w->hole == w->holes_end ? 0 : refuse_hole(w, NO_SEGMENT);
	}
	/* The successor may be younger than what the window shows: read that once more. */
	if (w->looked_at != w->pos) {
		w->looked_at = w->pos;
		return look_again(w);
	}
	if (place != PLACE_END)
		return no_block(w);
	return more_here ? refuse_hole(w, "reaches beyond the end of its segment")
			 : enter_segment(w, next, segment_start(next));
}

static int walk_blocks(struct walk *w, int (*fn)(void *ctx, const struct scan_block *b), void *ctx,
		       enum scan_verdict *out_verdict)
{
	bool more = true;
	int rc = 0;

	while (more && rc == 0) {
		struct scan_block b;
		int place = look(w, &b);

		if (place == -ERR_ABSENT) {
			rc = look_again(w);
		} else if (place < 0) {
			rc = place;
		} else if (place != PLACE_BLOCK) {
			rc = leave_segment(w, (enum place)place, &more, out_verdict);
		} else {
			rc = fn(ctx, &b);
			if (rc == SCAN_STOP) {
				*out_verdict = SCAN_STOPPED;
				return 0;
			}
			w->pos += b.len;
			w->end = w->pos;
			w->after_hole = b.hole != NULL;
		}
	}
	return rc;
}

/* Find the segment that ${from} lies in.  -ERR_ABSENT: the log has nothing there or after. */
static int enter_first(struct walk *w, log_pos from)
{
	segment_no number = segment_of(from);
	int rc;

	if (from == segment_start(number)) {
		rc = storage_next(w->st, number, &number);
		return rc < 0 ? rc : enter_segment(w, number, segment_start(number));
	}
	return enter_segment(w, number, from);
}

int scan_blocks(struct storage *st, log_pos from, int (*fn)(void *ctx, const struct scan_block *b),
		void *ctx, struct scan_result *out)
{
	struct walk w = {.st = st, .looked_at = UINT64_MAX, .end = from};
	enum scan_verdict verdict = SCAN_END;
	int rc;

	w.buf = malloc(WINDOW_LEN);
	if (!w.buf)
		return -ENOMEM;
	if (st->holes && st->holes->n > 0) {
		w.hole = st->holes->hole + holes_from(st->holes, from);
		w.holes_end = st->holes->hole + st->holes->n;
	}
	rc = enter_first(&w, from);
	if (rc == 0)
		rc = walk_blocks(&w, fn, ctx, &verdict);
	else if (rc == -ERR_ABSENT)
		rc = w.hole == w.holes_end ? 0 : refuse_hole(&w, NO_SEGMENT);
	free(w.buf);
	if (rc < 0)
		return rc;
	out->end = w.end;
	out->verdict = verdict;
	return 0;
}
