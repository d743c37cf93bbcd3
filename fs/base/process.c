/*
 * The environment that a process starts in.
 */

#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

void process_std_fds(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		/* All lower numbers are open, so open() returns this one. */
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)!open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY);
	}
}

void process_ignore_signals(void)
{
	static const int ignored[] = {SIGPIPE, SIGXFSZ,	  SIGXCPU, SIGUSR1, SIGUSR2,  SIGALRM,
				      SIGIO,   SIGVTALRM, SIGPROF, SIGPWR,  SIGSTKFLT};

	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
		signal(number, SIG_IGN);
	/* Whoever starts us may have had it ignored: then the ends of children are not told. */
	signal(SIGCHLD, SIG_DFL);
}
