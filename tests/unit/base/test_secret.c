/* Secret memory and random bytes. */

#include "secret.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

Test(secret, init_twice)
{
	cr_assert_eq(secret_init(), 0);
	cr_assert_eq(secret_init(), 0);
}

Test(secret, alloc_free)
{
	uint8_t *p;

	cr_assert_eq(secret_init(), 0);
	p = secret_alloc(32);
	cr_assert_not_null(p);
	memset(p, 7, 32);
	secret_free(p);
	secret_free(NULL);
}

Test(secret, too_much_is_null)
{
	cr_assert_eq(secret_init(), 0);
	cr_assert_null(secret_alloc(SIZE_MAX / 2));
}

Test(secret, wipe)
{
	uint8_t bytes[16];

	memset(bytes, 0xaa, sizeof(bytes));
	secret_wipe(bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		cr_assert_eq(bytes[i], 0);
}

Test(secret, random_differs)
{
	uint8_t a[32], b[32];

	cr_assert_eq(secret_init(), 0);
	random_bytes(a, sizeof(a));
	random_bytes(b, sizeof(b));
	cr_assert_neq(memcmp(a, b, sizeof(a)), 0);
}
