#ifndef PAST_H_
#define PAST_H_

/*
 * Who may see the past.
 *
 * A file's old permissions were given to people as they were trusted then.  Where users other than
 * the one who mounted are let into views (history=users), each file of a view is therefore shown
 * with permissions that allow nobody what its old or its present ones would not.  The kernel
 * decides by the mode that it is shown, so the mode is what is made stricter.
 */

#include "view.h"

#include <stdint.h>

/*
 * past_permissions(then, now, now_has_acl): the nine permission bits to show for ${then} of the
 * past, with the owner and group of ${then}: each caller gets at most what both ${then} and ${now}
 * give.  ${now} NULL: the file is there no more, and only its owner then keeps what he had: it may
 * have been closed to the others before it was removed.  ${now_has_acl}: an access list decides
 * now, and gives the group class and others nothing that is known here.
 */
uint32_t past_permissions(const struct attr *then, const struct attr *now, bool now_has_acl);

/*
 * past_harmless(mode): ${mode} without the bits that give a program its owner's or group's rights.
 * One mount has views and the present under it, and the kernel's nosuid is of a whole mount.
 */
uint32_t past_harmless(uint32_t mode);

#endif /* !PAST_H_ */
