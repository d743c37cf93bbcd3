#ifndef PAST_H_
#define PAST_H_

/*
 * Permissions on the past.
 *
 * A file's old permissions were given to people who were trusted then.  If users other than the one
 * who mounted are let into views (history=users), each file of a view is shown with permissions
 * that allow nobody what its old or its present permissions would forbid.  The kernel decides by
 * the mode that it is shown, so that mode is made stricter.
 */

#include "view.h"

#include <stdint.h>

/*
 * past_permissions(then, now, now_has_acl): the nine permission bits to show for ${then}, the file
 * in the past, with the owner and group of ${then}.  Each caller gets at most what both ${then} and
 * ${now} allow.  ${now} is NULL if the file no longer exists; then only its old owner keeps access,
 * since the file may have been closed to the others before it was removed.  ${now_has_acl}: an
 * access list decides now; its grants to group and others are unknown here, and count as none.
 */
uint32_t past_permissions(const struct attr *then, const struct attr *now, bool now_has_acl);

/*
 * past_harmless(mode): ${mode} without the bits that give a program the rights of its owner or
 * group.  One mount contains both the views and the present, so the kernel's nosuid, which is per
 * mount, can't be used for the views alone.
 */
uint32_t past_harmless(uint32_t mode);

#endif /* !PAST_H_ */
