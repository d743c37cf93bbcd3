/*
 * Finding a mounted filesystem by its device number.
 *
 * The kernel lists the mounts of a process' namespace in /proc/PID/mountinfo, each with its device
 * number and its present path.  If another mount covers that path, a child with a mount namespace
 * of its own unmounts what covers ours there.  A filesystem that is mounted nowhere, or only in
 * other namespaces, lives on through the files that processes have open, which /proc shows.
 * Everything that is opened has its device number checked before it is used.
 */

#include "mounted.h"

#include "mountinfo.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Does it lie on ${dev}?  Answered from the kernel's caches, without a request to the daemon. */
static bool is_on(int at, const char *path, int flags, dev_t dev, unsigned *out_type)
{
	struct statx st;

	if (statx(at, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT | flags, STATX_TYPE, &st) < 0 ||
	    makedev(st.stx_dev_major, st.stx_dev_minor) != dev)
		return false;
	if (out_type)
		*out_type = st.stx_mode & S_IFMT;
	return true;
}

/* Without /proc the mount is assumed to be ours. */
static bool is_no_mount_of_ours(dev_t dev)
{
	struct mountinfo r;
	bool ours = false;

	if (mountinfo_read(MOUNTINFO_OWN, &r) < 0)
		return false;
	for (size_t i = 0; i < r.n; i++)
		ours |= r.row[i].dev == dev && strcmp(r.row[i].type, "fuse.embassyfs") == 0;
	mountinfo_release(&r);
	return !ours;
}

int mounted_find(const char *path, struct mounted *out)
{
	struct statx st;

	if (strlen(path) >= sizeof(out->path))
		return -ENAMETOOLONG;
	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0)
		return -errno;
	out->dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	strcpy(out->path, path);
	return is_no_mount_of_ours(out->dev) ? -ENOENT : 0;
}

bool mounted_is_ours(const char *path)
{
	struct mountinfo r;
	bool ours = false;

	if (mountinfo_read(MOUNTINFO_OWN, &r) < 0)
		return false;
	/* The last one lies on top. */
	for (size_t i = 0; i < r.n; i++)
		if (strcmp(r.row[i].path, path) == 0)
			ours = strcmp(r.row[i].type, "fuse.embassyfs") == 0;
	mountinfo_release(&r);
	return ours;
}

static int checked(int fd, dev_t dev)
{
	if (fd < 0 || is_on(fd, "", AT_EMPTY_PATH, dev, NULL))
		return fd;
	close(fd);
	return -ENOENT;
}

/* Open a file or a folder. */
static int open_any(const char *path, dev_t dev)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	return checked(fd < 0 ? -errno : fd, dev);
}

/*
 * Open through a detached copy of the mount, so that the mount itself can be unmounted in the
 * meantime.  The kernel lets only privileged processes do this.
 */
static int open_path(const char *path, dev_t dev, bool may_hold)
{
	char name[64];
	int tree, fd;

	if (!is_on(AT_FDCWD, path, 0, dev, NULL))
		return -ENOENT;
	tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0 && (errno == EPERM || errno == ENOSYS))
		return may_hold ? open_any(path, dev) : -EPERM;
	if (tree < 0)
		return -errno;
	fd = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOTDIR) {
		/* A bind mount of one file. */
		snprintf(name, sizeof(name), "/proc/self/fd/%d", tree);
		fd = open_any(name, dev);
	}
	close(tree);
	return checked(fd < 0 ? -ENOENT : fd, dev);
}

static bool is_above(const char *path, const char *below)
{
	size_t len = strlen(path);

	return strncmp(path, below, len) == 0 &&
	       (below[len] == '\0' || below[len] == '/' || (len == 1 && path[0] == '/'));
}

/* Is ${a} the mount ${b}, or one of those that ${b} lies on? */
static bool carries(const struct mountinfo *r, const struct mountinfo_row *a,
		    const struct mountinfo_row *b)
{
	unsigned long id = b->id;

	for (size_t step = 0; step <= r->n; step++) {
		const struct mountinfo_row *at = NULL;

		if (id == a->id)
			return true;
		for (size_t i = 0; i < r->n && !at; i++)
			if (r->row[i].id == id)
				at = &r->row[i];
		if (!at || at->parent == id)
			return false;
		id = at->parent;
	}
	return false;
}

/*
 * In a mount namespace that no other process shares: unmount what covers the mounts of ${dev}.
 * mountinfo lists parents first, so the loop goes from the end.
 */
static int uncover(dev_t dev)
{
	struct mountinfo r;
	int fd = -ENOENT;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mountinfo_read(MOUNTINFO_OWN, &r) < 0)
		return -EPERM;
	for (size_t i = 0; i < r.n && fd < 0; i++) {
		if (r.row[i].dev != dev)
			continue;
		for (size_t j = r.n; j-- > 0;)
			if (is_above(r.row[j].path, r.row[i].path) &&
			    !carries(&r, &r.row[j], &r.row[i]) &&
			    umount2(r.row[j].path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
				continue; /* it was unmounted along with its parent */
		fd = open_any(r.row[i].path, dev);
	}
	mountinfo_release(&r);
	return fd;
}

union one_fd {
	struct cmsghdr head; /* gives the buffer its alignment */
	char buf[CMSG_SPACE(sizeof(int))];
};

static void send_fd(int to, int fd)
{
	char byte = 0;
	union one_fd control = {0};
	struct iovec iov = {&byte, 1};
	struct msghdr h = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.buf,
			   .msg_controllen = sizeof(control.buf)};

	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&h)), &fd, sizeof(int));
	/* If sending fails, the parent receives nothing and takes the filesystem as not found. */
	if (sendmsg(to, &h, MSG_NOSIGNAL) < 0)
		return;
}

static int receive_fd(int from)
{
	char byte;
	union one_fd control = {0};
	struct iovec iov = {&byte, 1};
	struct msghdr h = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.buf,
			   .msg_controllen = sizeof(control.buf)};
	ssize_t n;
	int fd;

	do {
		n = recvmsg(from, &h, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n != 1 || !CMSG_FIRSTHDR(&h))
		return -ENOENT;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof(int));
	return fd;
}

static void wait_for(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* Open it where another mount covers it, or covers a folder above it. */
static int open_covered(dev_t dev)
{
	int fds[2], fd;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		fd = uncover(dev);
		if (fd >= 0)
			send_fd(fds[1], fd);
		_exit(0);
	}
	close(fds[1]);
	fd = pid < 0 ? -errno : receive_fd(fds[0]);
	close(fds[0]);
	if (pid > 0)
		wait_for(pid);
	return checked(fd, dev);
}

static int open_if_on(const char *path, dev_t dev)
{
	unsigned type;

	if (!is_on(AT_FDCWD, path, 0, dev, &type) || (type != S_IFREG && type != S_IFDIR))
		return -ENOENT;
	return open_any(path, dev);
}

/* Open it through a file that a process has open; ${dir} is a folder of links to such files. */
static int open_linked(const char *dir, dev_t dev)
{
	char path[PATH_MAX];
	const struct dirent *e;
	DIR *d = opendir(dir);
	int fd = -ENOENT;

	if (!d)
		return -ENOENT;
	while (fd < 0 && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		fd = open_if_on(path, dev);
	}
	closedir(d);
	return fd;
}

/* Open it where it is mounted in another process' namespace. */
static int open_elsewhere(const char *proc, dev_t dev)
{
	char path[2 * PATH_MAX];
	struct mountinfo r;
	int fd = -ENOENT;

	snprintf(path, sizeof(path), "%s/mountinfo", proc);
	if (mountinfo_read(path, &r) < 0)
		return -ENOENT;
	for (size_t i = 0; i < r.n && fd < 0; i++) {
		if (r.row[i].dev != dev)
			continue;
		snprintf(path, sizeof(path), "%s/root%s", proc, r.row[i].path);
		fd = open_if_on(path, dev);
	}
	mountinfo_release(&r);
	return fd;
}

static bool same_namespace(const char *proc)
{
	char path[64], own[64] = "", its[64] = "";

	snprintf(path, sizeof(path), "%s/ns/mnt", proc);
	return readlink("/proc/self/ns/mnt", own, sizeof(own) - 1) > 0 &&
	       readlink(path, its, sizeof(its) - 1) > 0 && strcmp(own, its) == 0;
}

static int open_of_process(const char *proc, dev_t dev)
{
	static const char *const links[] = {"cwd", "root"}, *const folders[] = {"fd", "map_files"};
	char path[64];
	int fd = -ENOENT;

	for (size_t i = 0; i < 2 && fd < 0; i++) {
		snprintf(path, sizeof(path), "%s/%s", proc, links[i]);
		fd = open_if_on(path, dev);
	}
	for (size_t i = 0; i < 2 && fd < 0; i++) {
		snprintf(path, sizeof(path), "%s/%s", proc, folders[i]);
		fd = open_linked(path, dev);
	}
	if (fd < 0 && !same_namespace(proc))
		fd = open_elsewhere(proc, dev);
	return fd;
}

static int open_of_others(dev_t dev)
{
	char proc[32];
	const struct dirent *e;
	DIR *d = opendir("/proc");
	int fd = -ENOENT;

	if (!d)
		return -ENOENT;
	while (fd < 0 && (e = readdir(d))) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		snprintf(proc, sizeof(proc), "/proc/%.20s", e->d_name);
		fd = open_of_process(proc, dev);
	}
	closedir(d);
	return fd;
}

int mounted_open(struct mounted *m, enum mounted_search how, bool may_hold)
{
	bool covered = false;
	struct mountinfo r;
	int fd = open_path(m->path, m->dev, may_hold);

	if (fd >= 0 || fd == -EPERM)
		return fd;
	if (mountinfo_read(MOUNTINFO_OWN, &r) == 0) {
		for (size_t i = 0; i < r.n && fd < 0 && fd != -EPERM; i++) {
			if (r.row[i].dev != m->dev)
				continue;
			covered = true;
			fd = open_path(r.row[i].path, m->dev, may_hold);
			if (fd >= 0 && strlen(r.row[i].path) < sizeof(m->path))
				strcpy(m->path, r.row[i].path);
		}
		mountinfo_release(&r);
	}
	if (fd >= 0 || fd == -EPERM || how == MOUNTED_CHEAPLY)
		return fd;
	if (covered)
		fd = open_covered(m->dev);
	return fd >= 0 ? fd : open_of_others(m->dev);
}

static bool run_fusermount(const char *path, bool lazily)
{
	char *argv[] = {"fusermount3", "-u", "-q", lazily ? "-z" : "--", NULL, NULL, NULL};
	int status;
	pid_t pid;

	argv[lazily ? 5 : 4] = (char *)path;
	if (lazily)
		argv[4] = "--";
	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0)
		return false;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Unmount ${path}, unless another mount lies on top there. */
static bool umount_if_on(const char *path, dev_t dev, bool lazily)
{
	if (!is_on(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, dev, NULL))
		return false;
	if (umount2(path, UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0)) == 0)
		return true;
	return errno == EPERM && run_fusermount(path, lazily);
}

int mounted_umount(const struct mounted *m, bool lazily)
{
	struct mountinfo r;
	int left = 0;

	/* Without /proc only the remembered path can be tried. */
	if (mountinfo_read(MOUNTINFO_OWN, &r) < 0)
		return umount_if_on(m->path, m->dev, lazily) ? 0 : 1;
	/* Parents are listed first, so start from the end. */
	for (size_t i = r.n; i-- > 0;)
		if (r.row[i].dev == m->dev && !umount_if_on(r.row[i].path, m->dev, lazily))
			left++;
	mountinfo_release(&r);
	return left;
}
