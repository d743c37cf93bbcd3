/* Logs of which blocks are gone: with the table that tells of them, all is as it was before. */

#include "holes.h"

#include "catalog.h"
#include "err.h"
#include "file.h"
#include "frame.h"
#include "history.h"
#include "judge.h"
#include "repair.h"
#include "scan.h"
#include "source.h"
#include "source_folder.h"
#include "storage.h"
#include "store.h"
#include "synthetic_log.h"
#include "tail.h"

#include "../gone.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct synthetic_log *s;
static struct gone gone;
static struct holes holes;

static void setup(void)
{
	s = calloc(1, sizeof(*s));
	cr_assert_not_null(s);
	synthetic_log_init(s);
}

static void teardown(void)
{
	holes_release(&holes);
	gone_release(&gone);
	synthetic_log_release(s);
	free(s);
}

TestSuite(holes, .init = setup, .fini = teardown);

/* Runs of all sizes to 512, two epochs, a number that is missing. */
static void grow_all_sizes(void)
{
	synthetic_grow(s, 1, 3, 5);
	synthetic_grow(s, 2, 2, 70);
	s->epoch = 2;
	s->next++;
	synthetic_grow(s, 1, 2, 1100);
	synthetic_grow(s, 1, 4, 1);
	synthetic_grow(s, 1, 1, 300);
}

static void write_over(void *ctx, uint64_t pos, const void *bytes, size_t len)
{
	(void)ctx;
	cr_assert_eq(store_write(s->store, pos, bytes, len, false), 0);
}

static struct storage *storage(void)
{
	return store_storage(s->store);
}

/* From now on all up to the newest head's stretch is gone that may be, as ${max_height} and ${step} say. */
static void lose(unsigned max_height, unsigned step)
{
	gone_fill(&gone, max_height, step, s->newest.pos, &holes);
	cr_assert_gt(holes.n, 0);
	gone_lose(&holes, write_over, NULL);
	storage()->holes = &holes;
}

static int rebuild(void)
{
	return catalog_rebuild(s->dir, &s->params, storage(), NULL, NULL);
}

static struct catalog *open_catalog(void)
{
	struct catalog *c;

	cr_assert_eq(catalog_open(s->dir, s->params.id, CATALOG_WRITE, &c), 0);
	return c;
}

/* What a scan counts, and what a catalog answers. */
struct answers {
	uint64_t n_blocks, end;
	uint8_t root_of_all[HASH_LEN];
	struct head_ref ref[64];
	uint8_t root[64][HASH_LEN];
	unsigned n_heads;
	struct head newest; /* where a history stands that resumes */
	uint64_t resumed_end, resumed_n, epoch;
};

static int count(void *ctx, const struct scan_block *b)
{
	struct merkle *m = ctx;

	cr_assert((b->bytes == NULL) == (b->hole != NULL));
	if (b->hole)
		merkle_add_run(m, b->leaf, b->hole->height);
	else
		merkle_add(m, b->leaf);
	return SCAN_GO;
}

static void ask_catalog(struct catalog *c, struct answers *a)
{
	struct history h;
	struct head head;
	struct merkle m;

	while (catalog_head(c, a->n_heads + 1, &a->ref[a->n_heads]) == 0) {
		cr_assert_eq(
			history_read_head(&s->params, storage(), &a->ref[a->n_heads], &head, NULL),
			0);
		cr_assert_eq(catalog_merkle(c, head.n_blocks, &m), 0, "head %u", a->n_heads + 1);
		merkle_root(&m, a->root[a->n_heads]);
		cr_assert_arr_eq(a->root[a->n_heads], head.root, HASH_LEN);
		cr_assert_lt(++a->n_heads, 64);
	}
	history_init(&h, &s->params);
	cr_assert_eq(history_resume(&h, c, storage()), 0);
	a->newest = h.head;
	a->resumed_end = h.end;
	a->resumed_n = h.merkle.n;
	a->epoch = h.epoch;
	history_release(&h);
}

static struct answers *ask(void)
{
	struct answers *a = calloc(1, sizeof(*a));
	struct catalog *c;
	struct scan_result r;
	struct merkle m;

	cr_assert_not_null(a);
	merkle_init(&m);
	cr_assert_eq(scan_blocks(storage(), 0, count, &m, &r), 0, "%s", err_detail(-ERR_DAMAGED));
	cr_assert_eq(r.verdict, SCAN_END);
	a->end = r.end;
	a->n_blocks = m.n;
	merkle_root(&m, a->root_of_all);
	c = open_catalog();
	ask_catalog(c, a);
	catalog_close(c);
	return a;
}

static void expect_the_same(const struct answers *before)
{
	struct answers *after = ask();

	cr_assert_eq(after->n_heads, before->n_heads);
	cr_assert_arr_eq(after, before, sizeof(*before));
	free(after);
}

/* Single blocks, runs of each size, and some of what may go still here. */
static void all_goes_at_once(unsigned max_height, unsigned step)
{
	struct answers *before;
	struct catalog *c;

	grow_all_sizes();
	gone_note(storage(), &gone);
	cr_assert_eq(rebuild(), 0);
	before = ask();
	lose(max_height, step);
	/* With the catalog that there was, and with a new one. */
	expect_the_same(before);
	cr_assert_eq(rebuild(), 0, "%s", err_detail(-ERR_DAMAGED));
	expect_the_same(before);
	/* It goes on from there. */
	synthetic_grow(s, 1, 2, 300);
	c = open_catalog();
	cr_assert_eq(catalog_catch_up(c, &s->params, storage(), NULL, NULL), 0);
	memset(before, 0, sizeof(*before));
	ask_catalog(c, before);
	cr_assert_eq(before->n_heads, s->newest.number);
	catalog_close(c);
	free(before);
}

Test(holes, single_blocks)
{
	all_goes_at_once(0, 0);
	/* Zeros of which nothing is said are damage. */
	storage()->holes = NULL;
	cr_assert_eq(rebuild(), -ERR_DAMAGED);
}

Test(holes, runs_of_two)
{
	all_goes_at_once(1, 0);
}

Test(holes, runs_below_a_tile)
{
	all_goes_at_once(7, 0);
}

Test(holes, runs_of_a_tile)
{
	all_goes_at_once(8, 0);
}

Test(holes, runs_of_any_size)
{
	all_goes_at_once(63, 0);
}

Test(holes, some_of_it_is_here)
{
	all_goes_at_once(4, 3);
}

/* The catalog knows some heads, and what is gone lies behind them too. */
Test(holes, catches_up_over_them)
{
	for (unsigned max = 0; max < 12; max += 3) {
		struct catalog *c;
		struct answers a = {0};

		synthetic_grow(s, 1, 2, 40);
		c = open_catalog();
		cr_assert_eq(catalog_catch_up(c, &s->params, storage(), NULL, NULL), 0, "%s",
			     err_detail(-ERR_DAMAGED));
		synthetic_grow(s, 2, 2, 530);
		storage()->holes = NULL;
		if (max == 0)
			gone_note(storage(), &gone);
		if (max == 0)
			lose(9, 0);
		storage()->holes = &holes;
		cr_assert_eq(catalog_catch_up(c, &s->params, storage(), NULL, NULL), 0, "%s",
			     err_detail(-ERR_DAMAGED));
		ask_catalog(c, &a);
		cr_assert_eq(a.n_heads, s->newest.number);
		catalog_close(c);
	}
}

/* A catalog that ends with a run of whole tiles has no leaf to count by, and still goes on. */
Test(holes, a_catalog_that_ends_with_a_run)
{
	for (unsigned tiles = 1; tiles <= 4; tiles *= 2) {
		struct catalog *c;
		struct head_ref ref;

		synthetic_segment(s);
		while ((s->merkle.n + 1) % (256 * tiles) != 0)
			synthetic_data(s, 20);
		synthetic_head(s);
		for (unsigned i = 0; i < 256 * tiles; i++)
			synthetic_data(s, 20);
		synthetic_head(s);
		cr_assert_eq(s->newest.n_blocks % 256, 0);
		storage()->holes = NULL;
		holes_release(&holes);
		gone_release(&gone);
		gone_note(storage(), &gone);
		gone_fill(&gone, 63, 0, s->newest.pos, &holes);
		storage()->holes = &holes;
		cr_assert_eq(rebuild(), 0);
		synthetic_grow(s, 1, 2, 3);
		c = open_catalog();
		cr_assert_eq(catalog_catch_up(c, &s->params, storage(), NULL, NULL), 0, "%s",
			     err_detail(-ERR_DAMAGED));
		cr_assert_eq(catalog_newest(c, &ref), 0);
		cr_assert_eq(ref.number, s->newest.number);
		catalog_close(c);
	}
}

/* The catalog tells what it can't know any more. */
Test(holes, what_is_inside_a_run_is_not_known)
{
	struct catalog *c;
	uint8_t leaf[HASH_LEN];
	struct merkle m;
	unsigned known = 0, unknown = 0;

	grow_all_sizes();
	gone_note(storage(), &gone);
	lose(9, 4);
	cr_assert_eq(rebuild(), 0);
	c = open_catalog();
	for (size_t i = 0; i < s->newest.n_blocks; i++) {
		const struct hole *h = holes_at(&holes, gone.block[i].pos);
		bool in_run = h && h->height > 0;

		cr_assert_eq(catalog_leaf(c, i, leaf), in_run ? -ERR_ABSENT : 0, "leaf %zu", i);
		if (!in_run)
			cr_assert_arr_eq(leaf, gone.block[i].leaf, HASH_LEN);
		if (in_run && gone.block[i].pos != h->pos)
			cr_assert_eq(catalog_merkle(c, i, &m), -ERR_ABSENT, "leaf %zu", i);
		else
			cr_assert_eq(catalog_merkle(c, i, &m), 0, "leaf %zu", i);
		known += !in_run;
		unknown += in_run;
	}
	cr_assert(known > 100 && unknown > 1000);
	catalog_close(c);
}

static void expect_refused(const char *why)
{
	int rc = rebuild();

	cr_assert(rc == -ERR_DAMAGED || rc == -ERR_TAMPERED, "%d", rc);
	cr_assert_not_null(strstr(err_detail(rc), why), "%s", err_detail(rc));
}

/* The table without entry ${i}. */
static void remove_entry(size_t i)
{
	memmove(&holes.hole[i], &holes.hole[i + 1], (holes.n - i - 1) * sizeof(holes.hole[0]));
	holes.n--;
}

/* Each entry, each lie: in the first segment, and in the last. */
static void tell_lies(size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		struct hole right = holes.hole[i];

		holes.hole[i].hash[i % HASH_LEN] ^= 1;
		expect_refused("what stands for them may be wrong");
		holes.hole[i] = right;
		holes.hole[i].len--;
		expect_refused("");
		holes.hole[i].len += 2;
		expect_refused("");
		holes.hole[i] = right;
		holes.hole[i].pos++;
		expect_refused("");
		holes.hole[i] = right;
		remove_entry(i);
		expect_refused("");
		memmove(&holes.hole[i + 1], &holes.hole[i], (holes.n - i) * sizeof(holes.hole[0]));
		holes.n++;
		holes.hole[i] = right;
	}
	cr_assert_eq(rebuild(), 0);
}

Test(holes, lies_are_refused)
{
	size_t n;

	synthetic_grow(s, 2, 2, 5);
	gone_note(storage(), &gone);
	lose(2, 0);
	n = holes.n;
	tell_lies(0, 3);
	tell_lies(n - 3, n);
}

Test(holes, wrong_lengths_are_told)
{
	synthetic_grow(s, 2, 1, 3);
	gone_note(storage(), &gone);
	lose(0, 0);
	/* Too short: no block begins where it ends. */
	holes.hole[2].len--;
	expect_refused("where bytes that are gone end by what stands for them");
	/* Too long: the next lies inside it. */
	holes.hole[2].len += 2;
	expect_refused("no block at offset");
	holes.hole[2].len--;
	holes.hole[0].len++;
	expect_refused("begins inside a block that is here");
	holes.hole[0].len--;
	/* Behind the end of a segment, and of the log. */
	holes.hole[5].pos = segment_start(1) + (1 << 20);
	expect_refused("");
	holes.hole[5].pos = segment_start(7) + 4096;
	expect_refused("");
}

/* The last block of a segment that ends without a head. */
Test(holes, at_a_segments_end)
{
	struct hole h;

	synthetic_segment(s);
	synthetic_data(s, 100);
	synthetic_data(s, 200);
	synthetic_grow(s, 1, 1, 2);
	gone_note(storage(), &gone);
	h = gone_of(&gone, 2, 0);
	cr_assert_eq(holes_add(&holes, &h), 0);
	gone_lose(&holes, write_over, NULL);
	storage()->holes = &holes;
	cr_assert_eq(rebuild(), 0);
	holes.hole[0].len += 1000;
	expect_refused("reaches beyond the end of its segment");
	holes.hole[0].len = SEGMENT_SIZE - h.pos;
	expect_refused("reaches beyond the end of its segment");
	holes.hole[0].len = h.len - 1;
	expect_refused("where bytes that are gone end by what stands for them");
}

Test(holes, of_segments_that_are_not_there)
{
	struct hole h = {.len = 100, .kind = BLOCK_DATA};

	synthetic_grow(s, 2, 1, 3);
	storage()->holes = &holes;
	h.pos = segment_start(9) + 4096;
	cr_assert_eq(holes_add(&holes, &h), 0);
	expect_refused("of a segment that is not there");
	s->next = 11;
	synthetic_grow(s, 1, 1, 1);
	expect_refused("of a segment that is not there");
	/* Behind the last block of one that is. */
	holes.hole[0].pos = segment_start(0) + 60000;
	expect_refused("beyond the end of its segment");
}

/* A run is a subtree, and no head is in it. */
Test(holes, runs_that_can_not_be)
{
	struct hole h;
	size_t i = 0;

	synthetic_grow(s, 2, 3, 20);
	gone_note(storage(), &gone);
	storage()->holes = &holes;
	/* Two blocks that are no subtree. */
	for (i = 1;
	     block_kind_is_clear(gone.block[i].kind) || block_kind_is_clear(gone.block[i + 1].kind);
	     i += 2)
		;
	h = gone_of(&gone, i, 1);
	cr_assert_eq(holes_add(&holes, &h), 0);
	expect_refused("is no subtree");
	/* One that covers a head: the first of the log, then the newest. */
	for (unsigned k = 0; k < 2; k++) {
		uint64_t pos = k == 0 ? 0 : s->newest.pos;
		unsigned height = 2;

		for (i = 0; gone.block[i].kind != BLOCK_HEAD || gone.block[i].pos < pos; i++)
			;
		i -= i % 4;
		if (i + 4 > gone.n) {
			i = gone.n - gone.n % 2 - 2;
			height = 1;
		}
		holes.n = 0;
		h = gone_of(&gone, i, height);
		cr_assert_eq(holes_add(&holes, &h), 0);
		expect_refused(k == 0 ? "cross another head" : "no head proves");
	}
}

Test(holes, what_no_table_may_hold)
{
	const struct hole right = {.pos = 5000, .len = 100, .kind = BLOCK_DATA};
	struct hole h = right;

	cr_assert_eq(holes_add(&holes, &h), 0);
#define REFUSED(change)                                                                            \
	do {                                                                                       \
		h = right;                                                                         \
		h.pos = 6000;                                                                      \
		change;                                                                            \
		cr_assert_eq(holes_add(&holes, &h), -ERR_DAMAGED, #change);                        \
		cr_assert_eq(holes.n, 1);                                                          \
	} while (0)
	REFUSED(h.pos = 5000);
	REFUSED(h.pos = 5099);
	REFUSED(h.pos = 4000);
	REFUSED(h.pos = segment_start(1));
	REFUSED(h.pos = segment_start(1) + SEGMENT_BLOCK_LEN - 1);
	REFUSED(h.pos = segment_start(1) - 99);
	REFUSED(h.pos = segment_start(SEGMENT_NUMBER_MAX + 1) + 5000);
	REFUSED(h.len = 0);
	REFUSED(h.len = FRAME_LEN);
	REFUSED(h.len = BLOCK_STORED_MAX + 1);
	REFUSED(h.len = UINT64_MAX);
	REFUSED(h.kind = 0);
	REFUSED(h.kind = BLOCK_KIND_END);
	REFUSED(h.kind = BLOCK_HEAD);
	REFUSED(h.kind = BLOCK_SEGMENT);
	REFUSED(h.flags = 0x80);
	REFUSED(h.height = 1);
	REFUSED((h.height = 3, h.kind = 0, h.len = 8 * (FRAME_LEN + 1) - 1));
	REFUSED((h.height = 64, h.kind = 0));
	REFUSED((h.height = 1, h.kind = 0, h.flags = 1));
	h.pos = 5100;
	h.len = 100;
	h.flags = h.kind = 0;
	h.height = 2;
	cr_assert_eq(holes_add(&holes, &h), 0);
	cr_assert_eq(holes_from(&holes, 0), 0);
	cr_assert_eq(holes_from(&holes, 5099), 0);
	cr_assert_eq(holes_from(&holes, 5100), 1);
	cr_assert_eq(holes_from(&holes, 5200), 2);
	cr_assert_null(holes_at(&holes, 4999));
	cr_assert_eq(holes_at(&holes, 5000), &holes.hole[0]);
	cr_assert_eq(holes_at(&holes, 5199), &holes.hole[1]);
	cr_assert_null(holes_at(&holes, 5200));
	cr_assert_null(holes_at(NULL, 5100));
}

/* What no head proves is refused, at home and in a copy whose catalog is whole; a mount would cut it. */
Test(holes, behind_the_newest_head_nothing_is_gone)
{
	struct hole h;

	synthetic_grow(s, 1, 1, 3);
	for (unsigned i = 0; i < 4; i++)
		synthetic_data(s, 500);
	gone_note(storage(), &gone);
	cr_assert_eq(rebuild(), 0);
	h = gone_of(&gone, gone.n - 2, 0);
	cr_assert_eq(holes_add(&holes, &h), 0);
	gone_lose(&holes, write_over, NULL);
	storage()->holes = &holes;
	for (unsigned copy = 0; copy < 2; copy++) {
		struct tail_end end = {.end = s->pos, .suspect = s->pos, .n_gone = 1};

		storage()->is_copy = copy;
		end.acknowledged = copy;
		expect_refused("no head proves");
		cr_assert_eq(tail_judge(&s->params, storage(), &end), -ERR_DAMAGED);
		/* The walk ended before them. */
		end = (struct tail_end){
			.end = h.pos - 1, .suspect = h.pos - 1, .acknowledged = copy};
		cr_assert_eq(tail_judge(&s->params, storage(), &end), -ERR_DAMAGED);
		cr_assert_not_null(strstr(err_detail(-ERR_DAMAGED), "bytes behind it are gone"));
	}
	storage()->is_copy = false;
}

static int count_heads(void *ctx, const struct head *h)
{
	(void)h;
	++*(unsigned *)ctx;
	return 0;
}

/* Of a block that is gone whole pages go: the rest may still look like a head. */
Test(holes, what_is_left_of_a_head_is_none)
{
	struct hole h = {.height = 1};
	unsigned n = 0;

	synthetic_grow(s, 1, 4, 2);
	cr_assert_eq(head_search(&s->params, storage(), 0, UINT64_MAX, count_heads, &n), 0);
	cr_assert_eq(n, 4);
	h.pos = s->newest.pos;
	h.len = s->newest.stored_len;
	cr_assert_eq(holes_add(&holes, &h), 0);
	storage()->holes = &holes;
	n = 0;
	cr_assert_eq(head_search(&s->params, storage(), 0, UINT64_MAX, count_heads, &n), 0);
	cr_assert_eq(n, 3);
}

/* Nothing is read where bytes are gone: they may be anything. */
Test(holes, what_lies_there_does_not_matter)
{
	struct answers *before;

	synthetic_grow(s, 2, 3, 9);
	gone_note(storage(), &gone);
	cr_assert_eq(rebuild(), 0);
	before = ask();
	gone_fill(&gone, 3, 0, s->newest.pos, &holes);
	storage()->holes = &holes;
	/* All of them still here. */
	cr_assert_eq(rebuild(), 0);
	expect_the_same(before);
	for (size_t i = 0; i < holes.n; i++) {
		uint8_t *noise = malloc((size_t)holes.hole[i].len);

		memset(noise, (int)(i + 1), (size_t)holes.hole[i].len);
		write_over(NULL, holes.hole[i].pos, noise, (size_t)holes.hole[i].len);
		free(noise);
	}
	cr_assert_eq(rebuild(), 0);
	expect_the_same(before);
	/* Damage beside them is still found. */
	write_over(NULL, s->newest.parent_pos + 100, "\xff", 1);
	cr_assert_neq(rebuild(), 0);
	free(before);
}
