/* Messages: one whole line each, whatever bytes are in them. */

#include "msg.h"

#include "clock.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
	cr_assert_eq(strncmp(got, "prog: it \\x1b[1m\\x0abroke\nprog: careful\nprog: xxx", 49), 0);
	cr_assert_eq(got[n - 1], '\n');
	cr_assert_lt(n, 2200);
}

static char got[65536];
static int fds[2];

static void capture(void)
{
	cr_assert_eq(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	msg_init("prog");
}

/* What was written since; "" if nothing. */
static const char *written(void)
{
	ssize_t n;

	/* Something to read, always. */
	fflush(stderr);
	cr_assert_eq(write(fds[1], "", 1), 1);
	n = read(fds[0], got, sizeof(got));
	cr_assert_gt(n, 0);
	return got;
}

static unsigned lines(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

Test(msg, peers_bytes_are_escaped, .timeout = 60)
{
	capture();
	msg_event(MSG_WARN, "thing", "%s", "a\nprog: forged [thing]\r\x7f");
	cr_expect_str_eq(written(), "prog: a\\x0aprog: forged [thing]\\x0d\\x7f [thing]\n");
	/* UTF-8 stays; what is none does not, nor controls that are. */
	msg_event(MSG_WARN, "thing", "%s", "\xc3\xb5 \xe2\x82\xac \xf0\x9f\x98\x80");
	cr_expect_str_eq(written(), "prog: \xc3\xb5 \xe2\x82\xac \xf0\x9f\x98\x80 [thing]\n");
	msg_event(MSG_WARN, "thing", "%s",
		  "\xff \xc2\x9b \xc0\x8a \xe2\x80\xae \xed\xa0\x80 \xe2\x82");
	cr_expect_str_eq(
		written(),
		"prog: \\xff \\xc2\\x9b \\xc0\\x8a \\xe2\\x80\\xae \\xed\\xa0\\x80 \\xe2\\x82 "
		"[thing]\n");
}

Test(msg, each_id_is_bounded_by_itself, .timeout = 60)
{
	uint64_t begin_ns = clock_mono_ns(), seconds;
	unsigned n;

	capture();
	for (unsigned i = 0; i < 100; i++)
		msg_event(MSG_WARN, "flood", "line %u", i);
	n = lines(written());
	seconds = (clock_mono_ns() - begin_ns) / 1000000000 + 1;
	cr_expect_geq(n, MSG_BURST);
	cr_expect_leq(n, MSG_BURST + seconds);
	msg_event(MSG_WARN, "other", "still heard");
	cr_expect_str_eq(written(), "prog: still heard [other]\n");
	/* Every line is accounted for, whenever that is said. */
	while (n < 100) {
		const char *text;
		unsigned more;

		usleep(1000);
		msg_left_out();
		text = written();
		if (*text) {
			cr_assert_eq(sscanf(text, "prog: %u lines were left out [flood]", &more),
				     1);
			n += more;
		}
	}
	cr_expect_eq(n, 100);
	for (unsigned i = 0; i < 3; i++)
		msg_event(MSG_WARN, "flood", "again");
	do {
		usleep(1000);
		msg_event(MSG_WARN, "flood", "again");
	} while (!strstr(written(), " more before were left out) [flood]\n"));
}

Test(msg, the_journal_gets_priorities, .timeout = 60)
{
	char stream[64];
	struct stat st;

	cr_assert_eq(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	cr_assert_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	msg_init("prog");
	msg_error("broken");
	msg_event(MSG_WARN, "a", "odd");
	msg_event(MSG_NOTICE, "b", "new");
	msg_event(MSG_INFO, "c", "usual");
	cr_expect_str_eq(written(), "<3>prog: broken\n<4>prog: odd [a]\n<5>prog: new [b]\n"
				    "<6>prog: usual [c]\n");
	/* Another's, inherited. */
	setenv("JOURNAL_STREAM", "1:1", 1);
	msg_init("prog");
	msg_error("broken");
	cr_expect_str_eq(written(), "prog: broken\n");
}
