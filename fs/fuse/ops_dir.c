/*
 * Requests that list folders.
 *
 * The kernel keeps what it was told, names and attributes, until it makes a change itself.  A
 * folder is never opened: the kernel takes "not implemented" for "no need to ask again", and
 * caches listings then.
 */

#include "mount.h"

#include "embassy_dir.h"
#include "slots.h"
#include "syncs.h"

#include <errno.h>

/* One answer, being filled. */
struct listing {
	fuse_req_t req;
	const struct place *node;
	char *p;
	size_t size, len;
	uint64_t known; /* entries that give the kernel a reference */
	bool plus;
};

static int add_entry(void *ctx, const struct view_entry *ve)
{
	struct listing *l = ctx;
	struct fuse_entry_param e = {0};
	size_t n;

	/* A file of the past has a node of its own for each look-up. */
	if (l->plus && ve->attr && !place_is_private(l->node, ve->attr))
		entry_of(mount_of(l->req), l->node, ve->attr, &e);
	e.attr.st_ino = number_of(l->node->head, ve->ino);
	e.attr.st_mode = l->plus && ve->attr ? ve->attr->mode : ve->type;
	n = l->plus ? fuse_add_direntry_plus(l->req, l->p + l->len, l->size - l->len, ve->name, &e,
					     (off_t)ve->cookie)
		    : fuse_add_direntry(l->req, l->p + l->len, l->size - l->len, ve->name, &e.attr,
					(off_t)ve->cookie);
	if (n > l->size - l->len)
		return 1;
	l->len += n;
	if (e.ino != 0)
		l->known++;
	return 0;
}

static void list(fuse_req_t req, uint64_t id, size_t size, off_t off, bool plus)
{
	struct mount *m = mount_of(req);
	struct listing l = {.req = req, .size = size, .plus = plus};
	struct place n;
	int rc, slot;

	if (node_is_virtual(id)) {
		embassy_readdir(req, m, id, size, off, plus);
		return;
	}
	l.p = thread_buffer(size);
	rc = l.p ? place_get(m, id, &n) : -ENOMEM;
	if (rc < 0) {
		reply_rc(req, id, rc);
		return;
	}
	l.node = &n;
	slot = n.slot;
	rc = view_readdir(n.view, n.ino, (uint64_t)off, plus, add_entry, &l);
	if (rc >= 0)
		place_accessed(m, &n, true);
	place_give(m, &n, l.known);
	place_put(m, &n);
	/* What fitted before an error is worth having; the error comes again with the next call. */
	if (rc < 0 && l.len == 0) {
		reply_rc(req, id, rc);
		return;
	}
	if (fuse_reply_buf(req, l.p, l.len) != 0 && slot >= 0 && l.known)
		slots_drop(m->slots, (uint32_t)slot, l.known);
}

void op_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	(void)id;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

void op_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list(req, id, size, off, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	(void)fi;
	list(req, id, size, off, true);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t id, int data_only, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);

	(void)data_only;
	(void)fi;
	if (node_is_virtual(id))
		embassy_fsync(req, m, id);
	else if (m->syncs && id >> NODE_SHIFT == 0)
		syncs_answer(m->syncs, req);
	else
		fuse_reply_err(req, 0);
}
