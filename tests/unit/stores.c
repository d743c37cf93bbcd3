/* See stores.h. */

#include "stores.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

/* With the thread sanitizer each store is thousands of instructions. */
#ifdef __SANITIZE_THREAD__
#define UNTRACED true
#else
#define UNTRACED false
#endif

static void child(void (*fn)(void *arg), void *arg)
{
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(77);
	raise(SIGSTOP);
	fn(arg);
	_exit(0);
}

/* One instruction further.  False: it has ended. */
static bool step(pid_t pid)
{
	int status;

	if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0)
		return false;
	return waitpid(pid, &status, 0) == pid && WIFSTOPPED(status);
}

int stores_kill_at(void (*fn)(void *arg), void *arg, const void *mem, size_t len, unsigned nth)
{
	void *before;
	unsigned changes = 0;
	int status;
	pid_t pid;

	if (UNTRACED)
		return -1;
	before = malloc(len);
	pid = before ? fork() : -1;
	if (pid < 0)
		abort();
	if (pid == 0)
		child(fn, arg);
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) {
		free(before);
		return -1;
	}
	memcpy(before, mem, len);
	while (changes < nth && step(pid))
		if (memcmp(before, mem, len) != 0) {
			memcpy(before, mem, len);
			changes++;
		}
	free(before);
	if (changes < nth)
		return 0;
	kill(pid, SIGKILL);
	(void)waitpid(pid, &status, 0);
	return 1;
}
