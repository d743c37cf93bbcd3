/*
 * Time.  clock_gettime() with these clocks fails only on a bad address, so its result
 * is asserted, not handled.
 */

#include "clock.h"

#include <assert.h>
#include <time.h>

#define NS_PER_S INT64_C(1000000000)

int64_t clock_wall_ns(void)
{
	struct timespec ts;
	int rc = clock_gettime(CLOCK_REALTIME, &ts);

	assert(rc == 0);
	(void)rc;
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t clock_stamp_ns(void)
{
	struct timespec ts;
	int rc = clock_gettime(CLOCK_REALTIME_COARSE, &ts);

	assert(rc == 0);
	(void)rc;
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

uint64_t clock_mono_ns(void)
{
	struct timespec ts;
	int rc = clock_gettime(CLOCK_MONOTONIC, &ts);

	assert(rc == 0);
	(void)rc;
	return (uint64_t)ts.tv_sec * (uint64_t)NS_PER_S + (uint64_t)ts.tv_nsec;
}
