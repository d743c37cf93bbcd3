/* Files of which nothing is stored, and of which the kernel may hold contents. */

#include "unwritten.h"

#include <criterion/criterion.h>

static struct unwritten *make(void)
{
	struct unwritten *u;

	cr_assert_eq(unwritten_new(false, &u), 0);
	return u;
}

Test(unwritten, from_begun_to_ended)
{
	struct unwritten *u = make();

	cr_assert_not(unwritten_is(u, 7));
	cr_assert(unwritten_begun(u, 7));
	cr_assert_not(unwritten_begun(u, 7));
	cr_assert(unwritten_is(u, 7));
	unwritten_ended(u, 7);
	unwritten_ended(u, 7);
	cr_assert_not(unwritten_is(u, 7));
	unwritten_free(u);
}

/* The kernel was told of a block when it was made: no need to tell it at the first write. */
Test(unwritten, created_is_told_once)
{
	struct unwritten *u = make();

	unwritten_created(u, 7);
	cr_assert_not(unwritten_begun(u, 7));
	cr_assert(unwritten_is(u, 7));
	unwritten_free(u);
}

/* But if it has asked in between, it believes that there are no blocks. */
Test(unwritten, created_and_asked)
{
	struct unwritten *u = make();

	unwritten_created(u, 7);
	cr_assert_not(unwritten_is(u, 7));
	cr_assert(unwritten_begun(u, 7));
	unwritten_free(u);
}

Test(unwritten, many_in_any_order)
{
	struct unwritten *u = make();

	for (uint64_t i = 1; i <= 20000; i++)
		cr_assert(unwritten_begun(u, i * 3));
	for (uint64_t i = 1; i <= 20000; i += 2)
		unwritten_ended(u, i * 3);
	for (uint64_t i = 1; i <= 20000; i++) {
		cr_assert_eq(unwritten_is(u, i * 3), i % 2 == 0);
		cr_assert_not(unwritten_is(u, i * 3 + 1));
	}
	unwritten_free(u);
}

/* At the bound nothing is forgotten: from then on any file may be one. */
Test(unwritten, too_many)
{
	struct unwritten *u = make();

	for (uint64_t i = 1; i <= UNWRITTEN_MAX; i++)
		(void)unwritten_begun(u, i);
	cr_assert_not(unwritten_is(u, UNWRITTEN_MAX + 1));
	(void)unwritten_begun(u, UNWRITTEN_MAX + 1);
	cr_assert(unwritten_is(u, UNWRITTEN_MAX + 1));
	cr_assert(unwritten_is(u, UNWRITTEN_MAX + 2));
	unwritten_free(u);
}

/* What was dirty under a daemon that was killed is not known. */
Test(unwritten, after_a_take_over_any)
{
	struct unwritten *u;

	cr_assert_eq(unwritten_new(true, &u), 0);
	cr_assert(unwritten_is(u, 7));
	unwritten_free(u);
}
