/*
 * What the kernel is told of a node's attributes.
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

void stat_of(const struct attr *a, uint64_t head, struct stat *out)
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
 * Whether the kernel may hold more of a file than we do, which is nothing.  Of a file that has a size
 * it may in any case: by a shared map of it, or behind what was stored and has been cut off or punched
 * out, of which there is no sign.  An empty one grows by writes, of which there is.
 */
static bool may_be_unwritten(struct mount *m, const struct attr *a, uint64_t head)
{
	return a->bytes == 0 && head == 0 && m->volume && S_ISREG(a->mode) &&
	       (a->size > 0 || unwritten_is(m->unwritten, a->ino));
}

/* What callers may do with a file of a view by what it is now as well; past.h. */
static uint32_t permissions_of_past(struct mount *m, const struct attr *then)
{
	struct attr now;
	size_t len;
	int rc = view_getattr(m->view, then->ino, &now), acl;

	if (rc == -ENOENT || rc == -ESTALE)
		return past_permissions(then, NULL, false);
	if (rc < 0)
		return 0; /* what it is now can't be read: only root gets it */
	acl = view_getxattr(m->view, then->ino, ACL_ACCESS, NULL, 0, &len);
	return past_permissions(then, &now, acl != -ENODATA);
}

/*
 * A file of a view.  A device is shown without its number: the kernel opens devices itself, and
 * opens none of number 0.
 */
static double stat_for_past(struct mount *m, const struct attr *a, struct stat *out)
{
	out->st_mode = past_harmless(out->st_mode);
	out->st_rdev = 0;
	if (!m->history_users)
		return TIMEOUT_LONG_S;
	out->st_mode = (out->st_mode & ~(mode_t)0777) | permissions_of_past(m, a);
	/* Its present permissions may change. */
	return 0;
}

double stat_for(struct mount *m, const struct attr *a, uint64_t head, struct stat *out)
{
	stat_of(a, head, out);
	if (head != 0)
		return stat_for_past(m, a, out);
	if (!may_be_unwritten(m, a, head))
		return m->relinked && relinked_is(m->relinked, a->ino, clock_mono_ns())
			       ? 0
			       : TIMEOUT_LONG_S;
	out->st_blocks = BLOCKS_UNWRITTEN;
	return 0;
}

bool ask_when_written(struct mount *m, const struct attr *a, uint64_t head, uint32_t asks,
		      void *req)
{
	struct seek s = {.req = req, .ino = a->ino, .asks = asks};

	/* Who has it written back opens it, for which the kernel wants its attributes. */
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

void kernel_writes(struct mount *m, uint64_t ino)
{
	if (unwritten_begun(m->unwritten, ino))
		(void)fuse_lowlevel_notify_inval_inode(m->session, ino, -1, 0);
}
