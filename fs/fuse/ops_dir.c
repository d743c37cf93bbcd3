/*
 * Requests that list folders.
 *
 * The kernel keeps names and attributes from a listing until it makes a change itself.
 */

#include "kinds.h"

#include "attributes.h"
#include "reply.h"
#include "slots.h"
#include "syncs.h"

#include <errno.h>

/* One answer while it is being filled. */
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

	/*
	 * A private file of the past needs a node of its own for each lookup, so a listing gives
	 * none.
	 */
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

/* Send the entries that fitted before an error; the next call meets the error again. */
static int reply_listing(struct listing *l, uint64_t id, int rc)
{
	if (rc >= 0 || l->len > 0)
		return fuse_reply_buf(l->req, l->p, l->len);
	reply_rc(l->req, id, rc);
	return 0;
}

void live_readdir(fuse_req_t req, struct mount *m, uint64_t id, size_t size, off_t off, bool plus)
{
	struct place n = place_of_root(m, id);
	struct listing l = {
		.req = req, .node = &n, .p = thread_buffer(size), .size = size, .plus = plus};
	int rc = -ENOMEM;

	if (l.p)
		rc = view_readdir(m->view, id, (uint64_t)off, plus, add_entry, &l);
	if (rc >= 0)
		live_accessed(m, id, true);
	(void)reply_listing(&l, id, rc);
}

void past_readdir(fuse_req_t req, struct mount *m, uint64_t id, size_t size, off_t off, bool plus)
{
	struct place n;
	struct listing l = {
		.req = req, .node = &n, .p = thread_buffer(size), .size = size, .plus = plus};
	int rc = l.p ? place_get(m, id, &n) : -ENOMEM;

	if (rc < 0) {
		reply_rc(req, id, rc);
		return;
	}
	rc = view_readdir(n.view, n.ino, (uint64_t)off, plus, add_entry, &l);
	place_give(m, &n, l.known);
	place_put(m, &n);
	if (reply_listing(&l, id, rc) != 0 && n.slot >= 0 && l.known)
		slots_drop(m->slots, (uint32_t)n.slot, l.known);
}

void live_fsyncdir(fuse_req_t req, struct mount *m, uint64_t id)
{
	(void)id;
	syncs_answer(m->syncs, req);
}
