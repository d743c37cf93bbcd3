/*
 * Operations on contents: by slots, and by paths where a path is all that they take.
 *
 * Opening never blocks (fifos) and never opens a device.
 */

#include "apply_internal.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

static bool is_device(const struct side *s, const char *path)
{
	struct stat st;

	return fstatat(s->root, path, &st, 0) == 0 && (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode));
}

static bool is_regular(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

void apply_open(struct side *s, const struct op *op, struct result *r)
{
	const char *path = path_text(op->arg[1]);
	int *at = &s->slot[op->arg[0]], flags = (int)op->arg[2], fd;

	/* A mount without the option "dev" refuses devices; a folder beside it does not. */
	if (is_device(s, path)) {
		skip(r);
		return;
	}
	if (s->broken == BREAK_APPEND)
		flags &= ~O_APPEND;
	fd = openat(s->root, path, flags | O_NONBLOCK | O_CLOEXEC, (mode_t)op->arg[3]);
	answer(r, fd < 0 ? -1 : 0);
	if (fd < 0)
		return;
	if (*at >= 0)
		close(*at);
	*at = fd;
}

void apply_close(struct side *s, const struct op *op, struct result *r)
{
	answer(r, close(slot(s, op, 0)));
	s->slot[op->arg[0]] = -1;
}

void apply_read(struct side *s, const struct op *op, struct result *r)
{
	answer_data(r, read(slot(s, op, 0), s->buf, io_len(op->arg[1])), s->buf);
}

void apply_write(struct side *s, const struct op *op, struct result *r)
{
	size_t len = io_len(op->arg[1]);

	fill(s->buf, len, op->arg[2]);
	answer(r, write(slot(s, op, 0), s->buf, len));
}

void apply_pread(struct side *s, const struct op *op, struct result *r)
{
	answer_data(r, pread(slot(s, op, 0), s->buf, io_len(op->arg[2]), op->arg[1]), s->buf);
}

void apply_pwrite(struct side *s, const struct op *op, struct result *r)
{
	size_t len = io_len(op->arg[2]);
	struct stat st;

	fill(s->buf, len, op->arg[3]);
	fstat(slot(s, op, 0), &st);
	if (s->broken == BREAK_PWRITE && len > 1) {
		answer(r, pwrite(slot(s, op, 0), s->buf, len - 1, op->arg[1]));
		r->ret += r->ret > 0;
		return;
	}
	answer(r, pwrite(slot(s, op, 0), s->buf, len, op->arg[1]));
	if (s->broken == BREAK_MTIME && r->err == 0)
		futimens(slot(s, op, 0), (struct timespec[]){st.st_atim, st.st_mtim});
}

/* Is there nothing but zeros from ${from} to ${to}?  Looked at as far as the buffer goes. */
static bool all_zero(struct side *s, int fd, off_t from, off_t to)
{
	ssize_t n;

	if (to - from > (off_t)IO_MAX)
		to = from + (off_t)IO_MAX;
	n = pread(fd, s->buf, (size_t)(to - from), from);
	if (n < 0)
		return errno == EBADF; /* not open for reading */
	for (ssize_t i = 0; i < n; i++)
		if (s->buf[i])
			return false;
	return true;
}

/*
 * Where data and holes are is up to the file system, and all may be data; what it says must only
 * agree with the bytes.  Both sides give the same where they are right.
 */
static void seek_data(struct side *s, int fd, off_t off, int whence, struct result *r)
{
	struct stat st;
	off_t found, next;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		skip(r);
		return;
	}
	found = lseek(fd, off, whence);
	if (found < 0 && (errno != ENXIO || off < 0 || off >= st.st_size || whence == SEEK_HOLE)) {
		answer(r, -1);
		return;
	}
	if (found < 0)
		found = st.st_size; /* a hole up to the end */
	if (whence == SEEK_DATA && (found < off || !all_zero(s, fd, off, found)))
		r->ret = RET_BAD_SEEK;
	if (whence == SEEK_HOLE && found < st.st_size) {
		next = lseek(fd, found, SEEK_DATA);
		if (found < off || !all_zero(s, fd, found, next < 0 ? st.st_size : next))
			r->ret = RET_BAD_SEEK;
	}
	if (found > st.st_size)
		r->ret = RET_BAD_SEEK;
	lseek(fd, off, SEEK_SET);
}

void apply_seek(struct side *s, const struct op *op, struct result *r)
{
	static const int whences[] = {SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE};
	int fd = slot(s, op, 0), whence = whences[op->arg[2]];

	if (whence == SEEK_DATA || whence == SEEK_HOLE)
		seek_data(s, fd, op->arg[1], whence, r);
	else if (is_regular(fd))
		answer(r, lseek(fd, op->arg[1], whence));
	else
		skip(r); /* a folder's positions are its own affair */
}

/*
 * To the size that it has: whether that touches mtime differs, and over FUSE with the kernel's
 * write-back cache it does not, whatever the file system wants: the kernel believes its own times.
 */
static bool has_size(int rc, const struct stat *st, int64_t size)
{
	return rc == 0 && S_ISREG(st->st_mode) && st->st_size == size;
}

void apply_truncate(struct side *s, const struct op *op, struct result *r)
{
	const char *path = path_text(op->arg[0]);
	off_t size = op->arg[1];
	struct stat st;

	if (has_size(fstatat(s->root, path, &st, 0), &st, size)) {
		skip(r);
		return;
	}
	if (s->broken == BREAK_TRUNCATE)
		size++;
	if (!enter(s, r))
		return;
	answer(r, truncate(path, size));
}

void apply_ftruncate(struct side *s, const struct op *op, struct result *r)
{
	struct stat st;

	if (has_size(fstat(slot(s, op, 0), &st), &st, op->arg[1]))
		skip(r);
	else
		answer(r, ftruncate(slot(s, op, 0), op->arg[1]));
}

void apply_fallocate(struct side *s, const struct op *op, struct result *r)
{
	off_t len = op->arg[3];

	if (s->broken == BREAK_PUNCH && (op->arg[1] & FALLOC_FL_PUNCH_HOLE) && len > 1)
		len--;
	answer(r, fallocate(slot(s, op, 0), (int)op->arg[1], op->arg[2], len));
}

void apply_copy(struct side *s, const struct op *op, struct result *r)
{
	off_t from = op->arg[1], to = op->arg[3];
	size_t left = io_len(op->arg[4]);
	ssize_t n = 0;

	/* A short copy is no difference. */
	do {
		n = copy_file_range(slot(s, op, 0), &from, slot(s, op, 2), &to, left, 0);
		if (n > 0)
			left -= (size_t)n;
	} while (n > 0 && left > 0);
	answer(r, n < 0 ? -1 : to - op->arg[3]);
}

/* Within the file, and not over a page that a shorter file would not have. */
static void *map(struct side *s, const struct op *op, int prot, size_t *out_len, size_t *out_skip)
{
	int fd = slot(s, op, 0);
	off_t off = op->arg[1];
	struct stat st;
	size_t len = io_len(op->arg[2]);
	void *p;

	errno = 0;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || off >= st.st_size || len == 0)
		return MAP_FAILED;
	if (off + (off_t)len > st.st_size)
		len = (size_t)(st.st_size - off);
	*out_skip = (size_t)(off % 4096);
	*out_len = len + *out_skip;
	p = mmap(NULL, *out_len, prot, MAP_SHARED, fd, off - (off_t)*out_skip);
	return p;
}

void apply_mapwrite(struct side *s, const struct op *op, struct result *r)
{
	size_t len, before;
	uint8_t *p = map(s, op, PROT_READ | PROT_WRITE, &len, &before);

	if (p == MAP_FAILED) {
		if (errno)
			answer(r, -1);
		else
			skip(r);
		return;
	}
	if (s->broken != BREAK_MAPWRITE)
		fill(p + before, len - before, op->arg[3]);
	if (op->arg[3] % 2)
		answer(r, msync(p, len, MS_SYNC));
	munmap(p, len);
}

void apply_mapread(struct side *s, const struct op *op, struct result *r)
{
	size_t len, before;
	uint8_t *p = map(s, op, PROT_READ, &len, &before);

	if (p == MAP_FAILED) {
		if (errno)
			answer(r, -1);
		else
			skip(r);
		return;
	}
	answer_data(r, (ssize_t)(len - before), p + before);
	munmap(p, len);
}

void apply_fsync(struct side *s, const struct op *op, struct result *r)
{
	answer(r, fsync(slot(s, op, 0)));
}

void apply_fdatasync(struct side *s, const struct op *op, struct result *r)
{
	answer(r, fdatasync(slot(s, op, 0)));
}

void apply_syncdir(struct side *s, const struct op *op, struct result *r)
{
	int fd = openat(s->root, path_text(op->arg[0]), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	answer(r, fd < 0 ? -1 : fsync(fd));
	if (fd >= 0)
		close(fd);
}

/* O_DIRECT, in whole pages, which is what the other side may insist on. */
static void direct(struct side *s, const struct op *op, bool writes, struct result *r)
{
	const char *path = path_text(op->arg[0]);
	off_t off = op->arg[1] / 4096 * 4096;
	size_t len = io_len(op->arg[2]) / 4096 * 4096;
	int fd;

	if (is_device(s, path)) {
		skip(r);
		return;
	}
	fd = openat(s->root, path,
		    (writes ? O_RDWR : O_RDONLY) | O_DIRECT | O_NONBLOCK | O_CLOEXEC);
	/* What has no contents refuses this in its own way. */
	if (fd >= 0 ? !is_regular(fd) : errno == EINVAL) {
		skip(r);
	} else if (fd < 0) {
		answer(r, -1);
	} else if (writes) {
		fill(s->buf, len, op->arg[3]);
		answer(r, pwrite(fd, s->buf, len, off));
	} else {
		answer_data(r, pread(fd, s->buf, len, off), s->buf);
	}
	if (fd >= 0)
		close(fd);
}

void apply_dread(struct side *s, const struct op *op, struct result *r)
{
	direct(s, op, false, r);
}

void apply_dwrite(struct side *s, const struct op *op, struct result *r)
{
	direct(s, op, true, r);
}

void apply_flock(struct side *s, const struct op *op, struct result *r)
{
	static const int how[] = {LOCK_SH, LOCK_EX, LOCK_UN};

	answer(r, flock(slot(s, op, 0), how[op->arg[1] % 3] | LOCK_NB));
}

/* Of the open file, not of the process, so that slots can be in each other's way. */
void apply_lock(struct side *s, const struct op *op, struct result *r)
{
	static const short types[] = {F_RDLCK, F_WRLCK, F_UNLCK};
	struct flock l = {
		.l_type = types[op->arg[1] % 3], .l_start = op->arg[2], .l_len = op->arg[3]};

	answer(r, fcntl(slot(s, op, 0), F_OFD_SETLK, &l));
}

void apply_drop(struct side *s, const struct op *op, struct result *r)
{
	answer(r, fsync(slot(s, op, 0)));
	posix_fadvise(slot(s, op, 0), 0, 0, POSIX_FADV_DONTNEED);
}
