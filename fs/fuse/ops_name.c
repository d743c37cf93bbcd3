/*
 * Requests that make, remove and move names.
 *
 * In a folder with a default access list, that list and not the caller's umask decides the
 * permissions of a new node.  To make a node and to give it its lists are several operations on the
 * volume.  The node starts with the fewest permissions of all these steps, so that after a crash
 * between them it is never more accessible than it should be.
 *
 * Before a name is removed its inode is looked up.  If the name was the last one, the inode is
 * remembered until the kernel forgets it (unnamed.h).  Meanwhile the kernel holds the locks of both
 * folders and of the inode, so the result of the lookup stays true.
 *
 * The kernel gives a request again if the process that first read it was killed.  That process may
 * have made the change already (request.h); then the answer is what is there now.  The same kernel
 * locks keep others from changing it before the answer.
 */

#include "kinds.h"

#include "acl.h"
#include "attributes.h"
#include "clock.h"
#include "embassy_dir.h"
#include "relinked.h"
#include "reply.h"
#include "request.h"
#include "slots.h"
#include "unnamed.h"
#include "unwritten.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>

/* Everything that is needed to make a new node. */
struct made {
	uint64_t parent;
	const char *name; /* NULL: no name */
	uint32_t mode, umask;
	uint64_t rdev;
	const char *target;
	const struct request *request;
};

/* The parent's default list; ${*out_len} is 0 if it has none. */
static int default_acl(struct mount *m, uint64_t parent, uint8_t *acl, size_t *out_len)
{
	int rc = view_getxattr(m->view, parent, ACL_DEFAULT, acl, ACL_LEN_MAX, out_len);

	if (rc == -ENODATA || rc == -EOPNOTSUPP) {
		*out_len = 0;
		return 0;
	}
	return rc ? rc : acl_check(acl, *out_len);
}

static int make_plain(struct mount *m, const struct made *w, uint32_t mode, struct attr *out)
{
	const struct request *r = w->request;

	if (r->steps > 0)
		return w->name ? view_lookup(m->view, w->parent, w->name, out)
			       : view_getattr(m->view, r->made, out);
	if (!w->name)
		return volume_make_unnamed(m->volume, &r->caller, w->parent, mode, out);
	return volume_make_node(m->volume, &r->caller, w->parent, w->name, mode, w->rdev, w->target,
				out);
}

static int make_with_acl(struct mount *m, const struct made *w, uint8_t *acl, size_t len,
			 struct attr *out)
{
	const struct caller *c = &w->request->caller;
	uint8_t inherited[ACL_LEN_MAX];
	struct attr want = {0};
	uint32_t first;
	int rc;

	memcpy(inherited, acl, len);
	want.mode = acl_inherit(acl, len, w->mode);
	/*
	 * The middle bits stand for a mask that is not stored yet: the group gets nothing until it
	 * is.
	 */
	first = acl_is_minimal(acl, len) ? want.mode : want.mode & ~(uint32_t)S_IRWXG;
	rc = make_plain(m, w, first, out);
	if (rc == 0 && S_ISDIR(w->mode))
		rc = volume_setxattr(m->volume, c, out->ino, ACL_DEFAULT, inherited, len, 0);
	if (rc == 0 && !acl_is_minimal(acl, len))
		rc = volume_setxattr(m->volume, c, out->ino, ACL_ACCESS, acl, len, 0);
	/* The volume may have added the setgid bit of the parent. */
	want.mode |= out->mode & S_ISGID;
	if (rc == 0 && out->mode != want.mode)
		rc = volume_setattr(m->volume, c, out->ino, SET_MODE, &want, out);
	return rc;
}

static int make(struct mount *m, const struct made *w, struct attr *out)
{
	uint8_t acl[ACL_LEN_MAX];
	size_t len = 0;
	int rc = 0;

	if (w->name && strlen(w->name) > NAME_LEN_MAX)
		return -ENAMETOOLONG;
	if (!S_ISLNK(w->mode))
		rc = default_acl(m, w->parent, acl, &len);
	if (rc < 0)
		return rc;
	if (len > 0)
		return make_with_acl(m, w, acl, len, out);
	return make_plain(m, w, S_ISLNK(w->mode) ? w->mode : w->mode & ~w->umask, out);
}

/*
 * The kernel is told that a new file has one block, so that it need not be told anything when an
 * application first writes to the file.  The kernel asks again when the file is closed.
 */
static void about_to_be_written(struct mount *m, const struct attr *a, struct fuse_entry_param *e)
{
	if (!S_ISREG(a->mode) || a->bytes != 0)
		return;
	e->attr.st_blocks = BLOCKS_UNWRITTEN;
	unwritten_created(m->unwritten, a->ino);
}

static void make_and_reply(fuse_req_t req, struct mount *m, struct made *w)
{
	struct place n = place_of_root(m, w->parent);
	struct fuse_entry_param e;
	struct attr a;
	int rc;

	w->umask = fuse_req_ctx(req)->umask;
	w->request = request_of(req);
	rc = embassy_is_name(w->parent, w->name) ? -EEXIST : make(m, w, &a);
	if (rc < 0) {
		reply_rc(req, w->parent, rc);
		return;
	}
	entry_of(m, &n, &a, &e);
	about_to_be_written(m, &a, &e);
	reply_entry(req, m, &e, -1);
}

int live_make_unnamed(struct mount *m, const struct request *r, uint64_t parent, uint32_t mode,
		      uint32_t umask, struct fuse_entry_param *out)
{
	struct made w = {.parent = parent, .mode = mode, .umask = umask, .request = r};
	struct place n = place_of_root(m, parent);
	struct attr a;
	int rc = make(m, &w, &a);

	if (rc < 0)
		return rc;
	unnamed_add(m->unnamed, a.ino);
	entry_of(m, &n, &a, out);
	about_to_be_written(m, &a, out);
	return 0;
}

void live_mknod(fuse_req_t req, struct mount *m, uint64_t parent, const char *name, mode_t mode,
		dev_t rdev)
{
	struct made w = {.parent = parent, .name = name, .mode = mode, .rdev = rdev};

	make_and_reply(req, m, &w);
}

void live_mkdir(fuse_req_t req, struct mount *m, uint64_t parent, const char *name, mode_t mode)
{
	struct made w = {.parent = parent, .name = name, .mode = S_IFDIR | (mode & 07777)};

	make_and_reply(req, m, &w);
}

void live_symlink(fuse_req_t req, struct mount *m, uint64_t parent, const char *name,
		  const char *target)
{
	struct made w = {.parent = parent, .name = name, .mode = S_IFLNK | 0777, .target = target};

	make_and_reply(req, m, &w);
}

void live_link(fuse_req_t req, struct mount *m, uint64_t parent, uint64_t id, const char *name)
{
	const struct request *r = request_of(req);
	struct place n = place_of_root(m, parent);
	struct fuse_entry_param e;
	struct attr a;
	int rc = embassy_is_name(parent, name) ? -EEXIST
		 : strlen(name) > NAME_LEN_MAX ? -ENAMETOOLONG
					       : 0;

	if (rc == 0)
		rc = r->steps > 0 ? view_lookup(m->view, parent, name, &a)
				  : volume_link(m->volume, &r->caller, id, parent, name, &a);
	if (rc < 0) {
		reply_rc(req, parent, rc);
		return;
	}
	entry_of(m, &n, &a, &e);
	reply_entry(req, m, &e, -1);
}

/* The inode whose name is about to be removed, 0 if there is none; ${last}: it is its last name. */
struct going {
	inode_no ino;
	bool last;
};

static int about_to_go(struct mount *m, uint64_t parent, const char *name, struct going *out)
{
	struct attr a;
	int rc = view_lookup(m->view, parent, name, &a);

	*out = (struct going){0};
	if (rc < 0)
		return rc;
	*out = (struct going){.ino = a.ino, .last = S_ISDIR(a.mode) || a.nlink <= 1};
	if (!out->last)
		relinked_add(m->relinked, a.ino, clock_mono_ns());
	return 0;
}

/* The name was removed.  Called before the answer, after which the kernel may forget the inode. */
static void has_gone(struct mount *m, const struct going *g)
{
	if (g->last)
		unnamed_add(m->unnamed, g->ino);
	else if (g->ino != 0)
		relinked_add(m->relinked, g->ino, clock_mono_ns());
}

static void remove_name(fuse_req_t req, struct mount *m, uint64_t parent, const char *name,
			int (*remove)(struct volume *v, const struct caller *c, uint64_t parent,
				      const char *name))
{
	const struct request *r = request_of(req);
	struct going going;
	int rc = embassy_is_name(parent, name) ? -EPERM : 0;

	/*
	 * A killed process removed the name.  If it was the last one, mount_init() found the inode
	 * among the orphans.
	 */
	if (rc == 0 && r->steps > 0) {
		reply_rc(req, parent, 0);
		return;
	}
	if (rc == 0)
		rc = about_to_go(m, parent, name, &going);
	if (rc == 0)
		rc = remove(m->volume, &r->caller, parent, name);
	if (rc == 0)
		has_gone(m, &going);
	reply_rc(req, parent, rc);
}

void live_unlink(fuse_req_t req, struct mount *m, uint64_t parent, const char *name)
{
	remove_name(req, m, parent, name, volume_unlink);
}

void live_rmdir(fuse_req_t req, struct mount *m, uint64_t parent, const char *name)
{
	remove_name(req, m, parent, name, volume_rmdir);
}

static int rename_name(struct mount *m, const struct request *r, uint64_t parent, const char *name,
		       uint64_t new_parent, const char *new_name, unsigned flags)
{
	struct going going = {0};
	int rc;

	if (embassy_is_name(parent, name) || embassy_is_name(new_parent, new_name))
		return -EBUSY;
	if (strlen(new_name) > NAME_LEN_MAX)
		return -ENAMETOOLONG;
	if (r->steps > 0)
		return 0;
	if (!(flags & (RENAME_EXCHANGE | RENAME_NOREPLACE))) {
		rc = about_to_go(m, new_parent, new_name, &going);
		if (rc < 0 && rc != -ENOENT)
			return rc;
	}
	rc = volume_rename(m->volume, &r->caller, parent, name, new_parent, new_name, flags);
	/*
	 * If both names are of one inode, the rename did nothing and the inode kept its name.
	 * has_gone() is harmless then.
	 */
	if (rc == 0)
		has_gone(m, &going);
	return rc;
}

void live_rename(fuse_req_t req, struct mount *m, uint64_t parent, const char *name,
		 uint64_t new_parent, const char *new_name, unsigned flags)
{
	reply_rc(req, parent,
		 rename_name(m, request_of(req), parent, name, new_parent, new_name, flags));
}
