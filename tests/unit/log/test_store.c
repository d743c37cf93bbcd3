/* Segment files: presence, descriptors, spares, and what fails without a trace. */

#include "store.h"

#include "err.h"
#include "file.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[256];
static struct store *st;

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/embassyfs-test-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(store_open(dir, STORE_WRITABLE, &st), 0);
}

static void teardown(void)
{
	store_close(st);
	cr_assert_eq(file_remove_tree(AT_FDCWD, dir), 0);
}

TestSuite(store, .init = setup, .fini = teardown);

static bool exists(const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/log/%s", dir, name);
	return access(path, F_OK) == 0;
}

static bool opens_as_copy(unsigned how)
{
	struct store *other;
	bool is;

	cr_assert_eq(store_open(dir, how, &other), 0);
	is = store_is_copy(other);
	store_close(other);
	return is;
}

/* Who knows whose folder it is says so; only who does not has it looked at. */
Test(store, a_copy_is_told_or_looked_for)
{
	char path[512];

	cr_assert(opens_as_copy(STORE_COPY));
	cr_assert_not(opens_as_copy(STORE_LOOK));
	snprintf(path, sizeof(path), "%s/owner", dir);
	cr_assert_eq(file_replace(AT_FDCWD, path, "cn:home", 7, 0600), 0);
	cr_assert(opens_as_copy(STORE_LOOK));
	cr_assert_not(opens_as_copy(0));
}

Test(store, open_errors)
{
	struct store *other;
	char path[512];

	snprintf(path, sizeof(path), "%s/nowhere", dir);
	cr_assert_eq(store_open(path, STORE_WRITABLE, &other), -ERR_NO_VOLUME);
	cr_assert_eq(mkdir(path, 0700), 0);
	cr_assert_eq(store_open(path, 0, &other), -ERR_NO_VOLUME);
	cr_assert_eq(store_open(path, STORE_WRITABLE, &other), 0);
	store_close(other);
	cr_assert_eq(store_open(path, 0, &other), 0);
	store_close(other);
	store_close(NULL);
}

Test(store, absent_is_absent)
{
	uint8_t buf[100];
	uint64_t n;

	cr_assert_eq(store_read(st, 0, 1, buf), -ERR_ABSENT);
	cr_assert_eq(store_size(st, 0, &n), -ERR_ABSENT);
	cr_assert_eq(store_next(st, 0, &n), -ERR_ABSENT);
	cr_assert_eq(store_last(st, &n), -ERR_ABSENT);
	cr_assert_eq(store_sync(st, 0), -ERR_ABSENT);
	cr_assert_eq(store_truncate(st, 0, 0), -ERR_ABSENT);
	cr_assert_eq(store_remove(st, 0), -ERR_ABSENT);
	cr_assert_eq(store_write(st, 0, "x", 1, false), -ERR_ABSENT);
	cr_assert_eq(store_read(st, UINT64_MAX - 5, 1, buf), -ERR_ABSENT);

	cr_assert_eq(store_create(st, 0), 0);
	cr_assert_eq(store_create(st, 0), -EEXIST);
	cr_assert_eq(store_read(st, 0, 1, buf), -ERR_ABSENT);
	cr_assert_eq(store_write(st, 10, "abcde", 5, false), 0);
	cr_assert_eq(store_read(st, 10, 5, buf), 0);
	cr_assert_arr_eq(buf, "abcde", 5);
	cr_assert_eq(store_read(st, 10, 6, buf), -ERR_ABSENT);
	/* Never into the next segment. */
	cr_assert_eq(store_read(st, SEGMENT_SIZE - 1, 2, buf), -ERR_ABSENT);
	store_hint(st, 0, 100);
	store_hint(st, SEGMENT_SIZE, 100);
	store_forget(st, 0, 100);
}

Test(store, walk_by_number)
{
	char path[512];
	uint64_t n;
	FILE *f;

	cr_assert_eq(store_create(st, 3), 0);
	cr_assert_eq(store_create(st, 0x1f), 0);
	cr_assert_eq(store_create(st, 0xabc), 0);
	cr_assert(exists("000000000000001f.seg"));
	/* What is not quite a segment's name is none. */
	static const char *const others[] = {"00000000000FFFFF.seg", "ffffffffffffffff.seg",
					     "00000000000fffff.sef", "0fffff.seg", "note"};
	for (unsigned i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "%s/log/%s", dir, others[i]);
		f = fopen(path, "w");
		cr_assert_not_null(f);
		fclose(f);
	}
	cr_assert_eq(store_next(st, 0, &n), 0);
	cr_assert_eq(n, 3);
	cr_assert_eq(store_next(st, 3, &n), 0);
	cr_assert_eq(n, 3);
	cr_assert_eq(store_next(st, 4, &n), 0);
	cr_assert_eq(n, 0x1f);
	cr_assert_eq(store_next(st, 0xabd, &n), -ERR_ABSENT);
	cr_assert_eq(store_last(st, &n), 0);
	cr_assert_eq(n, 0xabc);
	cr_assert_eq(store_remove(st, 0xabc), 0);
	cr_assert_eq(store_last(st, &n), 0);
	cr_assert_eq(n, 0x1f);
}

static int count_lists(void *ctx, const char *op)
{
	*(unsigned *)ctx += strcmp(op, "list") == 0;
	return 0;
}

static void touch_segment(uint64_t number)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/log/%016llx.seg", dir, (unsigned long long)number);
	f = fopen(path, "w");
	cr_assert_not_null(f);
	fclose(f);
}

#define GAPS 10000u

/* More numbers than one listing keeps, and each missing in between: the folder is not listed for each. */
Test(store, a_walk_over_gaps_lists_the_folder_a_few_times)
{
	unsigned lists = 0;
	uint64_t n, bytes;

	for (unsigned i = 0; i < GAPS; i++)
		touch_segment(3 * i + 1);
	file_set_fault(count_lists, &lists);
	for (unsigned i = 0; i < GAPS; i++) {
		cr_assert_eq(store_next(st, i == 0 ? 0 : 3 * i - 1, &n), 0);
		cr_assert_eq(n, 3 * i + 1);
	}
	cr_assert_eq(store_next(st, 3 * GAPS, &n), -ERR_ABSENT);
	cr_expect_leq(lists, 8 * (GAPS + 3));
	lists = 0;
	cr_assert_eq(store_bytes(st, 0, segment_start(3 * GAPS), &bytes), 0);
	cr_expect_eq(bytes, 0);
	cr_expect_leq(lists, 8 * (GAPS + 3));
	file_set_fault(NULL, NULL);
}

/* What is made or removed is seen at once; what others do, behind all that was there, or gone. */
Test(store, a_walk_sees_what_changes)
{
	char path[512];
	uint64_t n;

	for (unsigned i = 1; i < 6; i++)
		touch_segment(10 * i);
	cr_assert_eq(store_next(st, 11, &n), 0);
	cr_expect_eq(n, 20);
	cr_assert_eq(store_create(st, 15), 0);
	cr_assert_eq(store_next(st, 11, &n), 0);
	cr_expect_eq(n, 15);
	cr_assert_eq(store_remove(st, 15), 0);
	cr_assert_eq(store_next(st, 11, &n), 0);
	cr_expect_eq(n, 20);
	cr_assert_eq(store_take_spare(st, 12), 0);
	cr_assert_eq(store_next(st, 11, &n), 0);
	cr_expect_eq(n, 12);
	/* A writer in another process. */
	touch_segment(60);
	cr_assert_eq(store_next(st, 51, &n), 0);
	cr_expect_eq(n, 60);
	snprintf(path, sizeof(path), "%s/log/%016x.seg", dir, 30);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(store_next(st, 21, &n), 0);
	cr_expect_eq(n, 40);
}

static uint64_t spare_len(void)
{
	char path[512];
	struct stat s;

	snprintf(path, sizeof(path), "%s/log/spare", dir);
	return stat(path, &s) == 0 ? (uint64_t)s.st_size : 0;
}

Test(store, spare)
{
	uint64_t len;

	cr_assert_eq(spare_len(), 0);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(store_make_spare(st, &len), 0);
		cr_assert_eq(len, SEGMENT_SIZE);
		cr_assert_eq(spare_len(), SEGMENT_SIZE);
	}
	cr_assert_eq(store_take_spare(st, 7), 0);
	cr_assert_eq(spare_len(), 0);
	cr_assert_eq(store_size(st, 7, &len), 0);
	cr_assert_eq(len, SEGMENT_SIZE);
	cr_assert_eq(store_take_spare(st, 7), -EEXIST);
	cr_assert_eq(store_take_spare(st, 8), 0);
	cr_assert_eq(store_make_spare(st, &len), 0);
	store_rest_spare(st);
	cr_assert_eq(spare_len(), STORE_SPARE_SHORT);
	for (len = STORE_SPARE_SHORT; len > STORE_SPARE_MIN; len -= STORE_SPARE_STEP) {
		cr_assert_eq(spare_len(), len);
		cr_assert(store_shrink_spare(st, STORE_SPARE_MIN));
	}
	cr_assert_eq(spare_len(), STORE_SPARE_MIN);
	cr_assert_not(store_shrink_spare(st, STORE_SPARE_MIN));
	cr_assert(store_shrink_spare(st, 0));
	cr_assert_not(store_shrink_spare(st, 0));
	cr_assert_eq(spare_len(), 0);
	store_rest_spare(st);
	cr_assert_eq(spare_len(), STORE_SPARE_SHORT);
	cr_assert_eq(store_truncate(st, 8, 100), 0);
	cr_assert_eq(store_size(st, 8, &len), 0);
	cr_assert_eq(len, 100);
}

Test(store, direct_write_is_read_back)
{
	uint8_t *page = aligned_alloc(4096, 8192), back[8192];

	cr_assert_not_null(page);
	memset(page, 0x5a, 8192);
	cr_assert_eq(store_take_spare(st, 1), 0);
	cr_assert_eq(store_read(st, SEGMENT_SIZE + 4096, sizeof(back), back), 0);
	cr_assert_eq(back[0], 0);
	cr_assert_eq(store_write(st, SEGMENT_SIZE + 4096, page, 8192, true), 0);
	cr_assert_eq(store_sync(st, 1), 0);
	cr_assert_eq(store_read(st, SEGMENT_SIZE + 4096, sizeof(back), back), 0);
	cr_assert_arr_eq(back, page, 8192);
	free(page);
}

/* A removed segment's descriptor is not used for a new file of its name. */
Test(store, no_stale_descriptor)
{
	uint8_t buf[3];

	cr_assert_eq(store_create(st, 2), 0);
	cr_assert_eq(store_write(st, segment_start(2), "old", 3, false), 0);
	cr_assert_eq(store_remove(st, 2), 0);
	cr_assert_eq(store_read(st, segment_start(2), 3, buf), -ERR_ABSENT);
	cr_assert_eq(store_create(st, 2), 0);
	cr_assert_eq(store_write(st, segment_start(2), "new", 3, false), 0);
	cr_assert_eq(store_read(st, segment_start(2), 3, buf), 0);
	cr_assert_arr_eq(buf, "new", 3);
}

static unsigned count_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	cr_assert_not_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

#define MANY 100u

static void *read_many(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < 2000; i++) {
		uint64_t number = (seed * 31 + i * 17) % MANY, got;

		if (store_read(st, segment_start(number) + 8, sizeof(got), &got) < 0 ||
		    got != number)
			return (void *)1;
	}
	return NULL;
}

Test(store, bounded_descriptors_from_many_threads)
{
	unsigned before = count_descriptors();
	pthread_t thread[8];

	for (uint64_t i = 0; i < MANY; i++) {
		cr_assert_eq(store_create(st, i), 0);
		cr_assert_eq(store_write(st, segment_start(i) + 8, &i, sizeof(i), false), 0);
	}
	for (uintptr_t i = 0; i < 8; i++)
		cr_assert_eq(pthread_create(&thread[i], NULL, read_many, (void *)i), 0);
	for (unsigned i = 0; i < 8; i++) {
		void *bad;

		pthread_join(thread[i], &bad);
		cr_assert_null(bad);
	}
	cr_assert_leq(count_descriptors(), before + STORE_OPEN_MAX);
}

/* Fails the call number ${left}, counted from 0. */
static int fail_nth(void *ctx, const char *op)
{
	int *left = ctx;

	(void)op;
	return (*left)-- == 0 ? -EIO : 0;
}

/* Whichever call fails: an error is told, and afterwards all works as if nothing had been tried. */
Test(store, spare_survives_any_failure)
{
	for (int n = 0;; n++) {
		int left = n, rc;
		uint64_t len;

		file_set_fault(fail_nth, &left);
		rc = store_take_spare(st, 5);
		file_set_fault(NULL, NULL);
		if (rc == 0) {
			cr_assert_eq(store_size(st, 5, &len), 0);
			cr_assert_eq(len, SEGMENT_SIZE);
			/* A failed look for an old spare only means that a new one is made. */
			cr_assert_eq(store_remove(st, 5), 0);
			if (left < 0)
				continue;
			cr_assert_gt(n, 6);
			break;
		}
		cr_assert_eq(rc, -EIO, "call %d", n);
		cr_assert_eq(store_size(st, 5, &len), -ERR_ABSENT, "call %d", n);
	}
}

static int no_space(void *ctx, const char *op)
{
	(void)ctx;
	return strcmp(op, "allocate") == 0 ? -ENOSPC : 0;
}

static int no_allocate(void *ctx, const char *op)
{
	(void)ctx;
	return strcmp(op, "allocate") == 0 ? -EOPNOTSUPP : 0;
}

Test(store, spare_without_space_or_fallocate)
{
	struct stat s;
	char path[512];
	uint64_t len;

	file_set_fault(no_space, NULL);
	cr_assert_eq(store_make_spare(st, &len), -ENOSPC);
	cr_assert_not(exists("spare"));
	store_rest_spare(st);
	cr_assert_not(exists("spare"));

	/* A short one is not lost when it can't be lengthened, and is a segment of whole length. */
	file_set_fault(NULL, NULL);
	store_rest_spare(st);
	file_set_fault(no_space, NULL);
	cr_assert_eq(store_make_spare(st, &len), 0);
	cr_assert_eq(len, STORE_SPARE_SHORT);
	cr_assert_eq(store_take_spare(st, 3), 0);
	cr_assert_eq(store_size(st, 3, &len), 0);
	cr_assert_eq(len, SEGMENT_SIZE);

	file_set_fault(no_allocate, NULL);
	cr_assert_eq(store_make_spare(st, &len), 0);
	file_set_fault(NULL, NULL);
	snprintf(path, sizeof(path), "%s/log/spare", dir);
	cr_assert_eq(stat(path, &s), 0);
	cr_assert_eq((uint64_t)s.st_size, SEGMENT_SIZE);
	cr_assert_geq((uint64_t)s.st_blocks * 512, SEGMENT_SIZE);
}

static int fail_nth_without_space(void *ctx, const char *op)
{
	return strcmp(op, "allocate") == 0 ? -ENOSPC : fail_nth(ctx, op);
}

/* Whichever call fails while a short spare becomes a segment: what is found then is not taken for whole. */
Test(store, a_short_spare_stays_short_whatever_fails)
{
	char path[512];
	struct stat s;
	uint64_t len;

	snprintf(path, sizeof(path), "%s/log/spare", dir);
	for (int n = 0;; n++) {
		int left = n, rc;

		store_rest_spare(st);
		file_set_fault(fail_nth_without_space, &left);
		rc = store_take_spare(st, 5);
		file_set_fault(no_space, NULL);
		if (rc == 0)
			cr_assert_eq(store_remove(st, 5), 0);
		if (rc < 0)
			cr_assert_eq(store_make_spare(st, &len), 0, "call %d", n);
		file_set_fault(NULL, NULL);
		if (rc == 0 && left >= 0)
			break;
		if (stat(path, &s) == 0)
			cr_assert_geq((uint64_t)s.st_blocks * 512, (uint64_t)s.st_size, "call %d",
				      n);
		cr_assert_not(exists("taken"), "call %d", n);
	}
}

static int refuse_direct(void *ctx, const char *op)
{
	int *n = ctx;

	if (strcmp(op, "open") != 0)
		return 0;
	return (*n)++ == 0 ? -EINVAL : 0;
}

Test(store, falls_back_to_buffered)
{
	uint8_t *page = aligned_alloc(4096, 4096), back[4096];
	int n = 0;

	cr_assert_not_null(page);
	memset(page, 7, 4096);
	cr_assert_eq(store_create(st, 0), 0);
	file_set_fault(refuse_direct, &n);
	cr_assert_eq(store_write(st, 0, page, 4096, true), 0);
	file_set_fault(NULL, NULL);
	cr_assert_eq(store_read(st, 0, 4096, back), 0);
	cr_assert_arr_eq(back, page, 4096);
	free(page);
}

/* Counts syncs, and fails one of them. */
struct nth_sync {
	int n, failing;
};

static int fail_nth_sync(void *ctx, const char *op)
{
	struct nth_sync *s = ctx;

	if (strcmp(op, "sync") != 0)
		return 0;
	return ++s->n == s->failing ? -EIO : 0;
}

/*
 * The folder of the segments is there, and in it segments, and nobody knows whether their names are
 * durable: who made them may have died, or failed, before.  So each opening for writing syncs both
 * folders, and one that can't is none.
 */
Test(store, names_are_made_durable_by_whoever_opens)
{
	struct nth_sync s = {0};
	struct store *other;
	char path[512];

	snprintf(path, sizeof(path), "%s/volume", dir);
	cr_assert_eq(mkdir(path, 0700), 0);
	file_set_fault(fail_nth_sync, &s);
	for (int failing = 1; failing <= 2; failing++) {
		s = (struct nth_sync){.failing = failing};
		cr_expect_eq(store_open(path, STORE_WRITABLE, &other), -EIO, "sync %d", failing);
		cr_expect_eq(s.n, failing);
	}
	s = (struct nth_sync){0};
	cr_assert_eq(store_open(path, STORE_WRITABLE, &other), 0);
	cr_expect_eq(s.n, 2);
	store_close(other);
	cr_assert_eq(store_open(path, 0, &other), 0);
	file_set_fault(NULL, NULL);
	cr_expect_eq(s.n, 2, "a reader makes no names");
	store_close(other);
}

/* Counts writes, and fails what is asked for. */
struct settling {
	const char *fail;
	int writes, syncs;
};

static int watch(void *ctx, const char *op)
{
	struct settling *s = ctx;

	s->writes += strcmp(op, "write") == 0;
	s->syncs += strcmp(op, "sync_data") == 0;
	return s->fail && strcmp(op, s->fail) == 0 ? -EIO : 0;
}

static int settle(uint64_t from, const char *fail, struct settling *s)
{
	int rc;

	*s = (struct settling){.fail = fail};
	file_set_fault(watch, s);
	rc = store_rewrite(st, from);
	file_set_fault(NULL, NULL);
	return rc;
}

/* Written again are the last segment's pages from there on that hold anything. */
static void make(uint64_t number, uint64_t len)
{
	cr_assert_eq(store_create(st, number), 0);
	cr_assert_eq(store_truncate(st, number, len), 0);
}

static uint64_t bytes(uint64_t from, uint64_t to)
{
	uint64_t n;

	cr_assert_eq(store_bytes(st, from, to, &n), 0);
	return n;
}

/* Positions go on at the next segment, however short the one before is. */
Test(store, bytes_are_no_positions)
{
	uint64_t s = SEGMENT_SIZE;

	make(0, 1000);
	make(1, 500);
	make(2, SEGMENT_SIZE);
	make(5, 7);
	make(6, SEGMENT_SIZE); /* under way */
	cr_assert_eq(bytes(0, 300), 300);
	cr_assert_eq(bytes(300, 300), 0);
	cr_assert_eq(bytes(300, 200), 0);
	cr_assert_eq(bytes(1000, s + 20), 20);
	cr_assert_eq(bytes(900, 2 * s + 30), 100 + 500 + 30);
	cr_assert_eq(bytes(0, 6 * s + 100), 1000 + 500 + s + 7 + 100);
	cr_assert_eq(bytes(3 * s + 1, 6 * s + 100), 7 + 100);
	cr_assert_eq(bytes(5 * s + 5, 6 * s), 2);
	cr_assert_eq(bytes(900, 2 * s + 30), 100 + 500 + 30);
	/* The next follows. */
	cr_assert_eq(store_truncate(st, 6, 2000), 0);
	make(7, SEGMENT_SIZE);
	cr_assert_eq(bytes(6 * s + 1900, 7 * s + 1), 101);
	cr_assert_eq(store_truncate(st, 6, 1950), 0);
	cr_assert_eq(bytes(6 * s + 1900, 7 * s + 1), 51);
	cr_assert_eq(store_remove(st, 5), 0);
	cr_assert_eq(bytes(0, 6 * s + 100), 1000 + 500 + s + 100);
	/* What is not there has no length, but does not hide what is. */
	cr_assert_eq(bytes(0, 100 * s + 1), 1000 + 500 + s + 1950 + s + 1);
}

Test(store, settle)
{
	static uint8_t bytes[10000], got[sizeof(bytes)];
	const uint64_t start = segment_start(1);
	struct settling s;

	cr_assert_eq(settle(0, NULL, &s), 0, "nothing is there");
	memset(bytes, 7, sizeof(bytes));
	cr_assert_eq(store_create(st, 0), 0);
	cr_assert_eq(store_write(st, 0, bytes, sizeof(bytes), false), 0);
	cr_assert_eq(store_create(st, 1), 0);
	cr_assert_eq(store_write(st, start, bytes, sizeof(bytes), false), 0);
	cr_assert_eq(store_truncate(st, 1, 3 << 20), 0);
	cr_assert_eq(store_write(st, start + (3 << 20) - 100, bytes, 100, false), 0);

	cr_assert_eq(settle(0, NULL, &s), 0);
	cr_assert_eq(s.writes, 4);
	cr_assert_eq(s.syncs, 1);
	cr_assert_eq(settle(start + 5000, NULL, &s), 0);
	cr_assert_eq(s.writes, 3);
	cr_assert_eq(settle(start + (3 << 20), NULL, &s), 0);
	cr_assert_eq(s.writes, 0);
	cr_assert_eq(settle(0, "read", &s), -EIO);
	cr_assert_eq(settle(0, "write", &s), -EIO);
	cr_assert_eq(settle(0, "sync_data", &s), -EIO);
	cr_assert_eq(store_read(st, start, sizeof(got), got), 0);
	cr_assert_arr_eq(got, bytes, sizeof(got));
}
