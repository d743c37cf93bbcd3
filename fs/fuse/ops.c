/*
 * The handlers that libfuse calls.  Each passes its request to the node's kind (node.h).  Nothing
 * else about nodes is known here.
 *
 * The kernel sends no open and release requests: it takes "not implemented" for "no need to ask
 * again", keeps its caches across opens, and sends FORGET when the last user of a node is gone.
 */

#include "ops.h"

#include "attributes.h"
#include "reply.h"
#include "volume.h"

#include <errno.h>
#include <sys/statvfs.h>
#include <unistd.h>

/*
 * Pass a change to the kind of node ${id}.  Past nodes and most virtual ones have no handler for
 * it.
 */
#define CHANGE(req, id, op, ...)                                                                   \
	do {                                                                                       \
		const struct node_ops *ops_ = node_ops_of(mount_of(req), id);                      \
                                                                                                   \
		if (ops_->op)                                                                      \
			ops_->op(req, mount_of(req), id, __VA_ARGS__);                             \
		else                                                                               \
			reply_unchangeable(req);                                                   \
	} while (0)

static const struct node_ops *ops_of(fuse_req_t req, uint64_t id)
{
	return node_ops_of(mount_of(req), id);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	ops_of(req, parent)->lookup(req, mount_of(req), parent, name);
}

static void op_forget(fuse_req_t req, fuse_ino_t id, uint64_t n)
{
	ops_of(req, id)->forget(mount_of(req), id, n);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		ops_of(req, forgets[i].ino)
			->forget(mount_of(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct node_attributes x;
	int rc = ops_of(req, id)->attributes(m, id, &x);

	(void)fi;
	if (rc == 0 && ask_when_written(m, &x.a, x.head, ASKS_ATTRIBUTES, req))
		return;
	if (rc == 0)
		fuse_reply_attr(req, &x.st, x.timeout_s);
	else
		reply_rc(req, id, rc);
}

static void op_setattr(fuse_req_t req, fuse_ino_t id, struct stat *st, int to_set,
		       struct fuse_file_info *fi)
{
	(void)fi;
	CHANGE(req, id, setattr, st, to_set);
}

static void op_readlink(fuse_req_t req, fuse_ino_t id)
{
	ops_of(req, id)->readlink(req, mount_of(req), id);
}

#define STATFS_BLOCK 4096u
/* Space that the log may take at any moment by itself: its next segments. */
#define STATFS_RESERVE (UINT64_C(128) << 20)
#define STATFS_INODE_COST 256u /* a guess at what one more file needs of the disk */

static void op_statfs(fuse_req_t req, fuse_ino_t id)
{
	struct mount *m = mount_of(req);
	uint64_t disk_free = 0;
	struct view_usage u;
	struct statvfs st = {
		.f_bsize = STATFS_BLOCK, .f_frsize = STATFS_BLOCK, .f_namemax = NAME_LEN_MAX};

	(void)id;
	view_usage(m->view, &u);
	if (m->volume && volume_disk_free(m->volume, &disk_free) < 0)
		disk_free = 0;
	st.f_bfree = disk_free / STATFS_BLOCK;
	/*
	 * Report less than volume_allocate() accepts, so that an allocation of what df shows is not
	 * refused.
	 */
	if (disk_free > STATFS_RESERVE)
		st.f_bavail = (disk_free - STATFS_RESERVE) / STATFS_BLOCK;
	st.f_blocks = st.f_bfree + (u.bytes + STATFS_BLOCK - 1) / STATFS_BLOCK;
	st.f_ffree = st.f_favail = disk_free / STATFS_INODE_COST;
	st.f_files = st.f_ffree + u.inodes;
	fuse_reply_statfs(req, &st);
}

/*
 * After ENOSYS the kernel sends MKNOD and opens the file without asking: one message instead of
 * two.
 */
static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	(void)parent;
	(void)name;
	(void)mode;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	CHANGE(req, parent, mknod, name, mode, rdev);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	CHANGE(req, parent, mkdir, name, mode);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	CHANGE(req, parent, symlink, name, target);
}

static void op_link(fuse_req_t req, fuse_ino_t id, fuse_ino_t parent, const char *name)
{
	if (ops_of(req, id) != ops_of(req, parent))
		reply_unchangeable(req);
	else
		CHANGE(req, parent, link, id, name);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	CHANGE(req, parent, unlink, name);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	CHANGE(req, parent, rmdir, name);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		      const char *new_name, unsigned flags)
{
	if (ops_of(req, parent) != ops_of(req, new_parent))
		reply_unchangeable(req);
	else
		CHANGE(req, parent, rename, name, new_parent, new_name, flags);
}

static void op_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	(void)id;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

static void op_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	(void)fi;
	ops_of(req, id)->readdir(req, mount_of(req), id, size, off, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
			   struct fuse_file_info *fi)
{
	(void)fi;
	ops_of(req, id)->readdir(req, mount_of(req), id, size, off, true);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t id, int data_only, struct fuse_file_info *fi)
{
	(void)data_only;
	(void)fi;
	ops_of(req, id)->fsyncdir(req, mount_of(req), id);
}

static void op_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	(void)id;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

static void op_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	(void)id;
	(void)fi;
	fuse_reply_err(req, 0);
}

static void op_flush(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	(void)id;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

static void op_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	ops_of(req, id)->read(req, mount_of(req), id, size, off, fi->flags);
}

static void op_write(fuse_req_t req, fuse_ino_t id, const char *data, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	CHANGE(req, id, write, data, size, off, fi->writepage);
}

static void op_fsync(fuse_req_t req, fuse_ino_t id, int data_only, struct fuse_file_info *fi)
{
	(void)data_only;
	(void)fi;
	ops_of(req, id)->fsync(req, mount_of(req), id);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t id, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	(void)fi;
	CHANGE(req, id, fallocate, mode, off, len);
}

static void op_lseek(fuse_req_t req, fuse_ino_t id, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	(void)fi;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		fuse_reply_err(req, EINVAL);
	else
		ops_of(req, id)->lseek(req, mount_of(req), id, off, whence == SEEK_HOLE);
}

/*
 * Extents can't be shared with a view of the past: EXDEV makes the kernel copy by reading and
 * writing.
 */
static void op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_off,
			       struct fuse_file_info *from_fi, fuse_ino_t to, off_t to_off,
			       struct fuse_file_info *to_fi, size_t len, int flags)
{
	(void)from_fi;
	(void)to_fi;
	if (!ops_of(req, from)->copy)
		fuse_reply_err(req, EXDEV);
	else if (flags != 0)
		fuse_reply_err(req, EINVAL);
	else
		CHANGE(req, to, copy, to_off, from, from_off, len);
}

static void op_ioctl(fuse_req_t req, fuse_ino_t id, unsigned cmd, void *arg,
		     struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_len,
		     size_t out_len)
{
	(void)id;
	(void)cmd;
	(void)arg;
	(void)fi;
	(void)flags;
	(void)in;
	(void)in_len;
	(void)out_len;
	fuse_reply_err(req, ENOTTY);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size)
{
	ops_of(req, id)->getxattr(req, mount_of(req), id, name, size);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t id, size_t size)
{
	ops_of(req, id)->listxattr(req, mount_of(req), id, size);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t id, const char *name, const char *value,
			size_t size, int flags)
{
	CHANGE(req, id, setxattr, name, value, size, flags);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t id, const char *name)
{
	CHANGE(req, id, removexattr, name);
}

const struct fuse_lowlevel_ops mount_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.statfs = op_statfs,
	.create = op_create,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.symlink = op_symlink,
	.link = op_link,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.fsyncdir = op_fsyncdir,
	.open = op_open,
	.release = op_release,
	.flush = op_flush,
	.read = op_read,
	.write = op_write,
	.fsync = op_fsync,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.copy_file_range = op_copy_file_range,
	.ioctl = op_ioctl,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.setxattr = op_setxattr,
	.removexattr = op_removexattr,
};
