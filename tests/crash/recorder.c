/*
 * The recorder: loaded before a program (LD_PRELOAD), it sees each call that changes files below
 * one folder, whoever in the program makes it, RocksDB included, and writes it down or fails it.
 *
 * Key idea: the call is made, and noted, under one lock, so that the recording has the order in
 * which things happened.  A sync is noted when it begins and when it has ended and is made
 * outside the lock: what is written meanwhile is not covered by it.
 *
 * What it can't see (writes to a shared mapping, copies inside the kernel) it refuses loudly, so
 * no recording is silently incomplete.
 *
 * It never uses stdio or malloc: it runs inside both.
 */

#include "recorder.h"

#include "locks.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS_MAX 4096
#define BUFFER_LEN ((size_t)1 << 20)
#define EXPORT __attribute__((visibility("default")))

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
/* Guarded by mu. */
static char root[PATH_MAX];
static size_t root_len; /* 0: nothing is watched */
static int out_fd = -1;
static uint8_t buffer[BUFFER_LEN];
static size_t buffer_len;
static struct {
	uint64_t openings, syncs;
} * counts;			     /* shared with the processes that are forked from this one */
static uint64_t opening_of[FDS_MAX]; /* 0: not ours */
static int flags_of[FDS_MAX];
static uint64_t calls, fail_nth;
static int fail_error, failed;
static enum recorder_fail fail_how;
static volatile struct recorder_control *control; /* NULL: none */
static uint64_t control_turn;

static void die(const char *what)
{
	static const char before[] = "recorder: ";

	(void)!syscall(SYS_write, 2, before, sizeof(before) - 1);
	(void)!syscall(SYS_write, 2, what, strlen(what));
	(void)!syscall(SYS_write, 2, "\n", 1);
	abort();
}

static void put_raw(const uint8_t *p, size_t len)
{
	while (len > 0) {
		long n = syscall(SYS_write, out_fd, p, len);

		if (n <= 0)
			die("the recording can't be written");
		p += n;
		len -= (size_t)n;
	}
}

static void put(const void *p, size_t len) REQUIRES(mu);
static void note(struct record r, const char *text, const char *text2, const void *data)
	REQUIRES(mu);
static void set_fail(uint64_t nth, int error, enum recorder_fail how) REQUIRES(mu);
static void heed_control(void) REQUIRES(mu);
static int judge_call(bool needs_room, size_t *len) REQUIRES(mu);
static int judge(bool needs_room, size_t *len) REQUIRES(mu);

static void put(const void *p, size_t len)
{
	if (len > BUFFER_LEN - buffer_len) {
		put_raw(buffer, buffer_len);
		buffer_len = 0;
	}
	if (len > BUFFER_LEN) {
		put_raw(p, len);
	} else if (len > 0) {
		memcpy(buffer + buffer_len, p, len);
		buffer_len += len;
	}
}

static void note(struct record r, const char *text, const char *text2, const void *data)
{
	static const uint8_t zeros[8];
	size_t len = text ? strlen(text) + 1 : 0, len2 = text2 ? strlen(text2) + 1 : 0;

	if (out_fd < 0)
		return;
	r.text_len = (uint32_t)(len + len2);
	put(&r, sizeof(r));
	put(text, len);
	put(text2, len2);
	put(data, r.data_len);
	put(zeros, record_padding(&r));
}

/* ---- what is ours ---- */

static uint64_t opening_at(int fd)
{
	return fd >= 0 && fd < FDS_MAX ? opening_of[fd] : 0;
}

static bool below_root(const char *path)
{
	return root_len > 0 && strncmp(path, root, root_len) == 0 &&
	       (path[root_len] == '/' || path[root_len] == '\0');
}

static bool path_of_fd(int fd, char out[PATH_MAX])
{
	char link[64];
	long n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = syscall(SYS_readlinkat, AT_FDCWD, link, out, PATH_MAX - 1);
	if (n < 0)
		return false;
	out[n] = '\0';
	return true;
}

/* An absolute path, as written: nobody here uses symbolic links or "..". */
static bool resolve(int dirfd, const char *path, char out[PATH_MAX])
{
	char base[PATH_MAX];
	int n;

	if (root_len == 0)
		return false;
	if (path[0] == '/') {
		n = snprintf(out, PATH_MAX, "%s", path);
	} else {
		if (dirfd == AT_FDCWD ? !getcwd(base, sizeof(base)) : !path_of_fd(dirfd, base))
			return false;
		n = snprintf(out, PATH_MAX, "%s/%s", base, path);
	}
	if (n >= PATH_MAX)
		return false;
	for (char *p = out; (p = strstr(p, "//")) != NULL;)
		memmove(p, p + 1, strlen(p));
	return below_root(out);
}

/* ---- failing ---- */

static void set_fail(uint64_t nth, int error, enum recorder_fail how)
{
	calls = 0;
	failed = 0;
	fail_nth = nth;
	fail_error = error;
	fail_how = how;
}

static void heed_control(void)
{
	if (control->turn != control_turn) {
		control_turn = control->turn;
		set_fail(control->nth, (int)control->error, (enum recorder_fail)control->how);
	}
	control->calls = calls + 1;
}

static int judge_call(bool needs_room, size_t *len)
{
	bool hit = ++calls == fail_nth;

	if (fail_nth == 0)
		return 0;
	if (fail_how == RECORDER_FAIL_SHORT) {
		if (hit && len && *len > 1) {
			*len /= 2;
			failed = 1;
		}
		return 0;
	}
	if (fail_how == RECORDER_FAIL_SPACE)
		hit = calls >= fail_nth && needs_room;
	if (hit)
		failed = 1;
	return hit ? fail_error : 0;
}

/* Whether this call is to fail: 0, or its errno.  ${len}: of a write, else 0. */
static int judge(bool needs_room, size_t *len)
{
	int rc;

	if (control)
		heed_control();
	rc = judge_call(needs_room, len);
	if (control)
		control->failed = (uint64_t)failed;
	return rc;
}

static long fail_with(int error)
{
	errno = error;
	return -1;
}

/* ---- opening and closing ---- */

static void register_fd(int fd, uint64_t opening, int flags)
{
	if (fd >= FDS_MAX)
		die("too many descriptors");
	opening_of[fd] = opening;
	flags_of[fd] = flags;
}

static int open_at(int dirfd, const char *path, int flags, mode_t mode)
{
	char full[PATH_MAX];
	int fd, error;

	pthread_mutex_lock(&mu);
	if (!resolve(dirfd, path, full)) {
		fd = (int)syscall(SYS_openat, dirfd, path, flags, mode);
		goto unlock;
	}
	error = judge((flags & O_CREAT) != 0, NULL);
	fd = error ? (int)fail_with(error) : (int)syscall(SYS_openat, dirfd, path, flags, mode);
	if (fd >= 0 && path_of_fd(fd, full)) {
		register_fd(fd, ++counts->openings, flags);
		note((struct record){.kind = RECORD_OPEN,
				     .opening = counts->openings,
				     .a = (uint64_t)(unsigned)flags},
		     full, NULL, NULL);
	}
unlock:
	pthread_mutex_unlock(&mu);
	return fd;
}

static mode_t mode_arg(int flags, va_list ap)
{
	return flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
}

#define OPEN_FN(name)                                                                              \
	EXPORT int name(const char *path, int flags, ...)                                          \
	{                                                                                          \
		va_list ap;                                                                        \
		mode_t mode;                                                                       \
                                                                                                   \
		va_start(ap, flags);                                                               \
		mode = mode_arg(flags, ap);                                                        \
		va_end(ap);                                                                        \
		return open_at(AT_FDCWD, path, flags, mode);                                       \
	}

#define OPENAT_FN(name)                                                                            \
	EXPORT int name(int dirfd, const char *path, int flags, ...)                               \
	{                                                                                          \
		va_list ap;                                                                        \
		mode_t mode;                                                                       \
                                                                                                   \
		va_start(ap, flags);                                                               \
		mode = mode_arg(flags, ap);                                                        \
		va_end(ap);                                                                        \
		return open_at(dirfd, path, flags, mode);                                          \
	}

#undef open64
#undef openat64
OPEN_FN(open)
OPEN_FN(open64)
OPENAT_FN(openat)
OPENAT_FN(openat64)

/* What a fortified build calls where no mode is needed. */
EXPORT int __open_2(const char *path, int flags);
EXPORT int __open64_2(const char *path, int flags);

int __open_2(const char *path, int flags)
{
	return open_at(AT_FDCWD, path, flags, 0);
}

int __open64_2(const char *path, int flags)
{
	return open_at(AT_FDCWD, path, flags, 0);
}

EXPORT int creat(const char *path, mode_t mode)
{
	return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/*
 * A stream's writes can't be seen.  RocksDB keeps its journal of events in one, which means
 * nothing: it is there, and empty.
 */
static FILE *open_stream(const char *path, const char *mode)
{
	FILE *(*real)(const char *, const char *) = dlsym(RTLD_NEXT, "fopen");
	FILE *f = real(path, mode);
	char full[PATH_MAX];

	pthread_mutex_lock(&mu);
	if (f && mode[0] != 'r' && resolve(AT_FDCWD, path, full))
		note((struct record){.kind = RECORD_OPEN,
				     .opening = ++counts->openings,
				     .a = O_WRONLY | O_CREAT | O_TRUNC},
		     full, NULL, NULL);
	pthread_mutex_unlock(&mu);
	return f;
}

EXPORT FILE *fopen(const char *path, const char *mode)
{
	return open_stream(path, mode);
}

#undef fopen64
EXPORT FILE *fopen64(const char *path, const char *mode)
{
	return open_stream(path, mode);
}

EXPORT int close(int fd)
{
	int rc;

	pthread_mutex_lock(&mu);
	if (opening_at(fd))
		opening_of[fd] = 0;
	rc = (int)syscall(SYS_close, fd);
	pthread_mutex_unlock(&mu);
	return rc;
}

static int copy_fd(int from, int to)
{
	pthread_mutex_lock(&mu);
	if (to >= 0 && to < FDS_MAX)
		register_fd(to, opening_at(from), from < FDS_MAX ? flags_of[from] : 0);
	pthread_mutex_unlock(&mu);
	return to;
}

EXPORT int dup(int fd)
{
	return copy_fd(fd, (int)syscall(SYS_dup, fd));
}

EXPORT int dup3(int fd, int to, int flags)
{
	return copy_fd(fd, (int)syscall(SYS_dup3, fd, to, flags));
}

EXPORT int dup2(int fd, int to)
{
	return fd == to ? to : dup3(fd, to, 0);
}

/* ---- reading ---- */

static int read_fails(int fd)
{
	int error = 0;

	pthread_mutex_lock(&mu);
	if (opening_at(fd))
		error = judge(false, NULL);
	pthread_mutex_unlock(&mu);
	return error;
}

EXPORT ssize_t read(int fd, void *buf, size_t len)
{
	int error = read_fails(fd);

	return error ? fail_with(error) : syscall(SYS_read, fd, buf, len);
}

EXPORT ssize_t pread(int fd, void *buf, size_t len, off_t off)
{
	int error = read_fails(fd);

	return error ? fail_with(error) : syscall(SYS_pread64, fd, buf, len, off);
}

#undef pread64
EXPORT ssize_t pread64(int fd, void *buf, size_t len, off_t off)
{
	return pread(fd, buf, len, off);
}

EXPORT ssize_t __pread64_chk(int fd, void *buf, size_t len, off_t off, size_t buf_len);

ssize_t __pread64_chk(int fd, void *buf, size_t len, off_t off, size_t buf_len)
{
	if (len > buf_len)
		die("a read past its buffer");
	return pread(fd, buf, len, off);
}

/* ---- writing ---- */

/* ${off} -1: where the descriptor stands. */
static ssize_t write_at(int fd, const void *buf, size_t len, off_t off)
{
	bool stands = off < 0;
	uint64_t opening;
	ssize_t n;
	int error;

	pthread_mutex_lock(&mu);
	opening = opening_at(fd);
	error = opening ? judge(true, &len) : 0;
	if (opening && stands)
		off = (off_t)syscall(SYS_lseek, fd, 0,
				     flags_of[fd] & O_APPEND ? SEEK_END : SEEK_CUR);
	if (error)
		n = fail_with(error);
	else if (stands)
		n = syscall(SYS_write, fd, buf, len);
	else
		n = syscall(SYS_pwrite64, fd, buf, len, off);
	if (opening && n > 0)
		note((struct record){.kind = RECORD_WRITE,
				     .opening = opening,
				     .a = (uint64_t)off,
				     .b = (flags_of[fd] & O_DSYNC) != 0,
				     .data_len = (uint64_t)n},
		     NULL, NULL, buf);
	pthread_mutex_unlock(&mu);
	return n;
}

EXPORT ssize_t write(int fd, const void *buf, size_t len)
{
	return opening_at(fd) ? write_at(fd, buf, len, -1) : syscall(SYS_write, fd, buf, len);
}

EXPORT ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
	if (!opening_at(fd))
		return syscall(SYS_pwrite64, fd, buf, len, off);
	return write_at(fd, buf, len, off);
}

#undef pwrite64
EXPORT ssize_t pwrite64(int fd, const void *buf, size_t len, off_t off)
{
	return pwrite(fd, buf, len, off);
}

/* Part by part: a short transfer is what a caller has to expect. */
static ssize_t write_parts(int fd, const struct iovec *iov, int n_iov, off_t off)
{
	ssize_t sum = 0;

	for (int i = 0; i < n_iov; i++) {
		ssize_t n;

		if (iov[i].iov_len == 0)
			continue;
		n = off < 0 ? write(fd, iov[i].iov_base, iov[i].iov_len)
			    : pwrite(fd, iov[i].iov_base, iov[i].iov_len, off + sum);
		if (n < 0)
			return sum > 0 ? sum : n;
		sum += n;
		if ((size_t)n < iov[i].iov_len)
			break;
	}
	return sum;
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int n)
{
	return opening_at(fd) ? write_parts(fd, iov, n, -1) : syscall(SYS_writev, fd, iov, n);
}

EXPORT ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	if (!opening_at(fd))
		return syscall(SYS_pwritev, fd, iov, n, off, 0L);
	return write_parts(fd, iov, n, off);
}

#undef pwritev64
EXPORT ssize_t pwritev64(int fd, const struct iovec *iov, int n, off_t off)
{
	return pwritev(fd, iov, n, off);
}

#undef pwritev2
EXPORT ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	if (opening_at(fd) && flags != 0)
		die("pwritev2 with flags");
	return pwritev(fd, iov, n, off);
}

/* ---- syncing ---- */

static int sync_fd(int fd, long call)
{
	uint64_t opening, number = 0;
	int rc, error;

	pthread_mutex_lock(&mu);
	opening = opening_at(fd);
	error = opening ? judge(false, NULL) : 0;
	if (opening) {
		number = ++counts->syncs;
		note((struct record){.kind = RECORD_SYNC_BEGIN, .opening = opening, .a = number},
		     NULL, NULL, NULL);
	}
	pthread_mutex_unlock(&mu);
	rc = error ? (int)fail_with(error) : (int)syscall(call, fd);
	error = rc < 0 ? errno : 0;
	if (opening) {
		pthread_mutex_lock(&mu);
		note((struct record){.kind = RECORD_SYNC_END,
				     .opening = opening,
				     .a = number,
				     .b = (uint64_t)error},
		     NULL, NULL, NULL);
		pthread_mutex_unlock(&mu);
		errno = error;
	}
	return rc;
}

EXPORT int fsync(int fd)
{
	return sync_fd(fd, SYS_fsync);
}

EXPORT int fdatasync(int fd)
{
	return sync_fd(fd, SYS_fdatasync);
}

/* These promise nothing of what is written here: sync_file_range() leaves a disk's cache alone. */
EXPORT int sync_file_range(int fd, off_t off, off_t len, unsigned flags)
{
	return (int)syscall(SYS_sync_file_range, fd, off, len, flags);
}

EXPORT int syncfs(int fd)
{
	return (int)syscall(SYS_syncfs, fd);
}

/* ---- sizes ---- */

EXPORT int ftruncate(int fd, off_t size)
{
	uint64_t opening;
	int rc, error;

	pthread_mutex_lock(&mu);
	opening = opening_at(fd);
	error = opening ? judge(false, NULL) : 0;
	rc = error ? (int)fail_with(error) : (int)syscall(SYS_ftruncate, fd, size);
	if (opening && rc == 0)
		note((struct record){.kind = RECORD_TRUNCATE,
				     .opening = opening,
				     .a = (uint64_t)size},
		     NULL, NULL, NULL);
	pthread_mutex_unlock(&mu);
	return rc;
}

#undef ftruncate64
EXPORT int ftruncate64(int fd, off_t size)
{
	return ftruncate(fd, size);
}

EXPORT int truncate(const char *path, off_t size)
{
	int fd = open_at(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0), rc;

	if (fd < 0)
		return -1;
	rc = ftruncate(fd, size);
	close(fd);
	return rc;
}

static int allocate(int fd, int mode, off_t off, off_t len)
{
	uint64_t opening;
	int rc, error;

	pthread_mutex_lock(&mu);
	opening = opening_at(fd);
	error = opening ? judge(true, NULL) : 0;
	rc = error ? (int)fail_with(error) : (int)syscall(SYS_fallocate, fd, mode, off, len);
	if (opening && rc == 0)
		note((struct record){.kind = RECORD_ALLOCATE,
				     .opening = opening,
				     .a = (uint64_t)off,
				     .b = (uint64_t)len,
				     .c = (uint64_t)(unsigned)mode},
		     NULL, NULL, NULL);
	pthread_mutex_unlock(&mu);
	return rc;
}

EXPORT int fallocate(int fd, int mode, off_t off, off_t len)
{
	return allocate(fd, mode, off, len);
}

#undef fallocate64
EXPORT int fallocate64(int fd, int mode, off_t off, off_t len)
{
	return allocate(fd, mode, off, len);
}

EXPORT int posix_fallocate(int fd, off_t off, off_t len)
{
	return allocate(fd, 0, off, len) < 0 ? errno : 0;
}

/* ---- names ---- */

/* A call on one or two names: ${make} makes it. */
static int name_call(enum record_kind kind, bool needs_room, int dirfd, const char *path,
		     int dirfd2, const char *path2, long number, unsigned long flags)
{
	char full[PATH_MAX], full2[PATH_MAX];
	bool ours;
	int rc, error;

	pthread_mutex_lock(&mu);
	ours = resolve(dirfd, path, full) && (!path2 || resolve(dirfd2, path2, full2));
	error = ours ? judge(needs_room, NULL) : 0;
	if (error)
		rc = (int)fail_with(error);
	else if (number == SYS_linkat)
		rc = (int)syscall(number, dirfd, path, dirfd2, path2, flags);
	else if (path2)
		rc = (int)syscall(number, dirfd, path, dirfd2, path2, flags);
	else
		rc = (int)syscall(number, dirfd, path, flags);
	if (ours && rc == 0) {
		if (number == SYS_renameat2 && flags != 0)
			die("renameat2 with flags");
		note((struct record){.kind = kind}, full, path2 ? full2 : NULL, NULL);
	}
	pthread_mutex_unlock(&mu);
	return rc;
}

EXPORT int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	return name_call(RECORD_RENAME, false, from_dir, from, to_dir, to, SYS_renameat2, flags);
}

EXPORT int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return renameat2(from_dir, from, to_dir, to, 0);
}

EXPORT int rename(const char *from, const char *to)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

EXPORT int unlinkat(int dirfd, const char *path, int flags)
{
	return name_call(RECORD_UNLINK, false, dirfd, path, 0, NULL, SYS_unlinkat, (unsigned)flags);
}

EXPORT int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

EXPORT int rmdir(const char *path)
{
	return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

EXPORT int remove(const char *path)
{
	int rc = unlinkat(AT_FDCWD, path, 0);

	return rc < 0 && errno == EISDIR ? rmdir(path) : rc;
}

EXPORT int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	return name_call(RECORD_LINK, true, from_dir, from, to_dir, to, SYS_linkat,
			 (unsigned)flags);
}

EXPORT int link(const char *from, const char *to)
{
	return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

EXPORT int mkdirat(int dirfd, const char *path, mode_t mode)
{
	return name_call(RECORD_MKDIR, true, dirfd, path, 0, NULL, SYS_mkdirat, mode);
}

EXPORT int mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}

/* ---- what can't be seen ---- */

static void *map(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	if (opening_at(fd) && prot & PROT_WRITE && flags & MAP_SHARED)
		die("a file is written through a mapping, which can't be recorded");
	return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, off);
}

EXPORT void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	return map(at, len, prot, flags, fd, off);
}

#undef mmap64
EXPORT void *mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	return map(at, len, prot, flags, fd, off);
}

EXPORT ssize_t copy_file_range(int in, off_t *in_off, int out, off_t *out_off, size_t len,
			       unsigned flags)
{
	if (opening_at(out))
		die("copy_file_range, which can't be recorded");
	return syscall(SYS_copy_file_range, in, in_off, out, out_off, len, flags);
}

/* ---- for the program ---- */

EXPORT recorder_start_fn recorder_start;
EXPORT recorder_stop_fn recorder_stop;
EXPORT recorder_flush_fn recorder_flush;
EXPORT recorder_kill_fn recorder_kill;
EXPORT recorder_mark_fn recorder_mark;
EXPORT recorder_fail_fn recorder_fail;
EXPORT recorder_calls_fn recorder_calls;
EXPORT recorder_failed_fn recorder_failed;

void recorder_start(const char *new_root, const char *path)
{
	pthread_mutex_lock(&mu);
	root_len = strlen(new_root);
	if (root_len >= sizeof(root))
		die("the root's path is too long");
	memcpy(root, new_root, root_len + 1);
	memset(opening_of, 0, sizeof(opening_of));
	if (!counts)
		counts = (void *)syscall(SYS_mmap, NULL, sizeof(*counts), PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counts == MAP_FAILED)
		die("no memory");
	memset(counts, 0, sizeof(*counts));
	buffer_len = 0;
	out_fd = -1;
	if (path) {
		out_fd = (int)syscall(SYS_openat, AT_FDCWD, path,
				      O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (out_fd < 0)
			die("the recording can't be made");
	}
	pthread_mutex_unlock(&mu);
}

void recorder_stop(void)
{
	pthread_mutex_lock(&mu);
	if (out_fd >= 0) {
		put_raw(buffer, buffer_len);
		syscall(SYS_close, out_fd);
	}
	out_fd = -1;
	root_len = buffer_len = 0;
	memset(opening_of, 0, sizeof(opening_of));
	pthread_mutex_unlock(&mu);
}

void recorder_flush(void)
{
	pthread_mutex_lock(&mu);
	if (out_fd >= 0)
		put_raw(buffer, buffer_len);
	buffer_len = 0;
	pthread_mutex_unlock(&mu);
}

void recorder_kill(void)
{
	/* Held for good: what another thread does from here on happens before it is killed, or not. */
	pthread_mutex_lock(&mu);
	if (out_fd >= 0)
		put_raw(buffer, buffer_len);
	syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
	for (;;)
		syscall(SYS_pause);
}

void recorder_mark(uint64_t kind, uint64_t value)
{
	pthread_mutex_lock(&mu);
	note((struct record){.kind = RECORD_MARK, .a = kind, .b = value}, NULL, NULL, NULL);
	pthread_mutex_unlock(&mu);
}

void recorder_fail(uint64_t nth, int error, enum recorder_fail how)
{
	pthread_mutex_lock(&mu);
	set_fail(nth, error, how);
	pthread_mutex_unlock(&mu);
}

__attribute__((constructor)) static void start_by_environment(void)
{
	const char *folder = getenv("RECORDER_ROOT"), *path = getenv("RECORDER_CONTROL");
	long fd;
	void *p;

	if (!folder || !path)
		return;
	fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
	p = (void *)syscall(SYS_mmap, NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED,
			    fd, 0);
	if (fd < 0 || (uintptr_t)p > -4096UL)
		die("the control file can't be mapped");
	syscall(SYS_close, fd);
	recorder_start(folder, NULL);
	control = p;
}

uint64_t recorder_calls(void)
{
	return calls;
}

int recorder_failed(void)
{
	return failed;
}
