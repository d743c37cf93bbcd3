/* Permissions of the past: compared, for every caller, with what old and present ones allow. */

#include "past.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/stat.h>

#define ROUNDS 200000
#define USERS 3
#define GROUPS 3

/* As the kernel decides.  ${groups}: a bit for each that the caller is a member of. */
static uint32_t allowed(const struct attr *a, uint32_t mode, uint32_t uid, unsigned groups)
{
	if (a->uid == uid)
		return mode >> 6 & 7;
	return (groups >> a->gid & 1 ? mode >> 3 : mode) & 7;
}

static struct attr any(void)
{
	return (struct attr){.mode = S_IFREG | ((uint32_t)rand() & 0777),
			     .uid = (uint32_t)rand() % USERS,
			     .gid = (uint32_t)rand() % GROUPS};
}

Test(past, nobody_gets_more_than_both_give)
{
	srand(1);
	for (int i = 0; i < ROUNDS; i++) {
		struct attr then = any(), now = any();
		uint32_t mode = past_permissions(&then, &now, false);

		for (uint32_t uid = 0; uid < USERS; uid++)
			for (unsigned groups = 0; groups < 1u << GROUPS; groups++) {
				uint32_t both = allowed(&then, then.mode, uid, groups) &
						allowed(&now, now.mode, uid, groups);
				uint32_t got = allowed(&then, mode, uid, groups);

				cr_assert_eq(got & ~both, 0,
					     "then %u:%u %o, now %u:%u %o: %u gets %o", then.uid,
					     then.gid, then.mode, now.uid, now.gid, now.mode, uid,
					     got);
				if (then.uid == now.uid && then.gid == now.gid)
					cr_assert_eq(got, both);
			}
	}
}

Test(past, an_access_list_now_leaves_the_owner_alone)
{
	struct attr then = {.mode = S_IFREG | 0777, .uid = 1, .gid = 1}, now = then;

	cr_assert_eq(past_permissions(&then, &now, true), 0700);
	now.uid = 2;
	cr_assert_eq(past_permissions(&then, &now, true), 0);
}

Test(past, what_is_gone_is_its_owners)
{
	struct attr then = {.mode = S_IFREG | 0644};

	cr_assert_eq(past_permissions(&then, NULL, false), 0600);
}

Test(past, programs_have_no_privileges)
{
	cr_assert_eq(past_harmless(S_IFREG | 06755), S_IFREG | 0755);
	cr_assert_eq(past_harmless(S_IFDIR | 03775), S_IFDIR | 03775);
}
