/* Walks over good, torn, preallocated and damaged logs. */

#include "scan.h"

#include "err.h"
#include "store.h"
#include "synthetic_log.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct synthetic_log *s;

static void setup(void)
{
	s = calloc(1, sizeof(*s));
	cr_assert_not_null(s);
	synthetic_log_init(s);
}

static void teardown(void)
{
	synthetic_log_release(s);
	free(s);
}

TestSuite(scan, .init = setup, .fini = teardown);

struct seen {
	struct merkle merkle;
	uint64_t stop_at; /* block number; UINT64_MAX: none */
	int rc;
};

static int see(void *ctx, const struct scan_block *b)
{
	struct seen *seen = ctx;

	if (seen->merkle.n == seen->stop_at)
		return seen->rc;
	cr_assert_eq(b->len, FRAME_LEN + b->frame.body_len);
	merkle_add(&seen->merkle, b->leaf);
	return SCAN_GO;
}

static int scan(uint64_t from, struct seen *seen, struct scan_result *r)
{
	merkle_init(&seen->merkle);
	seen->stop_at = UINT64_MAX;
	return scan_blocks(store_storage(s->store), from, see, seen, r);
}

static void assert_all_seen(const struct seen *seen)
{
	uint8_t a[HASH_LEN], b[HASH_LEN];

	cr_assert_eq(seen->merkle.n, s->merkle.n);
	merkle_root(&seen->merkle, a);
	merkle_root(&s->merkle, b);
	cr_assert_arr_eq(a, b, HASH_LEN);
}

Test(scan, empty_log)
{
	struct scan_result r;
	struct seen seen;

	cr_assert_eq(scan(0, &seen, &r), 0);
	cr_assert_eq(r.verdict, SCAN_END);
	cr_assert_eq(r.end, 0);
	cr_assert_eq(seen.merkle.n, 0);
	/* A file without a byte holds no block. */
	cr_assert_eq(store_create(s->store, 0), 0);
	cr_assert_eq(scan(0, &seen, &r), 0);
	cr_assert_eq(r.verdict, SCAN_END);
	cr_assert_eq(r.end, 0);
}

Test(scan, across_segments_and_windows)
{
	struct scan_result r;
	struct seen seen;

	for (unsigned i = 0; i < 3; i++) {
		synthetic_segment(s);
		for (unsigned j = 0; j < 12; j++)
			synthetic_data(s, BLOCK_PLAIN_MAX - 4567 * j);
		synthetic_head(s);
	}
	cr_assert_eq(scan(0, &seen, &r), 0);
	cr_assert_eq(r.verdict, SCAN_END);
	cr_assert_eq(r.end, s->pos);
	assert_all_seen(&seen);
	/* From an end there is nothing more. */
	cr_assert_eq(scan(s->pos, &seen, &r), 0);
	cr_assert_eq(r.end, s->pos);
	cr_assert_eq(seen.merkle.n, 0);
	/* From the last head: one. */
	cr_assert_eq(scan(s->newest.pos, &seen, &r), 0);
	cr_assert_eq(seen.merkle.n, 1);
}

/* A segment filled to its last byte, gaps in the numbers, an empty file between. */
Test(scan, full_segment_and_gaps)
{
	struct scan_result r;
	struct seen seen;
	uint32_t rest;

	synthetic_segment(s);
	while ((rest = (uint32_t)(SEGMENT_SIZE - s->pos)) > 2 * BLOCK_STORED_MAX)
		synthetic_data(s, BLOCK_PLAIN_MAX);
	synthetic_data(s, rest / 2);
	synthetic_data(s, (uint32_t)(SEGMENT_SIZE - s->pos) - FRAME_LEN);
	cr_assert_eq(s->pos, SEGMENT_SIZE);
	cr_assert_eq(scan(0, &seen, &r), 0);
	assert_all_seen(&seen);
	cr_assert_eq(r.end, SEGMENT_SIZE);
	cr_assert_eq(scan(SEGMENT_SIZE, &seen, &r), 0);
	cr_assert_eq(seen.merkle.n, 0);
	cr_assert_eq(r.end, SEGMENT_SIZE);

	cr_assert_eq(store_create(s->store, 1), 0);
	s->next = 4;
	synthetic_segment(s);
	synthetic_head(s);
	cr_assert_eq(scan(0, &seen, &r), 0);
	assert_all_seen(&seen);
	cr_assert_eq(r.end, s->pos);
	cr_assert_eq(scan(SEGMENT_SIZE, &seen, &r), 0);
	cr_assert_eq(seen.merkle.n, 2);
}

Test(scan, preallocated_tail_is_an_end)
{
	struct scan_result r;
	struct seen seen;

	synthetic_grow(s, 1, 1, 2);
	cr_assert_eq(store_truncate(s->store, 0, SEGMENT_SIZE), 0);
	cr_assert_eq(scan(0, &seen, &r), 0);
	cr_assert_eq(r.verdict, SCAN_END);
	cr_assert_eq(r.end, s->pos);
	assert_all_seen(&seen);
	/* Less than a frame's zeros, too. */
	cr_assert_eq(store_truncate(s->store, 0, s->pos + 5), 0);
	cr_assert_eq(scan(0, &seen, &r), 0);
	cr_assert_eq(r.verdict, SCAN_END);
	/* In a segment with a successor there is no such tail. */
	synthetic_segment(s);
	cr_assert_eq(scan(0, &seen, &r), -ERR_DAMAGED);
}

/* Cut anywhere in its last block, the log ends before that block. */
Test(scan, torn_at_each_byte)
{
	struct scan_result r;
	struct seen seen;
	uint64_t end;

	synthetic_grow(s, 1, 1, 1);
	end = s->pos;
	synthetic_data(s, 50);
	for (uint64_t len = s->pos - 1; len >= end; len--) {
		cr_assert_eq(store_truncate(s->store, 0, len), 0);
		cr_assert_eq(scan(0, &seen, &r), 0);
		cr_assert_eq(r.end, end);
		cr_assert_eq(r.verdict, len == end ? SCAN_END : SCAN_TORN);
	}
}

Test(scan, damage_before_the_last_segment)
{
	struct scan_result r;
	struct seen seen;
	uint64_t cut;

	synthetic_grow(s, 1, 1, 1);
	cut = s->pos;
	synthetic_data(s, 60);
	synthetic_grow(s, 1, 1, 1);
	cr_assert_eq(scan(0, &seen, &r), 0);
	cr_assert_eq(store_write(s->store, cut + 1, "\xff", 1, false), 0);
	cr_assert_eq(scan(0, &seen, &r), -ERR_DAMAGED);
	cr_assert_not_null(strstr(err_detail(-ERR_DAMAGED), "segment 0000000000000000"));
	cr_assert_eq(store_truncate(s->store, 0, cut + 30), 0);
	cr_assert_eq(scan(0, &seen, &r), -ERR_DAMAGED);
	/* Where to begin is not there. */
	cr_assert_eq(scan(cut + 40, &seen, &r), -ERR_DAMAGED);
	cr_assert_eq(scan(segment_start(9) + 500, &seen, &r), -ERR_DAMAGED);
}

/* More bytes than a segment has are damage, not blocks. */
Test(scan, oversized_file)
{
	struct scan_result r;
	struct seen seen;
	char path[512];
	FILE *f;

	synthetic_grow(s, 1, 1, 1);
	cr_assert_eq(store_truncate(s->store, 0, SEGMENT_SIZE), 0);
	snprintf(path, sizeof(path), "%s/log/0000000000000000.seg", s->dir);
	f = fopen(path, "a");
	cr_assert_not_null(f);
	fputc('x', f);
	fclose(f);
	cr_assert_eq(scan(0, &seen, &r), 0);
	cr_assert_eq(r.verdict, SCAN_TORN);
	cr_assert_eq(r.end, s->pos);
}

Test(scan, callback_stops_or_fails)
{
	struct seen seen = {.stop_at = 2, .rc = SCAN_STOP};
	struct scan_result r;
	uint64_t second;

	synthetic_segment(s);
	synthetic_data(s, 100);
	second = s->pos;
	synthetic_data(s, 100);
	merkle_init(&seen.merkle);
	cr_assert_eq(scan_blocks(store_storage(s->store), 0, see, &seen, &r), 0);
	cr_assert_eq(r.verdict, SCAN_STOPPED);
	cr_assert_eq(r.end, second);
	merkle_init(&seen.merkle);
	seen.rc = -ERR_FORKED;
	cr_assert_eq(scan_blocks(store_storage(s->store), 0, see, &seen, &r), -ERR_FORKED);
}
