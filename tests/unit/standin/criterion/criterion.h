#ifndef CRITERION_STANDIN_H_
#define CRITERION_STANDIN_H_

/*
 * A stand-in for Criterion's few words that the tests use, for builds with the thread sanitizer: Criterion's shared arena wants addresses
 * that the sanitizer has taken.  Each test runs in a forked child, one after the other; a test that exits with
 * anything but 0 has failed.  Arguments: none needed; a file that includes it is a whole program.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct standin_options {
	void (*init)(void);
	void (*fini)(void);
	double timeout;
	bool disabled;
};

struct standin_suite {
	const char *name;
	struct standin_options options;
	struct standin_suite *next;
};

struct standin_test {
	const char *suite, *name;
	void (*fn)(void);
	struct standin_options options;
	struct standin_test *next;
};

/* Weak, so that a helper file which includes this too shares them. */
__attribute__((weak)) struct standin_suite *standin_suites;
__attribute__((weak)) struct standin_test *standin_tests;

#define TestSuite(s, ...)                                                                      \
	static struct standin_suite standin_suite_##s = {#s, {__VA_ARGS__}, NULL};             \
	__attribute__((constructor)) static void standin_add_suite_##s(void)                   \
	{                                                                                      \
		standin_suite_##s.next = standin_suites;                                       \
		standin_suites = &standin_suite_##s;                                           \
	}                                                                                      \
	struct standin_suite

#define Test(s, n, ...)                                                                        \
	static void standin_##s##_##n(void);                                                   \
	static struct standin_test standin_test_##s##_##n = {#s, #n, standin_##s##_##n,        \
							     {__VA_ARGS__}, NULL};             \
	__attribute__((constructor)) static void standin_add_##s##_##n(void)                   \
	{                                                                                      \
		standin_test_##s##_##n.next = standin_tests;                                   \
		standin_tests = &standin_test_##s##_##n;                                       \
	}                                                                                      \
	static void standin_##s##_##n(void)

#define standin_fail(text)                                                                     \
	do {                                                                                   \
		fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, text);                      \
		_exit(1);                                                                      \
	} while (0)

#define cr_assert(c, ...)                                                                      \
	do {                                                                                   \
		if (!(c))                                                                      \
			standin_fail(#c);                                                      \
	} while (0)
#define cr_assert_not(c, ...) cr_assert(!(c))
#define cr_assert_eq(a, b, ...) cr_assert((a) == (b))
#define cr_assert_neq(a, b, ...) cr_assert((a) != (b))
#define cr_assert_lt(a, b, ...) cr_assert((a) < (b))
#define cr_assert_leq(a, b, ...) cr_assert((a) <= (b))
#define cr_assert_gt(a, b, ...) cr_assert((a) > (b))
#define cr_assert_geq(a, b, ...) cr_assert((a) >= (b))
#define cr_assert_null(a, ...) cr_assert((a) == NULL)
#define cr_assert_not_null(a, ...) cr_assert((a) != NULL)
#define cr_assert_str_eq(a, b, ...)                                                            \
	cr_assert(strcmp((const char *)(a), (const char *)(b)) == 0)
#define cr_assert_str_neq(a, b, ...)                                                           \
	cr_assert(strcmp((const char *)(a), (const char *)(b)) != 0)
#define cr_assert_arr_eq(a, b, n, ...) cr_assert(memcmp(a, b, n) == 0)
#define cr_assert_arr_neq(a, b, n, ...) cr_assert(memcmp(a, b, n) != 0)
#define cr_assert_float_eq(a, b, e, ...) cr_assert((a) - (b) <= (e) && (b) - (a) <= (e))
#define cr_assert_fail(...) standin_fail("failed")
#define cr_fatal(...) standin_fail("failed")
#define cr_expect cr_assert
#define cr_expect_eq cr_assert_eq
#define cr_expect_str_eq cr_assert_str_eq
#define cr_skip_test(...) _exit(0)
#define cr_log_info(...)                                                                       \
	do {                                                                                   \
		fprintf(stderr, __VA_ARGS__);                                                  \
		fputc('\n', stderr);                                                           \
	} while (0)

/* standin_run(t): the test between its inits and finis; ends the process. */
void standin_run(const struct standin_test *t);

__attribute__((weak)) void standin_run(const struct standin_test *t)
{
	const struct standin_suite *s = standin_suites;

	while (s != NULL && strcmp(s->name, t->suite) != 0)
		s = s->next;
	if (s != NULL && s->options.init != NULL)
		s->options.init();
	if (t->options.init != NULL)
		t->options.init();
	t->fn();
	if (t->options.fini != NULL)
		t->options.fini();
	if (s != NULL && s->options.fini != NULL)
		s->options.fini();
	exit(0);
}

__attribute__((weak)) int main(void)
{
	unsigned tested = 0, failed = 0;

	for (struct standin_test *t = standin_tests; t != NULL; t = t->next) {
		int status = 1;
		pid_t pid;

		if (t->options.disabled)
			continue;
		pid = fork();
		if (pid == 0)
			standin_run(t);
		if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0) {
			fprintf(stderr, "[FAIL] %s::%s\n", t->suite, t->name);
			failed++;
		}
		tested++;
	}
	fprintf(stderr, "[====] Synthesis: Tested: %u | Passing: %u | Failing: %u | Crashing: 0\n", tested,
		tested - failed, failed);
	return failed != 0;
}

#endif /* !CRITERION_STANDIN_H_ */
