/*
 * What stands for blocks that are gone.
 *
 * Key idea: an entry is judged by itself when it is added.  The walk then checks whether it fits
 * the blocks around it, and the next head proves whether it is true.
 *
 * Invariants:
 *  1. hole[i].pos + hole[i].len <= hole[i + 1].pos.
 *  2. Each lies in one segment, behind its header.
 */

#include "holes.h"

#include "frame.h"

#include "err.h"

#include <errno.h>
#include <stdlib.h>

typedef unsigned long long ull;

static const char *fault_of(const struct holes *t, const struct hole *h)
{
	const struct hole *last = t->n > 0 ? &t->hole[t->n - 1] : NULL;
	struct frame f = {.kind = h->kind, .flags = h->flags};

	/* Checked so that the end of each is a position, too. */
	if (segment_of(h->pos) > SEGMENT_NUMBER_MAX)
		return "no segment has that number";
	if (h->len == 0 || h->len > SEGMENT_SIZE - h->pos % SEGMENT_SIZE)
		return "it leaves its segment";
	if (h->pos % SEGMENT_SIZE < SEGMENT_BLOCK_LEN)
		return "a segment's header is never gone";
	if (last && h->pos < last->pos + last->len)
		return "it overlaps the one before it, or is out of order";
	if (h->height > 0)
		return h->height >= 64 || h->len >> h->height < FRAME_LEN + 1 || h->kind != 0 ||
				       h->flags != 0
			       ? "no run of blocks has this length"
			       : NULL;
	if (h->kind == BLOCK_HEAD)
		return "a head is never gone";
	if (h->len <= FRAME_LEN || h->len > BLOCK_STORED_MAX)
		return "no block has this length";
	f.body_len = (uint32_t)(h->len - FRAME_LEN);
	return frame_fits(&f, h->pos) ? NULL : "no block has this kind, or this length";
}

int holes_add(struct holes *t, const struct hole *h)
{
	const char *fault = fault_of(t, h);

	if (fault)
		return err_say(
			-ERR_DAMAGED,
			"segment %016llx: what stands for %llu bytes at offset %llu is wrong: %s",
			(ull)segment_of(h->pos), (ull)h->len, (ull)(h->pos % SEGMENT_SIZE), fault);
	if (t->n == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 64;
		void *p = realloc(t->hole, cap * sizeof(*t->hole));

		if (!p)
			return -ENOMEM;
		t->hole = p;
		t->cap = cap;
	}
	t->hole[t->n++] = *h;
	return 0;
}

void holes_release(struct holes *t)
{
	free(t->hole);
	*t = (struct holes){0};
}

size_t holes_from(const struct holes *t, log_pos pos)
{
	size_t low = 0, high = t->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (t->hole[mid].pos + t->hole[mid].len <= pos)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

const struct hole *holes_at(const struct holes *t, log_pos pos)
{
	size_t i = t ? holes_from(t, pos) : 0;

	return t && i < t->n && t->hole[i].pos <= pos ? &t->hole[i] : NULL;
}
