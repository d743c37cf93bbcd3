/*
 * The contract of storage.h, over each back end: EMBASSYFS_TEST_STORAGE says which.  What only memory
 * can show, crashes and leases that run out, is shown there.
 */

#include "storage_folder.h"
#include "storage_memory.h"

#include "err.h"
#include "file.h"
#include "kv.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE STORAGE_PAGE
#define CRASHES 64u

static const uint8_t id[VOLUME_ID_LEN] = {1, 2, 3}, other[VOLUME_ID_LEN] = {9};
static char dir[256];
static struct memory *memory;
static struct storage_pool *pool;
static struct storage *st;
static uint8_t page[4 * PAGE] __attribute__((aligned(4096)));

static void open_pool(void)
{
	if (memory)
		cr_assert_eq(storage_memory_open(memory, dir, &pool), 0);
	else
		cr_assert_eq(storage_folder_open(dir, &pool), 0);
}

static void open_all(void)
{
	open_pool();
	cr_assert_eq(storage_pool_open(pool, id, &st), 0);
	cr_assert_eq(storage_take(st), 0);
}

static void close_all(void)
{
	storage_close(st);
	storage_pool_close(pool);
	st = NULL;
	pool = NULL;
}

static void set_up(void)
{
	const char *tmp = getenv("TMPDIR"), *storage = getenv("EMBASSYFS_TEST_STORAGE");

	snprintf(dir, sizeof(dir), "%s/embassyfs-storage-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert_not_null(mkdtemp(dir));
	if (storage && strcmp(storage, "memory") == 0)
		cr_assert_not_null(memory = memory_new(7));
	open_pool();
	cr_assert_eq(storage_pool_create(pool, id, "cn:home", "conf one", 8), 0);
	storage_pool_close(pool);
	open_all();
}

static void tear_down(void)
{
	close_all();
	memory_free(memory);
	cr_expect_eq(file_remove_tree(AT_FDCWD, dir), 0);
}

TestSuite(storage, .init = set_up, .fini = tear_down, .timeout = 120);

static void fill(uint8_t byte)
{
	memset(page, byte, sizeof(page));
}

static bool reads(uint64_t pos, uint8_t byte, size_t len)
{
	uint8_t got[4 * PAGE];

	if (storage_read(st, pos, len, got) < 0)
		return false;
	for (size_t i = 0; i < len; i++)
		if (got[i] != byte)
			return false;
	return true;
}

static int count(void *ctx, const uint8_t found[VOLUME_ID_LEN])
{
	(void)found;
	++*(int *)ctx;
	return 0;
}

Test(storage, volumes)
{
	struct storage *none;
	char owner[64], little[4];
	int n = 0;

	cr_expect_eq(storage_pool_has(pool, id), 1);
	cr_expect_eq(storage_pool_has(pool, other), 0);
	cr_expect_eq(storage_pool_open(pool, other, &none), -ERR_NO_VOLUME);
	cr_expect_eq(storage_pool_create(pool, id, "cn:thief", "x", 1), -EEXIST);
	cr_expect_eq(storage_pool_create(pool, other, "cn:other", "", 0), 0);
	cr_expect_eq(storage_pool_list(pool, count, &n), 0);
	cr_expect_eq(n, 2);
	cr_expect_eq(storage_pool_owner(pool, id, owner, sizeof(owner)), 0);
	cr_expect_str_eq(owner, "cn:home");
	cr_expect_eq(storage_pool_owner(pool, id, little, sizeof(little)), -ERR_DAMAGED);
	cr_expect(st->is_copy);
	cr_expect(strstr(st->name, "01020300"), "%s", st->name);
	storage_pool_renew(pool);
}

Test(storage, segments)
{
	struct storage_commit commit = {.end = 2 * PAGE, .head = 1};
	uint64_t n;

	cr_expect_eq(storage_last(st, &n), -ERR_ABSENT);
	cr_expect_eq(storage_next(st, 0, &n), -ERR_ABSENT);
	cr_expect_eq(storage_size(st, 0, &n), -ERR_ABSENT);
	fill(5);
	cr_expect_eq(storage_write(st, 0, page, PAGE, NULL), -ERR_ABSENT);
	cr_expect_eq(storage_create(st, 0), 0);
	cr_expect_eq(storage_create(st, 0), -EEXIST);
	cr_expect_eq(storage_write(st, 0, page, 2 * PAGE, NULL), 0);
	cr_expect_eq(storage_write(st, PAGE, page, PAGE, &commit), 0);
	cr_expect(reads(0, 5, 2 * PAGE));
	cr_expect_not(reads(PAGE, 5, 2 * PAGE), "beyond its end");
	cr_expect_eq(storage_read(st, SEGMENT_SIZE - 1, 2, page), -ERR_ABSENT);
	cr_expect_eq(storage_write(st, 2 * PAGE, page, PAGE, NULL), 0);
	cr_expect_eq(storage_drain(st), 0);
	cr_expect_eq(storage_truncate(st, 0, 2 * PAGE + 100), 0);
	cr_expect_eq(storage_size(st, 0, &n), 0);
	cr_expect_eq(n, 2 * PAGE + 100);
	cr_expect_eq(storage_create(st, 7), 0);
	cr_expect_eq(storage_next(st, 1, &n), 0);
	cr_expect_eq(n, 7);
	cr_expect_eq(storage_last(st, &n), 0);
	cr_expect_eq(n, 7);
	cr_expect_eq(storage_write(st, 7 * SEGMENT_SIZE, page, PAGE, NULL), 0);
	/* Without a byte: the commit alone. */
	commit = (struct storage_commit){.end = 2 * PAGE + 100, .head = 2};
	cr_expect_eq(storage_write(st, 2 * PAGE, page, 0, &commit), 0);
	cr_expect_eq(storage_remove(st, 7), 0);
	cr_expect_eq(storage_remove(st, 7), -ERR_ABSENT);
	cr_expect_eq(storage_truncate(st, 7, 0), -ERR_ABSENT);
	cr_expect_eq(storage_rewrite(st, 0), 0);
	cr_expect_eq(storage_space(st, &n), 0);
	storage_hint(st, 0, PAGE);
	close_all();
	open_all();
	cr_expect(reads(0, 5, 2 * PAGE + 100));
	commit.head = 0;
	cr_expect_eq(storage_newest(st, &commit), memory ? 0 : -ERR_ABSENT);
	if (memory)
		cr_expect(commit.head == 2 && commit.end == 2 * PAGE + 100);
}

static bool conf_is(const char *text)
{
	size_t len;
	void *got;
	bool same;

	cr_assert_eq(storage_get_conf(st, 100, &got, &len), 0);
	same = len == strlen(text) && memcmp(got, text, len) == 0;
	free(got);
	return same;
}

Test(storage, conf)
{
	size_t len;
	void *got;

	cr_expect(conf_is("conf one"));
	cr_expect_eq(storage_get_conf(st, 3, &got, &len), -EFBIG);
	cr_expect_eq(storage_put_conf(st, "conf two", 8, "conf three", 10), -ERR_STALE);
	cr_expect(conf_is("conf one"));
	cr_expect_eq(storage_put_conf(st, "conf one", 8, "conf two", 8), 0);
	cr_expect_eq(storage_put_conf(st, "conf one", 8, "conf two", 8), 0, "it is that already");
	close_all();
	open_all();
	cr_expect(conf_is("conf two"));
}

Test(storage, mending)
{
	struct storage_commit commit = {.end = 2 * PAGE, .head = 1};
	uint8_t bytes[300];
	struct storage_piece pieces[] = {
		{100, bytes, 200}, {PAGE + 5, bytes, 300}, {SEGMENT_SIZE + 7, bytes, 100}};

	fill(0);
	memset(bytes, 8, sizeof(bytes));
	cr_assert_eq(storage_create(st, 0), 0);
	cr_assert_eq(storage_write(st, 0, page, 2 * PAGE, &commit), 0);
	cr_expect_eq(storage_repair(st, NULL, 0), 0);
	cr_expect_eq(storage_repair(st, pieces, 2), 0);
	cr_expect_eq(storage_repair(st, pieces + 2, 1), 0, "a segment that is missing is made");
	close_all();
	open_all();
	cr_expect(reads(0, 0, 100) && reads(100, 8, 200) && reads(300, 0, 100));
	cr_expect(reads(PAGE + 5, 8, 300) && reads(SEGMENT_SIZE + 7, 8, 100));
}

Test(storage, bytes_that_are_gone)
{
	size_t len;
	void *got;

	fill(6);
	cr_assert_eq(storage_create(st, 0), 0);
	cr_assert_eq(storage_write(st, 0, page, 3 * PAGE, NULL), 0);
	cr_assert_eq(storage_drain(st), 0);
	cr_expect_eq(storage_get_note(st, 100, &got, &len), -ERR_ABSENT);
	cr_expect_eq(storage_put_note(st, "note", 4), 0);
	cr_assert_eq(storage_get_note(st, 100, &got, &len), 0);
	cr_expect(len == 4 && memcmp(got, "note", 4) == 0);
	free(got);
	cr_expect_eq(storage_get_leaves(st, 0, 100, &got, &len), -ERR_ABSENT);
	cr_expect_eq(storage_put_leaves(st, 0, "leaves", 6), 0);
	cr_expect_eq(storage_put_leaves(st, 0, "others", 6), 0);
	cr_expect_eq(storage_get_leaves(st, 0, 3, &got, &len), -EFBIG);
	cr_assert_eq(storage_get_leaves(st, 0, 100, &got, &len), 0);
	cr_expect(len == 6 && memcmp(got, "others", 6) == 0);
	free(got);
	cr_expect_eq(storage_punch(st, PAGE, PAGE), 0);
	cr_expect(reads(0, 6, PAGE) && reads(PAGE, 0, PAGE) && reads(2 * PAGE, 6, PAGE));
	cr_expect_eq(storage_punch(st, SEGMENT_SIZE, PAGE), -ERR_ABSENT);
}

static void put(struct kv *kv, const char *key, const char *value)
{
	struct kv_batch *b = kv_batch_new(kv);

	kv_batch_put(kv, b, key, strlen(key), value, strlen(value));
	cr_expect_eq(kv_batch_write_durable(kv, b), 0);
}

Test(storage, index)
{
	uint8_t got[KV_KEY_MAX];
	struct kv *kv, *second;
	size_t len;

	cr_assert_eq(storage_index(st, false, &kv), 0);
	cr_expect_eq(storage_index(st, false, &second), -ERR_LOCKED);
	put(kv, "b", "one");
	put(kv, "d", "two");
	put(kv, "b", "three");
	cr_expect_eq(kv_get(kv, "b", 1, got, sizeof(got), &len), 0);
	cr_expect(len == 5 && memcmp(got, "three", 5) == 0);
	cr_expect_eq(kv_get(kv, "b", 1, got, 2, &len), -ERR_DAMAGED);
	cr_expect_eq(kv_get(kv, "c", 1, got, sizeof(got), &len), -ERR_ABSENT);
	cr_expect_eq(kv_last(kv, "c", 1, got, &len), 0);
	cr_expect(len == 1 && got[0] == 'b');
	cr_expect_eq(kv_last(kv, "d", 1, got, &len), 0);
	cr_expect(len == 1 && got[0] == 'd');
	cr_expect_eq(kv_last(kv, "a", 1, got, &len), -ERR_ABSENT);
	cr_expect_eq(kv_refresh(kv), 0);
	cr_expect_eq(kv_reopen(kv, false), 0);
	cr_expect_eq(kv_get(kv, "d", 1, got, sizeof(got), &len), 0);
	kv_close(kv);
	close_all();
	open_all();
	cr_assert_eq(storage_index(st, false, &kv), 0);
	cr_expect_eq(kv_get(kv, "d", 1, got, sizeof(got), &len), 0);
	kv_close(kv);
	cr_assert_eq(storage_index(st, true, &kv), 0);
	cr_expect_eq(kv_get(kv, "d", 1, got, sizeof(got), &len), -ERR_ABSENT);
	kv_close(kv);
}

static void crash(enum memory_crash how)
{
	memory_crash(memory, how);
	cr_expect_eq(storage_drain(st), -EIO, "a dead process has no effect");
	close_all();
	open_all();
}

/* Each crash leaves what was committed, and any of what was not. */
Test(storage, crashes)
{
	struct storage_commit commit = {.end = PAGE, .head = 1}, got;
	unsigned kept = 0, lost = 0, mixed = 0;

	if (!memory)
		return;
	cr_assert_eq(storage_create(st, 0), 0);
	fill(1);
	cr_assert_eq(storage_write(st, 0, page, PAGE, &commit), 0);
	for (unsigned i = 0; i < CRASHES; i++) {
		fill(2);
		cr_assert_eq(storage_write(st, PAGE, page, PAGE, NULL), 0);
		crash(i % 3 == 0 ? MEMORY_NONE : MEMORY_SOME);
		cr_expect_eq(storage_newest(st, &got), 0);
		cr_expect(got.end == PAGE && got.head == 1);
		cr_expect(reads(0, 1, PAGE));
		if (reads(PAGE, 2, PAGE))
			kept++;
		else if (i % 3 == 0)
			lost += !reads(PAGE, 2, 1);
		else
			mixed++;
		cr_assert_eq(storage_truncate(st, 0, PAGE), 0);
	}
	cr_expect(lost == (CRASHES + 2) / 3, "%u", lost);
	cr_expect(mixed > 0);
	/* A kill alone loses nothing, but makes nothing durable either. */
	fill(3);
	cr_assert_eq(storage_write(st, PAGE, page, PAGE, NULL), 0);
	crash(MEMORY_KILL);
	cr_expect(reads(PAGE, 3, PAGE));
	crash(MEMORY_NONE);
	cr_expect_not(reads(PAGE, 3, PAGE));
}

static int late(void *ctx, const char *op)
{
	return strcmp(op, ctx) == 0 ? MEMORY_LATE | ETIMEDOUT : 0;
}

/* A commit that was called a failure lands whole, or never, and not after the lease was taken anew. */
Test(storage, late_commits)
{
	struct storage_commit commit = {.end = PAGE, .head = 1}, got;
	unsigned landed = 0;

	if (!memory)
		return;
	cr_assert_eq(storage_create(st, 0), 0);
	for (unsigned i = 0; i < CRASHES; i++) {
		commit.head = i + 1;
		fill((uint8_t)(i + 1));
		memory_set_fault(memory, late, "commit");
		cr_expect_eq(storage_write(st, 0, page, PAGE, &commit), -ETIMEDOUT);
		memory_set_fault(memory, NULL, NULL);
		if (i % 2)
			crash(MEMORY_NONE);
		cr_assert_eq(storage_take(st), 0);
		cr_assert_eq(storage_newest(st, &got), 0);
		if (got.head == i + 1) {
			landed++;
			crash(MEMORY_NONE);
			cr_expect(reads(0, (uint8_t)(i + 1), PAGE));
		}
		cr_assert_eq(storage_take(st), 0);
		cr_assert_eq(storage_newest(st, &commit), 0);
		cr_expect_eq(commit.head, got.head, "nothing lands behind a newer epoch");
		commit.end = PAGE;
	}
	cr_expect(landed > 0 && landed < CRASHES);
}

/* Whoever's lease has run out, and was taken by another, lands nothing. */
Test(storage, leases)
{
	struct storage_pool *theirs;
	struct storage *second;
	struct storage_commit commit = {.end = PAGE, .head = 1};

	if (!memory)
		return;
	cr_assert_eq(storage_create(st, 0), 0);
	cr_assert_eq(storage_memory_open(memory, "theirs", &theirs), 0);
	cr_assert_eq(storage_pool_open(theirs, id, &second), 0);
	cr_expect_eq(storage_take(second), -ERR_LOCKED);
	cr_expect_eq(storage_take(st), 0, "the holder may take it again");
	memory_expire(memory);
	cr_expect_eq(storage_take(second), 0);
	fill(4);
	cr_expect_eq(storage_write(st, 0, page, PAGE, NULL), -ERR_STALE);
	cr_expect_eq(storage_write(st, 0, page, PAGE, &commit), -ERR_STALE);
	cr_expect_eq(storage_drain(st), -ERR_STALE);
	cr_expect_eq(storage_create(st, 1), -ERR_STALE);
	cr_expect_eq(storage_truncate(st, 0, 0), -ERR_STALE);
	cr_expect_eq(storage_remove(st, 0), -ERR_STALE);
	cr_expect_eq(storage_put_conf(st, "conf one", 8, "x", 1), -ERR_STALE);
	cr_expect_eq(storage_repair(st, NULL, 0), -ERR_STALE);
	cr_expect_eq(storage_put_leaves(st, 0, "x", 1), -ERR_STALE);
	cr_expect_eq(storage_punch(st, 0, PAGE), -ERR_STALE);
	cr_expect_eq(storage_take(st), -ERR_LOCKED);
	cr_expect_eq(storage_write(second, 0, page, PAGE, &commit), 0);
	storage_close(second);
	storage_pool_close(theirs);
	cr_expect_eq(storage_take(st), 0);
	cr_expect(reads(0, 4, PAGE));
}
