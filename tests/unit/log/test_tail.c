/* Each row of the table in tail.c: what decides between a torn tail and damage. */

#include "tail.h"

#include "catalog.h"
#include "err.h"
#include "file.h"
#include "frame.h"
#include "store.h"
#include "synthetic_log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct synthetic_log *s;
static uint64_t end; /* of the log: what the tests lay behind it is not counted */

static void setup(void)
{
	s = calloc(1, sizeof(*s));
	cr_assert_not_null(s);
	synthetic_log_init(s);
	synthetic_grow(s, 2, 2, 3);
	end = s->pos;
}

static void teardown(void)
{
	synthetic_log_release(s);
	free(s);
}

TestSuite(tail, .init = setup, .fini = teardown);

/* Open it again as an embassy's copy. */
static void become_copy(void)
{
	char path[320];

	snprintf(path, sizeof(path), "%s/owner", s->dir);
	cr_assert_eq(file_replace(AT_FDCWD, path, "cn:home", 7, 0600), 0);
	store_close(s->store);
	cr_assert_eq(store_open(s->dir, STORE_WRITABLE | STORE_LOOK, &s->store), 0);
	cr_assert(store_is_copy(s->store));
}

static int judge(bool acknowledged, uint64_t *torn)
{
	struct tail_end t = {.end = end, .suspect = end, .acknowledged = acknowledged};
	int rc = tail_judge(&s->params, store_storage(s->store), &t);

	*torn = t.torn_bytes;
	return rc;
}

static void expect(int want, bool acknowledged, const char *words)
{
	uint64_t torn;
	int rc = judge(acknowledged, &torn);

	cr_assert_eq(rc, want, "%d: %s", rc, err_detail(rc));
	if (words)
		cr_assert_not_null(strstr(err_detail(rc), words), "%s", err_detail(rc));
}

static void set_len(uint64_t len)
{
	cr_assert_eq(store_truncate(s->store, 1, end - segment_start(1)), 0);
	cr_assert_eq(store_truncate(s->store, 1, len), 0);
}

static void put(uint64_t pos, const void *bytes, size_t len)
{
	cr_assert_eq(store_write(s->store, pos, bytes, len, false), 0);
}

/* Make the next block, without a zero that could be taken for one that was not written. */
static size_t make_block(uint32_t body_len)
{
	do
		synthetic_make_data(s, body_len);
	while (s->bytes[s->block.len - 1] == 0 || s->bytes[FRAME_LEN - 1] == 0);
	return s->block.len;
}

Test(tail, nothing_behind_the_end)
{
	uint64_t torn;

	expect(0, false, NULL);
	set_len(SEGMENT_SIZE);
	cr_assert_eq(judge(false, &torn), 0);
	cr_assert_eq(torn, 0);
	become_copy();
	expect(0, false, NULL);
	set_len(end - segment_start(1) + 5000);
	expect(0, false, NULL);
}

Test(tail, a_home_s_closed_file_has_no_tail)
{
	set_len(end - segment_start(1) + 1);
	expect(-ERR_DAMAGED, false, "closed at its last block");
	expect(-ERR_DAMAGED, true, "--repair --from");
	set_len(SEGMENT_SIZE - 1);
	expect(-ERR_DAMAGED, false, "closed at its last block");
	/* Nor is it without a block. */
	cr_assert_eq(store_create(s->store, 2), 0);
	expect(-ERR_DAMAGED, false, "closed at its last block");
	become_copy();
	expect(0, false, NULL);
}

/* The block is whole in none of them, and each time a crash can have left it so. */
Test(tail, a_sector_was_not_written)
{
	static const uint8_t zeros[8192];
	size_t len = make_block(5000);
	uint64_t torn;

	for (int copy = 0; copy < 2; copy++) {
		if (copy)
			become_copy();
		for (uint64_t sector = end / 512; sector <= (end + len - 1) / 512; sector++) {
			uint64_t from = sector * 512 < end ? end : sector * 512;
			uint64_t to = (sector + 1) * 512 < end + len ? (sector + 1) * 512
								     : end + len;

			set_len(SEGMENT_SIZE);
			put(end, s->bytes, len);
			put(from, zeros, to - from);
			cr_assert_eq(judge(true, &torn), 0, "%s", err_detail(-ERR_DAMAGED));
			cr_assert_gt(torn, 0);
		}
		/* A write that was cut short, in a copy with the file's end. */
		for (size_t n = 1; n < len; n += 37) {
			set_len(SEGMENT_SIZE);
			put(end, s->bytes, n);
			cr_assert_eq(judge(true, &torn), 0, "%zu: %s", n, err_detail(-ERR_DAMAGED));
			if (copy)
				set_len(end - segment_start(1) + n);
			if (copy)
				put(end, s->bytes, n);
			cr_assert_eq(judge(true, &torn), 0);
		}
	}
}

Test(tail, written_whole_and_not_what_was_written)
{
	size_t len = make_block(5000);

	for (int copy = 0; copy < 2; copy++) {
		if (copy)
			become_copy();
		set_len(SEGMENT_SIZE);
		for (size_t at = 0; at < len; at += at < 2 * FRAME_LEN ? 1 : 91) {
			uint8_t bit = s->bytes[at] == 4 ? 8 : 4;

			s->bytes[at] ^= bit;
			put(end, s->bytes, len);
			s->bytes[at] ^= bit;
			expect(-ERR_DAMAGED, true, "written whole");
			cr_assert_not_null(strstr(err_detail(-ERR_DAMAGED),
						  copy ? "--log-only --repair --from" : "-o partial"));
		}
	}
}

Test(tail, a_head_behind_a_hole)
{
	struct head h;

	set_len(SEGMENT_SIZE);
	s->pos = end + 100000;
	h = synthetic_next_head(s);
	synthetic_make_head(s, &h, s->writer_secret[0]);
	put(s->pos, s->bytes, s->block.len);
	expect(-ERR_DAMAGED, false, "head 5 at");
	expect(-ERR_DAMAGED, true, "head 5 at");
	become_copy();
	expect(-ERR_DAMAGED, false, "head 5 at");
	expect(0, true, NULL);
}

Test(tail, a_head_that_the_catalog_knows)
{
	struct head_ref ref = {s->newest.number, s->newest.pos, s->newest.stored_len,
			       s->newest.time_ns};
	uint8_t b;

	cr_assert_eq(tail_check_known(&s->params, store_storage(s->store), &ref), 0);
	/* The catalog's fault: the head is there, and only its number and place say so. */
	ref.time_ns++;
	cr_expect_eq(tail_check_known(&s->params, store_storage(s->store), &ref), 0);
	ref.stored_len--;
	cr_expect_eq(tail_check_known(&s->params, store_storage(s->store), &ref), 0);
	ref.number++;
	cr_expect_eq(tail_check_known(&s->params, store_storage(s->store), &ref), -ERR_DAMAGED);
	ref.number--;
	ref.pos--;
	cr_expect_eq(tail_check_known(&s->params, store_storage(s->store), &ref), -ERR_DAMAGED);
	ref.pos++;
	ref.time_ns--;
	ref.stored_len++;
	cr_assert_eq(store_read(s->store, ref.pos + 50, 1, &b), 0);
	b ^= 1;
	put(ref.pos + 50, &b, 1);
	cr_assert_eq(tail_check_known(&s->params, store_storage(s->store), &ref), -ERR_DAMAGED);
	cr_assert_not_null(strstr(err_detail(-ERR_DAMAGED), "head 4 is in the catalog"));
	cr_assert_not_null(strstr(err_detail(-ERR_DAMAGED), "--repair"));
	ref.pos = segment_start(2) + 500;
	cr_assert_eq(tail_check_known(&s->params, store_storage(s->store), &ref), -ERR_DAMAGED);
	/* What no log can hold is the catalog's fault. */
	ref.stored_len = 100000;
	cr_assert_eq(tail_check_known(&s->params, store_storage(s->store), &ref), 0);
}

static int fail_reads(void *ctx, const char *op)
{
	(void)ctx;
	return strcmp(op, "read") == 0 ? -EIO : 0;
}

/* A disk that gives no answer proves nothing. */
Test(tail, errors_of_the_disk)
{
	uint64_t torn;

	set_len(SEGMENT_SIZE);
	put(end, "x", 1);
	file_set_fault(fail_reads, NULL);
	cr_expect_eq(judge(false, &torn), -EIO);
	file_set_fault(NULL, NULL);
	cr_assert_eq(judge(false, &torn), 0);
}
