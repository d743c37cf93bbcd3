#ifndef PRIV_H_
#define PRIV_H_

/* Which privileges of a program a caller's change takes from it, by the rule that ext4 has. */

#include "mount.h"

/* Whether the caller is of the group ${gid}, as far as /proc tells: not if he is gone already. */
bool priv_is_member(fuse_req_t req, gid_t gid);

/*
 * priv_taken(req, a):
 * What volume_setattr() or volume_write() has to take (SET_KILL_*) when ${req}'s caller, who has
 * no special right to keep it, changes contents or owner of ${a}.  The setgid bit of a file that
 * its group can't execute goes as well unless the caller is root or in that group.
 */
unsigned priv_taken(fuse_req_t req, const struct attr *a);

#endif /* !PRIV_H_ */
