/* The write-back helper: it ends and comes back, and a cancellation reaches whichever there is. */

#include "writeback.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* The number of no mount that there is. */
#define NO_DEVICE UINT64_C(0xfffffffe)

/* What happens while the next helper is being made; see meson.build. */
static struct writeback *cancelled_at_fork;

pid_t __real_fork(void);
pid_t __wrap_fork(void);
pid_t __wrap_fork(void)
{
	if (cancelled_at_fork)
		writeback_cancel(cancelled_at_fork);
	return __real_fork();
}

static void begin(struct writeback *w)
{
	cr_assert(writeback_fork(w) == 0);
	cr_assert(writeback_begin(w, "/nowhere", NO_DEVICE, 0) == NO_DEVICE);
}

static void kill_helper(const struct writeback *w)
{
	siginfo_t info;

	cr_assert(kill(w->pid, SIGKILL) == 0);
	cr_assert(waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOWAIT) == 0);
}

Test(writeback, answers_and_ends)
{
	struct writeback w;

	begin(&w);
	cr_assert(writeback_flush(&w, 1, 0) == -ENOSYS);
	cr_assert(writeback_umount(&w) == 0);
	writeback_end(&w);
	cr_assert(w.fd == -1);
}

Test(writeback, one_that_was_killed_is_started_again)
{
	struct writeback w;
	pid_t first;

	begin(&w);
	first = w.pid;
	kill_helper(&w);
	cr_assert(writeback_umount(&w) == 0);
	cr_assert(w.pid > 0 && w.pid != first);
	writeback_end(&w);
}

Test(writeback, a_cancellation_ends_what_is_asked)
{
	struct writeback w;

	begin(&w);
	writeback_cancel(&w);
	cr_assert(writeback_flush(&w, 1, 0) == -ENOSYS);
	writeback_end(&w);
}

/* There is no helper to cancel at that moment: the one that is being made must not be waited for. */
Test(writeback, a_cancellation_reaches_the_next_helper)
{
	struct writeback w;

	begin(&w);
	kill_helper(&w);
	cancelled_at_fork = &w;
	cr_assert(writeback_umount(&w) == -ENOSYS);
	cancelled_at_fork = NULL;
	writeback_end(&w);
}

Test(writeback, takes_no_other_filesystem_for_its_mount)
{
	struct writeback w;

	cr_assert(writeback_fork(&w) == 0);
	cr_assert(writeback_begin(&w, "/", 0, 0) == 0);
	writeback_end(&w);
}
