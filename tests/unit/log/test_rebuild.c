/* A catalog from the log alone: equal to the original, and blind to no byte that a head covers. */

#include "catalog.h"

#include "err.h"
#include "file.h"
#include "history.h"
#include "store.h"
#include "synthetic_log.h"

#include "../sampled.h"

#include <criterion/criterion.h>
#include <fcntl.h>
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

TestSuite(rebuild, .init = setup, .fini = teardown);

static int rebuild(void)
{
	return catalog_rebuild(s->dir, &s->params, store_storage(s->store), NULL, NULL);
}

static struct catalog *open_catalog(void)
{
	struct catalog *c;

	cr_assert_eq(catalog_open(s->dir, s->params.id, CATALOG_WRITE, &c), 0);
	return c;
}

static uint64_t newest_number(void)
{
	struct catalog *c = open_catalog();
	struct head_ref ref = {0};
	int rc = catalog_newest(c, &ref);

	cr_assert(rc == 0 || rc == -ERR_ABSENT);
	catalog_close(c);
	return ref.number;
}

/* What a catalog answers: all heads, and the state at each. */
struct answers {
	struct head_ref ref[64];
	uint8_t root[64][HASH_LEN];
	unsigned n;
};

static void ask(struct answers *a)
{
	struct catalog *c = open_catalog();
	struct head_ref newest;

	memset(a, 0, sizeof(*a));
	cr_assert_eq(catalog_newest(c, &newest), 0);
	cr_assert_lt(newest.number, 64);
	for (uint64_t i = 1; i <= newest.number; i++) {
		struct head_ref at;
		struct merkle m;
		struct head head;

		cr_assert_eq(catalog_head(c, i, &a->ref[a->n]), 0);
		cr_assert_eq(catalog_head_at(c, a->ref[a->n].time_ns, &at), 0);
		cr_assert_eq(at.number, i);
		cr_assert_eq(
			history_read_head(&s->params, store_storage(s->store), &at, &head, NULL),
			0);
		cr_assert_eq(catalog_merkle(c, head.n_blocks, &m), 0);
		merkle_root(&m, a->root[a->n]);
		cr_assert_arr_eq(a->root[a->n], head.root, HASH_LEN);
		a->n++;
	}
	catalog_close(c);
}

static void progress(void *ctx, uint64_t pos)
{
	uint64_t *last = ctx;

	cr_assert_gt(pos, *last);
	*last = pos;
}

static int follow(void *ctx, const struct scan_block *b)
{
	struct catalog **c = ctx;
	static struct history h;
	bool is_head;

	if (!h.params)
		history_init(&h, &s->params);
	cr_assert_eq(history_step(&h, b, &is_head), 0);
	if (is_head)
		cr_assert_eq(history_commit(&h, *c), 0);
	if (is_head && h.head.number == s->newest.number)
		history_release(&h);
	return SCAN_GO;
}

static void expect_cursor(const char *name, size_t len)
{
	struct catalog *c = open_catalog();
	uint8_t value[64], want[64];
	size_t got = sizeof(value);

	memset(want, 7, sizeof(want));
	cr_assert_eq(catalog_get_cursor(c, name, value, &got), 0, "%s", name);
	cr_expect_eq(got, len);
	cr_expect_arr_eq(value, want, len);
	catalog_close(c);
}

/* No log tells of cursors.  Those of another catalog, and of one that can't be read, go. */
Test(rebuild, carries_cursors_over)
{
	struct catalog *c;
	uint8_t value[24], id[VOLUME_ID_LEN];
	size_t len = sizeof(value);
	char path[400];

	synthetic_grow(s, 2, 2, 3);
	memset(value, 7, sizeof(value));
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(rebuild(), 0);
		c = open_catalog();
		cr_assert_eq(catalog_put_cursor(c, "embassy:host:1", value, sizeof(value)), 0);
		cr_assert_eq(catalog_put_cursor(c, CURSOR_BEGUN, "", 0), 0);
		catalog_close(c);
		cr_assert_eq(rebuild(), 0);
		expect_cursor("embassy:host:1", sizeof(value));
		expect_cursor(CURSOR_BEGUN, 0);
		cr_expect_eq(newest_number(), s->newest.number);
		cr_assert_eq(catalog_clear(s->dir, s->params.id), 0);
		cr_expect_eq(newest_number(), 0);
		expect_cursor("embassy:host:1", sizeof(value));

		memcpy(id, s->params.id, sizeof(id));
		id[0]++;
		snprintf(path, sizeof(path), "%s/catalog/CURRENT", s->dir);
		if (i == 0)
			cr_assert_eq(catalog_clear(s->dir, id), 0);
		else
			cr_assert_eq(file_replace(AT_FDCWD, path, "nonsense\n", 9, 0600), 0);
		cr_assert_eq(rebuild(), 0);
		c = open_catalog();
		cr_expect_eq(catalog_get_cursor(c, CURSOR_BEGUN, value, &len), -ERR_ABSENT);
		catalog_close(c);
	}
}

/* A catalog that lost one does not say any more that it has them all. */
Test(rebuild, a_cursor_that_can_t_be_read_is_missed)
{
	static const uint8_t too_long[1000];
	uint8_t value[24];
	size_t len = sizeof(value);
	struct catalog *c;

	synthetic_grow(s, 1, 1, 3);
	cr_assert_eq(rebuild(), 0);
	memset(value, 7, sizeof(value));
	c = open_catalog();
	cr_assert_eq(catalog_put_cursor(c, "embassy:host:1", value, sizeof(value)), 0);
	cr_assert_eq(catalog_put_cursor(c, "embassy:host:2", too_long, sizeof(too_long)), 0);
	cr_assert_eq(catalog_put_cursor(c, CURSOR_BEGUN, "", 0), 0);
	catalog_close(c);
	cr_assert_eq(rebuild(), 0);
	expect_cursor("embassy:host:1", sizeof(value));
	c = open_catalog();
	cr_expect_eq(catalog_get_cursor(c, CURSOR_BEGUN, value, &len), -ERR_ABSENT);
	catalog_close(c);
}

Test(rebuild, equals_the_original)
{
	struct answers *before = calloc(2, sizeof(*before)), *after = before + 1;
	struct catalog *c = open_catalog();
	struct scan_result r;
	uint64_t reached = 0;

	cr_assert_not_null(before);
	synthetic_grow(s, 2, 4, 30);
	s->epoch = 2;
	s->next = 5;
	synthetic_grow(s, 3, 5, 70);
	cr_assert_eq(scan_blocks(store_storage(s->store), 0, follow, &c, &r), 0);
	catalog_close(c);
	ask(before);
	cr_assert_eq(before->n, 23);

	cr_assert_eq(
		catalog_rebuild(s->dir, &s->params, store_storage(s->store), progress, &reached),
		0);
	cr_assert_gt(reached, segment_start(6));
	ask(after);
	cr_assert_arr_eq(before, after, sizeof(*before));
	free(before);
}

Test(rebuild, catches_up)
{
	struct catalog *c = open_catalog();

	cr_assert_eq(catalog_catch_up(c, &s->params, store_storage(s->store), NULL, NULL), 0);
	for (uint64_t i = 1; i <= 5; i++) {
		struct head_ref ref;

		synthetic_grow(s, 1, 1, 3);
		synthetic_data(s, 100); /* covered by the next */
		cr_assert_eq(catalog_catch_up(c, &s->params, store_storage(s->store), NULL, NULL),
			     0);
		cr_assert_eq(catalog_catch_up(c, &s->params, store_storage(s->store), NULL, NULL),
			     0);
		cr_assert_eq(catalog_newest(c, &ref), 0);
		cr_assert_eq(ref.number, i);
	}
	catalog_close(c);
}

static void flip(uint64_t pos)
{
	uint8_t b;

	cr_assert_eq(store_read(s->store, pos, 1, &b), 0);
	b ^= 0x10;
	cr_assert_eq(store_write(s->store, pos, &b, 1, false), 0);
}

/* Each byte in turn: the newest head's own too, since its file was closed behind it. */
Test(rebuild, finds_each_flipped_byte)
{
	uint64_t number, size;

	synthetic_grow(s, 2, 1, 2);
	cr_assert_eq(rebuild(), 0);
	cr_assert_eq(newest_number(), 2);
	for (number = 0; number < 2; number++) {
		cr_assert_eq(store_size(s->store, number, &size), 0);
		for (uint64_t off = 0; off < size; off += sampled(13)) {
			uint64_t pos = segment_start(number) + off;
			int rc;

			flip(pos);
			rc = rebuild();
			cr_assert(rc == -ERR_DAMAGED || rc == -ERR_TAMPERED || rc == -ERR_VERSION,
				  "byte %llu: %d", (unsigned long long)pos, rc);
			flip(pos);
		}
	}
	cr_assert_eq(rebuild(), 0);
	cr_assert_eq(newest_number(), 2);
}

/*
 * Zeros from any place on, in a file that nobody closed: the log ends at its last whole head.  That
 * is no error, since a crash looks so.  A file that was closed and is shorter is damaged.
 */
Test(rebuild, torn_tail)
{
	uint64_t size;

	synthetic_grow(s, 2, 2, 2);
	cr_assert_eq(store_size(s->store, 1, &size), 0);
	for (uint64_t len = size - 1, step = 7 * sampled(5); len > 0;
	     len -= len < step ? len : step) {
		uint64_t want;

		cr_assert_eq(store_truncate(s->store, 1, len), 0);
		if (len > s->newest.pos - segment_start(1))
			cr_assert_eq(rebuild(), -ERR_DAMAGED);
		cr_assert_eq(store_truncate(s->store, 1, SEGMENT_SIZE), 0);
		cr_assert_eq(rebuild(), 0, "%llu: %s", (unsigned long long)len,
			     err_detail(-ERR_DAMAGED));
		want = newest_number();
		cr_assert(want == 2 || want == 3);
	}
}

Test(rebuild, missing_segment)
{
	synthetic_grow(s, 3, 1, 2);
	cr_assert_eq(store_remove(s->store, 1), 0);
	cr_assert_eq(rebuild(), -ERR_DAMAGED);
	cr_assert_not_null(strstr(err_detail(-ERR_DAMAGED), "a segment may be missing"));
	cr_assert_eq(newest_number(), 1);
	cr_assert_eq(store_remove(s->store, 0), 0);
	cr_assert_eq(rebuild(), -ERR_DAMAGED);
}

/* Heads that were signed over something else. */
Test(rebuild, signed_lie)
{
	struct head h;

	synthetic_grow(s, 1, 1, 2);
	h = synthetic_next_head(s);
	h.root[0] ^= 1;
	synthetic_make_head(s, &h, s->writer_secret[0]);
	synthetic_take(s);
	cr_assert_eq(rebuild(), -ERR_TAMPERED);
	cr_assert_not_null(strstr(err_detail(-ERR_TAMPERED), "Merkle root"));
	cr_assert_eq(newest_number(), 1);
}

Test(rebuild, nothing_at_all)
{
	cr_assert_eq(rebuild(), 0);
	cr_assert_eq(newest_number(), 0);
	synthetic_segment(s);
	synthetic_data(s, 50);
	cr_assert_eq(rebuild(), 0);
	cr_assert_eq(newest_number(), 0);
}
