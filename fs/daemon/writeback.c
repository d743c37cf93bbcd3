/*
 * The write-back helper.
 *
 * A socket pair ties it to the daemon.  The first message starts it, each further one is a request,
 * all are answered, and the end of the stream ends it.  It finds the mount by its device number
 * (mounted.h).  For each round and each file it uses a descriptor that does not hold the mount, so
 * that the mount can be unmounted at any moment.  Without the privilege for that, it does nothing
 * but wait to unmount.
 */

#include "writeback.h"

#include "clock.h"
#include "file.h"
#include "mounted.h"
#include "units.h"

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
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

/* Read ahead far enough to keep several requests of 1 MiB under way. */
#define READ_AHEAD_KB "4096"

#define BEGIN_MS_MAX 2000
#define END_MS_MAX 1000

enum kind {
	BEGIN = 1,
	FLUSH,
	UMOUNT,
	LEAVE,
};

struct question {
	uint32_t kind;
	uint32_t interval_s; /* BEGIN */
	uint64_t device;     /* BEGIN; 0: what is mounted at the path */
	uint64_t node;	     /* FLUSH: the file's node id */
	uint64_t generation;
	char mount_point[PATH_MAX]; /* BEGIN */
};

struct answer {
	int32_t rc;
	uint32_t left;	 /* LEAVE: mounts left */
	uint64_t device; /* BEGIN */
};

static int receive(struct writeback *w, struct answer *out) REQUIRES(w->mu);
static void take_begun(struct writeback *w) REQUIRES(w->mu);
static void begin(struct writeback *w) REQUIRES(w->mu);
static void hang_up(struct writeback *w) REQUIRES(w->mu);
static void reap(struct writeback *w) REQUIRES(w->mu);
static int start_again(struct writeback *w) REQUIRES(w->mu);
static int ask_once(struct writeback *w, const struct question *q, struct answer *out)
	REQUIRES(w->mu);

static void write_text(const char *path, const char *text)
{
	int fd = file_open(AT_FDCWD, path, O_WRONLY, 0);

	if (fd < 0)
		return;
	/* Best effort: an old kernel may lack the file. */
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

/* Do one round of write-back.  Returns 0 or -errno. */
static int sync_all(struct mounted *m)
{
	int fd = mounted_open(m, MOUNTED_CHEAPLY, false);

	if (fd < 0)
		return fd;
	if (syncfs(fd) < 0)
		errno = 0; /* the program that syncs next gets the error */
	close(fd);
	return 0;
}

/* A file handle as the kernel's FUSE encodes one without a parent. */
struct node_handle {
	struct file_handle head;
	uint32_t node_high, node_low, generation;
};

#define NODE_HANDLE_TYPE 0x81

static bool send_answer(int fd, const struct answer *a)
{
	return send(fd, a, sizeof(*a), MSG_NOSIGNAL) == (ssize_t)sizeof(*a);
}

/*
 * Write one file back and answer.  The answer comes before the file is closed: closing may need the
 * file's lock, which the thread that waits for the answer holds.
 */
static bool sync_one(struct mounted *m, int reply_fd, const struct question *q)
{
	struct node_handle h = {.head = {.handle_bytes = sizeof(h) - sizeof(h.head),
					 .handle_type = NODE_HANDLE_TYPE},
				.node_high = (uint32_t)(q->node >> 32),
				.node_low = (uint32_t)q->node,
				.generation = (uint32_t)q->generation};
	int any = mounted_open(m, MOUNTED_ANYHOW, false), file = -1;
	struct answer a = {0};
	bool sent;

	if (any >= 0)
		file = open_by_handle_at(any, &h.head, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (file < 0)
		a.rc = -ENOSYS;
	else if (sync_file_range(file, 0, 0,
				 SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
					 SYNC_FILE_RANGE_WAIT_AFTER) < 0)
		a.rc = -errno;
	sent = send_answer(reply_fd, &a);
	if (file >= 0)
		close(file);
	if (any >= 0)
		close(any);
	return sent;
}

/*
 * When syncfs() returns, the writes have been sent, and the daemon serves all that was sent before
 * it ends.  Since 6.16 the kernel does not wait for them.
 */
static void leave(struct mounted *m, struct answer *out)
{
	int fd = mounted_open(m, MOUNTED_ANYHOW, true);

	out->rc = fd < 0 ? fd : 0;
	if (fd >= 0 && syncfs(fd) < 0)
		out->rc = -errno;
	if (fd >= 0)
		close(fd);
	out->left = (uint32_t)mounted_umount(m, true);
}

/* Returns false if nobody waits for the answer any more. */
static bool do_it(struct mounted *m, int fd, const struct question *q)
{
	struct answer a = {0};

	switch (q->kind) {
	case FLUSH:
		return sync_one(m, fd, q);
	case UMOUNT:
		a.rc = mounted_umount(m, false) ? -EBUSY : 0;
		break;
	case LEAVE:
		leave(m, &a);
		break;
	default:
		a.rc = -EINVAL;
	}
	return send_answer(fd, &a);
}

/* How long, in ms, to wait for a request before the next round. */
static int until_round(uint64_t due_ns)
{
	uint64_t now = clock_mono_ns();

	return now >= due_ns ? 0 : (int)((due_ns - now) / NS_PER_MS) + 1;
}

static void serve(int fd, struct mounted *m, unsigned interval_s)
{
	uint64_t interval_ns = interval_s * NS_PER_S, due = clock_mono_ns() + interval_ns;
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	struct question q;
	bool able = interval_s > 0;
	ssize_t n;

	for (;;) {
		if (poll(&pfd, 1, able ? until_round(due) : -1) > 0) {
			n = recv(fd, &q, sizeof(q), 0);
			if (n == 0 || (n < 0 && errno != EINTR) ||
			    (n == (ssize_t)sizeof(q) && !do_it(m, fd, &q)))
				return;
		}
		if (able && until_round(due) == 0) {
			able = !is_for_good(sync_all(m));
			due = clock_mono_ns() + interval_ns;
		}
	}
}

static void run(int fd)
{
	struct question q;
	struct mounted m;
	struct answer a = {0};
	ssize_t n;

	do {
		n = recv(fd, &q, sizeof(q), 0);
	} while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(q) || q.kind != BEGIN)
		return;
	if (q.device) {
		m.dev = (dev_t)q.device;
		strcpy(m.path, q.mount_point);
	} else if (mounted_find(q.mount_point, &m) < 0) {
		return;
	}
	if (q.interval_s)
		lift_limits(m.dev);
	a.device = (uint64_t)m.dev;
	if (send_answer(fd, &a))
		serve(fd, &m, q.interval_s);
}

static void be_helper(int fd)
{
	sigset_t none;

	/* A terminal's interrupt is meant for the daemon, which ends this process. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	prctl(PR_SET_NAME, WRITEBACK_NAME);
	if (chdir("/") < 0 || dup2(fd, 3) != 3)
		_exit(1);
	/* A process that waits for the end of the daemon's output must not wait for this one. */
	close_range(4, UINT_MAX, 0);
	close_range(0, 2, 0);
	run(3);
	_exit(0);
}

static int fork_helper(struct writeback *w)
{
	int fds[2], rc;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	pid = fork();
	if (pid < 0) {
		rc = -errno;
		close(fds[0]);
		close(fds[1]);
		return rc;
	}
	if (pid == 0)
		be_helper(fds[1]);
	close(fds[1]);
	w->pid = pid;
	pthread_mutex_lock(&w->fd_mu);
	w->fd = fds[0];
	/* writeback_cancel() may have run while there was no socket to shut down. */
	if (atomic_load(&w->cancelled))
		(void)!shutdown(w->fd, SHUT_RDWR);
	pthread_mutex_unlock(&w->fd_mu);
	return 0;
}

int writeback_fork(struct writeback *out)
{
	*out = (struct writeback){.fd = -1};
	pthread_mutex_init(&out->mu, NULL);
	pthread_mutex_init(&out->fd_mu, NULL);
	return fork_helper(out);
}

/* Receive the next answer.  Returns 0, or -EPIPE at the stream's end. */
static int receive(struct writeback *w, struct answer *out)
{
	ssize_t n;

	do {
		n = recv(w->fd, out, sizeof(*out), 0);
	} while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(*out) ? 0 : -EPIPE;
}

static void take_begun(struct writeback *w)
{
	struct answer a;

	if (w->begun || receive(w, &a) < 0)
		return;
	w->begun = true;
	w->device = a.device;
}

/*
 * Wait for the helper's first answer.  A program that is told that the mount is ready may unmount
 * it at once, which would fail while the helper looks at it.
 */
static void begin(struct writeback *w)
{
	struct question q = {.kind = BEGIN, .interval_s = w->interval_s, .device = w->device};
	struct pollfd pfd = {.fd = w->fd, .events = POLLIN};

	strcpy(q.mount_point, w->mount_point);
	if (send(w->fd, &q, sizeof(q), MSG_NOSIGNAL) > 0 && poll(&pfd, 1, BEGIN_MS_MAX) > 0)
		take_begun(w);
}

uint64_t writeback_begin(struct writeback *w, const char *mount_point, uint64_t device,
			 unsigned interval_s)
{
	uint64_t found;

	if (strlen(mount_point) >= PATH_MAX)
		return 0;
	pthread_mutex_lock(&w->mu);
	w->mount_point = mount_point;
	w->device = device;
	w->interval_s = interval_s;
	begin(w);
	found = w->device;
	pthread_mutex_unlock(&w->mu);
	return found;
}

static void hang_up(struct writeback *w)
{
	pthread_mutex_lock(&w->fd_mu);
	close(w->fd);
	w->fd = -1;
	pthread_mutex_unlock(&w->fd_mu);
}

static void reap(struct writeback *w)
{
	while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
		;
	w->pid = 0;
}

/* The helper was killed.  A new one can be forked beside threads: it only makes system calls. */
static int start_again(struct writeback *w)
{
	int rc;

	hang_up(w);
	reap(w);
	w->begun = false;
	rc = fork_helper(w);
	if (rc == 0)
		begin(w);
	return rc;
}

/* Send one request and wait for its answer.  -EPIPE: the helper has ended. */
static int ask_once(struct writeback *w, const struct question *q, struct answer *out)
{
	if (send(w->fd, q, sizeof(*q), MSG_NOSIGNAL) < 0)
		return -errno;
	/* If the helper was too slow for begin(), its first answer is that it has begun. */
	take_begun(w);
	return receive(w, out);
}

static int ask(struct writeback *w, const struct question *q, struct answer *out)
{
	int rc;

	pthread_mutex_lock(&w->mu);
	rc = !w->mount_point || w->pid <= 0 ? -ENOSYS : ask_once(w, q, out);
	if (rc == -EPIPE && !w->cancelled)
		rc = start_again(w) < 0 ? -ENOSYS : ask_once(w, q, out);
	pthread_mutex_unlock(&w->mu);
	return rc == -EPIPE ? -ENOSYS : rc;
}

int writeback_flush(struct writeback *w, uint64_t node, uint64_t generation)
{
	struct question q = {.kind = FLUSH, .node = node, .generation = generation};
	struct answer a;
	int rc = ask(w, &q, &a);

	if (rc < 0)
		return rc;
	return a.rc;
}

int writeback_umount(struct writeback *w)
{
	struct question q = {.kind = UMOUNT};
	struct answer a;
	int rc = ask(w, &q, &a);

	return rc < 0 ? rc : a.rc;
}

int writeback_leave(struct writeback *w, unsigned *out_left)
{
	struct question q = {.kind = LEAVE};
	struct answer a;
	int rc = ask(w, &q, &a);

	*out_left = rc < 0 ? 0 : a.left;
	return rc < 0 ? rc : a.rc;
}

void writeback_cancel(struct writeback *w)
{
	/* Without mu: the thread that holds it waits for the answer. */
	pthread_mutex_lock(&w->fd_mu);
	atomic_store(&w->cancelled, true);
	/* If the helper has already ended there is nothing to cancel. */
	if (w->fd >= 0)
		(void)!shutdown(w->fd, SHUT_RDWR);
	pthread_mutex_unlock(&w->fd_mu);
}

void writeback_end(struct writeback *w)
{
	struct pollfd pfd = {.fd = -1, .events = POLLIN};

	if (w->pid <= 0)
		return;
	pthread_mutex_lock(&w->mu);
	hang_up(w);
	/*
	 * The helper may wait for the mount, which nobody serves any more.  The kernel ends that
	 * wait when the last process that has /dev/fuse open has ended, and that is the supervisor.
	 */
	pfd.fd = (int)syscall(SYS_pidfd_open, w->pid, 0);
	if (pfd.fd < 0 || poll(&pfd, 1, END_MS_MAX) > 0)
		reap(w);
	if (pfd.fd >= 0)
		close(pfd.fd);
	pthread_mutex_unlock(&w->mu);
	pthread_mutex_destroy(&w->fd_mu);
	pthread_mutex_destroy(&w->mu);
	*w = (struct writeback){.fd = -1};
}
