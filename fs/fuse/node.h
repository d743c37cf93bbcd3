#ifndef NODE_H_
#define NODE_H_

/*
 * Nodes: the objects that the kernel refers to by number.
 *
 * Node ids, as the kernel sees them:
 *	below INO_MAX			an inode of the namespace at the root
 *	(slot + 1) << 48 | inode	an inode in a view of the past (slots.h)
 *	0xffff << 48 | ...		.embassy and the nodes in it (embassy_dir.h)
 * st_ino equals the node id, except in views of the past.  A slot is reused for one head after
 * another, so there st_ino is made of the head and the inode (number.h).
 *
 * There are three kinds of node, each with a table of operations.  ops.c passes each request to the
 * kind of its node, and so does wire.c what libfuse does not know; little else looks at the kind:
 *	live	the root's namespace, in a mount that can be written to
 *	past	in a view: under .embassy, or all of a mount that is itself a view
 *	virtual	not stored in the volume (embassy_dir.h)
 *
 * The kernel opens files without asking, and lets applications write to them in its cache.  Two
 * measures keep the past the same for everybody:
 *	write() and the like	the kernel first asks whether there are privileges to remove.  It is
 *				told yes, and its removal is refused: EROFS (past_getxattr())
 *	a shared map		each lookup of a file gives a node of its own, whose cached pages
 *				nobody else sees (past_lookup()); what is written there is lost
 */

#include "mount.h"
#include "number.h"
#include "view.h"

#include <sys/stat.h>

struct request;

#define NODE_SHIFT 48
#define NODE_VIRTUAL UINT64_C(0xffff)
#define NODE_GENERATION 1u /* inode numbers are never used again */

/*
 * The kernel may cache names and attributes for the life of the mount, because nobody else changes
 * them.
 */
#define TIMEOUT_LONG_S 1e9

static inline uint64_t node_id(int slot, inode_no ino)
{
	return slot < 0 ? ino : (uint64_t)(slot + 1) << NODE_SHIFT | ino;
}

/* A node's attributes as the kernel is told them. */
struct node_attributes {
	struct stat st;
	double timeout_s; /* for how long the kernel may keep them */
	struct attr a;	  /* as stored; all 0 for a virtual node */
	head_no head;	  /* as in struct place */
};

/*
 * The operations of a kind of node.  They apply to the node ${id} or to the folder ${parent}.  All
 * but attributes(), forget() and make_unnamed() answer ${req}.
 */
struct node_ops {
	void (*lookup)(fuse_req_t req, struct mount *m, uint64_t parent, const char *name);
	/* forget(m, id, n): the kernel drops ${n} references. */
	void (*forget)(struct mount *m, uint64_t id, uint64_t n);
	/* attributes(m, id, out): 0 or an error. */
	int (*attributes)(struct mount *m, uint64_t id, struct node_attributes *out);
	void (*readlink)(fuse_req_t req, struct mount *m, uint64_t id);
	/* ${flags}: as the file was opened. */
	void (*read)(fuse_req_t req, struct mount *m, uint64_t id, size_t size, off_t off,
		     int flags);
	/* Find the first hole, or the first data, at ${off} or after it; ${off} is not negative. */
	void (*lseek)(fuse_req_t req, struct mount *m, uint64_t id, off_t off, bool hole);
	/* ${plus}: with attributes. */
	void (*readdir)(fuse_req_t req, struct mount *m, uint64_t id, size_t size, off_t off,
			bool plus);
	void (*getxattr)(fuse_req_t req, struct mount *m, uint64_t id, const char *name,
			 size_t size);
	void (*listxattr)(fuse_req_t req, struct mount *m, uint64_t id, size_t size);
	void (*fsync)(fuse_req_t req, struct mount *m, uint64_t id);
	void (*fsyncdir)(fuse_req_t req, struct mount *m, uint64_t id);

	/* Changes.  ops.c refuses those that are NULL in the table. */
	void (*setattr)(fuse_req_t req, struct mount *m, uint64_t id, const struct stat *st,
			int to_set);
	void (*mknod)(fuse_req_t req, struct mount *m, uint64_t parent, const char *name,
		      mode_t mode, dev_t rdev);
	void (*mkdir)(fuse_req_t req, struct mount *m, uint64_t parent, const char *name,
		      mode_t mode);
	void (*symlink)(fuse_req_t req, struct mount *m, uint64_t parent, const char *name,
			const char *target);
	/*
	 * make_unnamed(m, r, parent, mode, umask, out): O_TMPFILE.  Returns 0, and the kernel owns
	 * the reference in ${out}; or an error.
	 */
	int (*make_unnamed)(struct mount *m, const struct request *r, uint64_t parent,
			    uint32_t mode, uint32_t umask, struct fuse_entry_param *out);
	/* ${id} is of this kind too. */
	void (*link)(fuse_req_t req, struct mount *m, uint64_t parent, uint64_t id,
		     const char *name);
	void (*unlink)(fuse_req_t req, struct mount *m, uint64_t parent, const char *name);
	void (*rmdir)(fuse_req_t req, struct mount *m, uint64_t parent, const char *name);
	/* ${new_parent} is of this kind too. */
	void (*rename)(fuse_req_t req, struct mount *m, uint64_t parent, const char *name,
		       uint64_t new_parent, const char *new_name, unsigned flags);
	void (*write)(fuse_req_t req, struct mount *m, uint64_t id, const char *data, size_t size,
		      off_t off, bool from_cache);
	void (*fallocate)(fuse_req_t req, struct mount *m, uint64_t id, int mode, off_t off,
			  off_t len);
	/* ${from} is of this kind too. */
	void (*copy)(fuse_req_t req, struct mount *m, uint64_t to, off_t to_off, uint64_t from,
		     off_t from_off, size_t len);
	void (*setxattr)(fuse_req_t req, struct mount *m, uint64_t id, const char *name,
			 const char *value, size_t size, int flags);
	void (*removexattr)(fuse_req_t req, struct mount *m, uint64_t id, const char *name);
};

extern const struct node_ops node_live, node_past, node_virtual;

static inline const struct node_ops *node_ops_of(const struct mount *m, uint64_t id)
{
	uint64_t top = id >> NODE_SHIFT;

	return top == 0 && m->volume ? &node_live
	       : top == NODE_VIRTUAL ? &node_virtual
				     : &node_past;
}

/* A node id taken apart.  Its view is held. */
struct place {
	struct view *view;
	inode_no ino;
	int slot;     /* of a view of the past; -1 for the root's view */
	head_no head; /* the number of its head; 0 for the root's view */
};

/* place_of_root(m, ino): a place in the root's view, which is always held. */
static inline struct place place_of_root(const struct mount *m, inode_no ino)
{
	return (struct place){.view = m->view, .ino = ino, .slot = -1};
}

/* Must the kernel not share its cached pages of the node ${a} in n's view between lookups? */
static inline bool place_is_private(const struct place *n, const struct attr *a)
{
	return n->slot >= 0 && S_ISREG(a->mode);
}

/*
 * place_get(m, id, out): take ${id}, of a live or past node, apart, and hold its view.  Returns 0,
 * or the error with which its view does not open.  Release with place_put().
 */
MUST_CHECK int place_get(struct mount *m, uint64_t id, struct place *out);
void place_put(struct mount *m, struct place *n);

/*
 * place_give(m, n, count): count ${count} references to nodes of n's view that the next answer will
 * give to the kernel.  Call it before place_put().  Does nothing for the root's view.
 */
void place_give(struct mount *m, const struct place *n, uint64_t count);

#endif /* !NODE_H_ */
