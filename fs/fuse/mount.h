#ifndef MOUNT_H_
#define MOUNT_H_

/*
 * One mount: what it shows, and what its request handlers share.
 *
 * Node ids, as the kernel sees them:
 *	below INO_MAX			an inode of the namespace at the root
 *	(slot + 1) << 48 | inode	the same in a view of the past (slots.h)
 *	0xffff << 48 | ...		.embassy and what lies in it (embassy_dir.h)
 * st_ino is the same but for views of the past: there it is made of the head and the inode
 * (number.h), since a slot stands for one head after another.
 *
 * The kernel opens files without asking, and lets them be written to in its cache.  So that the
 * past stays as it is for everybody:
 *	write() and the like	the kernel asks first whether there are privileges to take away, is
 *				told yes, and can't take them: EROFS (op_getxattr())
 *	a map that is shared	each look-up of a file gives a node of its own, whose cached pages
 *				nobody else sees (op_lookup()); what is written there is lost
 */

#define FUSE_USE_VERSION 312

#include "compiler.h"
#include "number.h"
#include "view.h"

#include <fuse3/fuse_lowlevel.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct embassy_dir;
struct heir;
struct relinked;
struct replicator;
struct request;
struct seek;
struct seeks;
struct slots;
struct syncs;
struct tell;
struct unnamed;
struct unwritten;
struct volume;
struct walks;
struct writeback;

#define NODE_SHIFT 48
#define NODE_VIRTUAL UINT64_C(0xffff)
#define NODE_GENERATION 1u /* inode numbers are never used again */

/* Kernel caches are right for good where only the kernel makes changes. */
#define TIMEOUT_LONG_S 1e9

/* What a file has at least that the kernel may hold contents of, in units of 512 bytes. */
#define BLOCKS_UNWRITTEN 8

struct mount {
	struct volume *volume; /* NULL: a read-only mount */
	struct view *view;     /* the namespace at the root; the volume's or a view of its own */
	const struct view_config *view_cfg;
	const uint8_t *volume_id;    /* VOLUME_ID_LEN bytes */
	struct writeback *writeback; /* live only */
	struct replicator **replicators;
	size_t n_replicators;
	uid_t owner; /* who mounted it */
	bool history_users; /* others get at .embassy as well, and so at views */
	unsigned n_threads;
	size_t memory_bytes;
	struct heir *heir; /* from the process before, and for the one after */
	bool noatime, nodiratime, strictatime;

	/* Made by mount_init(). */
	struct slots *slots;	     /* live only */
	struct walks *walks;	     /* live only */
	struct tell *tell;	     /* live only */
	struct unnamed *unnamed;     /* live only */
	struct unwritten *unwritten; /* live only */
	struct relinked *relinked;   /* live only */
	struct syncs *syncs;	     /* live only */
	struct seeks *seeks;	     /* live only */
	struct embassy_dir *embassy;

	atomic_uint_fast64_t
		flushing; /* the file that is being written back for a question; 0: none */

	/* Set by the session. */
	struct fuse_session *session;
	void (*ready)(void *ctx); /* called once the kernel has our answer to its first request */
	void *ready_ctx;
	atomic_bool names_of_older;   /* the kernel has some, see mount_adopted() */
	atomic_bool handles_killpriv; /* the kernel leaves setuid bits to us */
};

/*
 * mount_init(m): make what the handlers need.  Returns 0 or -errno.  mount_release(m) undoes it;
 * no request is under way.
 * mount_quiesce(m): no thread waits for the kernel from here on, but those that serve it, which go on:
 * whoever waited when they end would wait for ever.  The session is about to end.
 * mount_adopted(m): requests are served; after a takeover, see what nobody uses any more, and have
 * the kernel forget what an older program told it of the past.
 */
void mount_adopted(struct mount *m);
MUST_CHECK int mount_init(struct mount *m);
void mount_quiesce(struct mount *m);
void mount_release(struct mount *m);

extern const struct fuse_lowlevel_ops mount_ops;

static inline struct mount *mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static inline uint64_t node_id(int slot, uint64_t ino)
{
	return slot < 0 ? ino : (uint64_t)(slot + 1) << NODE_SHIFT | ino;
}

static inline bool node_is_virtual(uint64_t id)
{
	return id >> NODE_SHIFT == NODE_VIRTUAL;
}

/* A node id taken apart, with its view in use. */
struct place {
	struct view *view;
	uint64_t ino;
	int slot;      /* of a view of the past; else -1 */
	uint64_t head; /* the number of its head; 0: of the root's view */
	bool live;     /* can be changed */
};

/* Whether what the kernel keeps of the node ${a} of n's view must not be shared. */
static inline bool place_is_private(const struct place *n, const struct attr *a)
{
	return n->slot >= 0 && S_ISREG(a->mode);
}

/*
 * place_get(m, id, out): ${id} is not virtual.  Returns 0, or why its view does not open.  Ends
 * with place_put().
 */
MUST_CHECK int place_get(struct mount *m, uint64_t id, struct place *out);
void place_put(struct mount *m, struct place *n);

/*
 * place_give(m, n, count): the next answer gives the kernel ${count} references to nodes of n's
 * view; before place_put().  Nothing if n is live.
 */
void place_give(struct mount *m, const struct place *n, uint64_t count);

/* place_for_change(m, id, out): a live inode's number.  Returns 0 or -EROFS. */
MUST_CHECK int place_for_change(struct mount *m, uint64_t id, uint64_t *out_ino);

/* place_accessed(m, n, is_dir): contents of a node that is in use were read: its access time. */
void place_accessed(struct mount *m, const struct place *n, bool is_dir);

/* stat_of(a, head, out): attributes as the kernel is told them; ${head} as in struct place. */
void stat_of(const struct attr *a, uint64_t head, struct stat *out);

/*
 * stat_for(m, a, head, out): the same, of a view in .embassy with what past.h leaves, and for how
 * long the kernel may keep them, in seconds.
 * Where the kernel may hold the contents of a file of which nothing is stored: 0, and ${out} says
 * that it has a block.
 */
double stat_for(struct mount *m, const struct attr *a, uint64_t head, struct stat *out);

/*
 * ask_when_written(m, a, head, asks, req): for such a file, have answer_attributes() or
 * wire_answer_statx() (as ${asks} says) called with ${req} once the kernel has written it back.
 * Returns false: it is none, or nobody can have it written back; the caller answers.
 */
enum { ASKS_SEEK, ASKS_ATTRIBUTES, ASKS_STATX };
MUST_CHECK bool ask_when_written(struct mount *m, const struct attr *a, uint64_t head,
				 uint32_t asks, void *req);
void answer_attributes(struct mount *m, fuse_req_t req, uint64_t ino, bool written);

/* entry_of(m, n, a, out): the same of a member of n's view, with its node and for how long. */
void entry_of(struct mount *m, const struct place *n, const struct attr *a,
	      struct fuse_entry_param *out);

/*
 * kernel_writes(m, ino): an application is about to write into the kernel's cache, to a file that is
 * empty as far as we know.
 */
void kernel_writes(struct mount *m, uint64_t ino);

/*
 * reply_rc(req, id, rc): answer with ${rc} (0, -errno or -ERR_X) and, where bytes of node ${id}
 * could not be had, log why.
 * reply_errno(id, rc): the errno that ${rc} is to the kernel, logged likewise.
 * reply_entry(req, m, e, slot): answer with an entry; the kernel's reference to ${slot} (if >= 0)
 * was counted by place_give(), and is taken back if it does not get the answer.
 */
int reply_errno(uint64_t id, int rc);
void reply_rc(fuse_req_t req, uint64_t id, int rc);
void reply_entry(fuse_req_t req, struct mount *m, const struct fuse_entry_param *e, int slot);

/*
 * privs_is_member(req, gid): whether the caller is of the group, as far as /proc tells.
 * privs_lost(req, a): the set-id bits of ${a} that its contents' change by the caller takes away.
 * privs_drop(req, ino): take them away, and have the kernel forget the mode that it knows: it
 * leaves them to us where contents change, and is not told by the answer.  Returns 0 or an error.
 */
bool privs_is_member(fuse_req_t req, gid_t gid);
uint32_t privs_lost(fuse_req_t req, const struct attr *a);
MUST_CHECK int privs_drop(fuse_req_t req, uint64_t ino);

/* The handlers, by subject. */
void op_init(void *userdata, struct fuse_conn_info *conn);

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t id, uint64_t n);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t id, struct stat *attr, int to_set,
		struct fuse_file_info *fi);
void op_readlink(fuse_req_t req, fuse_ino_t id);
void op_statfs(fuse_req_t req, fuse_ino_t id);

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	       struct fuse_file_info *fi);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_link(fuse_req_t req, fuse_ino_t id, fuse_ino_t parent, const char *name);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	       const char *new_name, unsigned flags);

/*
 * make_unnamed(m, r, parent, mode, umask, out): O_TMPFILE.  Returns 0 or an error; the entry is
 * the kernel's then.
 */
MUST_CHECK int make_unnamed(struct mount *m, const struct request *r, uint64_t parent,
			    uint32_t mode, uint32_t umask, struct fuse_entry_param *out);

void op_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		    struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t id, int data_only, struct fuse_file_info *fi);

void op_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t id, const char *data, size_t size, off_t off,
	      struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t id, int data_only, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t id, int mode, off_t off, off_t len,
		  struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t id, off_t off, int whence, struct fuse_file_info *fi);
/* answer_seek(ctx, s, rc): seeks.h's, for the mount ${ctx}. */
void answer_seek(void *ctx, const struct seek *s, int rc);
void op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_off,
			struct fuse_file_info *from_fi, fuse_ino_t to, off_t to_off,
			struct fuse_file_info *to_fi, size_t len, int flags);
void op_ioctl(fuse_req_t req, fuse_ino_t id, unsigned cmd, void *arg, struct fuse_file_info *fi,
	      unsigned flags, const void *in, size_t in_len, size_t out_len);

void op_getxattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t id, size_t size);
void op_setxattr(fuse_req_t req, fuse_ino_t id, const char *name, const char *value, size_t size,
		 int flags);
void op_removexattr(fuse_req_t req, fuse_ino_t id, const char *name);

/*
 * thread_buffer(size): this thread's page-aligned scratch memory, or NULL; the same memory at the
 * next call.
 */
void *thread_buffer(size_t size);

#endif /* !MOUNT_H_ */
