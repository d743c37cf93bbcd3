/*
 * The attributes of a node as the kernel is told them.
 */

#include "attributes.h"

#include "acl.h"
#include "clock.h"
#include "past.h"
#include "relinked.h"
#include "reply.h"
#include "seeks.h"
#include "slots.h"
#include "unwritten.h"

#include <errno.h>

void stat_of(const struct attr *a, head_no head, struct stat *out)
{
	*out = (struct stat){
		.st_ino = number_of(head, a->ino),
		.st_mode = a->mode,
		.st_nlink = a->nlink,
		.st_uid = a->uid,
		.st_gid = a->gid,
		.st_rdev = a->rdev,
		.st_size = (off_t)a->size,
		.st_blksize = 4096,
		.st_blocks = (blkcnt_t)((a->bytes + 511) / 512),
		.st_atim = a->atime,
		.st_mtim = a->mtime,
		.st_ctim = a->ctime,
	};
}

/*
 * Can the kernel's cache hold contents of a file of which the volume stores no byte?
 *
 * If the file has a size, the answer is always yes: an application may write through a shared map,
 * or into a range that was stored and then cut off or punched out, and the kernel sends no sign of
 * either.  An empty file can only grow by a write, and the kernel announces the first one
 * (kernel_writes()).
 */
static bool may_be_unwritten(struct mount *m, const struct attr *a, head_no head)
{
	return a->bytes == 0 && head == 0 && m->volume && S_ISREG(a->mode) &&
	       (a->size > 0 || unwritten_is(m->unwritten, a->ino));
}

/* The permissions to show for a file of a view: its present permissions count too; see past.h. */
static uint32_t permissions_of_past(struct mount *m, const struct attr *then)
{
	struct attr now;
	size_t len;
	int rc = view_getattr(m->view, then->ino, &now), acl;

	if (rc == -ENOENT || rc == -ESTALE)
		return past_permissions(then, NULL, false);
	if (rc < 0)
		return 0; /* its present attributes can't be read: only root gets access */
	acl = view_getxattr(m->view, then->ino, ACL_ACCESS, NULL, 0, &len);
	return past_permissions(then, &now, acl != -ENODATA);
}

/*
 * Attributes of a file of a view.  A device is shown with number 0: the kernel opens devices
 * itself, and there is none with that number to open.
 */
static double stat_for_past(struct mount *m, const struct attr *a, struct stat *out)
{
	out->st_mode = past_harmless(out->st_mode);
	out->st_rdev = 0;
	if (!m->history_users)
		return TIMEOUT_LONG_S;
	out->st_mode = (out->st_mode & ~(mode_t)0777) | permissions_of_past(m, a);
	/* Its present permissions may change, and what is shown depends on them. */
	return 0;
}

double stat_for(struct mount *m, const struct attr *a, head_no head, struct stat *out)
{
	stat_of(a, head, out);
	if (head != 0)
		return stat_for_past(m, a, out);
	if (!may_be_unwritten(m, a, head))
		return m->relinked && relinked_is(m->relinked, a->ino, clock_mono_ns())
			       ? 0
			       : TIMEOUT_LONG_S;
	out->st_blocks = BLOCKS_UNWRITTEN;
	/*
	 * What is written into an empty file the kernel announced, and is asked to look again once it
	 * has been written back (tell.h).  Until then each of its writes would ask for attributes that
	 * were not to be kept, and each answer would have the file written back.
	 */
	return a->size == 0 ? TIMEOUT_LONG_S : 0;
}

double stat_written(struct mount *m, const struct attr *a, struct stat *out)
{
	bool unwritten = may_be_unwritten(m, a, 0);
	double timeout_s = stat_for(m, a, 0, out);

	stat_of(a, 0, out);
	/* "No blocks" is not kept: the next write may not be announced. */
	return unwritten ? 0 : timeout_s;
}

bool ask_when_written(struct mount *m, const struct attr *a, head_no head, uint32_t asks, void *req)
{
	struct seek s = {.req = req, .ino = a->ino, .asks = asks};

	/*
	 * The thread that has the file written back opens it, and the kernel then asks for its
	 * attributes.  That question must not wait for the write-back, which waits for it.
	 */
	return may_be_unwritten(m, a, head) && atomic_load(&m->flushing) != a->ino &&
	       seeks_ask(m->seeks, &s) == 0;
}

void entry_of(struct mount *m, const struct place *n, const struct attr *a,
	      struct fuse_entry_param *out)
{
	*out = (struct fuse_entry_param){
		.ino = node_id(n->slot, a->ino),
		.generation = NODE_GENERATION,
		.entry_timeout = TIMEOUT_LONG_S,
	};
	if (n->slot >= 0)
		out->generation = slots_generation(m->slots, (uint32_t)n->slot);
	out->attr_timeout = stat_for(m, a, n->head, &out->attr);
}

void kernel_writes(struct mount *m, inode_no ino)
{
	if (unwritten_begun(m->unwritten, ino))
		(void)fuse_lowlevel_notify_inval_inode(m->session, ino, -1, 0);
}
