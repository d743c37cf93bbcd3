/*
 * Files: every system call on them.
 *
 * All calls are in one place, so that a test can make any of them fail (file_set_fault()).  EINTR
 * is retried and short transfers are continued; callers see complete results only.
 */

#include "file.h"

#include "file_internal.h"
#include "secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define READ_ALL_STEP 65536u

static int (*_Atomic fault_fn)(void *ctx, const char *op);
static void *fault_ctx;

void file_set_fault(int (*fn)(void *ctx, const char *op), void *ctx)
{
	atomic_store(&fault_fn, NULL);
	fault_ctx = ctx;
	atomic_store(&fault_fn, fn);
}

int file_fault(const char *op)
{
	int (*fn)(void *ctx, const char *op) =
		atomic_load_explicit(&fault_fn, memory_order_acquire);

	return __builtin_expect(fn != NULL, 0) ? fn(fault_ctx, op) : 0;
}

int file_open(int dirfd, const char *path, int flags, mode_t mode)
{
	int rc;

	CALL(rc, "open", openat(dirfd, path, flags | O_CLOEXEC, mode));
	return rc;
}

void file_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

ssize_t file_read_at(int fd, void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n;

		CALL(n, "read", pread(fd, (char *)buf + done, len - done, (off_t)(off + done)));
		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t file_read(int fd, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n;

		CALL(n, "read", read(fd, (char *)buf + done, len - done));
		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int file_write_at(int fd, const void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n;

		CALL(n, "write",
		     pwrite(fd, (const char *)buf + done, len - done, (off_t)(off + done)));
		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EIO;
		done += (size_t)n;
	}
	return 0;
}

int file_sync_data(int fd)
{
	struct stat st;
	int rc;

	CALL(rc, "sync_data", fdatasync(fd));
	return rc == 0 && fstat(fd, &st) == 0 && st.st_nlink == 0 ? -ENOENT : rc;
}

int file_sync(int fd)
{
	int rc;

	CALL(rc, "sync", fsync(fd));
	return rc;
}

int file_truncate(int fd, uint64_t size)
{
	int rc;

	CALL(rc, "truncate", ftruncate(fd, (off_t)size));
	return rc;
}

int file_allocate(int fd, uint64_t off, uint64_t len)
{
	int rc;

	CALL(rc, "allocate", fallocate(fd, 0, (off_t)off, (off_t)len));
	return rc;
}

int file_punch(int fd, uint64_t off, uint64_t len)
{
	int rc;

	CALL(rc, "punch",
	     fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len));
	return rc;
}

int file_size(int fd, uint64_t *out_size)
{
	struct stat st;
	int rc;

	CALL(rc, "stat", fstat(fd, &st));
	if (rc < 0)
		return rc;
	*out_size = (uint64_t)st.st_size;
	return 0;
}

int file_exists(int dirfd, const char *path)
{
	int rc;

	CALL(rc, "stat", faccessat(dirfd, path, F_OK, 0));
	if (rc == -ENOENT || rc == -ENOTDIR)
		return 0;
	return rc < 0 ? rc : 1;
}

void file_advise(int fd, uint64_t off, uint64_t len, int advice)
{
	(void)posix_fadvise(fd, (off_t)off, (off_t)len, advice);
}

int file_free_space(int fd, uint64_t *out_bytes)
{
	struct statvfs st;
	int rc;

	CALL(rc, "stat", fstatvfs(fd, &st));
	if (rc < 0)
		return rc;
	*out_bytes = (uint64_t)st.f_bavail * st.f_frsize;
	return 0;
}

int file_rename(int dirfd, const char *from, const char *to)
{
	int rc;

	CALL(rc, "rename", renameat(dirfd, from, dirfd, to));
	return rc;
}

int file_unlink(int dirfd, const char *path)
{
	int rc;

	CALL(rc, "unlink", unlinkat(dirfd, path, 0));
	return rc;
}

int file_mkdir(int dirfd, const char *path, mode_t mode)
{
	int rc;

	CALL(rc, "mkdir", mkdirat(dirfd, path, mode));
	return rc;
}

int file_lock(int fd)
{
	int rc;

	CALL(rc, "lock", flock(fd, LOCK_EX | LOCK_NB));
	return rc;
}

int file_sync_dir(int dirfd, const char *path)
{
	int fd = file_open(dirfd, path, O_RDONLY | O_DIRECTORY, 0);
	int rc;

	if (fd < 0)
		return fd;
	rc = file_sync(fd);
	file_close(fd);
	return rc;
}

int file_sync_parent(int dirfd, const char *path)
{
	char *folder = strdup(path);
	char *slash;
	int rc;

	if (!folder)
		return -ENOMEM;
	for (size_t len = strlen(folder); len > 1 && folder[len - 1] == '/';)
		folder[--len] = '\0';
	slash = strrchr(folder, '/');
	if (!slash)
		rc = file_sync_dir(dirfd, ".");
	else {
		slash[slash == folder ? 1 : 0] = '\0';
		rc = file_sync_dir(dirfd, folder);
	}
	free(folder);
	return rc;
}

/* Write a new file ${path} completely and durably. */
static int write_new(int dirfd, const char *path, const void *data, size_t len, mode_t mode)
{
	int fd = file_open(dirfd, path, O_WRONLY | O_CREAT | O_EXCL, mode);
	int rc;

	if (fd < 0)
		return fd;
	rc = file_write_at(fd, data, len, 0);
	if (rc == 0)
		rc = file_sync(fd);
	file_close(fd);
	return rc;
}

int file_replace(int dirfd, const char *path, const void *data, size_t len, mode_t mode)
{
	char *temporary;
	uint64_t tag;
	int rc;

	/* A different name for each call, so that concurrent replacements do not mix. */
	random_bytes(&tag, sizeof(tag));
	if (asprintf(&temporary, "%s.%016llx.tmp", path, (unsigned long long)tag) < 0)
		return -ENOMEM;

	rc = write_new(dirfd, temporary, data, len, mode);
	if (rc == 0)
		rc = file_rename(dirfd, temporary, path);
	if (rc < 0)
		goto remove_temporary;
	rc = file_sync_parent(dirfd, path);
	free(temporary);
	return rc;

remove_temporary:
	if (rc != -EEXIST)
		unlinkat(dirfd, temporary, 0);
	free(temporary);
	return rc;
}

int file_read_all(int dirfd, const char *path, size_t max, void **out, size_t *out_len)
{
	size_t len = 0, cap = 0;
	char *data = NULL;
	struct stat st;
	int fd, rc;

	/* A pipe that nobody writes to would be waited for. */
	fd = file_open(dirfd, path, O_RDONLY | O_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	rc = fstat(fd, &st) < 0 ? -errno : S_ISFIFO(st.st_mode) ? -EINVAL : 0;
	if (rc < 0)
		goto fail;

	/* Read to the end instead of to a size that was asked for before: it may grow meanwhile. */
	for (;;) {
		ssize_t n;

		if (len + READ_ALL_STEP + 1 > cap) {
			char *more = realloc(data, cap = 2 * cap + READ_ALL_STEP + 1);

			rc = -ENOMEM;
			if (!more)
				goto fail;
			data = more;
		}
		n = file_read(fd, data + len, READ_ALL_STEP);
		rc = (int)n;
		if (n < 0)
			goto fail;
		len += (size_t)n;
		rc = -EFBIG;
		if (len > max)
			goto fail;
		if (n < (ssize_t)READ_ALL_STEP)
			break;
	}
	file_close(fd);
	data[len] = '\0';
	*out = data;
	*out_len = len;
	return 0;

fail:
	free(data);
	file_close(fd);
	return rc;
}
