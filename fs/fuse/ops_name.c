/*
 * Requests that make, remove and move names.
 *
 * A folder's default access list decides, instead of the caller's umask, how what is made in it
 * starts.  Making a node and giving it its lists are several operations on the volume; the node
 * starts with the fewest permissions of all these steps, so that a crash between them never
 * leaves it too open.
 *
 * Before a name goes its inode is looked up: if it was the last one, the inode is remembered
 * until the kernel forgets it (unnamed.h). The kernel holds the locks of both folders and of the
 * inode meanwhile, so what is looked up stays true.
 *
 * A request that the kernel gives again, because the process that read it first was killed, may
 * have been done (request.h): then the answer is what is there now.  The same locks keep others
 * from changing it before it is answered.
 */

#include "mount.h"

#include "acl.h"
#include "clock.h"
#include "embassy_dir.h"
#include "relinked.h"
#include "request.h"
#include "slots.h"
#include "unnamed.h"
#include "unwritten.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>

/* Everything that a new node is made of. */
struct made {
	uint64_t parent;
	const char *name; /* NULL: no name */
	uint32_t mode, umask;
	uint64_t rdev;
	const char *target;
	const struct request *request;
};

/* The parent's default list; ${*out_len} 0: none. */
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
	 * The middle bits stand for a mask that is not there yet: nothing for the group until it
	 * is.
	 */
	first = acl_is_minimal(acl, len) ? want.mode : want.mode & ~(uint32_t)S_IRWXG;
	rc = make_plain(m, w, first, out);
	if (rc == 0 && S_ISDIR(w->mode))
		rc = volume_setxattr(m->volume, c, out->ino, ACL_DEFAULT, inherited, len, 0);
	if (rc == 0 && !acl_is_minimal(acl, len))
		rc = volume_setxattr(m->volume, c, out->ino, ACL_ACCESS, acl, len, 0);
	/* The volume may have added the parent's setgid bit. */
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
 * A new file has a block as far as the kernel knows, so that it need not be told when somebody
 * writes to it.  It asks again when the file is closed.
 */
static void about_to_be_written(struct mount *m, const struct attr *a, struct fuse_entry_param *e)
{
	if (!S_ISREG(a->mode) || a->bytes != 0)
		return;
	e->attr.st_blocks = BLOCKS_UNWRITTEN;
	unwritten_created(m->unwritten, a->ino);
}

static void make_and_reply(fuse_req_t req, struct made *w)
{
	struct mount *m = mount_of(req);
	struct place n = {.slot = -1};
	struct fuse_entry_param e;
	uint64_t parent = w->parent;
	struct attr a;
	int rc;

	w->umask = fuse_req_ctx(req)->umask;
	w->request = request_of(req);
	rc = embassy_is_name(parent, w->name) ? -EEXIST : place_for_change(m, parent, &w->parent);
	if (rc == 0)
		rc = make(m, w, &a);
	if (rc < 0) {
		reply_rc(req, parent, rc);
		return;
	}
	entry_of(m, &n, &a, &e);
	about_to_be_written(m, &a, &e);
	reply_entry(req, m, &e, -1);
}

int make_unnamed(struct mount *m, const struct request *r, uint64_t parent, uint32_t mode,
		 uint32_t umask, struct fuse_entry_param *out)
{
	struct made w = {.mode = mode, .umask = umask, .request = r};
	struct place n = {.slot = -1};
	struct attr a;
	int rc = place_for_change(m, parent, &w.parent);

	if (rc == 0)
		rc = make(m, &w, &a);
	if (rc < 0)
		return rc;
	unnamed_add(m->unnamed, a.ino);
	entry_of(m, &n, &a, out);
	about_to_be_written(m, &a, out);
	return 0;
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi)
{
	/*
	 * The kernel then makes the node and opens it without asking: one message instead of two.
	 */
	(void)parent;
	(void)name;
	(void)mode;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct made w = {.parent = parent, .name = name, .mode = mode, .rdev = rdev};

	make_and_reply(req, &w);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct made w = {.parent = parent, .name = name, .mode = S_IFDIR | (mode & 07777)};

	if (node_is_virtual(parent))
		embassy_mkdir(req, mount_of(req), parent, name, mode);
	else
		make_and_reply(req, &w);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct made w = {.parent = parent, .name = name, .mode = S_IFLNK | 0777, .target = target};

	make_and_reply(req, &w);
}

void op_link(fuse_req_t req, fuse_ino_t id, fuse_ino_t parent, const char *name)
{
	const struct request *r = request_of(req);
	struct mount *m = mount_of(req);
	struct place n = {.slot = -1};
	struct fuse_entry_param e;
	uint64_t ino, parent_ino;
	struct attr a;
	int rc = place_for_change(m, id, &ino);

	if (rc == 0)
		rc = place_for_change(m, parent, &parent_ino);
	if (rc == 0 && embassy_is_name(parent, name))
		rc = -EEXIST;
	if (rc == 0 && strlen(name) > NAME_LEN_MAX)
		rc = -ENAMETOOLONG;
	if (rc == 0)
		rc = r->steps > 0 ? view_lookup(m->view, parent_ino, name, &a)
				  : volume_link(m->volume, &r->caller, ino, parent_ino, name, &a);
	if (rc < 0) {
		reply_rc(req, parent, rc);
		return;
	}
	entry_of(m, &n, &a, &e);
	reply_entry(req, m, &e, -1);
}

/* The inode of a name that is about to go, and whether that is its last one.  0: none. */
struct going {
	uint64_t ino;
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

/* It has gone; before the answer. */
static void has_gone(struct mount *m, const struct going *g)
{
	if (g->last)
		unnamed_add(m->unnamed, g->ino);
	else if (g->ino != 0)
		relinked_add(m->relinked, g->ino, clock_mono_ns());
}

static void remove_name(fuse_req_t req, uint64_t parent, const char *name,
			int (*remove)(struct volume *v, const struct caller *c, uint64_t parent,
				      const char *name))
{
	const struct request *r = request_of(req);
	struct mount *m = mount_of(req);
	struct going going;
	uint64_t ino;
	int rc = embassy_is_name(parent, name) ? -EPERM : place_for_change(m, parent, &ino);

	/* What is left without a name was found among the orphans. */
	if (rc == 0 && r->steps > 0) {
		reply_rc(req, parent, 0);
		return;
	}
	if (rc == 0)
		rc = about_to_go(m, ino, name, &going);
	if (rc == 0)
		rc = remove(m->volume, &r->caller, ino, name);
	if (rc == 0)
		has_gone(m, &going);
	reply_rc(req, parent, rc);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, volume_unlink);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (node_is_virtual(parent))
		embassy_rmdir(req, mount_of(req), parent, name);
	else
		remove_name(req, parent, name, volume_rmdir);
}

static int rename_name(struct mount *m, const struct request *r, uint64_t parent, const char *name,
		       uint64_t new_parent, const char *new_name, unsigned flags)
{
	struct going going = {0};
	uint64_t from, to;
	int rc = place_for_change(m, parent, &from);

	if (rc == 0)
		rc = place_for_change(m, new_parent, &to);
	if (rc < 0)
		return rc;
	if (embassy_is_name(from, name) || embassy_is_name(to, new_name))
		return -EBUSY;
	if (strlen(new_name) > NAME_LEN_MAX)
		return -ENAMETOOLONG;
	if (r->steps > 0)
		return 0;
	if (!(flags & (RENAME_EXCHANGE | RENAME_NOREPLACE))) {
		rc = about_to_go(m, to, new_name, &going);
		if (rc < 0 && rc != -ENOENT)
			return rc;
	}
	rc = volume_rename(m->volume, &r->caller, from, name, to, new_name, flags);
	/*
	 * Two names of one inode: a rename between them does nothing, and the inode keeps its
	 * name.
	 */
	if (rc == 0)
		has_gone(m, &going);
	return rc;
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	       const char *new_name, unsigned flags)
{
	reply_rc(req, parent,
		 rename_name(mount_of(req), request_of(req), parent, name, new_parent, new_name,
			     flags));
}
