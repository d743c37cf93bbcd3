/*
 * The catalog: what is put in can be had again, by time, number and leaf count, also after a kill.
 */

#include "catalog.h"

#include "err.h"
#include "file.h"
#include "head.h"
#include "kv.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint8_t id[VOLUME_ID_LEN] = "this volume's id";
static char dir[256];

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/embassyfs-test-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert_not_null(mkdtemp(dir));
}

static void teardown(void)
{
	cr_assert_eq(file_remove_tree(AT_FDCWD, dir), 0);
}

TestSuite(catalog, .init = setup, .fini = teardown);

static void leaf_of(uint64_t i, uint8_t out[HASH_LEN])
{
	memset(out, 0x33, HASH_LEN);
	memcpy(out, &i, sizeof(i));
}

/* Head ${number} comes after ${each} more leaves, at second ${number}. */
static int add(struct catalog *c, uint64_t number, size_t each)
{
	uint8_t (*leaves)[HASH_LEN] = calloc(each + 1, HASH_LEN);
	struct head h = {
		.number = number,
		.pos = 1000 * number,
		.stored_len = 300,
		.time_ns = (int64_t)number * 1000000000,
		.n_blocks = number * each,
	};
	int rc;

	for (size_t i = 0; i < each; i++)
		leaf_of((number - 1) * each + i, leaves[i]);
	rc = catalog_add_head(c, &h, (const uint8_t(*)[HASH_LEN])leaves, each);
	free(leaves);
	return rc;
}

static void assert_merkle(struct catalog *c, uint64_t n)
{
	uint8_t leaf[HASH_LEN], a[HASH_LEN], b[HASH_LEN];
	struct merkle want, got;

	merkle_init(&want);
	for (uint64_t i = 0; i < n; i++) {
		leaf_of(i, leaf);
		merkle_add(&want, leaf);
	}
	cr_assert_eq(catalog_merkle(c, n, &got), 0);
	cr_assert_eq(got.n, n);
	merkle_root(&want, a);
	merkle_root(&got, b);
	cr_assert_arr_eq(a, b, HASH_LEN);
}

static struct catalog *open_or_fail(enum catalog_mode mode)
{
	struct catalog *c;

	cr_assert_eq(catalog_open(dir, id, mode, &c), 0);
	return c;
}

Test(catalog, empty)
{
	struct catalog *c;
	struct head_ref ref;

	cr_assert_eq(catalog_open(dir, id, CATALOG_READ, &c), -ERR_ABSENT);
	c = open_or_fail(CATALOG_WRITE);
	cr_assert_eq(catalog_newest(c, &ref), -ERR_ABSENT);
	cr_assert_eq(catalog_head(c, 1, &ref), -ERR_ABSENT);
	cr_assert_eq(catalog_head_at(c, INT64_MAX, &ref), -ERR_ABSENT);
	assert_merkle(c, 0);
	cr_assert_eq(catalog_refresh(c), 0);
	catalog_close(c);
	catalog_close(NULL);
}

static int count(void *ctx, const struct head_ref *r)
{
	uint64_t *next = ctx;

	cr_assert_eq(r->number, *next);
	cr_assert_eq(r->pos, 1000 * r->number);
	if (*next == 700)
		return 1;
	if (*next == 800)
		return -EINTR;
	++*next;
	return 0;
}

Test(catalog, heads_and_leaves)
{
	struct catalog *c = open_or_fail(CATALOG_WRITE);
	struct head_ref ref;
	struct merkle m;
	uint64_t next = 1;

	for (uint64_t i = 1; i <= 900; i++)
		cr_assert_eq(add(c, i, 3), 0);
	cr_assert_eq(catalog_newest(c, &ref), 0);
	cr_assert_eq(ref.number, 900);
	cr_assert_eq(ref.pos, 900000);
	cr_assert_eq(ref.stored_len, 300);
	cr_assert_eq(ref.time_ns, INT64_C(900000000000));
	cr_assert_eq(catalog_head(c, 17, &ref), 0);
	cr_assert_eq(ref.pos, 17000);

	cr_assert_eq(catalog_head_at(c, INT64_C(999999999), &ref), -ERR_ABSENT);
	cr_assert_eq(catalog_head_at(c, INT64_MIN, &ref), -ERR_ABSENT);
	cr_assert_eq(catalog_head_at(c, INT64_C(1000000000), &ref), 0);
	cr_assert_eq(ref.number, 1);
	cr_assert_eq(catalog_head_at(c, INT64_C(42999999999), &ref), 0);
	cr_assert_eq(ref.number, 42);
	cr_assert_eq(catalog_head_at(c, INT64_MAX, &ref), 0);
	cr_assert_eq(ref.number, 900);

	for (uint64_t n = 0; n <= 2700; n += n < 600 ? 1 : 299)
		assert_merkle(c, n);
	assert_merkle(c, 2700);
	cr_assert_eq(catalog_merkle(c, 2701, &m), -ERR_ABSENT);

	cr_assert_eq(catalog_heads(c, 1, count, &next), 0);
	cr_assert_eq(next, 700);
	next = 750;
	cr_assert_eq(catalog_heads(c, 750, count, &next), -EINTR);
	next = 801;
	cr_assert_eq(catalog_heads(c, 801, count, &next), 0);
	cr_assert_eq(next, 901);
	cr_assert_eq(catalog_heads(c, 5000, count, &next), 0);
	catalog_close(c);
}

/* Times before 1970 come before those after. */
Test(catalog, negative_time)
{
	struct catalog *c = open_or_fail(CATALOG_WRITE);
	struct head h = {.number = 1, .pos = 5, .stored_len = 1, .time_ns = -7};
	struct head_ref ref;

	cr_assert_eq(catalog_add_head(c, &h, NULL, 0), 0);
	h.number = 2;
	h.time_ns = 7;
	cr_assert_eq(catalog_add_head(c, &h, NULL, 0), 0);
	cr_assert_eq(catalog_head_at(c, -8, &ref), -ERR_ABSENT);
	cr_assert_eq(catalog_head_at(c, 6, &ref), 0);
	cr_assert_eq(ref.number, 1);
	cr_assert_eq(ref.time_ns, -7);
	catalog_close(c);
}

Test(catalog, refuses_what_does_not_follow)
{
	static const uint8_t leaves[5][HASH_LEN];
	struct catalog *c = open_or_fail(CATALOG_WRITE);
	struct head h = {
		.number = 2, .pos = 1, .stored_len = 9, .time_ns = 3000000000, .n_blocks = 15};
	struct head_ref ref;

	cr_assert_eq(add(c, 1, 10), 0);
	cr_assert_eq(catalog_add_head(c, &h, leaves, 4), -ERR_DAMAGED);
	h.n_blocks = 4;
	cr_assert_eq(catalog_add_head(c, &h, leaves, 5), -ERR_DAMAGED);
	h.n_blocks = 15;
	h.number = 3;
	cr_assert_eq(catalog_add_head(c, &h, leaves, 5), -ERR_DAMAGED);
	h.number = 1;
	cr_assert_eq(catalog_add_head(c, &h, leaves, 5), -ERR_DAMAGED);
	h.number = 2;
	h.time_ns = 1000000000;
	cr_assert_eq(catalog_add_head(c, &h, leaves, 5), -ERR_DAMAGED);
	h.time_ns++;
	cr_assert_eq(catalog_newest(c, &ref), 0);
	cr_assert_eq(ref.number, 1);
	cr_assert_eq(catalog_add_head(c, &h, leaves, 5), 0);
	catalog_close(c);
}

/* In a process that ends without closing. */
static void in_killed_process(void (*fn)(void))
{
	pid_t pid = fork();
	int status;

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		fn();
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void write_and_die(void)
{
	struct catalog *c;
	struct head_ref ref;
	uint64_t first = 1;

	if (catalog_open(dir, id, CATALOG_WRITE, &c) < 0)
		_exit(1);
	if (catalog_newest(c, &ref) == 0)
		first = ref.number + 1;
	for (uint64_t i = first; i < first + 200; i++)
		if (add(c, i, 7) < 0 || catalog_put_cursor(c, "home", &i, sizeof(i)) < 0)
			_exit(2);
}

/* What may be over by the next attempt is no reason to make a catalog anew, with what it knew. */
Test(catalog, a_limit_is_no_damage)
{
	struct rlimit before, none;
	struct head_ref ref;
	struct catalog *c = open_or_fail(CATALOG_WRITE);

	cr_assert_eq(add(c, 1, 7), 0);
	catalog_close(c);
	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
	cr_expect_eq(catalog_open(dir, id, CATALOG_WRITE, &c), -EFBIG);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
	c = open_or_fail(CATALOG_WRITE);
	cr_expect_eq(catalog_newest(c, &ref), 0);
	cr_expect_eq(ref.number, 1);
	catalog_close(c);
}

Test(catalog, survives_kill)
{
	struct catalog *c;
	struct head_ref ref;
	uint64_t cursor;
	size_t len = sizeof(cursor);

	in_killed_process(write_and_die);
	in_killed_process(write_and_die);
	/* Read-only first: it must not need repair. */
	c = open_or_fail(CATALOG_READ);
	cr_assert_eq(catalog_newest(c, &ref), 0);
	cr_assert_eq(ref.number, 400);
	catalog_close(c);
	c = open_or_fail(CATALOG_WRITE);
	cr_assert_eq(catalog_newest(c, &ref), 0);
	cr_assert_eq(ref.number, 400);
	for (uint64_t n = 1; n <= 2800; n += 199)
		assert_merkle(c, n);
	assert_merkle(c, 2800);
	cr_assert_eq(catalog_get_cursor(c, "home", &cursor, &len), 0);
	cr_assert_eq(cursor, 400);
	cr_assert_eq(add(c, 401, 7), 0);
	catalog_close(c);
}

Test(catalog, cursors)
{
	struct catalog *c = open_or_fail(CATALOG_WRITE);
	char name[300], value[16];
	size_t len = sizeof(value);

	cr_assert_eq(catalog_get_cursor(c, "paris", value, &len), -ERR_ABSENT);
	cr_assert_eq(catalog_put_cursor(c, "paris", "12345", 5), 0);
	cr_assert_eq(catalog_put_cursor(c, "paris", "123456", 6), 0);
	cr_assert_eq(catalog_get_cursor(c, "paris", value, &len), 0);
	cr_assert_eq(len, 6);
	cr_assert_arr_eq(value, "123456", 6);
	len = 5;
	cr_assert_eq(catalog_get_cursor(c, "paris", value, &len), -ERR_DAMAGED);
	memset(name, 'x', sizeof(name));
	name[255] = '\0';
	cr_assert_eq(catalog_put_cursor(c, name, "1", 1), 0);
	name[255] = 'x';
	name[256] = '\0';
	cr_assert_eq(catalog_put_cursor(c, name, "1", 1), -ENAMETOOLONG);
	cr_assert_eq(catalog_get_cursor(c, name, value, &len), -ENAMETOOLONG);
	catalog_close(c);
}

static void assert_stored(struct kv *kv, const void *key, size_t key_len, const void *want,
			  size_t want_len)
{
	uint8_t value[256];
	size_t len;

	cr_assert_eq(kv_get(kv, key, key_len, value, sizeof(value), &len), 0);
	cr_assert_eq(len, want_len);
	cr_assert_arr_eq(value, want, len);
}

/* Golden: the bytes that proto/FORMAT.md shows. */
Test(catalog, stored_bytes)
{
	static const uint8_t leaves[2][HASH_LEN] = {{0xaa}, {0xbb}};
	struct head h = {.number = 1,
			 .pos = 0x0102030405,
			 .stored_len = 0x1a2b,
			 .time_ns = INT64_C(1700000000123456789),
			 .n_blocks = 2};
	struct catalog *c = open_or_fail(CATALOG_WRITE);
	char path[512], about[21] = "\x01\0\0\0this volume's id";
	struct kv *kv;

	cr_assert_eq(catalog_add_head(c, &h, leaves, 2), 0);
	cr_assert_eq(catalog_put_cursor(c, "home", "\x07", 1), 0);
	cr_assert_eq(catalog_is_whole(c), 0);
	cr_assert_eq(catalog_set_whole(c), 0);
	cr_assert_eq(catalog_is_whole(c), 1);
	catalog_close(c);
	snprintf(path, sizeof(path), "%s/catalog", dir);
	cr_assert_eq(kv_open(path, false, &kv), 0);
	assert_stored(kv, "V", 1, about, 20);
	assert_stored(kv, "H\0\0\0\0\0\0\0\x01", 9,
		      "\x05\x04\x03\x02\x01\0\0\0\x2b\x1a\0\0"
		      "\x15\xcd\x85\x3d\xfe\x9c\x97\x17",
		      20);
	assert_stored(kv, "T\x97\x97\x9c\xfe\x3d\x85\xcd\x15\0\0\0\0\0\0\0\x01", 17, "", 0);
	assert_stored(kv, "M\0\0\0\0\0\0\0\0\0", 10, leaves, 64);
	assert_stored(kv, "Chome", 5, "\x07", 1);
	assert_stored(kv, "W", 1, "", 0);
	kv_close(kv);
}

Test(catalog, removed_and_made_anew_it_is_not_whole)
{
	struct catalog *c = open_or_fail(CATALOG_WRITE);
	struct head_ref ref;

	cr_assert_eq(add(c, 1, 3), 0);
	cr_assert_eq(catalog_set_whole(c), 0);
	catalog_close(c);
	cr_assert_eq(catalog_remove(dir), 0);
	cr_assert_eq(catalog_remove(dir), 0);
	cr_assert_eq(catalog_open(dir, id, CATALOG_READ, &c), -ERR_ABSENT);
	c = open_or_fail(CATALOG_WRITE);
	cr_assert_eq(catalog_is_whole(c), 0);
	cr_assert_eq(catalog_newest(c, &ref), -ERR_ABSENT);
	catalog_close(c);
}

Test(catalog, open_errors)
{
	static const uint8_t other[VOLUME_ID_LEN] = "another volume's";
	struct catalog *c = open_or_fail(CATALOG_WRITE), *second;
	char path[512];

	cr_assert_eq(catalog_open(dir, id, CATALOG_WRITE, &second), -ERR_LOCKED);
	catalog_close(c);
	cr_assert_eq(catalog_open(dir, other, CATALOG_WRITE, &second), -ERR_DAMAGED);
	cr_assert_eq(catalog_open(dir, other, CATALOG_READ, &second), -ERR_DAMAGED);

	snprintf(path, sizeof(path), "%s/catalog/CURRENT", dir);
	cr_assert_eq(file_replace(AT_FDCWD, path, "nonsense", 8, 0600), 0);
	cr_assert_eq(catalog_open(dir, id, CATALOG_READ, &second), -ERR_DAMAGED);
	cr_assert_eq(catalog_open(dir, id, CATALOG_WRITE, &second), -ERR_DAMAGED);
}

struct live {
	struct catalog *writer, *reader;
	_Atomic uint64_t written;
	atomic_bool failed;
};

static void *write_heads(void *arg)
{
	struct live *l = arg;

	for (uint64_t i = 1; i <= 4000; i++) {
		if (add(l->writer, i, 40) < 0)
			atomic_store(&l->failed, true);
		atomic_store(&l->written, i);
	}
	return NULL;
}

/*
 * A reader in the same process but with a view of its own; the writer flushes and compacts
 * meanwhile.
 */
static void *read_heads(void *arg)
{
	struct live *l = arg;

	while (atomic_load(&l->written) < 4000 && !atomic_load(&l->failed)) {
		uint64_t least = atomic_load(&l->written);
		struct head_ref ref;
		struct merkle m;

		if (least == 0)
			continue;
		int rc = catalog_refresh(l->reader);

		if (rc == 0)
			rc = catalog_newest(l->reader, &ref);
		if (rc == 0 && ref.number < least)
			rc = -ERR_STALE;
		if (rc == 0)
			rc = catalog_merkle(l->reader, ref.number * 40, &m);
		if (rc == 0)
			rc = catalog_head(l->reader, 1 + least / 2, &ref);
		if (rc < 0) {
			fprintf(stderr, "after head %llu: %d, %s\n", (unsigned long long)least, rc,
				err_detail(rc));
			atomic_store(&l->failed, true);
		}
	}
	return NULL;
}

Test(catalog, reader_beside_a_live_writer)
{
	struct live l = {.writer = open_or_fail(CATALOG_WRITE)};
	pthread_t thread[3];

	l.reader = open_or_fail(CATALOG_READ);
	cr_assert_eq(pthread_create(&thread[0], NULL, write_heads, &l), 0);
	cr_assert_eq(pthread_create(&thread[1], NULL, read_heads, &l), 0);
	cr_assert_eq(pthread_create(&thread[2], NULL, read_heads, &l), 0);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	cr_assert_not(atomic_load(&l.failed));
	catalog_close(l.reader);
	catalog_close(l.writer);
}

Test(catalog, reopened_after_an_error)
{
	struct catalog *c = open_or_fail(CATALOG_WRITE);
	struct head_ref ref;
	char path[512];
	FILE *f;

	for (uint64_t i = 1; i <= 5; i++)
		cr_assert_eq(add(c, i, 3), 0);
	cr_assert_eq(catalog_reopen(c), 0);
	cr_assert_eq(catalog_newest(c, &ref), 0);
	cr_assert_eq(ref.number, 5);
	cr_assert_eq(add(c, 6, 3), 0);
	assert_merkle(c, 18);

	/* Of no use any more: an empty one takes its place. */
	snprintf(path, sizeof(path), "%s/catalog/CURRENT", dir);
	f = fopen(path, "w");
	cr_assert(f && fputs("nonsense\n", f) >= 0 && fclose(f) == 0);
	cr_assert_eq(catalog_reopen(c), 0);
	cr_assert_eq(catalog_newest(c, &ref), -ERR_ABSENT);
	cr_assert_eq(add(c, 1, 3), 0);
	catalog_close(c);
}

/* It writes no journal of events, of which a second failed line would end the program. */
Test(catalog, journal_is_empty)
{
	struct catalog *c = open_or_fail(CATALOG_WRITE);
	char path[512];
	FILE *f;

	cr_assert_eq(add(c, 1, 3), 0);
	catalog_close(c);
	snprintf(path, sizeof(path), "%s/catalog/LOG", dir);
	f = fopen(path, "r");
	cr_assert(!f || fgetc(f) == EOF);
	if (f)
		fclose(f);
}

/* From a number that no head has, and from the greatest that there is. */
Test(catalog, heads_from_the_greatest_number)
{
	struct catalog *c = open_or_fail(CATALOG_WRITE);
	struct head_ref ref;
	uint64_t next = 3;

	for (unsigned i = 1; i < 4; i++)
		cr_assert_eq(add(c, i, 2), 0);
	cr_assert_eq(catalog_heads(c, 3, count, &next), 0);
	cr_assert_eq(next, 4, "the newest is shown");
	cr_assert_eq(catalog_heads(c, 4, count, &next), 0);
	cr_assert_eq(catalog_heads(c, UINT64_MAX, count, &next), 0);
	cr_assert_eq(next, 4);
	cr_assert_eq(catalog_head(c, UINT64_MAX, &ref), -ERR_ABSENT);
	catalog_close(c);
}

struct names {
	char text[2048];
	unsigned stop_at, n;
};

static int take_name(void *ctx, const char *name)
{
	struct names *t = ctx;
	size_t len = strlen(t->text);

	snprintf(t->text + len, sizeof(t->text) - len, "%.40s;", name);
	return ++t->n == t->stop_at ? -EINTR : 0;
}

Test(catalog, cursors_are_listed_by_prefix)
{
	static const char *const names[] = {"embassy:", "embassy:a", "embassy:a\x01", "embassy:b",
					    "embassz",	"embassy",   "lost:a"};
	char longest[256];
	struct names all = {0}, none = {0}, one = {.stop_at = 1}, empty = {0};
	struct catalog *c;

	memset(longest, 0xff, 255);
	memcpy(longest, "embassy:", 8);
	longest[255] = '\0';
	cr_assert_eq(catalog_open(dir, id, CATALOG_WRITE, &c), 0);
	cr_assert_eq(catalog_cursors(c, "embassy:", take_name, &empty), 0);
	cr_assert_eq(empty.n, 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		cr_assert_eq(catalog_put_cursor(c, names[i], "x", 1), 0);
	cr_assert_eq(catalog_put_cursor(c, longest, "x", 1), 0);
	for (unsigned i = 1; i < 4; i++)
		cr_assert_eq(add(c, i, 3), 0);
	catalog_close(c);

	cr_assert_eq(catalog_open(dir, id, CATALOG_READ, &c), 0);
	cr_assert_eq(catalog_cursors(c, "embassy:", take_name, &all), 0);
	cr_assert_eq(all.n, 5);
	cr_assert_str_eq(strchr(all.text, ';') + 1, "embassy:b;embassy:a\x01;embassy:a;embassy:;");
	cr_assert_eq(catalog_cursors(c, "none:", take_name, &none), 0);
	cr_assert_eq(none.n, 0);
	cr_assert_eq(catalog_cursors(c, "embassy:", take_name, &one), -EINTR);
	cr_assert_eq(one.n, 1);
	cr_assert_eq(catalog_cursors(c, "", take_name, &none), 0);
	cr_assert_eq(none.n, 8);
	catalog_close(c);
}
