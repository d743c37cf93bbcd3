/* Copies of which blocks are gone: recovered, with and without an index, they stand where they stood. */

#include "vault_fixture.h"

#include "copy_internal.h"
#include "err.h"
#include "frame.h"

#include "../gone.h"

#include <criterion/criterion.h>
#include <string.h>

static struct gone gone;
static struct holes holes;

static void tear_down(void)
{
	fix_holes = NULL;
	fix_tear_down();
	holes_release(&holes);
	gone_release(&gone);
}

TestSuite(copy_holes, .init = fix_set_up, .fini = tear_down, .timeout = 300);

/* Some segments, heads, and runs of many sizes. */
static void grow(unsigned n_segments)
{
	static uint64_t number;

	for (unsigned i = 0; i < n_segments; i++) {
		synth_segment(&log_, number++);
		for (unsigned j = 0; j < 3; j++) {
			for (unsigned k = 0; k < 20 + 150 * j; k++)
				synth_block(&log_, 20 + k);
			synth_head(&log_);
		}
	}
	fix_append_all();
}

static void write_over(void *ctx, uint64_t pos, const void *bytes, size_t len)
{
	(void)ctx;
	fix_put(pos, bytes, len);
}

/* All goes that may, up to the newest head's stretch. */
static void lose(unsigned max_height)
{
	gone_note(copy->storage, &gone);
	fix_close();
	gone_fill(&gone, max_height, 0, log_.heads[log_.n_heads - 2].pos, &holes);
	cr_assert_gt(holes.n, 0);
	gone_lose(&holes, write_over, NULL);
	fix_holes = &holes;
}

static void expect_stand(const struct copy_committed *want)
{
	struct copy_committed s = fix_committed();

	cr_assert_eq(s.end, want->end);
	cr_assert_eq(s.head, want->head);
	cr_assert_eq(s.time_ns, want->time_ns);
	cr_assert_eq(s.head_pos, want->head_pos);
}

static int count(void *ctx, const struct copy_head *h)
{
	(void)h;
	++*(uint64_t *)ctx;
	return 0;
}

static void stands_as_before(unsigned max_height)
{
	struct copy_committed before;
	uint64_t n = 0;

	grow(3);
	before = fix_committed();
	lose(max_height);
	fix_open();
	expect_stand(&before);
	fix_close();
	fix_drop_index();
	fix_open();
	expect_stand(&before);
	cr_assert_eq(copy_heads(copy, 1, count, &n), 0);
	cr_assert_eq(n, log_.number);
	/* It receives what follows, and recovers over that too. */
	grow(2);
	before = fix_committed();
	cr_assert_eq(before.head, log_.number);
	fix_close();
	fix_drop_index();
	fix_open();
	expect_stand(&before);
}

Test(copy_holes, single_blocks)
{
	stands_as_before(0);
}

Test(copy_holes, runs)
{
	stands_as_before(63);
}

static void expect_refused(void)
{
	int rc;

	fix_open_vault();
	rc = vault_find(vault, log_.id, &copy);
	cr_assert_eq(rc, -ERR_DAMAGED, "%d", rc);
	fix_close();
}

/* A table that lies, or none, is no reason to cut anything off. */
Test(copy_holes, lies_are_refused_and_nothing_is_cut)
{
	struct copy_committed before;
	long len[3];

	grow(3);
	before = fix_committed();
	for (unsigned i = 0; i < 3; i++)
		len[i] = fix_segment_len(i);
	lose(6);
	fix_drop_index();
	fix_holes = NULL;
	expect_refused();
	fix_holes = &holes;
	for (size_t i = 0; i < holes.n; i += holes.n - 1) {
		holes.hole[i].hash[0] ^= 1;
		fix_drop_index();
		expect_refused();
		holes.hole[i].hash[0] ^= 1;
		holes.hole[i].len++;
		fix_drop_index();
		expect_refused();
		holes.hole[i].len--;
	}
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(fix_segment_len(i), len[i]);
	fix_open();
	expect_stand(&before);
}
