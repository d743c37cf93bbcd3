/* Names of identities. */

#include "auth.h"

#include <criterion/criterion.h>

#include <string.h>

static const char pem[] = "-----BEGIN CERTIFICATE-----\n...";

Test(auth, a_common_name)
{
	char who[WHO_MAX];

	auth_name("home 1", 6, pem, sizeof(pem), who);
	cr_expect_str_eq(who, "cn:home 1");
}

Test(auth, what_cannot_be_a_name_is_a_fingerprint)
{
	char who[WHO_MAX], other[WHO_MAX], longest[AUTH_NAME_MAX + 1];

	memset(longest, 'x', sizeof(longest));
	auth_name(longest, AUTH_NAME_MAX, pem, sizeof(pem), who);
	cr_expect_eq(strlen(who), AUTH_NAME_MAX + 3);
	auth_name(longest, AUTH_NAME_MAX + 1, pem, sizeof(pem), who);
	cr_expect_eq(strncmp(who, "cert:", 5), 0);
	cr_expect_eq(strlen(who), 5 + 64);
	auth_name(NULL, 0, pem, sizeof(pem), other);
	cr_expect_str_eq(who, other);
	auth_name("a\0b", 3, pem, sizeof(pem), other);
	cr_expect_str_eq(who, other);
	auth_name("a\nb", 3, pem, sizeof(pem), other);
	cr_expect_str_eq(who, other);
	auth_name(NULL, 0, pem, sizeof(pem) - 1, other);
	cr_expect_str_neq(who, other);
}
