/*
 * The write-back helper.
 *
 * A socket pair ties it to the daemon: one message starts it, each further one names a file to
 * write back, all are answered, the end of the stream ends it.  For each round it makes a detached
 * copy of the mount, which the kernel allows to the privileged only, and syncs the filesystem
 * through that, so that the mount itself can be unmounted at any moment.  Without the privilege it
 * only waits to end: holding the mount would make umount fail.
 */

#include "writeback.h"

#include "clock.h"
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

/* Read ahead far enough to keep several requests of 1 MiB under way. */
#define READ_AHEAD_KB "4096"

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
#define BEGIN_MS_MAX 2000

struct start {
	unsigned interval_s;
	char mount_point[PATH_MAX];
};

static void write_text(const char *path, const char *text)
{
	int fd = file_open(AT_FDCWD, path, O_WRONLY, 0);

	if (fd < 0)
		return;
	/* Best effort: an old kernel may not have it. */
	if (file_write_at(fd, text, strlen(text), 0) < 0)
		(void)0;
	file_close(fd);
}

static void lift_limits(dev_t dev)
{
	static const char *const settings[][2] = {
		{"read_ahead_kb", READ_AHEAD_KB}, {"max_ratio", "100"}, {"strict_limit", "0"}};
	char path[128];

	for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++) {
		snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/%s", major(dev), minor(dev),
			 settings[i][0]);
		write_text(path, settings[i][1]);
	}
}

static bool is_for_good(int rc)
{
	return rc == -EPERM || rc == -ENOSYS;
}

/* The root folder, through a copy of the mount.  A descriptor or -errno. */
static int open_root(const struct start *s, dev_t dev)
{
	int tree = open_tree(AT_FDCWD, s->mount_point, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	struct stat st;
	int fd, rc;

	if (tree < 0)
		return -errno;
	fd = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;
	/* Unmounted meanwhile, the path leads to some other filesystem. */
	if (rc == 0 && st.st_dev != dev)
		rc = -ESTALE;
	close(tree);
	if (rc < 0 && fd >= 0)
		close(fd);
	return rc < 0 ? rc : fd;
}

/* One round.  0 or -errno. */
static int sync_all(const struct start *s, dev_t dev)
{
	int fd = open_root(s, dev);

	if (fd < 0)
		return fd;
	if (syncfs(fd) < 0)
		errno = 0; /* whoever syncs next is told */
	close(fd);
	return 0;
}

/* Which file to write back. */
struct question {
	uint64_t node;
	uint64_t generation;
};

/* How the kernel's FUSE spells a file without its name. */
struct node_handle {
	struct file_handle head;
	uint32_t node_high, node_low, generation;
};

#define NODE_HANDLE_TYPE 0x81

/*
 * Write one file back and answer.  The answer comes before the file is closed: closing may want
 * the file's lock, which whoever waits for the answer holds.
 */
static int sync_one(const struct start *s, dev_t dev, int reply_fd,
		    const struct question *q)
{
	struct node_handle h = {.head = {.handle_bytes = sizeof(h) - sizeof(h.head),
					 .handle_type = NODE_HANDLE_TYPE},
				.node_high = (uint32_t)(q->node >> 32),
				.node_low = (uint32_t)q->node,
				.generation = (uint32_t)q->generation};
	int root = open_root(s, dev), file = -1;
	int32_t rc = root < 0 ? root : 0;

	if (rc == 0) {
		file = open_by_handle_at(root, &h.head, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		rc = file < 0 ? -errno : 0;
	}
	if (rc == 0 && sync_file_range(file, 0, 0,
				       SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
					       SYNC_FILE_RANGE_WAIT_AFTER) < 0)
		rc = -errno;
	if (send(reply_fd, &rc, sizeof(rc), MSG_NOSIGNAL) < 0)
		rc = -EPIPE;
	if (file >= 0)
		close(file);
	if (root >= 0)
		close(root);
	return rc;
}

/* How long to wait for a question before the next round, in ms. */
static int until_round(uint64_t due_ns)
{
	uint64_t now = clock_mono_ns();

	return now >= due_ns ? 0 : (int)((due_ns - now) / NS_PER_MS) + 1;
}

static void serve(int fd, const struct start *s, dev_t dev)
{
	uint64_t interval_ns = s->interval_s * NS_PER_S, due = clock_mono_ns() + interval_ns;
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	struct question q;
	bool able = true;
	ssize_t n;

	for (;;) {
		if (poll(&pfd, 1, able ? until_round(due) : -1) > 0) {
			n = recv(fd, &q, sizeof(q), 0);
			if (n == 0 || (n < 0 && errno != EINTR) ||
			    (n == (ssize_t)sizeof(q) && sync_one(s, dev, fd, &q) == -EPIPE))
				return;
		}
		if (able && until_round(due) == 0) {
			able = !is_for_good(sync_all(s, dev));
			due = clock_mono_ns() + interval_ns;
		}
	}
}

/*
 * Which device is mounted there, without asking the daemon: it may take its time, and as long as it
 * does the mount would be busy.
 */
static int find_device(const char *mount_point, dev_t *out)
{
	struct statx st;

	if (statx(AT_FDCWD, mount_point, AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0)
		return -errno;
	*out = makedev(st.stx_dev_major, st.stx_dev_minor);
	return 0;
}

static void run(int fd)
{
	struct start s;
	int32_t rc = 0;
	ssize_t n;
	dev_t dev = 0;

	do {
		n = recv(fd, &s, sizeof(s), 0);
	} while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(s) || find_device(s.mount_point, &dev) < 0)
		return;
	lift_limits(dev);
	if (send(fd, &rc, sizeof(rc), MSG_NOSIGNAL) < 0)
		return;
	serve(fd, &s, dev);
}

static void be_helper(int fd)
{
	sigset_t none;

	/* A terminal's interrupt is for the daemon, which ends this. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	prctl(PR_SET_NAME, "embassyfs-sync");
	if (chdir("/") < 0 || dup2(fd, 3) != 3)
		_exit(1);
	/* Whoever waits for the daemon's standard output to end must not wait for this. */
	close_range(4, UINT_MAX, 0);
	close_range(0, 2, 0);
	run(3);
	_exit(0);
}

int writeback_fork(struct writeback *out)
{
	int fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	pid = fork();
	if (pid < 0) {
		int rc = -errno;

		close(fds[0]);
		close(fds[1]);
		return rc;
	}
	if (pid == 0)
		be_helper(fds[1]);
	close(fds[1]);
	*out = (struct writeback){.pid = pid, .fd = fds[0]};
	pthread_mutex_init(&out->mu, NULL);
	return 0;
}

/* The next answer.  0, or -ENOSYS at the stream's end. */
static int receive(struct writeback *w, int32_t *out)
{
	ssize_t n;

	do {
		n = recv(w->fd, out, sizeof(*out), 0);
	} while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(*out) ? 0 : -ENOSYS;
}

void writeback_begin(struct writeback *w, const char *mount_point, unsigned interval_s)
{
	struct start s = {.interval_s = interval_s};
	struct pollfd pfd = {.fd = w->fd, .events = POLLIN};
	int32_t rc;

	if (strlen(mount_point) >= sizeof(s.mount_point))
		return;
	strcpy(s.mount_point, mount_point);
	/*
	 * Whoever is told that the mount is ready may unmount it at once, which would fail while
	 * the helper looks at it: so its answer is waited for.  If it has gone, nobody bounds the
	 * age of dirty pages but the kernel itself, after half a minute.
	 */
	pthread_mutex_lock(&w->mu);
	if (send(w->fd, &s, sizeof(s), MSG_NOSIGNAL) > 0 && poll(&pfd, 1, BEGIN_MS_MAX) > 0)
		w->begun = receive(w, &rc) == 0;
	pthread_mutex_unlock(&w->mu);
}

int writeback_flush(struct writeback *w, uint64_t node, uint64_t generation)
{
	struct question q = {.node = node, .generation = generation};
	int32_t answer = 0;
	int rc = 0;

	if (w->pid <= 0)
		return -ENOSYS;
	pthread_mutex_lock(&w->mu);
	if (send(w->fd, &q, sizeof(q), MSG_NOSIGNAL) < 0)
		rc = errno == EPIPE ? -ENOSYS : -errno;
	/* It was too slow for writeback_begin(): the first answer is that it has begun. */
	if (rc == 0 && !w->begun) {
		rc = receive(w, &answer);
		w->begun = rc == 0;
	}
	if (rc == 0)
		rc = receive(w, &answer);
	pthread_mutex_unlock(&w->mu);
	if (rc < 0)
		return rc;
	return is_for_good(answer) ? -ENOSYS : answer;
}

void writeback_cancel(struct writeback *w)
{
	/* If it has ended already there is nothing to cancel. */
	if (w->pid > 0 && shutdown(w->fd, SHUT_RDWR) < 0)
		return;
}

void writeback_end(struct writeback *w)
{
	if (w->pid <= 0)
		return;
	close(w->fd);
	while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
		;
	pthread_mutex_destroy(&w->mu);
	*w = (struct writeback){.fd = -1};
}
