#ifndef CRITERION_STANDIN_H_
#define CRITERION_STANDIN_H_

/*
 * A stand-in for Criterion's few words that the tests use, for builds with the thread sanitizer:
 * Criterion's shared arena wants addresses that the sanitizer has taken.  Each test runs in a
 * forked child, one after the other; a test that exits with anything but 0 has failed.  Arguments:
 * none needed; a file that includes it is a whole program.
 */

#include <stdarg.h>
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

/* standin_fail(...): say where, what, and the test's own words; end the test. */
__attribute__((noreturn)) void standin_fail(const char *file, int line, const char *what,
					   const char *words, ...);

__attribute__((weak)) void standin_fail(const char *file, int line, const char *what,
					const char *words, ...)
{
	va_list args;

	fprintf(stderr, "%s:%d: %s: ", file, line, what);
	va_start(args, words);
	vfprintf(stderr, words, args);
	va_end(args);
	fputc('\n', stderr);
	_exit(1);
}

#define cr_assert(c, ...)                                                                      \
	do {                                                                                   \
		if (!(c))                                                                      \
			standin_fail(__FILE__, __LINE__, #c, "" __VA_ARGS__);                  \
	} while (0)
#define cr_assert_not(c, ...) cr_assert(!(c), __VA_ARGS__)
#define cr_assert_eq(a, b, ...) cr_assert((a) == (b), __VA_ARGS__)
#define cr_assert_neq(a, b, ...) cr_assert((a) != (b), __VA_ARGS__)
#define cr_assert_lt(a, b, ...) cr_assert((a) < (b), __VA_ARGS__)
#define cr_assert_leq(a, b, ...) cr_assert((a) <= (b), __VA_ARGS__)
#define cr_assert_gt(a, b, ...) cr_assert((a) > (b), __VA_ARGS__)
#define cr_assert_geq(a, b, ...) cr_assert((a) >= (b), __VA_ARGS__)
#define cr_assert_null(a, ...) cr_assert((a) == NULL, __VA_ARGS__)
#define cr_assert_not_null(a, ...) cr_assert((a) != NULL, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...)                                                            \
	cr_assert(strcmp((const char *)(a), (const char *)(b)) == 0, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...)                                                           \
	cr_assert(strcmp((const char *)(a), (const char *)(b)) != 0, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...) cr_assert(memcmp(a, b, n) == 0, __VA_ARGS__)
#define cr_assert_arr_neq(a, b, n, ...) cr_assert(memcmp(a, b, n) != 0, __VA_ARGS__)
#define cr_assert_float_eq(a, b, e, ...)                                                       \
	cr_assert((a) - (b) <= (e) && (b) - (a) <= (e), __VA_ARGS__)
#define cr_assert_fail(...) standin_fail(__FILE__, __LINE__, "failed", "" __VA_ARGS__)
#define cr_assert_str_empty(a, ...) cr_assert_str_eq(a, "", ##__VA_ARGS__)
/* Criterion's expect goes on after a failure; here it ends the test too. */
#define cr_expect cr_assert
#define cr_expect_not cr_assert_not
#define cr_expect_eq cr_assert_eq
#define cr_expect_neq cr_assert_neq
#define cr_expect_lt cr_assert_lt
#define cr_expect_leq cr_assert_leq
#define cr_expect_gt cr_assert_gt
#define cr_expect_geq cr_assert_geq
#define cr_expect_null cr_assert_null
#define cr_expect_str_eq cr_assert_str_eq
#define cr_expect_str_empty cr_assert_str_empty
#define cr_expect_fail cr_assert_fail
#define cr_expect_str_neq cr_assert_str_neq
#define cr_expect_arr_eq cr_assert_arr_eq
#define cr_skip(...) _exit(0)
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
	fprintf(stderr, "[====] Synthesis: Tested: %u | Passing: %u | Failing: %u | Crashing: 0\n",
		tested, tested - failed, failed);
	return failed != 0;
}

#endif /* !CRITERION_STANDIN_H_ */
