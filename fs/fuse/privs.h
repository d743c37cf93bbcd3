#ifndef PRIVS_H_
#define PRIVS_H_

/* Changes by an unprivileged caller clear a program's set-id bits. */

#include "mount.h"
#include "numbers.h"

struct attr;

/*
 * privs_is_member(req, gid): is the caller in the group, as far as /proc tells?
 * privs_lost(req, a): the set-id bits of ${a} that a change of its contents by the caller clears.
 * privs_drop(req, ino): clear them, and invalidate the mode in the kernel's cache.  Where contents
 * change, the kernel leaves the bits to us, and the answer does not tell it.  Returns 0 or an
 * error.
 */
bool privs_is_member(fuse_req_t req, gid_t gid);
uint32_t privs_lost(fuse_req_t req, const struct attr *a);
MUST_CHECK int privs_drop(fuse_req_t req, inode_no ino);

#endif /* !PRIVS_H_ */
