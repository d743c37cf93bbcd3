/*
 * One operation on one side.
 *
 * All goes by descriptors: paths are relative to the side's folder, and nothing depends on where
 * that is.  Opening never blocks (fifos) and never opens a device.
 */

#include "apply_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define NAMES_MAX 512
#define TICK_NS 30000000

uint64_t sum_of(const void *p, size_t len, uint64_t sum)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ b[i]) * 1099511628211u;
	return sum;
}

void fill(uint8_t *buf, size_t len, int64_t seed)
{
	uint64_t x = (uint64_t)seed * 0x9e3779b97f4a7c15u + 1;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		if (seed % 3 == 0)
			buf[i] = (uint8_t)(seed % 5 * 17); /* zeros among them */
		else
			buf[i] = seed % 3 == 1 ? (uint8_t)(x >> 32) : (uint8_t)('a' + (x >> 62));
	}
}

void apply_mkdir(struct side *s, const struct op *op, struct result *r)
{
	answer(r, mkdirat(s->root, path_text(op->arg[0]), (mode_t)op->arg[1]));
}

void apply_rmdir(struct side *s, const struct op *op, struct result *r)
{
	answer(r, unlinkat(s->root, path_text(op->arg[0]), AT_REMOVEDIR));
	if (s->broken == BREAK_ERRNO && r->err == ENOTDIR)
		r->err = ENOENT;
}

void apply_unlink(struct side *s, const struct op *op, struct result *r)
{
	answer(r, unlinkat(s->root, path_text(op->arg[0]), 0));
}

void apply_rename(struct side *s, const struct op *op, struct result *r)
{
	unsigned flags = (unsigned)op->arg[2];

	if (s->broken == BREAK_NOREPLACE)
		flags &= ~(unsigned)RENAME_NOREPLACE;
	answer(r, renameat2(s->root, path_text(op->arg[0]), s->root, path_text(op->arg[1]), flags));
}

void apply_link(struct side *s, const struct op *op, struct result *r)
{
	answer(r, linkat(s->root, path_text(op->arg[0]), s->root, path_text(op->arg[1]),
			 op->arg[2] ? AT_SYMLINK_FOLLOW : 0));
}

void apply_linkfd(struct side *s, const struct op *op, struct result *r)
{
	char from[64];

	snprintf(from, sizeof(from), "/proc/self/fd/%d", slot(s, op, 0));
	answer(r, linkat(AT_FDCWD, from, s->root, path_text(op->arg[1]), AT_SYMLINK_FOLLOW));
}

void apply_symlink(struct side *s, const struct op *op, struct result *r)
{
	answer(r, symlinkat(path_text(op->arg[0]), s->root, path_text(op->arg[1])));
}

void apply_readlink(struct side *s, const struct op *op, struct result *r)
{
	answer_data(r, readlinkat(s->root, path_text(op->arg[0]), (char *)s->buf, 4096), s->buf);
}

void apply_mknod(struct side *s, const struct op *op, struct result *r)
{
	dev_t dev = makedev((unsigned)(op->arg[2] >> 8), (unsigned)(op->arg[2] & 255));

	answer(r, mknodat(s->root, path_text(op->arg[0]), (mode_t)op->arg[1], dev));
}

static mode_t broken_mode(const struct side *s, int64_t mode)
{
	return (mode_t)(s->broken == BREAK_CHMOD ? mode & 0777 : mode);
}

void apply_chmod(struct side *s, const struct op *op, struct result *r)
{
	answer(r, fchmodat(s->root, path_text(op->arg[0]), broken_mode(s, op->arg[1]), 0));
}

void apply_fchmod(struct side *s, const struct op *op, struct result *r)
{
	answer(r, fchmod(slot(s, op, 0), (mode_t)op->arg[1]));
}

void apply_chown(struct side *s, const struct op *op, struct result *r)
{
	answer(r, fchownat(s->root, path_text(op->arg[0]), (uid_t)op->arg[1], (gid_t)op->arg[2],
			   AT_SYMLINK_NOFOLLOW));
}

void apply_fchown(struct side *s, const struct op *op, struct result *r)
{
	answer(r, fchown(slot(s, op, 0), (uid_t)op->arg[1], (gid_t)op->arg[2]));
}

static struct timespec time_of(const struct side *s, int64_t ns)
{
	struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

	if (ns == TIME_NOW || ns == TIME_OMIT)
		return (struct timespec){.tv_nsec = ns == TIME_NOW ? UTIME_NOW : UTIME_OMIT};
	if (t.tv_nsec < 0) {
		t.tv_sec--;
		t.tv_nsec += 1000000000;
	}
	if (s->broken == BREAK_TIMES)
		t.tv_nsec -= t.tv_nsec % 1000;
	return t;
}

void apply_utimens(struct side *s, const struct op *op, struct result *r)
{
	struct timespec t[2] = {time_of(s, op->arg[1]), time_of(s, op->arg[2])};

	answer(r, utimensat(s->root, path_text(op->arg[0]), t, AT_SYMLINK_NOFOLLOW));
}

void apply_futimens(struct side *s, const struct op *op, struct result *r)
{
	struct timespec t[2] = {time_of(s, op->arg[1]), time_of(s, op->arg[2])};

	answer(r, futimens(slot(s, op, 0), t));
}

void apply_setxattr(struct side *s, const struct op *op, struct result *r)
{
	size_t len = io_len(op->arg[2]);

	fill(s->buf, len, op->arg[3]);
	if (!enter(s, r))
		return;
	answer(r, lsetxattr(path_text(op->arg[0]), xattr_text(op->arg[1]), s->buf, len,
			    (int)op->arg[4]));
}

void apply_getxattr(struct side *s, const struct op *op, struct result *r)
{
	if (!enter(s, r))
		return;
	answer_data(r, lgetxattr(path_text(op->arg[0]), xattr_text(op->arg[1]), s->buf, 65536),
		    s->buf);
}

void apply_removexattr(struct side *s, const struct op *op, struct result *r)
{
	if (!enter(s, r))
		return;
	if (s->broken == BREAK_REMOVEXATTR &&
	    lgetxattr(path_text(op->arg[0]), xattr_text(op->arg[1]), s->buf, 65536) >= 0)
		return;
	answer(r, lremovexattr(path_text(op->arg[0]), xattr_text(op->arg[1])));
}

void apply_fsetxattr(struct side *s, const struct op *op, struct result *r)
{
	size_t len = io_len(op->arg[2]);

	fill(s->buf, len, op->arg[3]);
	answer(r, fsetxattr(slot(s, op, 0), xattr_text(op->arg[1]), s->buf, len, (int)op->arg[4]));
}

/* What it says is compared for every operation; here is that it can be said, through links. */
void apply_stat(struct side *s, const struct op *op, struct result *r)
{
	struct stat st;

	answer(r, fstatat(s->root, path_text(op->arg[0]), &st, 0));
	if (r->err == 0)
		r->sum = st.st_mode * 31 + st.st_uid * 7 + st.st_gid +
			 (S_ISDIR(st.st_mode) ? 0 : (uint64_t)st.st_size);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void apply_readdir(struct side *s, const struct op *op, struct result *r)
{
	int fd = openat(s->root, path_text(op->arg[0]), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char *names[NAMES_MAX];
	const struct dirent *e;
	size_t n = 0;
	DIR *d;

	answer(r, fd < 0 ? -1 : 0);
	if (fd < 0)
		return;
	d = fdopendir(fd);
	if (!d)
		abort();
	while (n < NAMES_MAX && (e = readdir(d)))
		names[n++] = strdup(e->d_name);
	closedir(d);
	qsort(names, n, sizeof(*names), by_name);
	r->sum = SUM_START;
	for (size_t i = 0; i < n; i++) {
		r->sum = sum_of(names[i], strlen(names[i]) + 1, r->sum);
		free(names[i]);
	}
	r->ret = (int64_t)n;
}

void apply_access(struct side *s, const struct op *op, struct result *r)
{
	answer(r, faccessat(s->root, path_text(op->arg[0]), (int)op->arg[1], AT_EACCESS));
}

/* Done once for both sides by whoever runs them: they are of the thread, or of everything. */
void apply_as(struct side *s, const struct op *op, struct result *r)
{
	(void)s;
	(void)r;
	setfsgid((gid_t)op->arg[0]);
	setfsuid((uid_t)op->arg[0]);
}

void apply_umask(struct side *s, const struct op *op, struct result *r)
{
	(void)s;
	(void)r;
	umask((mode_t)op->arg[0]);
}

void apply_tick(struct side *s, const struct op *op, struct result *r)
{
	const struct timespec pause = {.tv_nsec = TICK_NS / 2};

	(void)s;
	(void)op;
	(void)r;
	nanosleep(&pause, NULL);
}

void apply_check(struct side *s, const struct op *op, struct result *r)
{
	(void)s;
	(void)op;
	(void)r;
}

void apply_remount(struct side *s, const struct op *op, struct result *r)
{
	(void)s;
	(void)op;
	(void)r;
}

static void (*const actions[N_OPS])(struct side *, const struct op *, struct result *) = {
#define OP_ACTION(name, args) apply_##name,
	OPS(OP_ACTION)
#undef OP_ACTION
};

void apply(struct side *side, const struct op *op, struct result *out)
{
	const char *args = op_args(op->kind);

	*out = (struct result){0};
	for (size_t i = 0; args[i]; i++)
		if (args[i] == 'f' && side->slot[op->arg[i]] < 0 && op->kind != OP_open) {
			skip(out);
			return;
		}
	actions[op->kind](side, op, out);
}

void side_close(struct side *side)
{
	for (size_t i = 0; i < N_SLOTS; i++) {
		if (side->slot[i] >= 0)
			close(side->slot[i]);
		side->slot[i] = -1;
	}
}
