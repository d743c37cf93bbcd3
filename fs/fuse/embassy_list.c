/*
 * Listings of .embassy.
 */

#include "embassy_internal.h"

#include "complain.h"
#include "reply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* One answer to readdir while it is being filled. */
struct listing {
	fuse_req_t req;
	bool plus;
	char *p;
	size_t size, len;
	off_t from, at; /* entries up to ${from} were sent before; ${at}: this entry's number */
};

/*
 * Add an entry; a listing that stops here is continued with ${cookie}.  Returns 1 if the entry does
 * not fit.  Listing an entry gives the kernel no reference to its node: the kernel looks up the
 * names that it needs.
 */
static int list_put(struct listing *l, const char *name, uint64_t id, uint32_t type, off_t cookie)
{
	struct fuse_entry_param e = {.attr = {.st_ino = id, .st_mode = type}};
	size_t n;

	n = l->plus ? fuse_add_direntry_plus(l->req, l->p + l->len, l->size - l->len, name, &e,
					     cookie)
		    : fuse_add_direntry(l->req, l->p + l->len, l->size - l->len, name, &e.attr,
					cookie);
	if (n > l->size - l->len)
		return 1;
	l->len += n;
	return 0;
}

/* Add one of the entries that always exist, with its ordinal as the cookie. */
static int list_add(struct listing *l, const char *name, uint64_t id, uint32_t type)
{
	return l->at++ < l->from ? 0 : list_put(l, name, id, type, l->at);
}

#define COOKIE_NAMES 16 /* snapshots' cookies start here; below are ordinals */
#define COOKIE_MAX INT64_MAX

/*
 * A snapshot and its cookie.  The cookie is a hash of the name, so that the snapshot keeps its
 * place in a listing while others are made and removed.
 */
struct listed {
	off_t cookie;
	head_no head;
	char name[NAME_LEN_MAX + 1];
};

struct names {
	struct listed *all;
	size_t n, room;
};

static int note_name(void *ctx, const struct snapshot *s)
{
	struct names *names = ctx;
	struct listed *more;
	uint64_t hash = complain_subject(EMBASSY_NODE_SNAPSHOTS, s->name) & COOKIE_MAX;

	if (names->n == names->room) {
		more = realloc(names->all, (2 * names->room + 16) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		names->all = more;
		names->room = 2 * names->room + 16;
	}
	more = &names->all[names->n++];
	more->cookie = (off_t)(hash < COOKIE_NAMES ? hash + COOKIE_NAMES : hash);
	more->head = s->head;
	memcpy(more->name, s->name, sizeof(more->name));
	return 0;
}

static int by_cookie(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;

	return x->cookie != y->cookie ? (x->cookie < y->cookie ? -1 : 1) : strcmp(x->name, y->name);
}

static int list_snapshots(struct mount *m, struct listing *l)
{
	struct names names = {0};
	int rc = view_snapshots(m->view, note_name, &names);

	if (rc == 0 && names.n > 0)
		qsort(names.all, names.n, sizeof(*names.all), by_cookie);
	for (size_t i = 0; rc == 0 && i < names.n; i++)
		if (names.all[i].cookie > l->from)
			rc = list_put(l, names.all[i].name, number_of(names.all[i].head, INO_ROOT),
				      S_IFDIR, names.all[i].cookie);
	free(names.all);
	return rc;
}

void embassy_readdir(fuse_req_t req, struct mount *m, uint64_t id, size_t size, off_t off,
		     bool plus)
{
	struct listing l = {.req = req, .plus = plus, .size = size, .from = off};
	uint64_t node = embassy_node(id);
	int rc;

	l.p = thread_buffer(size);
	if (!l.p) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	rc = list_add(&l, ".", id, S_IFDIR);
	if (rc == 0)
		rc = list_add(&l, "..",
			      node == EMBASSY_NODE_TOP	     ? INO_ROOT
			      : node == EMBASSY_NODE_UPGRADE ? embassy_id(EMBASSY_NODE_CONTROL)
							     : embassy_id(EMBASSY_NODE_TOP),
			      S_IFDIR);
	if (node == EMBASSY_NODE_TOP)
		for (size_t i = 0; rc == 0 && i < EMBASSY_MEMBERS; i++)
			if (m->volume || !embassy_members[i].live_only)
				rc = list_add(&l, embassy_members[i].name,
					      embassy_id(embassy_members[i].node),
					      embassy_members[i].node == EMBASSY_NODE_STATUS
						      ? S_IFREG
						      : S_IFDIR);
	if (node == EMBASSY_NODE_CONTROL && rc == 0)
		rc = list_add(&l, EMBASSY_UPGRADE_NAME, embassy_id(EMBASSY_NODE_UPGRADE), S_IFDIR);
	if (node == EMBASSY_NODE_SNAPSHOTS && rc == 0)
		rc = list_snapshots(m, &l);
	if (rc < 0)
		reply_rc(req, INO_ROOT, rc);
	else
		fuse_reply_buf(req, l.p, l.len);
}
