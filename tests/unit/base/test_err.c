/* Codes: texts, parents, exits; a detail belongs to its code and its thread. */

#include "err.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

Test(err, every_code_has_its_row)
{
#define X(name, parent, exit_code, text)                                                       \
	cr_assert_str_eq(err_text(-name), text);                                               \
	cr_assert_eq(err_errno(-name), parent);                                                \
	cr_assert_eq(err_exit(-name), exit_code);
	ERR_TABLE(X)
#undef X
}

Test(err, damaged_absent_forbidden_differ)
{
	cr_assert_neq(ERR_DAMAGED, ERR_ABSENT);
	cr_assert_str_neq(err_text(-ERR_DAMAGED), err_text(-ERR_ABSENT));
	cr_assert_str_neq(err_text(-ERR_ABSENT), err_text(-ERR_FORBIDDEN));
	cr_assert_neq(err_exit(-ERR_DAMAGED), err_exit(-ERR_FORBIDDEN));
}

Test(err, success_and_errno)
{
	cr_assert_eq(err_errno(0), 0);
	cr_assert_eq(err_exit(0), 0);
	cr_assert_str_eq(err_text(0), "success");
	cr_assert_eq(err_errno(-ENOSPC), ENOSPC);
	cr_assert_eq(err_exit(-ENOSPC), 1);
	cr_assert_str_eq(err_text(-ENOENT), "No such file or directory");
}

Test(err, unknown_codes_are_harmless)
{
	static const int codes[] = {-ERR_END, -ERR_END - 5, -ERR_BASE, -9999, -0x7fffffff};

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		cr_assert_not_null(err_text(codes[i]));
		cr_assert_gt(err_errno(codes[i]), 0);
		cr_assert_eq(err_exit(codes[i]), 1);
	}
}

Test(err, detail_belongs_to_its_code)
{
	cr_assert_eq(err_say(-ERR_DAMAGED, "block %d: bad", 7), -ERR_DAMAGED);
	cr_assert_str_eq(err_detail(-ERR_DAMAGED), "block 7: bad");
	cr_assert_str_eq(err_detail(-ERR_ABSENT), err_text(-ERR_ABSENT));
}

Test(err, detail_may_wrap_the_one_before)
{
	int rc = err_say(-EIO, "inner");

	rc = err_say(rc, "outer: %s", err_detail(rc));
	cr_assert_str_eq(err_detail(rc), "outer: inner");
}

Test(err, detail_can_be_forgotten)
{
	cr_assert_eq(err_say(-EIO, "the disk"), -EIO);
	err_forget(-ENOENT);
	cr_expect_str_eq(err_detail(-EIO), "the disk");
	err_forget(-EIO);
	cr_expect_str_eq(err_detail(-EIO), err_text(-EIO));
	cr_assert_eq(err_say(-EIO, "the disk"), -EIO);
	err_forget(0);
	cr_expect_str_eq(err_detail(-EIO), err_text(-EIO));
}

Test(err, detail_is_one_bounded_printable_line)
{
	char huge[4096];

	memset(huge, 'x', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	cr_assert_eq(err_say(-EIO, "%s", huge), -EIO);
	cr_assert_eq(strlen(err_detail(-EIO)), 1023);
	cr_assert_eq(err_say(-EIO, "a\nb\x1b[31m"), -EIO);
	cr_assert_str_eq(err_detail(-EIO), "a?b?[31m");
}

static void *other_thread(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)(strcmp(err_detail(-EIO), err_text(-EIO)) == 0 &&
				  err_say(-EIO, "theirs") == -EIO);
}

Test(err, detail_belongs_to_its_thread)
{
	pthread_t thread;
	void *fine;

	cr_assert_eq(err_say(-EIO, "ours"), -EIO);
	cr_assert_eq(pthread_create(&thread, NULL, other_thread, NULL), 0);
	pthread_join(thread, &fine);
	cr_assert(fine != NULL);
	cr_assert_str_eq(err_detail(-EIO), "ours");
}
