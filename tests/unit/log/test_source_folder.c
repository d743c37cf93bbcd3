/* A folder as a source: with a catalog, beside a writer, with an old one, with none. */

#include "source.h"
#include "source_folder.h"

#include "catalog.h"
#include "err.h"
#include "file.h"
#include "frame.h"
#include "store.h"
#include "synthetic_log.h"

#include "../spoil.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static struct synthetic_log *s;
static struct catalog *writer;
static char temp[512];

static void setup(void)
{
	s = calloc(1, sizeof(*s));
	cr_assert_not_null(s);
	synthetic_log_init(s);
	snprintf(temp, sizeof(temp), "%s/temp", s->dir);
	cr_assert_eq(mkdir(temp, 0700), 0);
	cr_assert_eq(setenv("TMPDIR", temp, 1), 0);
}

static void teardown(void)
{
	catalog_close(writer);
	synthetic_log_release(s);
	free(s);
}

TestSuite(source_folder, .init = setup, .fini = teardown);

static void catch_up(void)
{
	if (!writer)
		cr_assert_eq(catalog_open(s->dir, s->params.id, CATALOG_WRITE, &writer), 0);
	cr_assert_eq(catalog_catch_up(writer, &s->params, store_storage(s->store), NULL, NULL), 0);
}

static struct source *open_source(void)
{
	struct source *src;

	cr_assert_eq(source_open_folder(s->dir, &src), 0, "%s", err_detail(-ERR_DAMAGED));
	cr_assert_arr_eq(src->params->id, s->params.id, VOLUME_ID_LEN);
	return src;
}

static unsigned entries(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	cr_assert_not_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static int64_t time_of(uint64_t number)
{
	return s->params.created_ns + (int64_t)number * 1000000000;
}

/* All that a source answers about heads 1 to ${n}. */
static void assert_serves(struct source *src, uint64_t n)
{
	struct head *heads = calloc(n + 1, sizeof(*heads));
	struct head h;
	size_t got;

	cr_assert_not_null(heads);
	cr_assert_eq(src->ops->head_at(src, INT64_MAX, &h), 0, "%s", err_detail(-ERR_TAMPERED));
	cr_assert_eq(h.number, n);
	for (uint64_t i = 1; i <= n; i++) {
		cr_assert_eq(src->ops->head_at(src, time_of(i), &h), 0);
		cr_assert_eq(h.number, i);
		cr_assert_eq(src->ops->head_at(src, time_of(i) + 999999999, &h), 0);
		cr_assert_eq(h.number, i);
		cr_assert_gt(h.stored_len, 0);
	}
	cr_assert_eq(src->ops->head_at(src, time_of(1) - 1, &h), -ERR_TOO_EARLY);
	cr_assert_eq(src->ops->heads(src, 1, n + 1, heads, &got), 0);
	cr_assert_eq(got, n);
	for (uint64_t i = 0; i < n; i++)
		cr_assert_eq(heads[i].number, i + 1);
	cr_assert_eq(src->ops->heads(src, n, 1, heads, &got), 0);
	cr_assert_eq(got, 1);
	cr_assert_eq(src->ops->heads(src, n + 1, 1, heads, &got), -ERR_ABSENT);
	free(heads);
}

Test(source_folder, not_a_volume)
{
	struct source *src;

	cr_assert_eq(source_open_folder("/nowhere/at/all", &src), -ERR_NO_VOLUME);
	cr_assert_eq(source_open_folder(temp, &src), -ERR_NO_VOLUME);
	source_free(NULL);
}

Test(source_folder, no_head_yet)
{
	struct source *src = open_source();
	struct head h;
	size_t n;

	cr_assert_eq(src->ops->head_at(src, INT64_MAX, &h), -ERR_ABSENT);
	cr_assert_eq(src->ops->heads(src, 1, 1, &h, &n), -ERR_ABSENT);
	source_free(src);
}

Test(source_folder, beside_a_live_writer)
{
	struct source *src;
	uint8_t buf[100];

	synthetic_grow(s, 1, 3, 5);
	catch_up();
	src = open_source();
	cr_assert_eq(entries(temp), 0);
	assert_serves(src, 3);
	for (uint64_t i = 4; i < 8; i++) {
		synthetic_grow(s, 1, 1, 5);
		catch_up();
		assert_serves(src, i);
	}
	synthetic_data(s, 1000);
	cr_assert_eq(src->ops->read(src, s->pos - 100, 100, buf), 0);
	cr_assert_arr_eq(buf, s->bytes + s->block.len - 100, 100);
	cr_assert_eq(src->ops->read(src, s->pos - 99, 100, buf), -ERR_ABSENT);
	src->ops->hint(src, s->pos - 100, 100);
	source_free(src);
}

Test(source_folder, catalog_older_than_the_log)
{
	struct source *src;

	synthetic_grow(s, 1, 3, 5);
	catch_up();
	synthetic_grow(s, 2, 2, 5);
	src = open_source();
	cr_assert_eq(entries(temp), 0);
	assert_serves(src, 7);
	/* The writer comes back, catches up and goes on. */
	synthetic_grow(s, 1, 2, 5);
	catch_up();
	assert_serves(src, 9);
	source_free(src);
}

/* More heads than are kept beside a catalog: none of them is left out. */
Test(source_folder, catalog_much_older_than_the_log, .timeout = 300)
{
	const unsigned n_heads = 16400;
	struct source *src;
	struct head h;

	synthetic_grow(s, 1, 1, 1);
	catch_up();
	synthetic_grow(s, 1, n_heads - 1, 0);
	src = open_source();
	cr_expect_eq(src->ops->head_at(src, INT64_MAX, &h), 0);
	cr_expect_eq(h.number, n_heads);
	source_free(src);
}

Test(source_folder, without_a_catalog)
{
	struct source *src;

	synthetic_grow(s, 2, 3, 5);
	src = open_source();
	cr_assert_eq(entries(temp), 1);
	assert_serves(src, 6);
	synthetic_grow(s, 1, 1, 5);
	assert_serves(src, 7);
	source_free(src);
	cr_assert_eq(entries(temp), 0);
}

Test(source_folder, with_a_damaged_catalog)
{
	struct source *src;
	char path[512];

	synthetic_grow(s, 2, 3, 5);
	catch_up();
	catalog_close(writer);
	writer = NULL;
	snprintf(path, sizeof(path), "%s/catalog/CURRENT", s->dir);
	cr_assert_eq(file_replace(AT_FDCWD, path, "nonsense", 8, 0600), 0);
	src = open_source();
	cr_assert_eq(entries(temp), 1);
	assert_serves(src, 6);
	source_free(src);
	cr_assert_eq(entries(temp), 0);
}

/* The log holds that head, so it is the catalog that is wrong. */
Test(source_folder, with_a_wrong_time_in_the_catalog)
{
	struct source *src;

	synthetic_grow(s, 2, 3, 5);
	catch_up();
	catalog_close(writer);
	writer = NULL;
	spoil_time(s->dir, 6);
	src = open_source();
	cr_assert_eq(entries(temp), 1);
	assert_serves(src, 6);
	source_free(src);
}

/* Nothing is believed, and nothing left behind. */
Test(source_folder, damaged_log_without_a_catalog)
{
	struct source *src;

	synthetic_grow(s, 2, 3, 5);
	cr_assert_eq(store_write(s->store, 200, "\xff\xff\xff", 3, false), 0);
	cr_assert_neq(source_open_folder(s->dir, &src), 0);
	cr_assert_eq(entries(temp), 0);
}

/* A head whose bytes changed after the catalog had it. */
Test(source_folder, head_that_changed)
{
	struct source *src;
	struct head first, h;
	uint8_t b;

	synthetic_grow(s, 1, 1, 5);
	first = s->newest;
	synthetic_grow(s, 1, 1, 5);
	catch_up();
	src = open_source();
	cr_assert_eq(store_read(s->store, first.pos + first.stored_len - 8, 1, &b), 0);
	b ^= 1;
	cr_assert_eq(store_write(s->store, first.pos + first.stored_len - 8, &b, 1, false), 0);
	cr_assert_eq(src->ops->head_at(src, time_of(1), &h), -ERR_TAMPERED);
	cr_assert_eq(src->ops->head_at(src, time_of(2), &h), 0);
	source_free(src);
}

/* ---- two logs in one folder ---- */

static int header(struct source *src, uint64_t number)
{
	uint8_t block[SEGMENT_BLOCK_LEN];

	return src->ops->header(src, number, block);
}

/* Put another salt into the header of a segment: well formed, and of another log. */
static void change_header(uint64_t number)
{
	uint8_t block[SEGMENT_BLOCK_LEN];

	cr_assert_eq(store_read(s->store, segment_start(number), sizeof(block), block), 0);
	block[SEGMENT_BLOCK_LEN - 1] ^= 1;
	cr_assert_eq(store_write(s->store, segment_start(number), block, sizeof(block), false), 0);
}

Test(source_folder, a_header_of_another_log_is_refused)
{
	struct source *src;

	synthetic_grow(s, 4, 3, 2);
	catch_up();
	/* Found by the walk alone: the catalog does not know them. */
	synthetic_grow(s, 2, 3, 2);
	src = open_source();
	for (uint64_t n = 0; n < 6; n++)
		cr_assert_eq(header(src, n), 0, "%s", err_detail(-ERR_TAMPERED));
	cr_assert_eq(header(src, 6), -ERR_ABSENT);
	change_header(1);
	change_header(5);
	for (uint64_t n = 0; n < 6; n++)
		cr_expect_eq(header(src, n), n == 1 || n == 5 ? -ERR_TAMPERED : 0);
	cr_expect(strstr(err_detail(-ERR_TAMPERED), "segment 0000000000000005") != NULL);
	source_free(src);
	change_header(5);
	/* With the log's own catalog nobody walks over segment 1 again; without, the walk finds it. */
	src = open_source();
	cr_expect_eq(header(src, 1), -ERR_TAMPERED);
	cr_expect_eq(header(src, 5), 0);
	source_free(src);
	catalog_close(writer);
	writer = NULL;
	cr_assert_eq(catalog_remove(s->dir), 0);
	cr_expect_neq(source_open_folder(s->dir, &src), 0);
	change_header(1);
	src = open_source();
	cr_expect_eq(header(src, 1), 0);
	source_free(src);
}

Test(source_folder, a_head_of_another_log_is_refused)
{
	struct head second, third, list[5], h;
	struct source *src;
	size_t n;

	synthetic_grow(s, 1, 2, 2);
	second = s->newest;
	synthetic_data(s, 100);
	synthetic_head(s);
	third = s->newest;
	synthetic_grow(s, 1, 2, 2);
	catch_up();
	/* Signed by the writer too, as long, and stating another root. */
	third.root[0] ^= 1;
	synthetic_make_head(s, &third, s->writer_secret[0]);
	s->block.pos = third.pos;
	frame_encode(&s->block.frame, third.pos, s->bytes);
	cr_assert_eq(s->block.len, third.stored_len);
	cr_assert_eq(store_write(s->store, third.pos, s->bytes, s->block.len, false), 0);
	src = open_source();
	cr_expect_eq(src->ops->heads(src, 1, 2, list, &n), 0);
	cr_expect_eq(list[1].n_blocks, second.n_blocks);
	cr_expect_eq(src->ops->heads(src, 1, 5, list, &n), -ERR_TAMPERED);
	cr_expect_eq(src->ops->heads(src, 3, 1, list, &n), -ERR_TAMPERED);
	cr_expect_eq(src->ops->head_at(src, third.time_ns, &h), -ERR_TAMPERED);
	cr_expect_eq(src->ops->heads(src, 4, 2, list, &n), 0);
	source_free(src);
}
