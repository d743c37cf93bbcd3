/*
 * Access control lists: what the kernel's own tools produce is taken, all else refused; modes and
 * lists stay in step.
 */

#include "acl.h"

#include "bytes.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32 };

struct list {
	uint8_t b[256];
	size_t len;
};

static struct list list_of(const unsigned *tag_perm, size_t n)
{
	struct list l = {.len = ACL_HEADER_LEN + n * ACL_ENTRY_LEN};

	put_le32(l.b, 2);
	for (size_t i = 0; i < n; i++) {
		put_le16(l.b + 4 + i * 8, (uint16_t)tag_perm[2 * i]);
		put_le16(l.b + 4 + i * 8 + 2, (uint16_t)tag_perm[2 * i + 1]);
		put_le32(l.b + 4 + i * 8 + 4, 1000);
	}
	return l;
}

#define LIST(...)                                                                                  \
	list_of((const unsigned[]){__VA_ARGS__}, sizeof((const unsigned[]){__VA_ARGS__}) / 8)

static unsigned perm_at(const struct list *l, size_t i)
{
	return get_le16(l->b + 4 + i * 8 + 2);
}

Test(acl, takes_whole_lists)
{
	struct list minimal = LIST(USER_OBJ, 6, GROUP_OBJ, 4, OTHER, 4);
	struct list full = LIST(USER_OBJ, 7, USER, 5, USER, 1, GROUP_OBJ, 5, GROUP, 7, MASK, 5,
				OTHER, 0);

	cr_assert_eq(acl_check(minimal.b, minimal.len), 0);
	cr_assert(acl_is_minimal(minimal.b, minimal.len));
	cr_assert_eq(acl_permissions(minimal.b, minimal.len), 0644);
	cr_assert_eq(acl_check(full.b, full.len), 0);
	cr_assert(!(acl_is_minimal(full.b, full.len)));
	/* the mask stands in the middle */
	cr_assert_eq(acl_permissions(full.b, full.len), 0750);
}

Test(acl, refuses_what_is_not_whole)
{
	const struct list bad[] = {
		LIST(USER_OBJ, 6, GROUP_OBJ, 4),			     /* no other */
		LIST(GROUP_OBJ, 4, OTHER, 4),				     /* no owner */
		LIST(USER_OBJ, 6, OTHER, 4),				     /* no group */
		LIST(USER_OBJ, 6, USER, 4, GROUP_OBJ, 4, OTHER, 4),	     /* no mask */
		LIST(USER_OBJ, 6, GROUP_OBJ, 4, USER, 4, MASK, 7, OTHER, 4), /* order */
		LIST(USER_OBJ, 6, USER_OBJ, 6, GROUP_OBJ, 4, OTHER, 4),	     /* twice */
		LIST(USER_OBJ, 8, GROUP_OBJ, 4, OTHER, 4),		     /* permission */
		LIST(USER_OBJ, 6, GROUP_OBJ, 4, 64, 1, OTHER, 4),	     /* tag */
		LIST(USER_OBJ, 6, GROUP_OBJ | MASK, 4, OTHER, 4),	     /* two tags */
		LIST(USER_OBJ, 6, GROUP_OBJ, 4, OTHER, 4, OTHER, 4),
	};
	struct list l = LIST(USER_OBJ, 6, GROUP_OBJ, 4, OTHER, 4);

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_expect_eq(acl_check(bad[i].b, bad[i].len), -EINVAL, "list %zu", i);
	for (size_t len = 0; len < l.len; len++)
		cr_expect_eq(acl_check(l.b, len), -EINVAL, "length %zu", len);
	put_le32(l.b, 3);
	cr_expect_eq(acl_check(l.b, l.len), -EOPNOTSUPP);
}

Test(acl, refuses_too_many_entries)
{
	static uint8_t big[ACL_LEN_MAX + ACL_ENTRY_LEN];

	put_le32(big, 2);
	cr_assert_eq(acl_check(big, sizeof(big)), -ENOSPC);
}

Test(acl, inherit_grants_no_more_than_both)
{
	struct list l = LIST(USER_OBJ, 7, USER, 7, GROUP_OBJ, 5, MASK, 7, OTHER, 5);
	uint32_t mode = acl_inherit(l.b, l.len, S_IFREG | 0666);

	cr_assert_eq(mode, S_IFREG | 0664);
	cr_assert_eq(perm_at(&l, 0), 6);
	cr_assert_eq(perm_at(&l, 1), 7); /* named: the mask limits it */
	cr_assert_eq(perm_at(&l, 2), 5);
	cr_assert_eq(perm_at(&l, 3), 6);
	cr_assert_eq(perm_at(&l, 4), 4);
}

Test(acl, inherit_without_mask_uses_the_group)
{
	struct list l = LIST(USER_OBJ, 7, GROUP_OBJ, 5, OTHER, 0);

	cr_assert_eq(acl_inherit(l.b, l.len, S_IFDIR | 02777), S_IFDIR | 02750);
	cr_assert_eq(acl_permissions(l.b, l.len), 0750);
}

Test(acl, chmod_changes_the_mask)
{
	struct list l = LIST(USER_OBJ, 7, USER, 7, GROUP_OBJ, 5, MASK, 7, OTHER, 5);

	acl_chmod(l.b, l.len, S_IFREG | 04610);
	cr_assert_eq(acl_permissions(l.b, l.len), 0610);
	cr_assert_eq(perm_at(&l, 1), 7);
	cr_assert_eq(perm_at(&l, 2), 5);
}
