/*
 * Changes by an unprivileged caller clear a program's set-id bits.
 *
 * Setuid is always cleared.  Setgid is cleared if the group may execute the file, and otherwise (a
 * relic of mandatory locking) if the caller is not in the group.  The kernel tells us the caller's
 * user and group.  It does not tell whether root lacks the capability to keep the bits, and we do
 * not look for it.
 */

#include "privs.h"

#include "request.h"

#include <stdlib.h>
#include <sys/stat.h>

#define GROUPS_MAX 65536

bool privs_is_member(fuse_req_t req, gid_t gid)
{
	gid_t *list;
	bool found = fuse_req_ctx(req)->gid == gid;
	int n;

	if (found)
		return true;
	list = calloc(GROUPS_MAX, sizeof(*list));
	n = list ? fuse_req_getgroups(req, GROUPS_MAX, list) : 0;
	for (int i = 0; i < n && i < GROUPS_MAX && !found; i++)
		found = list[i] == gid;
	free(list);
	return found;
}

uint32_t privs_lost(fuse_req_t req, const struct attr *a)
{
	uint32_t lost = a->mode & S_ISUID;

	if (!S_ISREG(a->mode) || fuse_req_ctx(req)->uid == 0)
		return 0;
	if ((a->mode & S_ISGID) && ((a->mode & S_IXGRP) || !privs_is_member(req, a->gid)))
		lost |= S_ISGID;
	return lost;
}

int privs_drop(fuse_req_t req, inode_no ino)
{
	struct mount *m = mount_of(req);
	struct attr a, want = {0};
	unsigned set = SET_KILL_PRIV;
	uint32_t lost;
	int rc;

	if (fuse_req_ctx(req)->uid == 0 || !atomic_load(&m->handles_killpriv))
		return 0;
	rc = view_getattr(m->view, ino, &a);
	lost = rc == 0 ? privs_lost(req, &a) : 0;
	if (lost == 0)
		return rc;
	/*
	 * Tell the volume which bits to clear, not which mode to set: the mode may have changed
	 * since.
	 */
	if (lost & S_ISGID)
		set |= SET_KILL_SGID;
	rc = volume_setattr(m->volume, &request_of(req)->caller, ino, set, &want, &a);
	/* If the kernel has forgotten the file, there is nothing to invalidate. */
	if (rc == 0 && fuse_lowlevel_notify_inval_inode(m->session, ino, -1, 0) < 0)
		return 0;
	return rc;
}
