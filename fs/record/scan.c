/*
 * Walk the blocks of a log in order.
 *
 * Key idea: read forward through a window of 4 MiB; a frame says how far its block reaches.
 * Where a segment's bytes end, the next segment that exists goes on.  The walk may run beside a
 * writer, so a bad place in a segment that got a successor meanwhile is looked at once more
 * with fresh eyes: the writer finishes a segment before it names the next.
 *
 * Invariants: pos lies in [window's start, size]; nothing is read past the size of the file
 * or of a segment.
 */

#include "scan.h"

#include "storage.h"

#include "err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_LEN ((size_t)4 << 20)

_Static_assert(WINDOW_LEN > BLOCK_STORED_MAX, "a block fits the window");

struct walk {
	struct storage *st;
	uint8_t *buf; /* WINDOW_LEN bytes: the positions from buf_pos on */
	uint64_t buf_pos;
	size_t buf_len;
	uint64_t number;    /* segment */
	uint64_t size;	    /* of its file */
	uint64_t pos;	    /* the next block begins here */
	uint64_t looked_at; /* a bad place that was read twice; UINT64_MAX: none */
	uint64_t end;	    /* after the last accepted block */
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
 * Have ${len} bytes from pos on in the window.  -ERR_ABSENT: the writer has cut the file meanwhile.
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

/* Returns enum place, with ${*b} for a block; -ERR_ABSENT (look again); -errno. */
static int look(struct walk *w, struct scan_block *b)
{
	uint64_t left = bytes_left(w);
	size_t len = left < FRAME_LEN ? (size_t)left : FRAME_LEN;
	int rc;

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

static int enter_segment(struct walk *w, uint64_t number, uint64_t pos)
{
	w->number = number;
	w->pos = pos;
	return look_again(w);
}

/* The segment has no block at pos: go on in the next one, or say how the log ends. */
static int leave_segment(struct walk *w, enum place place, bool *out_more,
			 enum scan_verdict *out_verdict)
{
	uint64_t next;
	int rc = w->number < SEGMENT_NUMBER_MAX ? storage_next(w->st, w->number + 1, &next)
						: -ERR_ABSENT;

	*out_more = rc == 0;
	if (rc == -ERR_ABSENT) {
		*out_verdict = place == PLACE_BAD ? SCAN_TORN : SCAN_END;
		return 0;
	}
	if (rc < 0)
		return rc;
	if (place == PLACE_END && w->looked_at == w->pos)
		return enter_segment(w, next, segment_start(next));
	if (w->looked_at == w->pos)
		return err_say(-ERR_DAMAGED, "segment %016llx: no block at offset %llu",
			       (unsigned long long)w->number,
			       (unsigned long long)(w->pos - segment_start(w->number)));
	/* The successor may be younger than what the window shows. */
	w->looked_at = w->pos;
	return look_again(w);
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
		}
	}
	return rc;
}

/* Find the segment that ${from} lies in.  -ERR_ABSENT: the log has nothing there or after. */
static int enter_first(struct walk *w, uint64_t from)
{
	uint64_t number = segment_of(from);
	int rc;

	if (from == segment_start(number)) {
		rc = storage_next(w->st, number, &number);
		return rc < 0 ? rc : enter_segment(w, number, segment_start(number));
	}
	return enter_segment(w, number, from);
}

int scan_blocks(struct storage *st, uint64_t from, int (*fn)(void *ctx, const struct scan_block *b),
		void *ctx, struct scan_result *out)
{
	struct walk w = {.st = st, .looked_at = UINT64_MAX, .end = from};
	enum scan_verdict verdict = SCAN_END;
	int rc;

	w.buf = malloc(WINDOW_LEN);
	if (!w.buf)
		return -ENOMEM;
	rc = enter_first(&w, from);
	if (rc == 0)
		rc = walk_blocks(&w, fn, ctx, &verdict);
	else if (rc == -ERR_ABSENT)
		rc = 0;
	free(w.buf);
	if (rc < 0)
		return rc;
	out->end = w.end;
	out->verdict = verdict;
	return 0;
}
