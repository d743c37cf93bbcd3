/* Inodes that lost one of several names a moment ago. */

#include "relinked.h"

#include <criterion/criterion.h>

Test(relinked, for_a_while)
{
	struct relinked *r;
	uint64_t now = 5000;

	cr_assert_eq(relinked_new(0, &r), 0);
	cr_assert_not(relinked_is(r, 7, now));
	relinked_add(r, 7, now);
	cr_assert(relinked_is(r, 7, now));
	cr_assert_not(relinked_is(r, 8, now));
	cr_assert(relinked_is(r, 7, now + RELINKED_NS));
	cr_assert_not(relinked_is(r, 7, now + RELINKED_NS + 1));
	relinked_add(r, 7, now + RELINKED_NS);
	cr_assert(relinked_is(r, 7, now + RELINKED_NS + 1));
	relinked_free(r);
	relinked_free(NULL);
}

Test(relinked, newer_ones_take_the_place_of_older_ones)
{
	struct relinked *r;
	unsigned kept = 0;

	cr_assert_eq(relinked_new(0, &r), 0);
	for (uint64_t i = 1; i <= 2 * RELINKED_MAX; i++) {
		relinked_add(r, i, i);
		cr_assert(relinked_is(r, i, i));
	}
	for (uint64_t i = 1; i <= 2 * RELINKED_MAX; i++)
		kept += relinked_is(r, i, 2 * RELINKED_MAX);
	cr_assert(kept > RELINKED_MAX / 2 && kept <= RELINKED_MAX);
	relinked_free(r);
}

Test(relinked, after_another_process_any_may_be)
{
	struct relinked *r;

	cr_assert_eq(relinked_new(1000, &r), 0);
	cr_assert(relinked_is(r, 7, 999));
	cr_assert_not(relinked_is(r, 7, 1000));
	relinked_free(r);
}
