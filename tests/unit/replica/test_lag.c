/* The age of the oldest missing head: it grows while the embassy is away, whatever clocks do. */

#include "lag.h"

#include <criterion/criterion.h>

#define S UINT64_C(1000000000)
#define WALL (INT64_C(1700000000) * 1000000000)

Test(lag, grows_while_the_embassy_is_away)
{
	struct lag l;

	lag_begin(&l, 5, WALL, 100 * S);
	lag_acked(&l, 5, 0);
	cr_assert(lag_seconds(&l, 200 * S) == 0);
	lag_head(&l, 6, 200 * S);
	cr_assert(lag_seconds(&l, 200 * S) == 0);
	cr_assert(lag_seconds(&l, 3800 * S) == 3600);
	/* It has the older one: what counts is the next. */
	lag_head(&l, 7, 3700 * S);
	cr_assert(lag_seconds(&l, 3800 * S) == 3600);
	lag_acked(&l, 6, 0);
	cr_assert(lag_seconds(&l, 3800 * S) == 100);
	lag_acked(&l, 7, 0);
	cr_assert(lag_seconds(&l, 9000 * S) == 0);
}

Test(lag, is_no_more_than_it_is_if_an_embassy_never_has_everything)
{
	struct lag l;

	lag_begin(&l, 1, WALL, 0);
	lag_acked(&l, 1, 0);
	for (uint64_t i = 2; i < 100000; i++) {
		lag_head(&l, i, i * S);
		if (i > 3)
			lag_acked(&l, i - 2, 0);
		cr_assert(lag_seconds(&l, i * S) <= 1);
	}
}

Test(lag, of_what_was_missing_before_is_told_by_the_heads_times)
{
	struct lag l;

	lag_begin(&l, 5, WALL, 100 * S);
	cr_assert(lag_wants_time(&l, 3));
	lag_acked(&l, 3, WALL - (int64_t)(60 * S)); /* of head 4 */
	cr_assert(lag_seconds(&l, 110 * S) == 70);
	lag_head(&l, 6, 115 * S);
	lag_acked(&l, 4, WALL - (int64_t)(20 * S));
	cr_assert(lag_seconds(&l, 120 * S) == 40);
	cr_assert(!lag_wants_time(&l, 5));
	lag_acked(&l, 5, 0);
	cr_assert(lag_seconds(&l, 120 * S) == 5);
}

Test(lag, of_an_embassy_that_lost_what_it_had)
{
	struct lag l;

	lag_begin(&l, 5, WALL, 100 * S);
	lag_acked(&l, 5, 0);
	for (uint64_t i = 6; i <= 9; i++)
		lag_head(&l, i, (100 + i) * S);
	lag_acked(&l, 8, 0);
	cr_assert(lag_wants_time(&l, 2));
	lag_acked(&l, 2, WALL - (int64_t)(50 * S));
	cr_assert(lag_seconds(&l, 120 * S) == 70);
	lag_acked(&l, 8, 0);
	cr_assert(lag_seconds(&l, 120 * S) == 11);
}

Test(lag, of_many_heads_is_bounded_in_memory_and_never_too_little)
{
	struct lag l;

	lag_begin(&l, 0, WALL, 0);
	for (uint64_t i = 1; i <= 100000; i++)
		lag_head(&l, i, i * S);
	cr_assert(lag_seconds(&l, 100001 * S) == 100000);
	for (uint64_t i = 1; i < 100000; i++) {
		double age;

		lag_acked(&l, i, 0);
		age = lag_seconds(&l, 100000 * S);
		cr_assert(age >= (double)(100000 - i - 1) && age <= 100000);
	}
	lag_acked(&l, 100000, 0);
	cr_assert(lag_seconds(&l, 100001 * S) == 0);
}

Test(lag, of_a_head_from_the_future_is_none)
{
	struct lag l;

	lag_begin(&l, 5, WALL, 100 * S);
	lag_acked(&l, 4, WALL + (int64_t)(3600 * S));
	cr_assert(lag_seconds(&l, 110 * S) == 0);
}
