/*
 * From a command into the background.
 *
 * The child keeps the terminal until it is ready, so that it can ask for a passphrase and print
 * errors.  Then it sends one byte through a pipe: the parent's exit code.  If the pipe ends without
 * a byte, the child has died.
 */

#include "daemon.h"

#include "msg.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void wait_for_child(int fd, const char *mount_point)
{
	unsigned char code;
	struct stat st;
	ssize_t n;

	do {
		n = read(fd, &code, 1);
	} while (n < 0 && errno == EINTR);
	if (n != 1) {
		msg_error("%s: the daemon ended unexpectedly; see the system log", mount_point);
		_exit(1);
	}
	/* Try the mount once: the user should learn now if it does not answer. */
	if (code == 0 && stat(mount_point, &st) < 0 && errno != EACCES) {
		msg_error("%s: %s; see the system log", mount_point, strerror(errno));
		_exit(1);
	}
	_exit(code);
}

int daemon_fork(const char *mount_point, struct daemon *out)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid < 0) {
		int rc = -errno;

		close(fds[0]);
		close(fds[1]);
		return rc;
	}
	if (pid > 0) {
		/*
		 * An interrupt at the terminal reaches the child too; the parent waits for its exit
		 * code.
		 */
		signal(SIGINT, SIG_IGN);
		close(fds[1]);
		wait_for_child(fds[0], mount_point);
	}
	close(fds[0]);
	out->fd = fds[1];
	return 0;
}

static void answer(struct daemon *d, unsigned char code)
{
	ssize_t n;

	do {
		n = write(d->fd, &code, 1);
	} while (n < 0 && errno == EINTR);
	close(d->fd);
	d->fd = -1;
}

void daemon_leave(void)
{
	int null;

	setsid();
	msg_use_syslog();
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		if (null > STDERR_FILENO)
			close(null);
	}
	/* A process whose current folder is on a filesystem keeps it from being unmounted. */
	if (chdir("/") < 0)
		msg_warn("/: %s", strerror(errno));
}

void daemon_ready(struct daemon *d)
{
	if (d->fd < 0)
		return;
	daemon_leave();
	answer(d, 0);
}

void daemon_drop(struct daemon *d)
{
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
}

void daemon_failed(struct daemon *d, int code)
{
	if (d->fd >= 0)
		answer(d, (unsigned char)code);
}
