/* The numbers that files of the past have: each pair of head and inode has its own. */

#include "number.h"

#include "view.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define VIRTUAL_LEAST (UINT64_C(0xf8) << 56)

Test(number, the_root_keeps_its_own)
{
	cr_assert_eq(number_of(0, INO_ROOT), INO_ROOT);
	cr_assert_eq(number_of(0, INO_MAX - 1), INO_MAX - 1);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Around each power of two, where the rule changes. */
static unsigned edges(unsigned bits, uint64_t *out)
{
	unsigned n = 0;

	for (unsigned b = 3; b <= bits; b++) {
		out[n++] = (UINT64_C(1) << b) - 1;
		out[n++] = (UINT64_C(1) << b) - 2;
		out[n++] = UINT64_C(1) << (b - 1);
	}
	return n;
}

Test(number, no_two_are_the_same)
{
	static uint64_t heads[200], inos[200], all[40000];
	unsigned n_heads = edges(39, heads), n_inos = edges(48, inos);
	size_t n = 0;

	for (unsigned i = 0; i < n_heads; i++)
		for (unsigned k = 0; k < n_inos; k++) {
			uint64_t number = number_of(heads[i], inos[k]);

			cr_assert_geq(number, UINT64_C(1) << 63);
			cr_assert_lt(number, VIRTUAL_LEAST);
			all[n++] = number;
		}
	qsort(all, n, sizeof(*all), compare);
	for (size_t i = 1; i < n; i++)
		cr_assert_neq(all[i], all[i - 1]);
}
