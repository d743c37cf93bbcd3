/*
 * Permissions on the past.
 *
 * A caller is in one class (owner, group, others) by a file's old owner and group, and in one class
 * by the present ones.  If owner and group have not changed, both classes are the same, and the
 * bits are combined with "and".  Otherwise the callers of an old class may be in several present
 * classes, and get only what all of these classes allow.
 */

#include "past.h"

#include <sys/stat.h>

#define ALL 7u /* read, write, execute */

uint32_t past_permissions(const struct attr *then, const struct attr *now, bool now_has_acl)
{
	uint32_t user, group, others, if_owner, if_not;
	bool same_user, same_group;

	if (!now)
		return then->mode & S_IRWXU;

	same_user = then->uid == now->uid;
	same_group = then->gid == now->gid;
	user = now->mode >> 6 & ALL;
	group = now_has_acl ? 0 : now->mode >> 3 & ALL;
	others = now_has_acl ? 0 : now->mode & ALL;

	/* The old owner, if not the owner now, is in the group or among the others now. */
	if_not = group & others;
	/* Some other user of the old class may be the owner now. */
	if_owner = same_user ? ALL : user;

	user = same_user ? user : if_not;
	group = if_owner & (same_group ? group : if_not);
	others = if_owner & (same_group ? others : if_not);
	return then->mode & (user << 6 | group << 3 | others);
}

uint32_t past_harmless(uint32_t mode)
{
	return mode & ~(S_ISDIR(mode) ? 0u : (uint32_t)(S_ISUID | S_ISGID));
}
