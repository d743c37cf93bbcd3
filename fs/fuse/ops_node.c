/*
 * Requests about nodes as such: lookup, forget, attributes.
 *
 * References to live inodes are not counted here: when it matters, the kernel is asked whether it
 * still uses an inode (unnamed.h).  References to views of the past are counted, for each slot.
 */

#include "kinds.h"

#include "acl.h"
#include "attributes.h"
#include "clock.h"
#include "embassy_dir.h"
#include "privs.h"
#include "reply.h"
#include "request.h"
#include "slots.h"
#include "tell.h"
#include "unnamed.h"
#include "unwritten.h"

#include <errno.h>
#include <string.h>

/* A caller that has only a node id, such as an NFS server, asks for "." and "..". */
static int lookup_in(struct place *n, const char *name, struct attr *out)
{
	int rc;

	if (strcmp(name, ".") == 0) {
		rc = view_getattr(n->view, n->ino, out);
		/*
		 * The kernel asks for an inode that it has forgotten: if it has no name, it is
		 * about to be dropped.
		 */
		return rc == 0 && out->nlink == 0 ? -ENOENT : rc;
	}
	if (strcmp(name, "..") != 0)
		return view_lookup(n->view, n->ino, name, out);
	rc = view_getattr(n->view, n->ino, out);
	if (rc == 0 && out->parent != 0 && out->parent != n->ino)
		rc = view_getattr(n->view, out->parent, out);
	return rc;
}

/*
 * Fill the answer, and count the reference that it gives.  ${*out_slot}: the slot of which it was
 * counted, -1 if it is not counted.
 *
 * A file of the past gets a slot, and so a node, of its own.  The kernel keeps nodes that nobody
 * uses, and is asked to forget the oldest ones.  A kernel that can't be asked (before 6.18) may use
 * up all slots; then files share the view's slot, since it must be possible to read the past in any
 * case.
 */
static void give_entry(struct mount *m, const struct place *n, const char *name,
		       const struct attr *a, struct fuse_entry_param *out, int *out_slot)
{
	struct place own = *n;
	uint32_t slot;

	if (place_is_private(n, a) && strcmp(name, ".") != 0 &&
	    slots_take_own(m->slots, (uint32_t)n->slot, a->ino, &slot) == 0) {
		own.slot = (int)slot;
		if (slots_too_many(m->slots))
			tell_views(m->tell);
	} else {
		place_give(m, n, 1);
	}
	*out_slot = own.slot;
	entry_of(m, &own, a, out);
	if (place_is_private(n, a))
		out->entry_timeout = 0;
}

static void reply_lookup(fuse_req_t req, struct mount *m, uint64_t parent, int rc,
			 struct fuse_entry_param *e, int slot)
{
	if (rc == -ENOENT) {
		/* Let the kernel cache that the name does not exist. */
		*e = (struct fuse_entry_param){.entry_timeout = TIMEOUT_LONG_S};
		slot = -1;
		rc = 0;
	}
	if (rc == 0)
		reply_entry(req, m, e, slot);
	else
		reply_rc(req, parent, rc);
}

void live_lookup(fuse_req_t req, struct mount *m, uint64_t parent, const char *name)
{
	struct place n = place_of_root(m, parent);
	struct fuse_entry_param e;
	struct attr a;
	int rc;

	if (embassy_is_name(parent, name)) {
		embassy_lookup_top(req, m);
		return;
	}
	rc = strlen(name) > NAME_LEN_MAX ? -ENAMETOOLONG : lookup_in(&n, name, &a);
	if (rc == 0)
		entry_of(m, &n, &a, &e);
	reply_lookup(req, m, parent, rc, &e, -1);
}

void past_lookup(fuse_req_t req, struct mount *m, uint64_t parent, const char *name)
{
	struct fuse_entry_param e;
	struct place n;
	struct attr a;
	int slot = -1, rc;

	if (embassy_is_name(parent, name)) {
		embassy_lookup_top(req, m);
		return;
	}
	rc = place_get(m, parent, &n);
	if (rc < 0) {
		reply_rc(req, parent, rc);
		return;
	}
	rc = strlen(name) > NAME_LEN_MAX ? -ENAMETOOLONG : lookup_in(&n, name, &a);
	if (rc == 0)
		give_entry(m, &n, name, &a, &e, &slot);
	place_put(m, &n);
	reply_lookup(req, m, parent, rc, &e, slot);
}

void live_forget(struct mount *m, uint64_t id, uint64_t n)
{
	(void)n;
	unwritten_ended(m->unwritten, id);
	unnamed_forget(m->unnamed, id);
}

void past_forget(struct mount *m, uint64_t id, uint64_t n)
{
	if (id >> NODE_SHIFT != 0 && m->slots)
		slots_drop(m->slots, (uint32_t)(id >> NODE_SHIFT) - 1, n);
}

void answer_attributes(struct mount *m, fuse_req_t req, inode_no ino, bool written)
{
	struct stat st;
	struct attr a;
	double timeout_s;
	int rc = view_getattr(m->view, ino, &a);

	if (rc < 0) {
		reply_rc(req, ino, rc);
		return;
	}
	timeout_s = written ? stat_written(m, &a, &st) : stat_for(m, &a, 0, &st);
	fuse_reply_attr(req, &st, timeout_s);
}

int live_attributes(struct mount *m, uint64_t id, struct node_attributes *out)
{
	int rc = view_getattr(m->view, id, &out->a);

	if (rc < 0)
		return rc;
	out->head = 0;
	out->timeout_s = stat_for(m, &out->a, 0, &out->st);
	return 0;
}

int past_attributes(struct mount *m, uint64_t id, struct node_attributes *out)
{
	struct place n;
	int rc = place_get(m, id, &n);

	if (rc < 0)
		return rc;
	rc = view_getattr(n.view, n.ino, &out->a);
	out->head = n.head;
	if (rc == 0)
		out->timeout_s = stat_for(m, &out->a, n.head, &out->st);
	place_put(m, &n);
	return rc;
}

/*
 * chmod on a file with an access list changes the list too.  The list is changed first, because the
 * kernel decides by it.
 */
static int chmod_acl(struct mount *m, const struct caller *c, inode_no ino, uint32_t mode)
{
	uint8_t acl[ACL_LEN_MAX];
	size_t len;
	int rc = view_getxattr(m->view, ino, ACL_ACCESS, acl, sizeof(acl), &len);

	if (rc < 0)
		return rc == -ENODATA || rc == -EOPNOTSUPP ? 0 : rc;
	rc = acl_check(acl, len);
	if (rc < 0)
		return rc;
	acl_chmod(acl, len, mode);
	return volume_setxattr(m->volume, c, ino, ACL_ACCESS, acl, len, 0);
}

/* Translate the request's bits, ${from}, to the volume's, ${to}. */
static unsigned translate(int to_set)
{
	static const struct {
		int from;
		unsigned to;
	} bits[] = {
		{FUSE_SET_ATTR_MODE, SET_MODE},	  {FUSE_SET_ATTR_UID, SET_UID},
		{FUSE_SET_ATTR_GID, SET_GID},	  {FUSE_SET_ATTR_SIZE, SET_SIZE},
		{FUSE_SET_ATTR_ATIME, SET_ATIME}, {FUSE_SET_ATTR_ATIME_NOW, SET_ATIME},
		{FUSE_SET_ATTR_MTIME, SET_MTIME}, {FUSE_SET_ATTR_MTIME_NOW, SET_MTIME},
		{FUSE_SET_ATTR_CTIME, SET_CTIME},
	};
	unsigned set = 0;

	for (size_t i = 0; i < sizeof(bits) / sizeof(*bits); i++)
		if (to_set & bits[i].from)
			set |= bits[i].to;
	return set;
}

static void set_now(int to_set, struct attr *want)
{
	struct timespec now = clock_stamp();

	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		want->atime = now;
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		want->mtime = now;
}

/*
 * A change of owner takes privileges from a program, no matter who makes it: a new owner must not
 * inherit them.  Setgid without group execute permission (a relic of mandatory locking) stays if
 * the caller is in the group.  A folder keeps these bits: there they mean something else.
 */
static int lost_to_new_owner(fuse_req_t req, inode_no ino, unsigned *set)
{
	struct attr a;
	int rc = view_getattr(mount_of(req)->view, ino, &a);

	if (rc < 0 || S_ISDIR(a.mode))
		return rc;
	*set |= SET_KILL_PRIV;
	if ((a.mode & S_ISGID) && fuse_req_ctx(req)->uid != 0 && !privs_is_member(req, a.gid))
		*set |= SET_KILL_SGID;
	return 0;
}

static int set_attributes(fuse_req_t req, inode_no ino, const struct stat *st, int to_set,
			  struct attr *out)
{
	const struct caller *c = &request_of(req)->caller;
	struct mount *m = mount_of(req);
	struct attr want = {.mode = st->st_mode,
			    .uid = st->st_uid,
			    .gid = st->st_gid,
			    .size = (uint64_t)st->st_size,
			    .atime = st->st_atim,
			    .mtime = st->st_mtim,
			    .ctime = st->st_ctim};
	unsigned set = translate(to_set);
	int rc = 0;

	if ((to_set & FUSE_SET_ATTR_SIZE) && st->st_size < 0)
		return -EINVAL;
	if (to_set & (FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW))
		set_now(to_set, &want);

	if (atomic_load(&m->handles_killpriv)) {
		if (to_set & FUSE_SET_ATTR_KILL_SUID)
			set |= SET_KILL_PRIV;
		if (set & (SET_UID | SET_GID))
			rc = lost_to_new_owner(req, ino, &set);
	}
	if (rc == 0 && (set & SET_MODE))
		rc = chmod_acl(m, c, ino, want.mode);
	return rc ? rc : volume_setattr(m->volume, c, ino, set, &want, out);
}

void live_setattr(fuse_req_t req, struct mount *m, uint64_t id, const struct stat *st, int to_set)
{
	struct stat told;
	double timeout_s;
	struct attr a;
	int rc = 0;

	if ((to_set & FUSE_SET_ATTR_SIZE) && (to_set & FUSE_SET_ATTR_KILL_SUID))
		rc = privs_drop(req, id);
	if (rc == 0)
		rc = set_attributes(req, id, st, to_set, &a);
	if (rc < 0) {
		reply_rc(req, id, rc);
		return;
	}
	timeout_s = stat_for(m, &a, 0, &told);
	fuse_reply_attr(req, &told, timeout_s);
}

void live_accessed(struct mount *m, inode_no ino, bool is_dir)
{
	if (!m->noatime && !(is_dir && m->nodiratime))
		volume_accessed(m->volume, ino, m->strictatime);
}

static void reply_target(fuse_req_t req, uint64_t id, int rc, const char *target)
{
	if (rc == 0)
		fuse_reply_readlink(req, target);
	else
		reply_rc(req, id, rc);
}

void live_readlink(fuse_req_t req, struct mount *m, uint64_t id)
{
	char target[SYMLINK_LEN_MAX + 1];
	int rc = view_readlink(m->view, id, target);

	if (rc == 0)
		live_accessed(m, id, false);
	reply_target(req, id, rc, target);
}

void past_readlink(fuse_req_t req, struct mount *m, uint64_t id)
{
	char target[SYMLINK_LEN_MAX + 1];
	struct place n;
	int rc = place_get(m, id, &n);

	if (rc == 0) {
		rc = view_readlink(n.view, n.ino, target);
		place_put(m, &n);
	}
	reply_target(req, id, rc, target);
}
