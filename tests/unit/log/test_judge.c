/* The judge of heads, and the search for them in bytes of any kind. */

#include "judge.h"

#include "catalog.h"
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

static int judge(uint64_t pos, const void *bytes, size_t len, struct head *out)
{
	const struct head_known k = {.params = &s->params, .pos = pos};

	return head_judge(&k, bytes, len, out);
}

Test(judge, whole_and_signed)
{
	size_t len = s->newest.stored_len;
	uint8_t *block = calloc(1, len + 100);
	struct head h;

	cr_assert_not_null(block);
	cr_assert_eq(store_read(s->store, s->newest.pos, len, block), 0);
	cr_assert_eq(judge(s->newest.pos, block, len, &h), 0);
	cr_assert_eq(h.number, 2);
	cr_assert_eq(h.stored_len, len);
	/* What lies behind it is not its own. */
	cr_assert_eq(judge(s->newest.pos, block, len + 100, &h), 0);
	cr_assert_eq(h.stored_len, len);

	for (size_t n = 0; n < len; n += 7)
		cr_assert_eq(judge(s->newest.pos, block, n, &h), -ERR_DAMAGED);
	cr_assert_eq(judge(s->newest.pos + 1, block, len, &h), -ERR_DAMAGED);
	for (size_t i = 0; i < len; i++) {
		int rc;

		block[i] ^= 1;
		rc = judge(s->newest.pos, block, len, &h);
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
	cr_assert_eq(judge(s->pos, s->bytes, s->block.len, &out), -ERR_TAMPERED);
	h.epoch = 9;
	synthetic_make_head(s, &h, s->writer_secret[0]);
	cr_assert_eq(judge(s->pos, s->bytes, s->block.len, &out), -ERR_TAMPERED);
	cr_assert(strstr(err_detail(-ERR_TAMPERED), "grants to nobody"));
	h = synthetic_next_head(s);
	h.pos++;
	synthetic_make_head(s, &h, s->writer_secret[0]);
	cr_assert_eq(judge(s->pos, s->bytes, s->block.len, &out), -ERR_TAMPERED);
	h.pos--;
	h.volume[0] ^= 1;
	synthetic_make_head(s, &h, s->writer_secret[0]);
	cr_assert_eq(judge(s->pos, s->bytes, s->block.len, &out), -ERR_TAMPERED);
}

/* The next head, made and not taken, judged with ${k}, which gets the place. */
static int judge_next(struct head_known k, const char *why)
{
	struct head h = synthetic_next_head(s), out;
	int rc;

	synthetic_make_head(s, &h, s->writer_secret[0]);
	k.params = &s->params;
	k.pos = s->pos;
	rc = head_judge(&k, s->bytes, s->block.len, &out);
	if (rc < 0)
		cr_assert_not_null(strstr(err_detail(rc), why), "%s", err_detail(rc));
	return rc;
}

/* All that a caller can know of a head is checked, each by itself. */
Test(judge, each_thing_that_is_known)
{
	struct head right = synthetic_next_head(s), parent = s->newest, same;
	struct merkle merkle = s->merkle;
	struct head_ref ref;
	bool differs = false;

	synthetic_make_head(s, &right, s->writer_secret[0]);
	right.stored_len = (uint32_t)s->block.len;
	same = right;
	ref = (struct head_ref){right.number, right.pos, right.stored_len, right.time_ns};
	cr_assert_eq(judge_next((struct head_known){.stored_len = right.stored_len,
						    .number = right.number,
						    .ref = &ref,
						    .same = &same,
						    .parent = &parent,
						    .epoch = 1,
						    .merkle = &merkle,
						    .root_differs = &differs},
				""),
		     0, "%s", err_detail(-ERR_TAMPERED));

	cr_assert_eq(judge_next((struct head_known){.number = 1}, "number"), -ERR_DAMAGED);
	cr_assert_eq(judge_next((struct head_known){.stored_len = 1}, "bytes"), -ERR_DAMAGED);
	ref.number++;
	cr_assert_eq(judge_next((struct head_known){.ref = &ref}, "number"), -ERR_DAMAGED);
	ref.number--;
	ref.time_ns++;
	cr_assert_eq(judge_next((struct head_known){.ref = &ref}, "time"), -ERR_DAMAGED);
	ref.time_ns--;
	ref.stored_len++;
	cr_assert_eq(judge_next((struct head_known){.ref = &ref}, "bytes"), -ERR_DAMAGED);

	parent.number++;
	cr_assert_eq(judge_next((struct head_known){.parent = &parent}, "number"), -ERR_TAMPERED);
	parent = s->newest;
	parent.pos++;
	cr_assert_eq(judge_next((struct head_known){.parent = &parent}, "parent"), -ERR_TAMPERED);
	parent = s->newest;
	parent.time_ns = right.time_ns;
	cr_assert_eq(judge_next((struct head_known){.parent = &parent}, "time"), -ERR_TAMPERED);
	parent = s->newest;
	parent.epoch = 2;
	cr_assert_eq(judge_next((struct head_known){.parent = &parent}, "epoch"), -ERR_TAMPERED);
	parent = s->newest;
	cr_assert_eq(judge_next((struct head_known){.parent = &parent, .epoch = 2}, "epoch"),
		     -ERR_TAMPERED);

	merkle.n++;
	cr_assert_eq(judge_next((struct head_known){.merkle = &merkle, .root_differs = &differs},
				"blocks"),
		     -ERR_TAMPERED);
	cr_assert_not(differs);
	merkle.n--;
	for (unsigned i = 0; i < 64; i++)
		merkle.peak[i][0] ^= 1;
	cr_assert_eq(judge_next((struct head_known){.merkle = &merkle, .root_differs = &differs},
				"root"),
		     -ERR_TAMPERED);
	cr_assert(differs);
}

/* Each field that a head states counts when two copies of it are compared. */
Test(judge, another_copys_head)
{
	const struct head right = synthetic_next_head(s);
	struct head other[12];
	unsigned n = 0;

	for (unsigned i = 0; i < 12; i++)
		other[i] = right;
	other[n++].number++;
	other[n++].pos++;
	other[n++].time_ns++;
	other[n++].epoch++;
	other[n++].parent_pos++;
	other[n++].n_blocks++;
	other[n++].root[31] ^= 1;
	other[n++].volume[15] ^= 1;
	other[n++].checkpoint.pos++;
	other[n++].checkpoint.plain_len++;
	other[n].n_deltas = 1;
	other[n++].deltas[0].pos = 1;
	cr_assert_eq(judge_next((struct head_known){.same = &right}, ""), 0);
	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(judge_next((struct head_known){.same = &other[i]}, "other copy"),
			     -ERR_DAMAGED, "field %u", i);
}

Test(judge, notes_and_old_grants)
{
	struct head h = synthetic_next_head(s), out;
	struct head_known k = {.params = &s->params, .pos = HEAD_ANYWHERE, .is_note = true};
	struct head_ref ref;

	synthetic_make_head(s, &h, s->writer_secret[0]);
	ref = (struct head_ref){h.number, h.pos, (uint32_t)s->block.len, h.time_ns};
	cr_assert_eq(head_judge(&k, s->bytes + FRAME_LEN, s->block.len - FRAME_LEN, &out), 0);
	cr_assert_eq(out.stored_len, s->block.len);
	k.pos = s->pos;
	cr_assert_eq(head_judge(&k, s->bytes + FRAME_LEN, s->block.len - FRAME_LEN, &out), 0);
	k.pos++;
	cr_assert_eq(head_judge(&k, s->bytes + FRAME_LEN, s->block.len - FRAME_LEN, &out),
		     -ERR_TAMPERED);

	/* A signature that was verified once is not looked at again; all else is. */
	k = (struct head_known){
		.params = &s->params, .pos = s->pos, .ref = &ref, .signature_known = true};
	synthetic_make_head(s, &h, s->writer_secret[1]);
	cr_assert_eq(head_judge(&k, s->bytes, s->block.len, &out), 0);
	k.signature_known = false;
	cr_assert_eq(head_judge(&k, s->bytes, s->block.len, &out), -ERR_TAMPERED);

	/* An epoch that nobody was granted: a lie, or news. */
	h.epoch = 9;
	synthetic_make_head(s, &h, s->writer_secret[0]);
	k = (struct head_known){.params = &s->params, .pos = s->pos};
	cr_assert_eq(head_judge(&k, s->bytes, s->block.len, &out), -ERR_TAMPERED);
	k.params_may_be_old = true;
	cr_assert_eq(head_judge(&k, s->bytes, s->block.len, &out), -ERR_STALE);
}

struct found {
	uint64_t pos[16];
	unsigned n, stop_at;
	int stop_rc;
};

static int take(void *ctx, const struct head *h)
{
	struct found *f = ctx;

	cr_assert_lt(f->n, 16);
	f->pos[f->n++] = h->pos;
	return f->n == f->stop_at ? f->stop_rc : 0;
}

static unsigned count_from(uint64_t from)
{
	struct found f = {.n = 0};

	cr_assert_eq(head_search(&s->params, store_storage(s->store), from, UINT64_MAX, take, &f),
		     0);
	for (unsigned i = 0; i < f.n; i++) {
		cr_assert_geq(f.pos[i], from);
		cr_assert(i == 0 || f.pos[i] > f.pos[i - 1]);
	}
	return f.n;
}

Test(judge, search)
{
	struct found f = {.stop_at = 1, .stop_rc = 7};
	uint64_t from = s->pos;
	uint8_t *zeros;
	size_t len;

	cr_assert_eq(count_from(0), 2);
	cr_assert_eq(count_from(s->newest.pos), 1);
	cr_assert_eq(count_from(s->newest.pos + 1), 0);
	cr_assert_eq(head_search(&s->params, store_storage(s->store), 0, UINT64_MAX, take, &f), 7);
	f = (struct found){.stop_at = 1, .stop_rc = -ERR_ABSENT};
	cr_assert_eq(head_search(&s->params, store_storage(s->store), 0, UINT64_MAX, take, &f),
		     -ERR_ABSENT, "what it returns, though the search itself says so of an end");
	cr_assert_eq(count_from(segment_start(5)), 0);
	f = (struct found){0};
	cr_assert_eq(head_search(&s->params, store_storage(s->store), 0, s->newest.pos, take, &f),
		     0);
	cr_assert_eq(f.n, 1);
	cr_assert_eq(head_search(&s->params, store_storage(s->store), 0, s->pos, take, &f), 0);
	cr_assert_eq(f.n, 3);
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

/* The rest of a log is one, however many segments it has, and whichever of them are gone. */
Test(judge, search_over_segments)
{
	synthetic_grow(s, 3, 2, 1);
	cr_assert_eq(count_from(0), 8);
	cr_assert_eq(count_from(segment_start(1)), 6);
	cr_assert_eq(count_from(segment_start(2) + 1), 4);
	cr_assert_eq(store_remove(s->store, 2), 0);
	cr_assert_eq(count_from(0), 6);
	cr_assert_eq(count_from(segment_start(2)), 2);
}
