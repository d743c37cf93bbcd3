/* What one identity may use, and what all may. */

#include "auth.h"
#include "err.h"
#include "quota.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* How many more ${who} gets. */
static unsigned take_all(struct quota *q, const char *who, enum quota_kind kind)
{
	unsigned n = 0;
	int rc;

	while ((rc = quota_take(q, who, kind)) == 0)
		n++;
	cr_expect_eq(rc, -EMFILE);
	return n;
}

static void give(struct quota *q, const char *who, enum quota_kind kind, unsigned n)
{
	while (n-- > 0)
		quota_give(q, who, kind);
}

Test(quota, an_identity_gets_its_share)
{
	struct quota *q;

	cr_assert_eq(quota_new(&q), 0);
	cr_expect_eq(take_all(q, "cn:a", QUOTA_CALLS), 256);
	cr_expect(strstr(err_detail(-EMFILE), "cn:a"));
	cr_expect_eq(take_all(q, "cn:a", QUOTA_WATCHES), 16);
	cr_expect_eq(take_all(q, "cn:a", QUOTA_APPENDERS), 32);
	/* The other half is another's. */
	cr_expect_eq(take_all(q, "cn:b", QUOTA_CALLS), 256);
	cr_expect_eq(take_all(q, "cn:c", QUOTA_CALLS), 0);
	cr_expect(strstr(err_detail(-EMFILE), "this server"));
	/* What is given back can be taken again. */
	quota_give(q, "cn:a", QUOTA_CALLS);
	cr_expect_eq(take_all(q, "cn:c", QUOTA_CALLS), 1);
	quota_give(q, "cn:c", QUOTA_CALLS);
	cr_expect_eq(take_all(q, "cn:a", QUOTA_CALLS), 1);
	give(q, "cn:a", QUOTA_CALLS, 256);
	give(q, "cn:a", QUOTA_WATCHES, 16);
	give(q, "cn:a", QUOTA_APPENDERS, 32);
	give(q, "cn:b", QUOTA_CALLS, 256);
	quota_free(q);
}

Test(quota, local_callers_are_many)
{
	struct quota *q;

	cr_assert_eq(quota_new(&q), 0);
	cr_expect_eq(take_all(q, WHO_LOCAL, QUOTA_CALLS), 512);
	give(q, WHO_LOCAL, QUOTA_CALLS, 512);
	quota_free(q);
	quota_free(NULL);
}

Test(quota, many_identities)
{
	struct quota *q;
	char who[32];

	cr_assert_eq(quota_new(&q), 0);
	for (unsigned i = 0; i < 512; i++) {
		snprintf(who, sizeof(who), "cn:%u", i);
		cr_assert_eq(quota_take(q, who, QUOTA_CALLS), 0);
	}
	cr_expect_eq(quota_take(q, "cn:512", QUOTA_CALLS), -EMFILE);
	for (unsigned i = 0; i < 512; i++) {
		snprintf(who, sizeof(who), "cn:%u", i);
		quota_give(q, who, QUOTA_CALLS);
	}
	quota_free(q);
}
