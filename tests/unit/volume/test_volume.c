/* What a live volume does, call by call: results, errors, what survives. */

#include "fixture.h"

#include "err.h"
#include "file.h"
#include "format.h"
#include "when.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <semaphore.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static const struct caller user = {.uid = 1000, .gid = 100};

static struct fixture f;
static struct volume *v;

static void setup(void)
{
	fixture_make(&f);
	v = fixture_open(&f);
}

static void teardown(void)
{
	cr_assert_eq(volume_close(v), 0);
	fixture_remove(&f);
}

static void reopen(void)
{
	cr_assert_eq(volume_close(v), 0);
	v = fixture_open(&f);
}

static uint64_t make(uint64_t parent, const char *name, uint32_t mode)
{
	struct attr a;
	int rc = volume_make_node(v, &user, parent, name, mode, 0, S_ISLNK(mode) ? "target" : NULL,
				  &a);

	cr_assert_eq(rc, 0, "%s: %s", name, err_detail(rc));
	return a.ino;
}

static struct attr get(uint64_t ino)
{
	struct attr a;

	cr_assert_eq(view_getattr(volume_view(v), ino, &a), 0);
	return a;
}

TestSuite(volume, .init = setup, .fini = teardown, .timeout = 120);

static int fail_stat(void *ctx, const char *op)
{
	return strcmp(op, "stat") == 0 && ++*(unsigned *)ctx == 1 ? -EIO : 0;
}

/* It may be an embassy's copy, which a mount must not write to. */
Test(volume, a_folder_that_cannot_be_looked_at_is_no_home)
{
	struct volume_config cfg = {.dir = f.dir, .params = &f.params, .keys = &f.keys};
	unsigned n = 0;

	cr_assert_eq(volume_close(v), 0);
	file_set_fault(fail_stat, &n);
	cr_expect_eq(volume_open(&cfg, &v), -EIO);
	file_set_fault(NULL, NULL);
	v = fixture_open(&f);
}

Test(volume, nodes_and_links)
{
	uint64_t dir = make(INO_ROOT, "dir", S_IFDIR | 0755),
		 file = make(dir, "file", S_IFREG | 0600);
	uint64_t sym = make(dir, "sym", S_IFLNK | 0777);
	char target[SYMLINK_LEN_MAX + 1];
	struct attr a;

	cr_assert_eq(get(INO_ROOT).nlink, 3);
	cr_assert_eq(get(dir).size, 2);
	cr_assert_eq(get(file).uid, 1000);
	cr_assert_eq(view_readlink(volume_view(v), sym, target), 0);
	cr_assert_str_eq(target, "target");
	cr_assert_eq(view_readlink(volume_view(v), file, target), -EINVAL);
	cr_assert_eq(volume_make_node(v, &user, dir, "file", S_IFREG, 0, NULL, &a), -EEXIST);
	cr_assert_eq(volume_make_node(v, &user, file, "x", S_IFREG, 0, NULL, &a), -ENOTDIR);
	cr_assert_eq(volume_link(v, NULL, file, INO_ROOT, "second", &a), 0);
	cr_assert_eq(a.nlink, 2);
	cr_assert_eq(volume_link(v, NULL, dir, INO_ROOT, "d2", &a), -EPERM);
	cr_assert_eq(volume_rmdir(v, NULL, INO_ROOT, "dir"), -ENOTEMPTY);
	cr_assert_eq(volume_unlink(v, NULL, INO_ROOT, "dir"), -EISDIR);
	cr_assert_eq(volume_rmdir(v, NULL, INO_ROOT, "second"), -ENOTDIR);
	cr_assert_eq(volume_unlink(v, NULL, INO_ROOT, "nothing"), -ENOENT);
	reopen();
	cr_assert_eq(view_lookup(volume_view(v), dir, "..", &a), 0);
	cr_assert_eq(a.ino, INO_ROOT);
	cr_assert_eq(view_lookup(volume_view(v), INO_ROOT, "second", &a), 0);
	cr_assert_eq(a.ino, file);
}

Test(volume, names_up_to_255_bytes)
{
	char name[258];
	struct attr a;

	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	make(INO_ROOT, name, S_IFREG | 0600);
	cr_assert_eq(view_lookup(volume_view(v), INO_ROOT, name, &a), 0);
	name[255] = 'n';
	name[256] = '\0';
	cr_assert_eq(volume_make_node(v, &user, INO_ROOT, name, S_IFREG, 0, NULL, &a),
		     -ENAMETOOLONG);
	cr_assert_eq(view_lookup(volume_view(v), INO_ROOT, name, &a), -ENAMETOOLONG);
	make(INO_ROOT, "\x01\xff\n*", S_IFREG | 0600);
}

Test(volume, rename_rules)
{
	uint64_t a_dir = make(INO_ROOT, "a", S_IFDIR | 0755),
		 b_dir = make(INO_ROOT, "b", S_IFDIR | 0755);
	uint64_t file = make(a_dir, "file", S_IFREG | 0600),
		 sub = make(a_dir, "sub", S_IFDIR | 0755);
	struct attr a;

	cr_assert_eq(volume_rename(v, &user, a_dir, "none", b_dir, "x", 0), -ENOENT);
	cr_assert_eq(volume_rename(v, &user, INO_ROOT, "b", INO_ROOT, "a", 0), -ENOTEMPTY);
	cr_assert_eq(volume_rename(v, &user, a_dir, "file", a_dir, "sub", 0), -EISDIR);
	cr_assert_eq(volume_rename(v, &user, a_dir, "sub", a_dir, "file", 0), -ENOTDIR);
	cr_assert_eq(volume_rename(v, &user, a_dir, "file", a_dir, "sub", RENAME_NOREPLACE),
		     -EEXIST);
	cr_assert_eq(volume_rename(v, &user, a_dir, "sub", b_dir, "moved", 0), 0);
	cr_assert_eq(get(a_dir).nlink, 2);
	cr_assert_eq(get(b_dir).nlink, 3);
	cr_assert_eq(get(sub).parent, b_dir);
	cr_assert_eq(volume_rename(v, &user, a_dir, "file", b_dir, "moved", RENAME_EXCHANGE), 0);
	cr_assert_eq(view_lookup(volume_view(v), b_dir, "moved", &a), 0);
	cr_assert_eq(a.ino, file);
	cr_assert_eq(get(a_dir).nlink, 3);
	cr_assert_eq(get(b_dir).nlink, 2);
	cr_assert_eq(get(sub).parent, a_dir);
	cr_assert_eq(volume_rename(v, &user, b_dir, "moved", b_dir, "again", RENAME_WHITEOUT), 0);
	cr_assert_eq(view_lookup(volume_view(v), b_dir, "moved", &a), 0);
	cr_assert(S_ISCHR(a.mode) && a.rdev == 0);
	cr_assert_eq(volume_rename(v, &user, b_dir, "again", b_dir, "x", 0x80), -EINVAL);
}

Test(volume, orphans)
{
	uint64_t file = make(INO_ROOT, "file", S_IFREG | 0600);
	struct view_usage usage;
	struct attr a;
	char data[10];
	size_t len;

	cr_assert_eq(volume_write(v, NULL, file, 0, 5, "hello", false), 0);
	cr_assert_eq(volume_unlink(v, NULL, INO_ROOT, "file"), 0);
	cr_assert_eq(get(file).nlink, 0);
	cr_assert_eq(view_read(volume_view(v), file, 0, 10, data, &len), 0);
	cr_assert_eq(len, 5);
	volume_forget(v, file);
	cr_assert_eq(view_getattr(volume_view(v), file, &a), -ENOENT);

	file = make(INO_ROOT, "left", S_IFREG | 0600);
	cr_assert_eq(volume_write(v, NULL, file, 0, 5, "hello", false), 0);
	cr_assert_eq(volume_unlink(v, NULL, INO_ROOT, "left"), 0);
	reopen();
	cr_assert_eq(view_getattr(volume_view(v), file, &a), -ENOENT);
	view_usage(volume_view(v), &usage);
	cr_assert_eq(usage.inodes, 1);
	cr_assert_eq(usage.bytes, 0);

	cr_assert_eq(volume_make_unnamed(v, &user, INO_ROOT, S_IFREG | 0600, &a), 0);
	cr_assert_eq(volume_link(v, NULL, a.ino, INO_ROOT, "named", &a), 0);
	volume_forget(v, a.ino);
	cr_assert_eq(get(a.ino).nlink, 1);
}

Test(volume, sparse_and_huge)
{
	uint64_t file = make(INO_ROOT, "file", S_IFREG | 0600), at;
	struct attr a, want = {.size = FILE_SIZE_MAX};
	char data[4];
	size_t len;

	cr_assert_eq(volume_setattr(v, NULL, file, SET_SIZE, &want, &a), 0);
	cr_assert_eq(volume_write(v, NULL, file, FILE_SIZE_MAX - 3, 3, "end", false), 0);
	cr_assert_eq(volume_write(v, NULL, file, FILE_SIZE_MAX - 3, 4, "end!", false), -EFBIG);
	cr_assert_eq(view_read(volume_view(v), file, FILE_SIZE_MAX - 4, 4, data, &len), 0);
	cr_assert_eq(len, 4);
	cr_assert_eq(memcmp(data, "\0end", 4), 0);
	cr_assert_eq(view_seek(volume_view(v), file, 0, false, &at), 0);
	cr_assert_eq(at, FILE_SIZE_MAX - 3);
	cr_assert_eq(view_seek(volume_view(v), file, 5, true, &at), 0);
	cr_assert_eq(at, 5);
	cr_assert_eq(view_seek(volume_view(v), file, FILE_SIZE_MAX, true, &at), -ENXIO);
	cr_assert_eq(get(file).bytes, 3);
}

/* Give a file these times, in seconds, and say whether a read changes the first. */
static bool read_counts(uint64_t file, time_t atime, time_t mtime, time_t ctime, bool strict)
{
	struct attr a, want = {.atime.tv_sec = atime, .mtime.tv_sec = mtime, .ctime.tv_sec = ctime};

	cr_assert_eq(volume_setattr(v, NULL, file, SET_ATIME | SET_MTIME | SET_CTIME, &want, &a),
		     0);
	volume_accessed(v, file, strict);
	a = get(file);
	cr_assert_eq(a.mtime.tv_sec, mtime);
	cr_assert_eq(a.ctime.tv_sec, ctime);
	return a.atime.tv_sec != atime;
}

Test(volume, access_times)
{
	uint64_t file = make(INO_ROOT, "file", S_IFREG | 0600);
	time_t now = time(NULL), day = 24 * 60 * 60;

	cr_assert(read_counts(file, now - 100, now - 100, now - 200, false));
	cr_assert(read_counts(file, now - 100, now - 200, now - 50, false));
	cr_assert(read_counts(file, now - day - 1, now - 2 * day, now - 2 * day, false));
	cr_assert_not(read_counts(file, now - 100, now - 200, now - 200, false));
	cr_assert(read_counts(file, now - 100, now - 200, now - 200, true));
	/* What lies ahead is left alone. */
	cr_assert_not(read_counts(file, now + 100, now - 200, now - 200, true));
	volume_accessed(v, file + 1000, true);
}

Test(volume, allocation_is_refused_where_it_can_not_fit)
{
	uint64_t file = make(INO_ROOT, "file", S_IFREG | 0600);

	cr_assert_eq(volume_allocate(v, NULL, file, 0, 0, FILE_SIZE_MAX), -ENOSPC);
	cr_assert_eq(volume_allocate(v, NULL, file, FALLOC_FL_KEEP_SIZE, 0, FILE_SIZE_MAX),
		     -ENOSPC);
	cr_assert_eq(get(file).size, 0);
	cr_assert_eq(volume_allocate(v, NULL, file, FALLOC_FL_ZERO_RANGE, 0, FILE_SIZE_MAX),
		     -ENOSPC);
	cr_assert_eq(volume_allocate(v, NULL, file, 0, FILE_SIZE_MAX - 4096, 4096), 0);
	cr_assert_eq(get(file).size, FILE_SIZE_MAX);
	cr_assert_eq(volume_allocate(v, NULL, file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
				     FILE_SIZE_MAX),
		     0);
}

Test(volume, extended_attributes)
{
	uint64_t file = make(INO_ROOT, "file", S_IFREG | 0600);
	static char big[XATTR_VALUE_MAX], got[XATTR_VALUE_MAX];
	size_t len;

	memset(big, 'x', sizeof(big));
	cr_assert_eq(volume_setxattr(v, NULL, file, "user.a", "one", 3, 0), 0);
	cr_assert_eq(volume_setxattr(v, NULL, file, "user.a", "two", 3, XATTR_CREATE), -EEXIST);
	cr_assert_eq(volume_setxattr(v, NULL, file, "user.b", "two", 3, XATTR_REPLACE), -ENODATA);
	cr_assert_eq(volume_setxattr(v, NULL, file, "user.big", big, sizeof(big), 0), 0);
	cr_assert_eq(volume_setxattr(v, NULL, file, "user.big", big, sizeof(big) + 1, 0), -E2BIG);
	cr_assert_eq(volume_setxattr(v, NULL, file, "user.empty", "", 0, 0), 0);
	reopen();
	cr_assert_eq(view_getxattr(volume_view(v), file, "user.big", got, sizeof(got), &len), 0);
	cr_assert_eq(len, sizeof(big));
	cr_assert_eq(memcmp(got, big, len), 0);
	cr_assert_eq(view_getxattr(volume_view(v), file, "user.a", got, 2, &len), -ERANGE);
	cr_assert_eq(view_getxattr(volume_view(v), file, "user.a", NULL, 0, &len), 0);
	cr_assert_eq(len, 3);
	cr_assert_eq(view_getxattr(volume_view(v), file, "user.empty", got, 2, &len), 0);
	cr_assert_eq(len, 0);
	cr_assert_eq(view_listxattr(volume_view(v), file, got, sizeof(got), &len), 0);
	cr_assert_eq(len, sizeof("user.a") + sizeof("user.big") + sizeof("user.empty"));
	cr_assert_eq(view_listxattr(volume_view(v), file, got, 8, &len), -ERANGE);
	cr_assert_eq(volume_removexattr(v, NULL, file, "user.a"), 0);
	cr_assert_eq(volume_removexattr(v, NULL, file, "user.a"), -ENODATA);
	cr_assert_eq(view_getxattr(volume_view(v), file, "user.a", got, 2, &len), -ENODATA);
}

static int take_cookie(void *ctx, const struct view_entry *e)
{
	uint64_t *state = ctx; /* count, cookie, how many to take */

	if (state[2] == 0)
		return 1;
	state[2]--;
	state[0]++;
	state[1] = e->cookie;
	return 0;
}

Test(volume, large_folder_listed_while_it_changes)
{
	uint64_t dir = make(INO_ROOT, "dir", S_IFDIR | 0755);
	uint64_t state[3] = {0, 0, 0};
	unsigned calls = 0;
	char name[32];

	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "entry-%d", i);
		make(dir, name, S_IFREG | 0600);
	}
	reopen();
	for (uint64_t before = UINT64_MAX; state[0] != before; calls++) {
		before = state[0];
		state[2] = 37;
		cr_assert_eq(view_readdir(volume_view(v), dir, state[1], true, take_cookie, state),
			     0);
		/* Entries that come and go elsewhere move nothing. */
		snprintf(name, sizeof(name), "other-%u", calls);
		if (calls % 2)
			cr_assert_eq(
				volume_unlink(v, NULL, dir,
					      (snprintf(name, sizeof(name), "other-%u", calls - 1),
					       name)),
				0);
		else if (calls < 130)
			make(dir, name, S_IFREG | 0600);
		if (calls >= 130)
			break;
	}
	cr_assert_geq(state[0], 4700);
}

static int count_snapshot(void *ctx, const struct snapshot *s)
{
	(void)s;
	(*(int *)ctx)++;
	return 0;
}

Test(volume, snapshots_and_times)
{
	uint64_t file = make(INO_ROOT, "file", S_IFREG | 0600);
	struct snapshot s, got;
	struct view *past;
	struct when when;
	struct head head;
	struct attr a;
	int n = 0;

	cr_assert_eq(volume_write(v, NULL, file, 0, 3, "old", false), 0);
	cr_assert_eq(volume_snapshot(v, NULL, "first", true, &s), 0);
	cr_assert_eq(volume_snapshot(v, NULL, "first", false, &got), -EEXIST);
	cr_assert_eq(volume_snapshot(v, NULL, "a/b", false, &got), -EINVAL);
	cr_assert_eq(volume_snapshot(v, NULL, "", false, &got), -EINVAL);
	cr_assert_eq(volume_snapshot(v, NULL, "second", false, &got), 0);
	cr_assert_eq(volume_write(v, NULL, file, 0, 6, "newnew", false), 0);
	reopen();
	cr_assert_eq(view_snapshots(volume_view(v), count_snapshot, &n), 0);
	cr_assert_eq(n, 2);

	cr_assert_eq(when_parse("snapshot:first", 0, &when), 0);
	cr_assert_eq(view_resolve(volume_view_config(v), &when, &head), 0);
	cr_assert_eq(head.number, s.head);
	cr_assert_eq(view_open(volume_view_config(v), &head, &past), 0);
	cr_assert_eq(view_lookup(past, INO_ROOT, "file", &a), 0);
	cr_assert_eq(a.size, 3);
	view_close(past);

	when = (struct when){.kind = WHEN_TIME, .time_ns = head.time_ns};
	cr_assert_eq(view_resolve(volume_view_config(v), &when, &head), 0);
	cr_assert_eq(head.number, s.head);
	when.time_ns = 1;
	cr_assert_eq(view_resolve(volume_view_config(v), &when, &head), -ERR_TOO_EARLY);
	when = (struct when){.kind = WHEN_HEAD, .head = 1000000};
	cr_assert_eq(view_resolve(volume_view_config(v), &when, &head), -ERR_NO_STATE);
	cr_assert_eq(when_parse("snapshot:none", 0, &when), 0);
	cr_assert_eq(view_resolve(volume_view_config(v), &when, &head), -ERR_NO_STATE);

	cr_assert_eq(volume_snapshot_remove(v, NULL, "first"), -EPERM);
	cr_assert_eq(volume_snapshot_release(v, NULL, "first"), 0);
	cr_assert_eq(volume_snapshot_hold(v, NULL, "first"), 0);
	cr_assert_eq(volume_snapshot_hold(v, NULL, "first"), 0);
	cr_assert_eq(volume_snapshot_remove(v, NULL, "first"), -EPERM);
	cr_assert_eq(volume_snapshot_release(v, NULL, "first"), 0);
	cr_assert_eq(volume_snapshot_remove(v, NULL, "first"), 0);
	cr_assert_eq(volume_snapshot_remove(v, NULL, "first"), -ENOENT);
	cr_assert_eq(volume_snapshot_hold(v, NULL, "first"), -ENOENT);
	cr_assert_eq(volume_snapshot_hold(v, NULL, ""), -ENOENT);
}

Test(volume, many_syncs_between_heads_roll_up)
{
	uint64_t file = make(INO_ROOT, "file", S_IFREG | 0600);
	char data[3000], want[3000];
	struct view *past;
	struct head head;
	size_t len;

	for (unsigned i = 0; i < sizeof(want); i++) {
		want[i] = (char)('a' + i % 26);
		cr_assert_eq(volume_write(v, NULL, file, i, 1, &want[i], false), 0);
		if (i % 3 == 0)
			cr_assert_eq(volume_sync(v), 0);
	}
	cr_assert_eq(volume_add_head(v, &head), 0);
	cr_assert_leq(head.n_deltas, 64);
	cr_assert_eq(view_open(volume_view_config(v), &head, &past), 0);
	cr_assert_eq(view_read(past, file, 0, sizeof(data), data, &len), 0);
	cr_assert_eq(len, sizeof(want));
	cr_assert_eq(memcmp(data, want, len), 0);
	view_close(past);
}

/* However fast heads are made, a view of any of them is opened by applying few. */
Test(volume, many_heads_bring_a_checkpoint)
{
	uint64_t file = make(INO_ROOT, "file", S_IFREG | 0600), from;
	struct head head;

	from = figure_n(fixture_look(v), FIGURE_CHECKPOINT_HEAD);
	do {
		cr_assert_eq(volume_write(v, NULL, file, 0, 1, "x", false), 0);
		cr_assert_eq(volume_add_head(v, &head), 0);
		cr_assert_lt(head.number, from + 50000, "no checkpoint");
	} while (figure_n(fixture_look(v), FIGURE_CHECKPOINT_HEAD) == from);
	cr_assert_geq(head.number, from + 1000);
}

/*
 * Pages from the kernel's cache come after it has set the time, and must not make the file newer.
 */
Test(volume, late_pages_keep_the_times)
{
	uint64_t file = make(INO_ROOT, "file", S_IFREG | 0600);
	struct attr want = {.mtime = {.tv_sec = 1000, .tv_nsec = 7}}, a;

	cr_assert_eq(volume_setattr(v, NULL, file, SET_MTIME, &want, &a), 0);
	cr_assert_eq(volume_write(v, NULL, file, 0, 3, "abc", WRITE_KEEP_TIMES), 0);
	cr_assert_eq(view_getattr(volume_view(v), file, &a), 0);
	cr_assert(a.size == 3 && a.mtime.tv_sec == 1000 && a.mtime.tv_nsec == 7);
	cr_assert_eq(volume_write(v, NULL, file, 3, 3, "def", 0), 0);
	cr_assert_eq(view_getattr(volume_view(v), file, &a), 0);
	cr_assert_gt(a.mtime.tv_sec, 1000);
}

Test(volume, one_writer)
{
	struct volume_config cfg = {.dir = f.dir, .params = &f.params, .keys = &f.keys};
	struct volume *second;

	cr_assert_eq(volume_open(&cfg, &second), -ERR_LOCKED);
	cr_assert_not_null(strstr(err_detail(-ERR_LOCKED), "in use by process"));
	cfg.dir = "/nonexistent";
	cr_assert_lt(volume_open(&cfg, &second), 0);
}

/* More between two heads than one can list: changes wait for a head instead of going on without. */
Test(volume, heads_keep_up_with_changes)
{
	enum { N = 40000 };
	char target[SYMLINK_LEN_MAX + 1], got[SYMLINK_LEN_MAX + 1], name[32];
	struct head first, last;
	struct attr a;

	memset(target, 'x', SYMLINK_LEN_MAX);
	target[SYMLINK_LEN_MAX] = '\0';
	cr_assert_eq(volume_add_head(v, &first), 0);
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		cr_assert_eq(
			volume_make_node(v, &user, INO_ROOT, name, S_IFLNK | 0777, 0, target, &a),
			0);
	}
	cr_assert_eq(volume_add_head(v, &last), 0, "%s", err_detail(-E2BIG));
	cr_assert_geq(last.number, first.number + 5, "%u heads",
		      (unsigned)(last.number - first.number));
	reopen();
	for (unsigned i = 0; i < N; i += N - 1) {
		snprintf(name, sizeof(name), "s%u", i);
		cr_assert_eq(view_lookup(volume_view(v), INO_ROOT, name, &a), 0);
		cr_assert_eq(view_readlink(volume_view(v), a.ino, got), 0);
		cr_assert_str_eq(got, target);
	}
}

/* The thread that makes heads is held in its first; the others' positions are noted. */
struct slow_clock {
	pthread_t writer;
	sem_t held, released;
	uint64_t newest_pos, longest;
};

static void on_head(void *ctx, const struct head *h)
{
	struct slow_clock *c = ctx;

	if (pthread_equal(pthread_self(), c->writer)) {
		if (h->pos - c->newest_pos > c->longest)
			c->longest = h->pos - c->newest_pos;
		c->newest_pos = h->pos;
	} else if (c->newest_pos == 0) {
		c->newest_pos = h->pos;
		sem_post(&c->held);
		while (sem_wait(&c->released) < 0)
			;
	}
}

/* An embassy refuses a log that goes on for long without a head: writing makes one itself. */
Test(volume, heads_keep_up_with_data)
{
	static struct slow_clock c; /* closing uses it too */
	struct volume_config cfg = {
		.dir = f.dir, .params = &f.params, .keys = &f.keys, .on_head = on_head, .ctx = &c};
	static uint8_t data[4 << 20];
	uint64_t written = 0, ino;

	cr_assert_eq(volume_close(v), 0);
	c.writer = pthread_self();
	sem_init(&c.held, 0, 0);
	sem_init(&c.released, 0, 0);
	randombytes_buf(data, sizeof(data));
	cr_assert_eq(volume_open(&cfg, &v), 0);
	ino = make(INO_ROOT, "file", S_IFREG | 0600);
	while (sem_wait(&c.held) < 0)
		;
	for (; written < 10 * SEGMENT_SIZE; written += sizeof(data))
		cr_assert_eq(volume_write(v, NULL, ino, 0, sizeof(data), data, 0), 0);
	sem_post(&c.released);
	cr_assert_gt(c.longest, 0);
	cr_assert_leq(c.longest, 9 * SEGMENT_SIZE);
}
