/* Two clocks: one that tells the date, one that only goes forward. */

#include "clock.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

Test(clock, wall_agrees_with_time)
{
	int64_t before = (int64_t)time(NULL) - 1;
	int64_t now_s = clock_wall_ns() / 1000000000;

	cr_assert_geq(now_s, before);
	cr_assert_leq(now_s, (int64_t)time(NULL) + 1);
}

Test(clock, onward_never_goes_back)
{
	const int64_t s = 1000000000, last = 5000 * s;

	/* As the wall clock goes, where it goes on. */
	cr_assert_eq(clock_onward_ns(last, 7, last + 3, 10), last + 3);
	cr_assert_eq(clock_onward_ns(last, 7, last + 1000 * s, 10), last + 1000 * s);
	/* At half speed while it is behind, until it is not. */
	cr_assert_eq(clock_onward_ns(last, 7, 10 * s, 7), last);
	cr_assert_eq(clock_onward_ns(last, 7, 18 * s, 7 + 8 * s), last + 4 * s);
	cr_assert_eq(clock_onward_ns(last, 7, last - 2 * s, 7 + 8 * s), last + 4 * s);
	cr_assert_eq(clock_onward_ns(last, 7, last + 5 * s, 7 + 8 * s), last + 5 * s);
}

/* Neither of the two is ever behind the other, whoever comes first. */
Test(clock, stamps_are_the_kernels)
{
	int64_t last = 0;
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	for (int i = 0; i < 10000; i++) {
		struct timespec stamp = clock_stamp();
		int64_t ours = (int64_t)stamp.tv_sec * 1000000000 + stamp.tv_nsec, kernels;
		struct stat st;

		cr_assert_eq(futimens(fds[0], NULL), 0);
		cr_assert_eq(fstat(fds[0], &st), 0);
		kernels = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
		cr_assert_leq(last, ours);
		cr_assert_leq(ours, kernels);
		cr_assert_leq(kernels, clock_wall_ns());
		last = kernels;
	}
}

Test(clock, mono_never_goes_back)
{
	uint64_t last = clock_mono_ns();

	for (int i = 0; i < 100000; i++) {
		uint64_t now = clock_mono_ns();

		cr_assert_geq(now, last);
		last = now;
	}
}

Test(clock, wait_is_by_the_clock_that_never_jumps)
{
	pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
	uint64_t until_ns = clock_mono_ns() + 5000000;
	pthread_cond_t cond;
	int rc = 0;

	clock_cond_init(&cond);
	pthread_mutex_lock(&mu);
	while (rc == 0)
		rc = clock_wait(&cond, &mu, until_ns);
	cr_assert_eq(rc, -ETIMEDOUT);
	cr_assert_geq(clock_mono_ns(), until_ns);
	until_ns = clock_mono_ns() - 1;
	cr_assert_eq(clock_wait(&cond, &mu, until_ns), -ETIMEDOUT, "what is past is not waited for");
	pthread_mutex_unlock(&mu);
	pthread_cond_destroy(&cond);
}
