/*
 * What a change by one who is not privileged takes from a program: its set-id bits.
 *
 * Setuid goes; setgid goes where the group may execute the file, and else (a relic of mandatory
 * locking) where the caller is not of the group.  The kernel gives the caller's user and group;
 * that root lacks the capability to keep the bits is not told, and not looked for.
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

int privs_drop(fuse_req_t req, uint64_t ino)
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
	/* What is cleared is told, not what is to be left: the mode may have changed since. */
	if (lost & S_ISGID)
		set |= SET_KILL_SGID;
	rc = volume_setattr(m->volume, &request_of(req)->caller, ino, set, &want, &a);
	/* It may have forgotten the file, and then has nothing to be told. */
	if (rc == 0 && fuse_lowlevel_notify_inval_inode(m->session, ino, -1, 0) < 0)
		return 0;
	return rc;
}
