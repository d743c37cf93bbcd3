/* file.h, on the machines' disks. */

#include "disk_internal.h"

#include "file.h"
#include "world.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOM (UINT64_C(1) << 40)

static struct inode *inode_of(int fd)
{
	assert(fd >= FD_FIRST && fd < FD_FIRST + FDS_MAX && disk_fds[fd - FD_FIRST].in);
	return disk_fds[fd - FD_FIRST].in;
}

static int fd_new(struct inode *in)
{
	for (int i = 0; i < FDS_MAX; i++)
		if (!disk_fds[i].in) {
			disk_fds[i] = (struct fd){.in = in, .machine = fiber_machine()};
			return FD_FIRST + i;
		}
	return -EMFILE;
}

int file_open(int dirfd, const char *path, int flags, mode_t mode)
{
	char last[NAME_LEN];
	struct inode *dir = inode_walk(dirfd, path, last), *in;
	int rc;

	(void)mode;
	if (!dir)
		return -ENOENT;
	rc = disk_fault(dir->machine);
	if (rc < 0)
		return rc;
	in = last[0] ? names_find(&dir->seen, last) : dir;
	if (in && flags & O_CREAT && flags & O_EXCL)
		return -EEXIST;
	if (!in && !(flags & O_CREAT))
		return -ENOENT;
	if (in && flags & O_DIRECTORY && !in->is_dir)
		return -ENOTDIR;
	if (!in && disk_faults(dir->machine)->full)
		return -ENOSPC;
	if (!in) {
		disk_stop_name(dir->machine);
		in = inode_new(dir->machine, false);
		inode_change(dir, "", last, in);
		disk_stop_name(dir->machine);
	}
	if (flags & O_TRUNC) {
		disk_stop(dir->machine);
		inode_resize(in, 0);
		disk_stop(dir->machine);
	}
	return fd_new(in);
}

void file_close(int fd)
{
	struct inode *in;

	if (fd < 0)
		return;
	in = inode_of(fd);
	if (in->locked_by == fd)
		in->locked_by = 0;
	disk_fds[fd - FD_FIRST].in = NULL;
}

ssize_t file_read_at(int fd, void *buf, size_t len, uint64_t off)
{
	struct inode *in = inode_of(fd);
	int rc = disk_fault(in->machine);

	if (rc < 0)
		return rc;
	if (off >= in->size)
		return 0;
	if (len > in->size - off)
		len = (size_t)(in->size - off);
	inode_get(in, buf, len, off);
	return (ssize_t)len;
}

ssize_t file_read(int fd, void *buf, size_t len)
{
	struct fd *f = &disk_fds[fd - FD_FIRST];
	ssize_t n = file_read_at(fd, buf, len, f->pos);

	if (n > 0)
		f->pos += (uint64_t)n;
	return n;
}

static void put(struct inode *in, const void *buf, size_t len, uint64_t off)
{
	inode_put(in, buf, len, off);
	if (len > 0 && off + len > in->size)
		in->size = off + len;
}

int file_write_at(int fd, const void *buf, size_t len, uint64_t off)
{
	struct inode *in = inode_of(fd);
	int rc = disk_fault(in->machine);

	/* What is allocated already can be written. */
	if (rc == 0 && disk_faults(in->machine)->full && off + len > in->size)
		rc = -ENOSPC;
	if (rc < 0) {
		/* Some of it may have been. */
		if (prng_one_in(&world_random, 2) && off + len / 2 <= in->size)
			inode_put(in, buf, len / 2, off);
		return rc;
	}
	disk_stop(in->machine);
	put(in, buf, len / 2, off);
	disk_stop(in->machine);
	put(in, (const uint8_t *)buf + len / 2, len - len / 2, off + len / 2);
	disk_stop(in->machine);
	return 0;
}

int file_sync_data(int fd)
{
	return inode_sync(inode_of(fd));
}

int file_sync(int fd)
{
	return inode_sync(inode_of(fd));
}

int file_truncate(int fd, uint64_t size)
{
	struct inode *in = inode_of(fd);
	int rc = disk_fault(in->machine);

	if (rc < 0)
		return rc;
	disk_stop(in->machine);
	inode_resize(in, size);
	disk_stop(in->machine);
	return 0;
}

int file_allocate(int fd, uint64_t off, uint64_t len)
{
	struct inode *in = inode_of(fd);
	int rc = disk_fault(in->machine);

	if (rc == 0 && disk_faults(in->machine)->full)
		rc = -ENOSPC;
	disk_stop(in->machine);
	if (rc == 0 && off + len > in->size)
		in->size = off + len;
	disk_stop(in->machine);
	return rc;
}

int file_punch(int fd, uint64_t off, uint64_t len)
{
	(void)fd;
	(void)off;
	(void)len;
	return -EOPNOTSUPP;
}

int file_size(int fd, uint64_t *out_size)
{
	struct inode *in = inode_of(fd);
	int rc = disk_fault(in->machine);

	*out_size = in->size;
	return rc;
}

int file_exists(int dirfd, const char *path)
{
	struct inode *in = inode_at(dirfd, path);
	int rc = disk_fault(fiber_machine());

	return rc < 0 ? rc : in != NULL;
}

void file_advise(int fd, uint64_t off, uint64_t len, int advice)
{
	(void)fd;
	(void)off;
	(void)len;
	(void)advice;
}

int file_free_space(int fd, uint64_t *out_bytes)
{
	struct inode *in = inode_of(fd);
	int rc = disk_fault(in->machine);

	*out_bytes = disk_faults(in->machine)->full ? 0 : ROOM;
	return rc;
}

int file_rename(int dirfd, const char *from, const char *to)
{
	char a[NAME_LEN], b[NAME_LEN];
	struct inode *dir = inode_walk(dirfd, from, a), *dir_to = inode_walk(dirfd, to, b), *in,
		     *old;
	int rc;

	in = dir ? names_find(&dir->seen, a) : NULL;
	if (!in || !dir_to)
		return -ENOENT;
	assert(dir == dir_to);
	rc = disk_fault(dir->machine);
	if (rc < 0)
		return rc;
	old = names_find(&dir->seen, b);
	if (old && old->is_dir && old->seen.n > 0)
		return -ENOTEMPTY;
	disk_stop_name(dir->machine);
	inode_change(dir, a, b, in);
	disk_stop_name(dir->machine);
	return 0;
}

/* All in the folder, one after the other. */
static void remove_all_in(struct inode *dir)
{
	while (dir->seen.n > 0) {
		struct inode *in = dir->seen.e[0].in;
		char name[NAME_LEN];

		if (in->is_dir)
			remove_all_in(in);
		disk_stop_name(dir->machine);
		/* Another may have changed the folder meanwhile. */
		if (dir->seen.n == 0)
			break;
		strcpy(name, dir->seen.e[0].name);
		inode_change(dir, name, "", dir->seen.e[0].in);
	}
}

static int remove_name(int dirfd, const char *path, bool dirs)
{
	char last[NAME_LEN];
	struct inode *dir = inode_walk(dirfd, path, last);
	struct inode *in = dir ? names_find(&dir->seen, last) : NULL;
	int rc;

	if (!in)
		return -ENOENT;
	rc = disk_fault(dir->machine);
	if (rc < 0)
		return rc;
	if (in->is_dir && !dirs)
		return -EISDIR;
	if (in->is_dir)
		remove_all_in(in);
	disk_stop_name(dir->machine);
	inode_change(dir, last, "", in);
	disk_stop_name(dir->machine);
	return 0;
}

int file_unlink(int dirfd, const char *path)
{
	return remove_name(dirfd, path, false);
}

int file_remove_tree(int dirfd, const char *path)
{
	int rc = remove_name(dirfd, path, true);

	return rc == -ENOENT ? 0 : rc;
}

int file_mkdir(int dirfd, const char *path, mode_t mode)
{
	char last[NAME_LEN];
	struct inode *dir = inode_walk(dirfd, path, last);
	int rc;

	(void)mode;
	if (!dir)
		return -ENOENT;
	if (!last[0] || names_find(&dir->seen, last))
		return -EEXIST;
	rc = disk_fault(dir->machine);
	if (rc == 0 && disk_faults(dir->machine)->full)
		rc = -ENOSPC;
	if (rc < 0)
		return rc;
	disk_stop_name(dir->machine);
	inode_change(dir, "", last, inode_new(dir->machine, true));
	disk_stop_name(dir->machine);
	return 0;
}

int file_sync_dir(int dirfd, const char *path)
{
	struct inode *in = inode_at(dirfd, path);

	return in ? inode_sync(in) : -ENOENT;
}

int file_sync_parent(int dirfd, const char *path)
{
	char last[NAME_LEN];
	struct inode *in = inode_walk(dirfd, path, last);

	return in ? inode_sync(in) : -ENOENT;
}

int file_replace(int dirfd, const char *path, const void *data, size_t len, mode_t mode)
{
	static unsigned n;
	char temporary[512];
	int fd, rc;

	snprintf(temporary, sizeof(temporary), "%s.%u.tmp", path, n++);
	fd = file_open(dirfd, temporary, O_WRONLY | O_CREAT | O_EXCL, mode);
	if (fd < 0)
		return fd;
	rc = file_write_at(fd, data, len, 0);
	if (rc == 0)
		rc = file_sync(fd);
	file_close(fd);
	if (rc == 0)
		rc = file_rename(dirfd, temporary, path);
	if (rc < 0) {
		(void)!file_unlink(dirfd, temporary);
		return rc;
	}
	return file_sync_parent(dirfd, path);
}

int file_read_all(int dirfd, const char *path, size_t max, void **out, size_t *out_len)
{
	int fd = file_open(dirfd, path, O_RDONLY, 0);
	uint64_t size;
	char *data;
	ssize_t n;

	if (fd < 0)
		return fd;
	size = inode_of(fd)->size;
	data = size <= max ? malloc((size_t)size + 1) : NULL;
	n = data ? file_read_at(fd, data, (size_t)size, 0) : -EFBIG;
	file_close(fd);
	if (n < 0) {
		free(data);
		return (int)n;
	}
	data[n] = '\0';
	*out = data;
	*out_len = (size_t)n;
	return 0;
}

int file_lock(int fd)
{
	struct inode *in = inode_of(fd);

	if (in->locked_by && in->locked_by != fd)
		return -EAGAIN;
	in->locked_by = fd;
	return 0;
}

int file_list(int dirfd, const char *path, int (*fn)(void *ctx, const char *name), void *ctx)
{
	struct inode *in = inode_at(dirfd, path);
	struct names now = {0};
	int rc;

	if (!in)
		return -ENOENT;
	rc = disk_fault(in->machine);
	names_copy(&now, &in->seen);
	for (size_t i = 0; i < now.n && rc == 0; i++)
		rc = fn(ctx, now.e[i].name);
	free(now.e);
	return rc;
}
