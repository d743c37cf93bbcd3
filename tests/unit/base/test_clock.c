/* Two clocks: one that tells the date, one that only goes forward. */

#include "clock.h"

#include <criterion/criterion.h>
#include <time.h>

Test(clock, wall_agrees_with_time)
{
	int64_t before = (int64_t)time(NULL) - 1;
	int64_t now_s = clock_wall_ns() / 1000000000;

	cr_assert_geq(now_s, before);
	cr_assert_leq(now_s, (int64_t)time(NULL) + 1);
}

Test(clock, stamps_are_the_kernels)
{
	for (int i = 0; i < 1000; i++) {
		int64_t before = clock_stamp_ns(), now;
		struct timespec kernel;

		clock_gettime(CLOCK_REALTIME_COARSE, &kernel);
		now = (int64_t)kernel.tv_sec * 1000000000 + kernel.tv_nsec;
		cr_assert_leq(before, now);
		cr_assert_geq(clock_stamp_ns(), now);
		cr_assert_leq(now, clock_wall_ns());
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
