/*
 * The ring of the log's tail.
 *
 * Key idea: its size divides SEGMENT_SIZE, so a position alone says where its bytes lie, in
 * every segment.  Slack behind the end lets a cipher write a block in one piece; two blocks
 * never need the slack at once, since they lie a whole ring apart.
 */

#include "ring.h"

#include "format.h"
#include "huge.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

size_t ring_bytes_whole(size_t size)
{
	return (size + BLOCK_STORED_MAX + RING_PAGE - 1) / RING_PAGE * RING_PAGE;
}

int ring_init(struct ring *r, size_t size)
{
	assert(size >= 2 * BLOCK_STORED_MAX && (size & (size - 1)) == 0);
	assert(SEGMENT_SIZE % size == 0);
	r->mem = huge_alloc(ring_bytes_whole(size));
	if (!r->mem)
		return -ENOMEM;
	r->size = size;
	r->borrowed = false;
	return 0;
}

void ring_borrow(struct ring *r, void *mem, size_t size)
{
	*r = (struct ring){.mem = mem, .size = size, .borrowed = true};
}

void ring_release(struct ring *r)
{
	if (!r->borrowed)
		free(r->mem);
	r->mem = NULL;
}

uint8_t *ring_at(const struct ring *r, log_pos pos)
{
	return r->mem + (pos & (r->size - 1));
}

size_t ring_run(const struct ring *r, log_pos pos)
{
	return r->size - (size_t)(pos & (r->size - 1));
}

void ring_wrap(struct ring *r, log_pos pos, size_t len)
{
	size_t run = ring_run(r, pos);

	assert(len <= BLOCK_STORED_MAX);
	if (len > run)
		memcpy(r->mem, r->mem + r->size, len - run);
}

void ring_copy_out(const struct ring *r, log_pos pos, size_t len, void *out)
{
	size_t run = ring_run(r, pos);

	assert(len <= r->size);
	if (len <= run) {
		memcpy(out, ring_at(r, pos), len);
		return;
	}
	memcpy(out, ring_at(r, pos), run);
	memcpy((uint8_t *)out + run, r->mem, len - run);
}
