/*
 * The environment that a process starts in.
 */

#include "process.h"

#include "err.h"
#include "msg.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
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

int process_raise_files(unsigned least, const char *who)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return 0;
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		msg_warn("the limit of open files can't be raised: %s", strerror(errno));
	if (files.rlim_max >= least)
		return 0;
	return err_say(-EMFILE,
		       "the limit of open files is %llu; %s needs at least %u (ulimit -n, "
		       "LimitNOFILE=)",
		       (unsigned long long)files.rlim_max, who, least);
}
