#include "priv.h"

#include "volume.h"

#include <stdlib.h>
#include <sys/stat.h>

#define GROUPS_MAX 65536

bool priv_is_member(fuse_req_t req, gid_t gid)
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

unsigned priv_taken(fuse_req_t req, const struct attr *a)
{
	if (!(a->mode & S_ISGID) || (a->mode & S_IXGRP) || fuse_req_ctx(req)->uid == 0 ||
	    priv_is_member(req, a->gid))
		return SET_KILL_PRIV;
	return SET_KILL_PRIV | SET_KILL_SGID;
}
