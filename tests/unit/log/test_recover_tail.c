/* Recovery of a tail that is cut, zeroed or damaged at each of its bytes. */

#include "recover_fixture.h"

#include "blocks.h"
#include "catalog.h"
#include "err.h"
#include "file.h"
#include "frame.h"
#include "log.h"
#include "log_fixture.h"
#include "newest.h"
#include "store.h"

#include "../sampled.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* How many tail blocks end at or before ${off}. */
static unsigned whole_blocks(const struct recover_small *s, size_t off)
{
	unsigned n = 0;

	while (n < RECOVER_TAIL && s->tail[n].pos + s->tail[n].stored_len <= off)
		n++;
	return n;
}

Test(recover_tail, cut_at_every_byte, .timeout = 300)
{
	struct recover_small s;

	recover_small_init(&s);
	for (size_t off = s.segment.len; off >= head_end(&s.head); off -= sampled(7)) {
		/* A block that ends in a zero of its own is whole without it. */
		if (off < s.segment.len && s.segment.p[off] == 0)
			continue;
		recover_store_open(&s.f, 0, s.segment.p, off);
		recover_cut(&s, whole_blocks(&s, off), "cut", off);
	}
	recover_small_release(&s);
}

Test(recover_tail, zeros_from_every_byte, .timeout = 300)
{
	struct recover_small s;
	size_t len;
	uint8_t *p;

	recover_small_init(&s);
	len = s.segment.len + 10000;
	p = calloc(1, len);
	memcpy(p, s.segment.p, s.segment.len);
	recover_store_open(&s.f, 0, p, len);
	recover_cut(&s, RECOVER_TAIL, "zeros", s.segment.len);
	for (size_t off = s.segment.len; off-- > head_end(&s.head);) {
		bool was_zero = p[off] == 0;

		p[off] = 0;
		/* A block that ends in zeros of its own is whole all the same. */
		if (was_zero || off % sampled(7) != 0)
			continue;
		recover_store_open(&s.f, 0, p, len);
		recover_cut(&s, whole_blocks(&s, off), "zeros", off);
	}
	free(p);
	recover_small_release(&s);
}

/* A file that was closed has no torn tail, whether there is a catalog or not. */
Test(recover_tail, every_byte_flipped_in_a_closed_file, .timeout = 300)
{
	struct recover_small s;

	recover_small_init(&s);
	for (size_t off = head_end(&s.head); off < s.segment.len; off += sampled(7)) {
		if (off % 2)
			recover_lose_catalog(&s);
		s.segment.p[off] ^= 0x40;
		recover_refused(&s, -ERR_DAMAGED, "flip");
		s.segment.p[off] ^= 0x40;
	}
	/* Shorter than it was: inside a block, which nothing explains. */
	for (size_t len = s.segment.len - 1; len > s.tail[3].pos; len -= 11) {
		size_t whole = s.segment.len;

		s.segment.len = len;
		recover_refused(&s, -ERR_DAMAGED, "closed, then shortened");
		s.segment.len = whole;
	}
	recover_store(&s.f, 0, s.segment.p, s.segment.len);
	recover_cut(&s, RECOVER_TAIL, "as it was", 0);
	recover_small_release(&s);
}

/* The same in a file that a crash left: a crash changes no bit of what is on the disk. */
Test(recover_tail, every_byte_flipped_after_a_crash, .timeout = 300)
{
	struct recover_small s;

	recover_small_init(&s);
	for (size_t off = head_end(&s.head); off < s.segment.len; off += sampled(7)) {
		unsigned n = whole_blocks(&s, off);
		size_t last = s.tail[n].pos +
			      (off < s.tail[n].pos + FRAME_LEN ? FRAME_LEN : s.tail[n].stored_len) -
			      1;

		s.segment.p[off] ^= 0x40;
		recover_store_open(&s.f, 0, s.segment.p, s.segment.len);
		/* One seal in 256 ends in a zero, as if it had not been written to its end. */
		if (s.segment.p[last] != 0)
			recover_refused_as_it_is(&s, -ERR_DAMAGED, "flip after a crash");
		s.segment.p[off] ^= 0x40;
	}
	recover_store_open(&s.f, 0, s.segment.p, s.segment.len);
	recover_cut(&s, RECOVER_TAIL, "as it was", 0);
	recover_small_release(&s);
}
