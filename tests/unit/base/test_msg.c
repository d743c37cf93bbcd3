/* Messages: one whole line each, whatever bytes are in them. */

#include "msg.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

Test(msg, one_line_each)
{
	char got[4096], huge[3000];
	int fds[2];
	ssize_t n;

	memset(huge, 'x', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	cr_assert_eq(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	msg_init("prog");
	msg_error("it %s\nbroke", "\x1b[1m");
	msg_warn("careful");
	msg_info("%s", huge);
	fflush(stderr);
	n = read(fds[0], got, sizeof(got) - 1);
	cr_assert_gt(n, 0);
	got[n] = '\0';
	cr_assert_eq(strncmp(got, "prog: it ?[1m?broke\nprog: careful\nprog: xxx", 43), 0);
	cr_assert_eq(got[n - 1], '\n');
	cr_assert_lt(n, 2200);
}
