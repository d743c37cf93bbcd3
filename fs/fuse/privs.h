#ifndef PRIVS_H_
#define PRIVS_H_

/* What a change by one who is not privileged takes from a program: its set-id bits. */

#include "mount.h"

struct attr;

/*
 * privs_is_member(req, gid): whether the caller is of the group, as far as /proc tells.
 * privs_lost(req, a): the set-id bits of ${a} that its contents' change by the caller takes away.
 * privs_drop(req, ino): take them away, and have the kernel forget the mode that it knows: it
 * leaves them to us where contents change, and is not told by the answer.  Returns 0 or an error.
 */
bool privs_is_member(fuse_req_t req, gid_t gid);
uint32_t privs_lost(fuse_req_t req, const struct attr *a);
MUST_CHECK int privs_drop(fuse_req_t req, uint64_t ino);

#endif /* !PRIVS_H_ */
