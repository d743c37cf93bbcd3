/*
 * The write-back helper.
 *
 * A socket pair ties it to the daemon: one message starts it, the end of the stream ends it.  For
 * each round it makes a detached copy of the mount, which the kernel allows to the privileged
 * only, and syncs the filesystem through that, so that the mount itself can be unmounted at any
 * moment.  Without the privilege it only waits to end: holding the mount would make umount fail.
 */

#include "writeback.h"

#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
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

/* One round.  False: it can't be done here, now or later. */
static bool sync_once(const struct start *s, dev_t dev)
{
	int tree = open_tree(AT_FDCWD, s->mount_point, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	struct stat st;
	int fd;

	if (tree < 0)
		return errno != EPERM && errno != ENOSYS;
	fd = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Unmounted meanwhile, the path leads to some other filesystem. */
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == dev && syncfs(fd) < 0)
		errno = 0; /* whoever syncs next is told */
	if (fd >= 0)
		close(fd);
	close(tree);
	return true;
}

static void run(int fd)
{
	struct start s;
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	struct stat st;
	ssize_t n;
	bool able = true;

	do {
		n = recv(fd, &s, sizeof(s), 0);
	} while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(s) || stat(s.mount_point, &st) < 0)
		return;
	lift_limits(st.st_dev);
	/* Nothing more is sent: whatever happens on the socket is its end. */
	while (poll(&pfd, 1, able ? (int)s.interval_s * 1000 : -1) <= 0)
		if (able)
			able = sync_once(&s, st.st_dev);
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
	return 0;
}

void writeback_begin(struct writeback *w, const char *mount_point, unsigned interval_s)
{
	struct start s = {.interval_s = interval_s};

	if (strlen(mount_point) >= sizeof(s.mount_point))
		return;
	strcpy(s.mount_point, mount_point);
	/*
	 * If it has gone, nobody bounds the age of dirty pages but the kernel itself, after half
	 * a minute.
	 */
	if (send(w->fd, &s, sizeof(s), MSG_NOSIGNAL) < 0)
		return;
}

void writeback_end(struct writeback *w)
{
	if (w->pid <= 0)
		return;
	close(w->fd);
	while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
		;
	*w = (struct writeback){.fd = -1};
}
