/*
 * The tables of operations of live and past nodes.
 */

#include "kinds.h"

void past_fsync(fuse_req_t req, struct mount *m, uint64_t id)
{
	(void)m;
	(void)id;
	fuse_reply_err(req, 0);
}

/* clang-format off */
const struct node_ops node_live = {
	.lookup		= live_lookup,
	.forget		= live_forget,
	.attributes	= live_attributes,
	.readlink	= live_readlink,
	.read		= live_read,
	.lseek		= live_lseek,
	.readdir	= live_readdir,
	.getxattr	= live_getxattr,
	.listxattr	= live_listxattr,
	.fsync		= live_fsync,
	.fsyncdir	= live_fsyncdir,
	.setattr	= live_setattr,
	.mknod		= live_mknod,
	.mkdir		= live_mkdir,
	.symlink	= live_symlink,
	.make_unnamed	= live_make_unnamed,
	.link		= live_link,
	.unlink		= live_unlink,
	.rmdir		= live_rmdir,
	.rename		= live_rename,
	.write		= live_write,
	.fallocate	= live_fallocate,
	.copy		= live_copy,
	.setxattr	= live_setxattr,
	.removexattr	= live_removexattr,
};

const struct node_ops node_past = {
	.lookup		= past_lookup,
	.forget		= past_forget,
	.attributes	= past_attributes,
	.readlink	= past_readlink,
	.read		= past_read,
	.lseek		= past_lseek,
	.readdir	= past_readdir,
	.getxattr	= past_getxattr,
	.listxattr	= past_listxattr,
	.fsync		= past_fsync,
	.fsyncdir	= past_fsync,
};
/* clang-format on */
