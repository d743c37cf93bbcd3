#ifndef RING_H_
#define RING_H_

/*
 * The memory of the log's tail: the bytes of position pos lie at pos modulo the ring's size.
 * Knows no lock: the log decides who may touch which positions.
 */

#include "compiler.h"
#include "numbers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_PAGE 4096u /* what O_DIRECT transfers are aligned to */

struct ring {
	uint8_t *mem; /* ${size} bytes and BLOCK_STORED_MAX of slack */
	size_t size;  /* power of two; divides SEGMENT_SIZE */
	bool borrowed;
};

/*
 * ring_init(r, size): Returns 0 or -ENOMEM.  ring_borrow(r, mem, size): the same in memory of the
 * caller's, ring_bytes_whole(size) bytes of it, aligned to a page.  ring_release() of a zeroed
 * ring is a no-op.
 */
MUST_CHECK int ring_init(struct ring *r, size_t size);
void ring_borrow(struct ring *r, void *mem, size_t size);
void ring_release(struct ring *r);
size_t ring_bytes_whole(size_t size);

/*
 * ring_at(r, pos): where the bytes from ${pos} on lie.  A block of up to BLOCK_STORED_MAX bytes
 * can be built there in one piece, even past the ring's end; ring_wrap() then copies what
 * lies past it to the ring's start.
 */
uint8_t *ring_at(const struct ring *r, log_pos pos);
void ring_wrap(struct ring *r, log_pos pos, size_t len);

/* ring_copy_out(r, pos, len, out): wrapped bytes from ${pos} on; ${len} is at most the size. */
void ring_copy_out(const struct ring *r, log_pos pos, size_t len, void *out);

/* ring_run(r, pos): how many bytes from ${pos} on lie in one piece when wrapped. */
size_t ring_run(const struct ring *r, log_pos pos);

static inline log_pos page_down(log_pos pos)
{
	return pos & ~(uint64_t)(RING_PAGE - 1);
}

#endif /* !RING_H_ */
