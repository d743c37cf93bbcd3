/* Files: whole results, errors as they are, atomic replacement; every call made to fail once. */

#include "file.h"

#include "secret.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[256];
static int dirfd = -1;

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	cr_assert_eq(secret_init(), 0);
	snprintf(folder, sizeof(folder), "%s/test_file.XXXXXX", tmp ? tmp : "/tmp");
	cr_assert_not_null(mkdtemp(folder));
	dirfd = file_open(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, 0);
	cr_assert_geq(dirfd, 0);
}

static void teardown(void)
{
	file_set_fault(NULL, NULL);
	file_close(dirfd);
	cr_assert_eq(file_remove_tree(AT_FDCWD, folder), 0);
}

TestSuite(file, .init = setup, .fini = teardown);

static int count(void *ctx, const char *name)
{
	(void)name;
	++*(int *)ctx;
	return 0;
}

static int n_entries(void)
{
	int n = 0;

	cr_assert_eq(file_list(dirfd, ".", count, &n), 0);
	return n;
}

Test(file, write_read_size)
{
	int fd = file_open(dirfd, "f", O_RDWR | O_CREAT, 0600);
	char got[16] = {0};
	uint64_t size;

	cr_assert_geq(fd, 0);
	cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	cr_assert_eq(file_write_at(fd, "hello", 5, 3), 0);
	cr_assert_eq(file_size(fd, &size), 0);
	cr_assert_eq(size, 8);
	cr_assert_eq(file_read_at(fd, got, sizeof(got), 3), 5);
	cr_assert_str_eq(got, "hello");
	cr_assert_eq(file_read_at(fd, got, 1, 100), 0);
	cr_assert_eq(file_truncate(fd, 4), 0);
	cr_assert_eq(file_size(fd, &size), 0);
	cr_assert_eq(size, 4);
	cr_assert_eq(file_sync_data(fd), 0);
	cr_assert_eq(file_sync(fd), 0);
	cr_assert_eq(file_free_space(fd, &size), 0);
	cr_assert_gt(size, 0);
	file_close(fd);
	file_close(-1);
}

/* What was removed while it is open is written and synced to no purpose, and that is told. */
Test(file, removed_while_open)
{
	int fd = file_open(dirfd, "gone", O_RDWR | O_CREAT, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(file_write_at(fd, "hello", 5, 0), 0);
	cr_assert_eq(file_sync_data(fd), 0);
	cr_assert_eq(file_unlink(dirfd, "gone"), 0);
	cr_assert_eq(file_write_at(fd, "again", 5, 0), 0);
	cr_assert_eq(file_sync_data(fd), -ENOENT);
	file_close(fd);
}

Test(file, allocate_and_punch)
{
	int fd = file_open(dirfd, "f", O_RDWR | O_CREAT, 0600);
	char got = 'x';
	uint64_t size;
	int rc;

	rc = file_allocate(fd, 0, 65536);
	if (rc == -EOPNOTSUPP)
		cr_skip_test("this filesystem has no fallocate");
	cr_assert_eq(rc, 0);
	cr_assert_eq(file_size(fd, &size), 0);
	cr_assert_eq(size, 65536);
	cr_assert_eq(file_write_at(fd, "abc", 3, 8192), 0);
	cr_assert_eq(file_punch(fd, 8192, 4096), 0);
	cr_assert_eq(file_read_at(fd, &got, 1, 8192), 1);
	cr_assert_eq(got, '\0');
	cr_assert_eq(file_size(fd, &size), 0);
	cr_assert_eq(size, 65536);
	file_close(fd);
}

Test(file, names)
{
	cr_assert_eq(file_open(dirfd, "no", O_RDONLY, 0), -ENOENT);
	cr_assert_eq(file_unlink(dirfd, "no"), -ENOENT);
	cr_assert_eq(file_mkdir(dirfd, "d", 0700), 0);
	cr_assert_eq(file_mkdir(dirfd, "d", 0700), -EEXIST);
	cr_assert_eq(file_replace(dirfd, "d/a", "x", 1, 0600), 0);
	cr_assert_eq(file_rename(dirfd, "d/a", "b"), 0);
	cr_assert_eq(file_unlink(dirfd, "b"), 0);
	cr_assert_eq(file_sync_dir(dirfd, "d"), 0);
	cr_assert_eq(file_sync_dir(dirfd, "no"), -ENOENT);
	cr_assert_eq(file_rename(dirfd, "no", "b"), -ENOENT);
}

Test(file, exists)
{
	char name[300];

	cr_assert_eq(file_exists(dirfd, "f"), 0);
	cr_assert_eq(file_replace(dirfd, "f", "x", 1, 0600), 0);
	cr_assert_eq(file_exists(dirfd, "f"), 1);
	cr_assert_eq(file_exists(dirfd, "."), 1);
	cr_assert_eq(file_exists(dirfd, "f/g"), 0);
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	cr_assert_eq(file_exists(dirfd, name), -ENAMETOOLONG);
}

/* A hint: nothing is seen of it but that it changes nothing. */
Test(file, advise)
{
	int fd = file_open(dirfd, "f", O_RDWR | O_CREAT, 0600);
	char got[5];

	cr_assert_eq(file_write_at(fd, "hello", 5, 0), 0);
	file_advise(fd, 0, 5, POSIX_FADV_DONTNEED);
	cr_assert_eq(file_read_at(fd, got, 5, 0), 5);
	cr_assert_eq(memcmp(got, "hello", 5), 0);
	file_close(fd);
}

Test(file, replace_and_read_all)
{
	char path[400];
	struct stat st;
	void *data;
	size_t len;

	cr_assert_eq(file_replace(dirfd, "conf", "one", 3, 0640), 0);
	cr_assert_eq(file_replace(dirfd, "conf", "three", 5, 0640), 0);
	cr_assert_eq(file_read_all(dirfd, "conf", 5, &data, &len), 0);
	cr_assert_eq(len, 5);
	cr_assert_str_eq(data, "three");
	free(data);
	cr_assert_eq(file_read_all(dirfd, "conf", 4, &data, &len), -EFBIG);
	cr_assert_eq(file_read_all(dirfd, "no", 4, &data, &len), -ENOENT);
	cr_assert_eq(fstatat(dirfd, "conf", &st, 0), 0);
	cr_assert_eq(st.st_mode & 0777, 0640);
	snprintf(path, sizeof(path), "%s/conf", folder);
	cr_assert_eq(file_replace(AT_FDCWD, path, "", 0, 0640), 0);
	cr_assert_eq(file_read_all(AT_FDCWD, path, 4, &data, &len), 0);
	cr_assert_eq(len, 0);
	free(data);
	cr_assert_eq(n_entries(), 1, "no temporary stays behind");
}

Test(file, read_all_of_a_long_file)
{
	char *big = malloc(300000);
	void *data;
	size_t len;

	for (int i = 0; i < 300000; i++)
		big[i] = (char)(i * 31);
	cr_assert_eq(file_replace(dirfd, "big", big, 300000, 0600), 0);
	cr_assert_eq(file_read_all(dirfd, "big", 300000, &data, &len), 0);
	cr_assert_eq(len, 300000);
	cr_assert_eq(memcmp(data, big, len), 0);
	free(data);
	free(big);
}

Test(file, read_takes_pipes)
{
	char got[8] = {0};
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(write(fds[1], "ab", 2), 2);
	cr_assert_eq(write(fds[1], "cd", 2), 2);
	close(fds[1]);
	cr_assert_eq(file_read(fds[0], got, sizeof(got)), 4);
	cr_assert_str_eq(got, "abcd");
	close(fds[0]);
}

Test(file, lock)
{
	int a = file_open(dirfd, "lock", O_RDWR | O_CREAT, 0600);
	int b = file_open(dirfd, "lock", O_RDWR | O_CREAT, 0600);

	cr_assert_eq(file_lock(a), 0);
	cr_assert_eq(file_lock(b), -EAGAIN);
	file_close(a);
	cr_assert_eq(file_lock(b), 0);
	file_close(b);
}

static int stop_at_b(void *ctx, const char *name)
{
	(void)ctx;
	return strcmp(name, "b") == 0 ? 42 : 0;
}

Test(file, list)
{
	cr_assert_eq(file_replace(dirfd, "a", "", 0, 0600), 0);
	cr_assert_eq(file_replace(dirfd, "b", "", 0, 0600), 0);
	cr_assert_eq(n_entries(), 2);
	cr_assert_eq(file_list(dirfd, ".", stop_at_b, NULL), 42);
	cr_assert_eq(file_list(dirfd, "no", stop_at_b, NULL), -ENOENT);
}

Test(file, remove_tree_follows_no_link)
{
	cr_assert_eq(file_mkdir(dirfd, "keep", 0700), 0);
	cr_assert_eq(file_replace(dirfd, "keep/f", "x", 1, 0600), 0);
	cr_assert_eq(file_mkdir(dirfd, "go", 0700), 0);
	cr_assert_eq(file_mkdir(dirfd, "go/sub", 0700), 0);
	cr_assert_eq(file_replace(dirfd, "go/sub/f", "x", 1, 0600), 0);
	cr_assert_eq(symlinkat("../keep", dirfd, "go/link"), 0);
	cr_assert_eq(file_remove_tree(dirfd, "go"), 0);
	cr_assert_eq(file_remove_tree(dirfd, "go"), 0, "nothing there is fine");
	cr_assert_eq(faccessat(dirfd, "go", F_OK, 0), -1);
	cr_assert_eq(faccessat(dirfd, "keep/f", F_OK, 0), 0);
}

Test(file, remove_tree_is_bounded)
{
	int fd = dup(dirfd), rc;

	for (int i = 0; i < 70; i++) {
		int next;

		cr_assert_eq(file_mkdir(fd, "d", 0700), 0);
		next = file_open(fd, "d", O_RDONLY | O_DIRECTORY, 0);
		cr_assert_geq(next, 0);
		file_close(fd);
		fd = next;
	}
	file_close(fd);
	cr_assert_eq(file_remove_tree(dirfd, "d"), -ELOOP);
	/* Take the upper half away by hand, so that the rest is shallow enough to remove. */
	rc = renameat(dirfd, "d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d", dirfd, "e");
	cr_assert_eq(rc, 0);
	cr_assert_eq(file_remove_tree(dirfd, "d"), 0);
	cr_assert_eq(file_remove_tree(dirfd, "e"), 0);
}

struct fault {
	const char *op;
	int countdown; /* the call that fails; 0: the next */
	int rc;
	int n_calls;
};

static int fail_nth(void *ctx, const char *op)
{
	struct fault *f = ctx;

	if (f->op && strcmp(op, f->op) != 0)
		return 0;
	f->n_calls++;
	return f->countdown-- == 0 ? f->rc : 0;
}

/* Whichever call fails, the old contents or the new are there, whole, and nothing else. */
Test(file, replace_survives_each_fault)
{
	bool failed = true;
	int n;

	cr_assert_eq(file_replace(dirfd, "conf", "old", 3, 0600), 0);
	for (n = 0; failed; n++) {
		struct fault f = {.countdown = n, .rc = -EIO};
		void *data;
		size_t len;
		int rc;

		file_set_fault(fail_nth, &f);
		rc = file_replace(dirfd, "conf", "new", 3, 0600);
		file_set_fault(NULL, NULL);
		failed = rc < 0;
		cr_assert(rc == 0 || rc == -EIO);
		cr_assert_eq(file_read_all(dirfd, "conf", 100, &data, &len), 0);
		cr_assert(strcmp(data, "old") == 0 || strcmp(data, "new") == 0);
		cr_assert(rc < 0 || strcmp(data, "new") == 0);
		free(data);
		cr_assert_eq(n_entries(), 1, "call %d", n);
	}
	/* open, write, sync, rename, open the folder, sync it. */
	cr_assert_eq(n, 7);
}

Test(file, fault_reaches_each_call)
{
	static const char *const ops[] = {"read",     "write", "sync_data", "sync",
					  "truncate", "stat",  "allocate",  "punch",
					  "lock",     "mkdir", "unlink",    "rename"};
	int fd = file_open(dirfd, "f", O_RDWR | O_CREAT, 0600);
	char byte = 0;
	uint64_t n;

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		struct fault f = {.op = ops[i], .rc = -EDQUOT};
		int failed = 0;

		file_set_fault(fail_nth, &f);
		failed += file_read_at(fd, &byte, 1, 0) == -EDQUOT;
		failed += file_write_at(fd, &byte, 1, 0) == -EDQUOT;
		failed += file_sync_data(fd) == -EDQUOT;
		failed += file_sync(fd) == -EDQUOT;
		failed += file_truncate(fd, 1) == -EDQUOT;
		failed += file_size(fd, &n) == -EDQUOT;
		failed += file_allocate(fd, 0, 10) == -EDQUOT;
		failed += file_punch(fd, 0, 10) == -EDQUOT;
		failed += file_lock(fd) == -EDQUOT;
		failed += file_mkdir(dirfd, "d", 0700) == -EDQUOT;
		failed += file_unlink(dirfd, "no") == -EDQUOT;
		failed += file_rename(dirfd, "no", "no2") == -EDQUOT;
		file_set_fault(NULL, NULL);
		cr_assert_eq(failed, 1, "%s", ops[i]);
		cr_assert_eq(f.n_calls, 1, "%s", ops[i]);
	}
	file_close(fd);
}

Test(file, interrupted_calls_are_made_again)
{
	struct fault f = {.op = "write", .rc = -EINTR};
	int fd = file_open(dirfd, "f", O_RDWR | O_CREAT, 0600);

	file_set_fault(fail_nth, &f);
	cr_assert_eq(file_write_at(fd, "x", 1, 0), 0);
	cr_assert_eq(f.n_calls, 2);
	file_close(fd);
}

Test(file, parents_are_synced)
{
	struct fault f = {.op = "sync", .countdown = 99};

	cr_assert_eq(file_mkdir(dirfd, "d", 0700), 0);
	file_set_fault(fail_nth, &f);
	cr_assert_eq(file_sync_parent(dirfd, "d"), 0);
	cr_assert_eq(file_sync_parent(dirfd, "d/"), 0);
	cr_assert_eq(file_sync_parent(dirfd, "d/x"), 0);
	cr_assert_eq(file_sync_parent(AT_FDCWD, "/tmp"), 0);
	cr_assert_eq(file_sync_parent(dirfd, "no/x"), -ENOENT);
	file_set_fault(NULL, NULL);
	cr_assert_eq(f.n_calls, 4);
}
