/* The judge of heads, and the search for them in bytes of any kind. */

#include "judge.h"

#include "err.h"
#include "store.h"
#include "synthetic_log.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct synthetic_log *s;

static void setup(void)
{
	s = calloc(1, sizeof(*s));
	cr_assert_not_null(s);
	synthetic_log_init(s);
	synthetic_grow(s, 1, 2, 3);
}

static void teardown(void)
{
	synthetic_log_release(s);
	free(s);
}

TestSuite(judge, .init = setup, .fini = teardown);

Test(judge, whole_and_signed)
{
	size_t len = s->newest.stored_len;
	uint8_t *block = calloc(1, len + 100);
	struct head h;

	cr_assert_not_null(block);
	cr_assert_eq(store_read(s->store, s->newest.pos, len, block), 0);
	cr_assert_eq(head_judge(&s->params, s->newest.pos, block, len, &h), 0);
	cr_assert_eq(h.number, 2);
	cr_assert_eq(h.stored_len, len);
	/* What lies behind it is not its own. */
	cr_assert_eq(head_judge(&s->params, s->newest.pos, block, len + 100, &h), 0);
	cr_assert_eq(h.stored_len, len);

	for (size_t n = 0; n < len; n += 7)
		cr_assert_eq(head_judge(&s->params, s->newest.pos, block, n, &h), -ERR_DAMAGED);
	cr_assert_eq(head_judge(&s->params, s->newest.pos + 1, block, len, &h), -ERR_DAMAGED);
	for (size_t i = 0; i < len; i++) {
		int rc;

		block[i] ^= 1;
		rc = head_judge(&s->params, s->newest.pos, block, len, &h);
		cr_assert(rc == (i < FRAME_LEN ? -ERR_DAMAGED : -ERR_TAMPERED) ||
				  (i >= FRAME_LEN && rc == -ERR_VERSION),
			  "byte %zu: %d", i, rc);
		block[i] ^= 1;
	}
	free(block);
}

Test(judge, each_lie_that_needs_no_log)
{
	struct head h = synthetic_next_head(s), out;

	synthetic_make_head(s, &h, s->writer_secret[1]);
	cr_assert_eq(head_judge(&s->params, s->pos, s->bytes, s->block.len, &out), -ERR_TAMPERED);
	h.epoch = 9;
	synthetic_make_head(s, &h, s->writer_secret[0]);
	cr_assert_eq(head_judge(&s->params, s->pos, s->bytes, s->block.len, &out), -ERR_TAMPERED);
	cr_assert(strstr(err_detail(-ERR_TAMPERED), "grants to nobody"));
	h = synthetic_next_head(s);
	h.pos++;
	synthetic_make_head(s, &h, s->writer_secret[0]);
	cr_assert_eq(head_judge(&s->params, s->pos, s->bytes, s->block.len, &out), -ERR_TAMPERED);
	h.pos--;
	h.volume[0] ^= 1;
	synthetic_make_head(s, &h, s->writer_secret[0]);
	cr_assert_eq(head_judge(&s->params, s->pos, s->bytes, s->block.len, &out), -ERR_TAMPERED);
}

struct found {
	uint64_t pos[16];
	unsigned n, stop_at;
};

static int take(void *ctx, const struct head *h)
{
	struct found *f = ctx;

	cr_assert_lt(f->n, 16);
	f->pos[f->n++] = h->pos;
	return f->n == f->stop_at ? 7 : 0;
}

static unsigned count_from(uint64_t from)
{
	struct found f = {.n = 0};

	cr_assert_eq(head_search(&s->params, store_storage(s->store), from, take, &f), 0);
	for (unsigned i = 0; i < f.n; i++) {
		cr_assert_geq(f.pos[i], from);
		cr_assert(i == 0 || f.pos[i] > f.pos[i - 1]);
	}
	return f.n;
}

Test(judge, search)
{
	struct found f = {.stop_at = 1};
	uint64_t from = s->pos;
	uint8_t *zeros;
	size_t len;

	cr_assert_eq(count_from(0), 2);
	cr_assert_eq(count_from(s->newest.pos), 1);
	cr_assert_eq(count_from(s->newest.pos + 1), 0);
	cr_assert_eq(head_search(&s->params, store_storage(s->store), 0, take, &f), 7);
	cr_assert_eq(count_from(segment_start(5)), 0);
	cr_assert_eq(store_truncate(s->store, 0, SEGMENT_SIZE), 0);
	cr_assert_eq(count_from(from), 0);
	/* Far behind, and wherever a window of the search may end. */
	for (uint64_t at = from + 900000; at < from + 1200000; at += 9973) {
		struct head head;

		s->pos = at;
		head = synthetic_next_head(s);
		synthetic_make_head(s, &head, s->writer_secret[1]);
		cr_assert_eq(store_write(s->store, at, s->bytes, s->block.len, false), 0);
		cr_assert_eq(count_from(from), 0);
		synthetic_make_head(s, &head, s->writer_secret[0]);
		len = s->block.len;
		cr_assert_eq(store_write(s->store, at, s->bytes, len, false), 0);
		cr_assert_eq(count_from(from), 1);
		cr_assert_eq(count_from(at), 1);
		cr_assert_eq(count_from(at + 1), 0);
		/* The same bytes elsewhere prove nothing. */
		zeros = calloc(1, len);
		cr_assert_not_null(zeros);
		cr_assert_eq(store_write(s->store, at, zeros, len, false), 0);
		cr_assert_eq(store_write(s->store, at + 1, s->bytes, len, false), 0);
		cr_assert_eq(count_from(from), 0);
		free(zeros);
	}
	for (uint64_t d = 0; d < 3 * HEAD_BLOCK_MAX; d += 3) {
		struct head head;

		cr_assert_eq(store_truncate(s->store, 0, from), 0);
		cr_assert_eq(store_truncate(s->store, 0, from + (2u << 20)), 0);
		s->pos = from + ((uint64_t)1 << 20) - d;
		head = synthetic_next_head(s);
		synthetic_make_head(s, &head, s->writer_secret[0]);
		cr_assert_eq(store_write(s->store, s->pos, s->bytes, s->block.len, false), 0);
		cr_assert_eq(count_from(from), 1, "%llu before the window's end",
			     (unsigned long long)d);
	}
}
