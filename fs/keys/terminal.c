/*
 * A passphrase from the controlling terminal.
 *
 * While echo is off, signals that would end or stop the program are blocked and read from a
 * signalfd.  When one comes, the terminal is restored first and the signal is then delivered, so a
 * killed program never leaves the shell without echo.
 */

#include "credential.h"

#include "err.h"
#include "file.h"
#include "secret.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

static int put_text(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* Read one line, without its newline; -EINTR as soon as a signal is pending at ${signals}. */
static ssize_t read_line(int fd, int signals, uint8_t *line, size_t cap)
{
	size_t len = 0;

	for (;;) {
		struct pollfd fds[2] = {{.fd = fd, .events = POLLIN},
					{.fd = signals, .events = POLLIN}};
		ssize_t n;

		if (poll(fds, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (fds[1].revents)
			return -EINTR;
		n = read(fd, line + len, cap - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		/* End of input, or a line longer than a passphrase may be. */
		if (n == 0)
			return (ssize_t)len;
		len += (size_t)n;
		if (line[len - 1] == '\n')
			return (ssize_t)len - 1;
		if (len == cap)
			return (ssize_t)len;
	}
}

static ssize_t ask(int fd, int signals, const char *prompt, uint8_t *line, size_t cap)
{
	struct termios before, quiet;
	ssize_t n;
	int rc;

	if (tcgetattr(fd, &before) < 0)
		return -errno;
	quiet = before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
	quiet.c_lflag |= ICANON | ISIG;
	if (tcsetattr(fd, TCSAFLUSH, &quiet) < 0)
		return -errno;
	rc = put_text(fd, prompt);
	n = rc < 0 ? rc : read_line(fd, signals, line, cap);
	/* Discard the rest of an overlong line, so that no shell executes it. */
	tcsetattr(fd, TCSAFLUSH, &before);
	rc = put_text(fd, "\n");
	return n < 0 || rc == 0 ? n : rc;
}

/*
 * Ask once, or twice if ${confirm}.  ${line} and ${again} have CREDENTIAL_PASSPHRASE_MAX + 1 bytes.
 */
static int ask_all(int fd, int signals, const char *prompt, bool confirm, uint8_t *line,
		   uint8_t *again, struct credential *out)
{
	const size_t cap = CREDENTIAL_PASSPHRASE_MAX + 1;
	ssize_t n, n_again;

	n = ask(fd, signals, prompt, line, cap);
	if (n < 0)
		return (int)n;
	if (confirm && n > 0) {
		n_again = ask(fd, signals, "The same again: ", again, cap);
		if (n_again < 0)
			return (int)n_again;
		if (n_again != n || memcmp(line, again, (size_t)n) != 0)
			return err_say(-EINVAL, "the two passphrases differ; try again");
	}
	return credential_from_passphrase(line, (size_t)n, out);
}

int credential_from_terminal(const char *prompt, bool confirm, struct credential *out)
{
	uint8_t *line = NULL, *again = NULL;
	int fd, signals, rc;
	sigset_t watched, before;

	*out = (struct credential){0};
	fd = file_open(AT_FDCWD, "/dev/tty", O_RDWR | O_NOCTTY, 0);
	if (fd < 0)
		return fd;
	sigemptyset(&watched);
	sigaddset(&watched, SIGINT);
	sigaddset(&watched, SIGQUIT);
	sigaddset(&watched, SIGTERM);
	sigaddset(&watched, SIGHUP);
	sigaddset(&watched, SIGTSTP);
	signals = signalfd(-1, &watched, SFD_CLOEXEC);
	if (signals < 0) {
		rc = -errno;
		goto close_terminal;
	}
	line = secret_alloc(CREDENTIAL_PASSPHRASE_MAX + 1);
	again = secret_alloc(CREDENTIAL_PASSPHRASE_MAX + 1);
	rc = line && again ? 0 : -ENOMEM;
	if (rc == 0) {
		pthread_sigmask(SIG_BLOCK, &watched, &before);
		rc = ask_all(fd, signals, prompt, confirm, line, again, out);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	secret_free(line);
	secret_free(again);
	file_close(signals);
close_terminal:
	file_close(fd);
	return rc;
}
