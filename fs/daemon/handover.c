/*
 * Messages between processes that hand a mount over.
 *
 * SCM_RIGHTS cannot carry an absent descriptor, so a message says which of its places are filled.
 */

#include "handover.h"

#include "options.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_FD 3

struct message {
	uint32_t kind, places; /* bit i: fds[i] is present */
	struct handover_start start;
};

union control {
	struct cmsghdr head; /* gives the buffer its alignment */
	char buf[CMSG_SPACE(HANDOVER_FDS_MAX * sizeof(int))];
};

int handover_send(int fd, enum handover_kind kind, const int *fds, unsigned n,
		  const struct handover_start *start)
{
	struct message m = {.kind = kind};
	struct iovec iov = {&m, sizeof(m)};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
	union control control;
	int given[HANDOVER_FDS_MAX];
	unsigned n_given = 0;

	for (unsigned i = 0; i < n; i++)
		if (fds[i] >= 0) {
			m.places |= 1u << i;
			given[n_given++] = fds[i];
		}
	if (start)
		m.start = *start;
	if (n_given > 0) {
		memset(&control, 0, sizeof(control));
		h.msg_control = control.buf;
		h.msg_controllen = CMSG_SPACE(n_given * sizeof(int));
		CMSG_FIRSTHDR(&h)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&h)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&h)->cmsg_len = CMSG_LEN(n_given * sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&h)), given, n_given * sizeof(int));
	}
	while (sendmsg(fd, &h, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int handover_receive(int fd, struct handover *out)
{
	struct message m = {0};
	struct iovec iov = {&m, sizeof(m)};
	union control control;
	struct msghdr h = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = control.buf,
			   .msg_controllen = sizeof(control.buf)};
	const struct cmsghdr *c;
	const uint8_t *given = NULL;
	size_t n = 0;
	ssize_t len;

	do {
		len = recvmsg(fd, &h, MSG_CMSG_CLOEXEC);
	} while (len < 0 && errno == EINTR);
	if (len < 0)
		return -errno;
	if (len != (ssize_t)sizeof(m))
		return len == 0 ? -EPIPE : -EPROTO;
	c = CMSG_FIRSTHDR(&h);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		given = CMSG_DATA(c);
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	}
	*out = (struct handover){.kind = m.kind, .start = m.start};
	for (unsigned i = 0; i < HANDOVER_FDS_MAX; i++) {
		out->fds[i] = -1;
		if ((m.places & 1u << i) && n > 0) {
			memcpy(&out->fds[i], given, sizeof(int));
			given += sizeof(int);
			n--;
		}
	}
	return 0;
}

int handover_wait(int fd, int ms, enum handover_kind *out)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	struct handover m;
	int rc;

	do {
		rc = poll(&pfd, 1, ms);
	} while (rc < 0 && errno == EINTR);
	if (rc <= 0)
		return rc < 0 ? -errno : -ETIMEDOUT;
	rc = handover_receive(fd, &m);
	if (rc == 0)
		*out = m.kind;
	return rc;
}

void handover_signals(sigset_t *out)
{
	sigemptyset(out);
	sigaddset(out, SIGCHLD);
	sigaddset(out, SIGTERM);
	sigaddset(out, SIGINT);
	sigaddset(out, SIGHUP);
}

static void be_program(const char *program, char *const argv[], int fd)
{
	sigset_t set;

	handover_signals(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (fd == CHILD_FD ? fcntl(fd, F_SETFD, 0) < 0 : dup2(fd, CHILD_FD) < 0)
		_exit(127);
	execv(program, argv);
	_exit(127);
}

int handover_exec(const char *program, const char *name, const struct options *o, pid_t *out_pid,
		  int *out_fd)
{
	char **argv;
	int fds[2], rc;
	pid_t pid;

	rc = options_format(o, name, CHILD_FD, &argv);
	if (rc < 0)
		return rc;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
		rc = -errno;
		goto free_argv;
	}
	pid = fork();
	if (pid == 0)
		be_program(program, argv, fds[1]);
	close(fds[1]);
	if (pid < 0) {
		rc = -errno;
		close(fds[0]);
		goto free_argv;
	}
	*out_pid = pid;
	*out_fd = fds[0];
free_argv:
	options_format_free(argv);
	return rc;
}
