/* Recovery at home over a log of which blocks are gone. */

#include "recover_fixture.h"

#include "catalog.h"
#include "err.h"
#include "file.h"
#include "history.h"
#include "log_internal.h"
#include "newest.h"
#include "storage.h"
#include "store.h"

#include "../gone.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct log_fixture f;
static struct gone gone;
static struct holes holes;
static uint64_t newest_pos;
static uint64_t n_tail; /* deltas behind the newest head */

static void command(const char *text)
{
	char line[800];

	snprintf(line, sizeof(line), "cd '%s' && %s", f.dir, text);
	cr_assert_eq(system(line), 0, "%s", line);
}

/* Three openings, each a segment; the catalog of the first is kept aside, as catalog-old. */
static void setup(void)
{
	struct head h = {0};

	log_fixture_init(&f, NULL);
	f.ring_bytes = RECOVER_RING;
	for (unsigned i = 0; i < 3; i++) {
		struct log_tail tail;
		struct log *log = recover_open(&f, &tail);

		log_tail_release(&tail);
		for (unsigned j = 0; j < 4; j++) {
			for (unsigned k = 0; k < 30; k++)
				recover_append(log, k % 3 ? BLOCK_DATA : BLOCK_DELTA, k, 100 + k);
			h.time_ns++;
			cr_assert_eq(log_add_head(log, &h), 0);
		}
		newest_pos = h.pos;
		for (n_tail = 0; i == 2 && n_tail < 3; n_tail++)
			recover_append(log, BLOCK_DELTA, n_tail, 50);
		cr_assert_eq(log_close(log), 0);
		if (i == 0)
			command("cp -r catalog catalog-old");
	}
}

static void teardown(void)
{
	holes_release(&holes);
	gone_release(&gone);
	log_fixture_release(&f);
}

TestSuite(recover_holes, .init = setup, .fini = teardown, .timeout = 300);

/* What recovery finds. */
struct found {
	int rc;
	uint64_t end, number, pos, n_blocks, n_deltas;
	uint8_t root[HASH_LEN];
};

static void write_over(void *ctx, uint64_t pos, const void *bytes, size_t len)
{
	cr_assert_eq(store_write(ctx, pos, bytes, len, false), 0);
}

static struct store *open_store(void)
{
	struct store *st;

	cr_assert_eq(store_open(f.dir, STORE_WRITABLE, &st), 0);
	return st;
}

static struct found recover(const struct holes *t)
{
	const struct log_config cfg = {.volume_dir = f.dir,
				       .params = &f.params,
				       .log_key = f.log_key,
				       .writer_secret = f.writer_secret,
				       .ring_bytes = f.ring_bytes};
	struct store *st = open_store();
	struct log_tail tail = {0};
	struct catalog *catalog;
	struct newest noted;
	struct history h;
	struct found r = {0};

	store_storage(st)->holes = t;
	r.rc = log_recover(&cfg, st, &catalog, &h, &noted, &tail);
	if (r.rc == 0) {
		r.end = h.end;
		r.number = h.head.number;
		r.pos = h.head.pos;
		r.n_blocks = h.merkle.n;
		r.n_deltas = tail.n_deltas;
		merkle_root(&h.merkle, r.root);
		catalog_close(catalog);
	}
	log_tail_release(&tail);
	history_release(&h);
	store_close(st);
	return r;
}

static void expect(const struct found *want, const char *what)
{
	struct found r = recover(&holes);

	cr_assert_eq(r.rc, 0, "%s: %s", what, err_detail(r.rc));
	cr_assert_eq(r.number, want->number, "%s", what);
	cr_assert_eq(r.pos, want->pos, "%s", what);
	cr_assert_eq(r.end, want->end, "%s", what);
	cr_assert_eq(r.n_blocks, want->n_blocks, "%s", what);
	cr_assert_eq(r.n_deltas, n_tail, "%s", what);
	cr_assert_arr_eq(r.root, want->root, HASH_LEN);
}

static void lose(unsigned max_height)
{
	struct store *st = open_store();

	gone_note(store_storage(st), &gone);
	gone_fill(&gone, max_height, 0, newest_pos, &holes);
	cr_assert_gt(holes.n, 10);
	gone_lose(&holes, write_over, st);
	store_close(st);
}

static void finds_the_same(unsigned max_height)
{
	struct found before = recover(NULL);

	cr_assert_eq(before.rc, 0);
	cr_assert_eq(before.number, 12);
	lose(max_height);
	expect(&before, "with its catalog");
	command("rm -r catalog");
	expect(&before, "without a catalog");
	command("rm -r catalog && cp -r catalog-old catalog");
	expect(&before, "with an old catalog");
}

Test(recover_holes, single_blocks)
{
	finds_the_same(0);
}

Test(recover_holes, runs)
{
	finds_the_same(63);
}

/* Refused each time, and the log is as it was. */
Test(recover_holes, lies_are_refused_and_nothing_is_cut)
{
	struct found before = recover(NULL);

	lose(3);
	command("cp -r log log-before");
	for (size_t i = 0; i < holes.n; i += holes.n - 1) {
		holes.hole[i].hash[7] ^= 1;
		for (unsigned k = 0; k < 2; k++) {
			int rc;

			command("rm -rf catalog");
			rc = recover(&holes).rc;
			cr_assert(rc == -ERR_DAMAGED || rc == -ERR_TAMPERED, "%d", rc);
			command("rm -rf catalog && cp -r catalog-old catalog");
			rc = recover(i == 0 ? NULL : &holes).rc;
			cr_assert(rc == -ERR_DAMAGED || rc == -ERR_TAMPERED, "%d", rc);
			command("diff -r log log-before");
		}
		holes.hole[i].hash[7] ^= 1;
	}
	/* What lies behind the newest head is not gone. */
	{
		struct hole h = gone_of(&gone, gone.n - 2, 0);

		cr_assert_eq(holes_add(&holes, &h), 0);
		command("rm -rf catalog");
		cr_assert_eq(recover(&holes).rc, -ERR_DAMAGED);
		cr_assert_not_null(strstr(err_detail(-ERR_DAMAGED), "no head proves"));
		command("diff -r log log-before");
		holes.n--;
	}
	expect(&before, "in the end");
}
