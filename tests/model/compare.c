#include "compare.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define NAMES_MAX 512
#define LINKS_MAX 512
#define PATH_LEN_MAX 2048
#define LIST_LEN_MAX 4096
/* Files above this are compared where the reference has data, and at the ends of its holes. */
#define WHOLE_MAX (16 << 20)
/* How much behind the clock's a file's time may be. */
#define COARSE_NS 10000000

struct walk {
	struct side *side[2];
	bool cold;
	struct difference *d;
	struct {
		ino_t ino[2];
	} links[LINKS_MAX];
	size_t n_links;
};

static bool differ(struct difference *d, const char *aspect, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static bool differ(struct difference *d, const char *aspect, const char *fmt, ...)
{
	va_list ap;

	d->aspect = aspect;
	va_start(ap, fmt);
	vsnprintf(d->text, sizeof(d->text), fmt, ap);
	va_end(ap);
	return false;
}

static const char *error_text(int err)
{
	return err ? strerrorname_np(err) : "no error";
}

bool same_result(const struct side *a, const struct side *b, const struct result *ra,
		 const struct result *rb, struct difference *d)
{
	if (ra->err != rb->err)
		return differ(d, "errno", "%s: %s, %s: %s", a->name, error_text(ra->err), b->name,
			      error_text(rb->err));
	if (ra->ret != rb->ret)
		return differ(d, "result", "%s: %" PRId64 ", %s: %" PRId64, a->name, ra->ret,
			      b->name, rb->ret);
	if (ra->sum != rb->sum)
		return differ(d, "data", "other data came back, of %" PRId64 " bytes", ra->ret);
	return true;
}

static int64_t ns_of(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool same_times(const char *what, const struct stat *a, const struct stat *b,
		       const struct moment *m, struct difference *d)
{
	int64_t ma = ns_of(a->st_mtim), mb = ns_of(b->st_mtim);
	int64_t aa = ns_of(a->st_atim), ab = ns_of(b->st_atim);
	int64_t new = m ? ns_of(m->begin) - COARSE_NS : 0;

	/* Who writes into a fifo is not told to a file system in user space. */
	if (S_ISFIFO(a->st_mode))
		return true;
	if ((ma < TIME_SET_MAX_NS || mb < TIME_SET_MAX_NS) && ma != mb)
		return differ(d, "mtime", "%s: mtime %" PRId64 " and %" PRId64, what, ma, mb);
	if (aa < TIME_SET_MAX_NS && ab < TIME_SET_MAX_NS && aa != ab)
		return differ(d, "atime", "%s: atime %" PRId64 " and %" PRId64, what, aa, ab);
	if (!m)
		return true;
	/* To look at a symbolic link's name may lead through the link itself, which reads it. */
	if (m->set_atime && !S_ISLNK(a->st_mode) &&
	    (aa < TIME_SET_MAX_NS) != (ab < TIME_SET_MAX_NS))
		return differ(d, "atime", "%s: atime %" PRId64 " and %" PRId64, what, aa, ab);
	if (m->after_tick && (ma >= new) != (mb >= new))
		return differ(d, "mtime", "%s: mtime is new: %d and %d", what, ma >= new,
			      mb >= new);
	if (m->after_tick && (ns_of(a->st_ctim) >= new) != (ns_of(b->st_ctim) >= new))
		return differ(d, "ctime", "%s: ctime is new: %d and %d", what,
			      ns_of(a->st_ctim) >= new, ns_of(b->st_ctim) >= new);
	return true;
}

static bool same_stat(const char *what, const struct stat *a, const struct stat *b,
		      const struct moment *m, struct difference *d)
{
	bool sized = !S_ISDIR(a->st_mode);

	if (a->st_mode != b->st_mode)
		return differ(d, "mode", "%s: mode %o and %o", what, a->st_mode, b->st_mode);
	if (a->st_nlink != b->st_nlink)
		return differ(d, "nlink", "%s: %lu links and %lu", what, (long)a->st_nlink,
			      (long)b->st_nlink);
	if (a->st_uid != b->st_uid || a->st_gid != b->st_gid)
		return differ(d, "owner", "%s: owner %u:%u and %u:%u", what, a->st_uid, a->st_gid,
			      b->st_uid, b->st_gid);
	if (sized && a->st_size != b->st_size)
		return differ(d, "size", "%s: size %ld and %ld", what, (long)a->st_size,
			      (long)b->st_size);
	if (a->st_rdev != b->st_rdev)
		return differ(d, "rdev", "%s: device %lx and %lx", what, (long)a->st_rdev,
			      (long)b->st_rdev);
	return same_times(what, a, b, m, d);
}

/* The same error, or the same attributes. */
static bool same_lstat(struct side *a, struct side *b, const char *path, const struct moment *m,
		       struct difference *d)
{
	struct stat sa, sb;
	int ea = fstatat(a->root, path, &sa, AT_SYMLINK_NOFOLLOW) < 0 ? errno : 0;
	int eb = fstatat(b->root, path, &sb, AT_SYMLINK_NOFOLLOW) < 0 ? errno : 0;

	if (ea != eb)
		return differ(d, "errno", "stat %s: %s: %s, %s: %s", path, a->name, error_text(ea),
			      b->name, error_text(eb));
	return ea != 0 || same_stat(path, &sa, &sb, m, d);
}

static bool same_fstat(struct side *a, struct side *b, int64_t slot, const struct moment *m,
		       struct difference *d)
{
	struct stat sa, sb;
	char what[32];

	if (a->slot[slot] < 0 && b->slot[slot] < 0)
		return true;
	snprintf(what, sizeof(what), "slot %d", (int)slot);
	if (fstat(a->slot[slot], &sa) < 0 || fstat(b->slot[slot], &sb) < 0)
		return differ(d, "errno", "fstat of %s: %s", what, error_text(errno));
	return same_stat(what, &sa, &sb, m, d);
}

bool same_touched(struct side *a, struct side *b, const struct op *op, const struct moment *m,
		  struct difference *d)
{
	const char *args = op_args(op->kind);
	struct moment above = *m;

	above.set_atime = false;
	for (size_t i = 0; args[i]; i++) {
		int64_t v = op->arg[i], parent;

		if (args[i] == 'f' && !same_fstat(a, b, v, m, d))
			return false;
		/* Where a symbolic link leads to is only text. */
		if (args[i] != 'p' || (op->kind == OP_symlink && i == 0))
			continue;
		if (!same_lstat(a, b, path_text(v), m, d))
			return false;
		if (v >= N_PLAIN)
			continue;
		parent = path_parent(v);
		if (!same_lstat(a, b, parent < 0 ? "." : path_text(parent), &above, d))
			return false;
	}
	return true;
}

/* Some bytes of both; the same number, the same bytes. */
static bool same_piece(struct walk *w, const char *what, const int fd[2], off_t at, size_t len)
{
	uint8_t *p = w->side[0]->buf, *q = w->side[1]->buf;
	ssize_t n0 = pread(fd[0], p, len, at), n1;
	int e0 = errno;

	n1 = pread(fd[1], q, len, at);
	if (n0 != n1)
		return differ(w->d, "read", "%s: read at %ld: %zd and %zd (%s, %s)", what, (long)at,
			      n0, n1, n0 < 0 ? error_text(e0) : "-",
			      n1 < 0 ? error_text(errno) : "-");
	for (ssize_t i = 0; i < n0; i++)
		if (p[i] != q[i])
			return differ(w->d, "contents", "%s: byte %ld is %02x and %02x", what,
				      (long)at + i, p[i], q[i]);
	return true;
}

static bool same_contents(struct walk *w, const char *what, const int fd[2], off_t size)
{
	off_t at = 0, data;

	while (at < size) {
		data = size > WHOLE_MAX ? lseek(fd[1], at, SEEK_DATA) : at;
		if (data < 0)
			data = size;
		if (data > at + 2 * (off_t)IO_MAX) {
			if (!same_piece(w, what, fd, at, IO_MAX))
				return false;
			at = data - IO_MAX;
		}
		if (!same_piece(w, what, fd, at, IO_MAX))
			return false;
		at += IO_MAX;
	}
	return same_piece(w, what, fd, size, 100);
}

/* Opens anew what is at ${path} of each side, which is a regular file, and compares it. */
static bool same_file(struct walk *w, const char *what, const char *const path[2], const int at[2],
		      int flags, off_t size)
{
	int fd[2];
	bool same;

	for (int i = 0; i < 2; i++) {
		fd[i] = openat(at[i], path[i], O_RDONLY | O_NOATIME | O_CLOEXEC | flags);
		if (fd[i] < 0) {
			if (i == 1)
				close(fd[0]);
			return differ(w->d, "open", "%s: %s: open: %s", what, w->side[i]->name,
				      error_text(errno));
		}
		if (w->cold &&
		    (fsync(fd[i]) < 0 || posix_fadvise(fd[i], 0, 0, POSIX_FADV_DONTNEED)))
			abort();
	}
	same = same_contents(w, what, fd, size);
	close(fd[0]);
	close(fd[1]);
	return same;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t sorted_xattrs(const struct side *s, const char *path, char *list, char **names)
{
	ssize_t len;
	size_t n = 0;

	if (fchdir(s->root) < 0)
		abort();
	len = llistxattr(path, list, LIST_LEN_MAX);
	for (ssize_t i = 0; i < len && n < NAMES_MAX; i += (ssize_t)strlen(list + i) + 1)
		names[n++] = list + i;
	qsort(names, n, sizeof(*names), by_name);
	return n;
}

static bool same_xattrs(struct walk *w, const char *path)
{
	char list[2][LIST_LEN_MAX], *names[2][NAMES_MAX];
	size_t n[2];
	ssize_t len[2];

	for (int i = 0; i < 2; i++)
		n[i] = sorted_xattrs(w->side[i], path, list[i], names[i]);
	if (n[0] != n[1])
		return differ(w->d, "xattrs", "%s: %zu attributes and %zu", path, n[0], n[1]);
	for (size_t k = 0; k < n[0]; k++) {
		if (strcmp(names[0][k], names[1][k]) != 0)
			return differ(w->d, "xattrs", "%s: attributes %s and %s", path, names[0][k],
				      names[1][k]);
		for (int i = 0; i < 2; i++) {
			if (fchdir(w->side[i]->root) < 0)
				abort();
			len[i] = lgetxattr(path, names[0][k], w->side[i]->buf, 65536);
		}
		if (len[0] != len[1] ||
		    (len[0] > 0 && memcmp(w->side[0]->buf, w->side[1]->buf, (size_t)len[0]) != 0))
			return differ(w->d, "xattrs", "%s: %s has another value", path,
				      names[0][k]);
	}
	return true;
}

/* Names of one file on one side are names of one file on the other. */
static bool same_links(struct walk *w, const char *path, const struct stat st[2])
{
	for (size_t i = 0; i < w->n_links; i++) {
		bool here = w->links[i].ino[0] == st[0].st_ino;

		if (here != (w->links[i].ino[1] == st[1].st_ino))
			return differ(w->d, "links", "%s: a name of another file", path);
		if (here)
			return true;
	}
	if (w->n_links < LINKS_MAX) {
		w->links[w->n_links].ino[0] = st[0].st_ino;
		w->links[w->n_links++].ino[1] = st[1].st_ino;
	}
	return true;
}

static bool same_folder(struct walk *w, const char *path);

static bool same_node(struct walk *w, const char *path)
{
	const char *const paths[2] = {path, path};
	const int roots[2] = {w->side[0]->root, w->side[1]->root};
	char target[2][4096];
	ssize_t len[2];
	struct stat st[2];

	for (int i = 0; i < 2; i++)
		if (fstatat(roots[i], path, &st[i], AT_SYMLINK_NOFOLLOW) < 0)
			return differ(w->d, "errno", "%s: %s: stat: %s", path, w->side[i]->name,
				      error_text(errno));
	if (!same_stat(path, &st[0], &st[1], NULL, w->d) || !same_xattrs(w, path))
		return false;
	if (S_ISDIR(st[0].st_mode))
		return same_folder(w, path);
	if (st[0].st_nlink > 1 && !same_links(w, path, st))
		return false;
	if (S_ISLNK(st[0].st_mode)) {
		for (int i = 0; i < 2; i++)
			len[i] = readlinkat(roots[i], path, target[i], sizeof(target[i]));
		if (len[0] != len[1] ||
		    (len[0] > 0 && memcmp(target[0], target[1], (size_t)len[0])))
			return differ(w->d, "target", "%s: leads elsewhere", path);
	}
	return !S_ISREG(st[0].st_mode) ||
	       same_file(w, path, paths, roots, O_NOFOLLOW, st[0].st_size);
}

static bool list(const struct side *s, const char *path, char **names, size_t *out_n)
{
	int fd = openat(s->root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME);
	const struct dirent *e;
	DIR *d;

	*out_n = 0;
	if (fd < 0)
		return false;
	d = fdopendir(fd);
	if (!d)
		abort();
	errno = 0;
	while (*out_n < NAMES_MAX && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			names[(*out_n)++] = strdup(e->d_name);
	closedir(d);
	qsort(names, *out_n, sizeof(*names), by_name);
	return true;
}

static bool same_names(struct walk *w, const char *path, char **names[2], const size_t n[2])
{
	char below[PATH_LEN_MAX];
	int more;

	for (size_t i = 0; i < n[0] || i < n[1]; i++) {
		more = i >= n[0] ? 1 : i >= n[1] ? -1 : strcmp(names[0][i], names[1][i]);
		if (more != 0)
			return differ(w->d, "names", "%s: %.40s is only in %s", path,
				      more < 0 ? names[0][i] : names[1][i],
				      w->side[more > 0]->name);
		snprintf(below, sizeof(below), "%s/%s", path, names[0][i]);
		if (!same_node(w, below))
			return false;
	}
	return true;
}

static bool same_folder(struct walk *w, const char *path)
{
	char *names[2][NAMES_MAX], **both[2] = {names[0], names[1]};
	size_t n[2] = {0, 0};
	bool same = true;

	for (int i = 0; same && i < 2; i++)
		if (!list(w->side[i], path, names[i], &n[i]))
			same = differ(w->d, "open", "%s: %s: open: %s", path, w->side[i]->name,
				      error_text(errno));
	if (same)
		same = same_names(w, path, both, n);
	for (int i = 0; i < 2; i++)
		for (size_t k = 0; k < n[i]; k++)
			free(names[i][k]);
	return same;
}

static bool same_slots(struct walk *w)
{
	char path[2][40], what[32];
	const char *const paths[2] = {path[0], path[1]};
	const int at[2] = {AT_FDCWD, AT_FDCWD};
	struct stat st;

	for (int64_t k = 0; k < N_SLOTS; k++) {
		const int fd[2] = {w->side[0]->slot[k], w->side[1]->slot[k]};

		if (fd[0] < 0)
			continue;
		snprintf(what, sizeof(what), "slot %d", (int)k);
		if (!same_fstat(w->side[0], w->side[1], k, NULL, w->d))
			return false;
		if (fstat(fd[0], &st) < 0 || !S_ISREG(st.st_mode))
			continue;
		if (lseek(fd[0], 0, SEEK_CUR) != lseek(fd[1], 0, SEEK_CUR))
			return differ(w->d, "position", "%s: another position", what);
		for (int i = 0; i < 2; i++)
			snprintf(path[i], sizeof(path[i]), "/proc/self/fd/%d", fd[i]);
		if (!same_file(w, what, paths, at, 0, st.st_size))
			return false;
	}
	return true;
}

bool same_all(struct side *a, struct side *b, bool cold, struct difference *d)
{
	struct walk w = {.side = {a, b}, .cold = cold, .d = d};

	return same_node(&w, ".") && same_slots(&w);
}
