#ifndef KINDS_H_
#define KINDS_H_

/*
 * The operations of live and past nodes, by subject; the tables are in kinds.c.  Contracts are
 * those of node.h.  The id of a live node is its inode number.
 */

#include "node.h"

struct seek;

/* ops_node.c */
void live_lookup(fuse_req_t req, struct mount *m, uint64_t parent, const char *name);
void live_forget(struct mount *m, uint64_t id, uint64_t n);
int live_attributes(struct mount *m, uint64_t id, struct node_attributes *out);
void live_readlink(fuse_req_t req, struct mount *m, uint64_t id);
void live_setattr(fuse_req_t req, struct mount *m, uint64_t id, const struct stat *st, int to_set);
void past_lookup(fuse_req_t req, struct mount *m, uint64_t parent, const char *name);
void past_forget(struct mount *m, uint64_t id, uint64_t n);
int past_attributes(struct mount *m, uint64_t id, struct node_attributes *out);
void past_readlink(fuse_req_t req, struct mount *m, uint64_t id);
/*
 * live_accessed(m, ino, is_dir): contents were read: update the access time, which the kernel
 * leaves to us.
 */
void live_accessed(struct mount *m, inode_no ino, bool is_dir);

/* ops_file.c */
void live_read(fuse_req_t req, struct mount *m, uint64_t id, size_t size, off_t off, int flags);
void live_lseek(fuse_req_t req, struct mount *m, uint64_t id, off_t off, bool hole);
void live_write(fuse_req_t req, struct mount *m, uint64_t id, const char *data, size_t size,
		off_t off, bool from_cache);
void live_fallocate(fuse_req_t req, struct mount *m, uint64_t id, int mode, off_t off, off_t len);
void live_copy(fuse_req_t req, struct mount *m, uint64_t to, off_t to_off, uint64_t from,
	       off_t from_off, size_t len);
void live_fsync(fuse_req_t req, struct mount *m, uint64_t id);
void past_read(fuse_req_t req, struct mount *m, uint64_t id, size_t size, off_t off, int flags);
void past_lseek(fuse_req_t req, struct mount *m, uint64_t id, off_t off, bool hole);
/* answer_seek(ctx, s, rc): the answer() of seeks.h, for the mount ${ctx}. */
void answer_seek(void *ctx, const struct seek *s, int rc);

/* ops_dir.c */
void live_readdir(fuse_req_t req, struct mount *m, uint64_t id, size_t size, off_t off, bool plus);
void live_fsyncdir(fuse_req_t req, struct mount *m, uint64_t id);
void past_readdir(fuse_req_t req, struct mount *m, uint64_t id, size_t size, off_t off, bool plus);

/* ops_xattr.c */
void live_getxattr(fuse_req_t req, struct mount *m, uint64_t id, const char *name, size_t size);
void live_listxattr(fuse_req_t req, struct mount *m, uint64_t id, size_t size);
void live_setxattr(fuse_req_t req, struct mount *m, uint64_t id, const char *name,
		   const char *value, size_t size, int flags);
void live_removexattr(fuse_req_t req, struct mount *m, uint64_t id, const char *name);
void past_getxattr(fuse_req_t req, struct mount *m, uint64_t id, const char *name, size_t size);
void past_listxattr(fuse_req_t req, struct mount *m, uint64_t id, size_t size);
/*
 * past_stops_write(name, size): is this the question that the kernel asks before a write?  Then the
 * answer must be that there are PAST_CAPABILITY_LEN bytes to remove.
 */
#define PAST_CAPABILITY_LEN 20u /* the usual length of a capability */
bool past_stops_write(const char *name, size_t size);

/* ops_name.c */
void live_mknod(fuse_req_t req, struct mount *m, uint64_t parent, const char *name, mode_t mode,
		dev_t rdev);
void live_mkdir(fuse_req_t req, struct mount *m, uint64_t parent, const char *name, mode_t mode);
void live_symlink(fuse_req_t req, struct mount *m, uint64_t parent, const char *name,
		  const char *target);
int live_make_unnamed(struct mount *m, const struct request *r, uint64_t parent, uint32_t mode,
		      uint32_t umask, struct fuse_entry_param *out);
void live_link(fuse_req_t req, struct mount *m, uint64_t parent, uint64_t id, const char *name);
void live_unlink(fuse_req_t req, struct mount *m, uint64_t parent, const char *name);
void live_rmdir(fuse_req_t req, struct mount *m, uint64_t parent, const char *name);
void live_rename(fuse_req_t req, struct mount *m, uint64_t parent, const char *name,
		 uint64_t new_parent, const char *new_name, unsigned flags);

/* kinds.c: answers fsync of a node that nobody can change: there is nothing to sync. */
void past_fsync(fuse_req_t req, struct mount *m, uint64_t id);

#endif /* !KINDS_H_ */
