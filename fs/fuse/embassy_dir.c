/*
 * .embassy: a virtual folder, which is not stored in the volume.
 */

#include "embassy_internal.h"

#include "clock.h"
#include "kinds.h"
#include "order.h"
#include "reply.h"
#include "request.h"
#include "units.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TAKEOVER_MASK 0x7ffffu /* so that the node numbers of texts fit in NODE_SHIFT bits */

const struct embassy_member embassy_members[EMBASSY_MEMBERS] = {
	{"at", EMBASSY_NODE_AT, true},
	{"ago", EMBASSY_NODE_AGO, true},
	{"snapshots", EMBASSY_NODE_SNAPSHOTS, true},
	{"control", EMBASSY_NODE_CONTROL, false},
	{"status", EMBASSY_NODE_STATUS, false},
};

struct timespec embassy_now(void)
{
	int64_t ns = clock_wall_ns();

	return (struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
}

int embassy_dir_new(uint32_t takeover, struct embassy_dir **out)
{
	struct embassy_dir *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	pthread_mutex_init(&d->mu, NULL);
	d->made = embassy_now();
	d->next = EMBASSY_NODE_STATUS +
		  ((uint64_t)(takeover & TAKEOVER_MASK) << EMBASSY_TEXTS_SHIFT);
	*out = d;
	return 0;
}

void embassy_dir_free(struct embassy_dir *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < EMBASSY_TEXTS_MAX; i++)
		buf_release(&d->texts[i].buf);
	pthread_mutex_destroy(&d->mu);
	free(d);
}

bool embassy_is_name(uint64_t parent, const char *name)
{
	return parent == INO_ROOT && strcmp(name, EMBASSY_NAME) == 0;
}

/* Attributes of a folder, or of a status file with the size and time of its text. */
void embassy_fill_stat(const struct mount *m, uint64_t node, const struct text *text,
		       struct stat *out)
{
	*out = (struct stat){
		.st_ino = embassy_id(text ? EMBASSY_NODE_STATUS : node),
		.st_mode = text						   ? S_IFREG | 0444
			   : node == EMBASSY_NODE_SNAPSHOTS		   ? S_IFDIR | 0755
			   : node == EMBASSY_NODE_TOP && !m->history_users ? S_IFDIR | 0500
									   : S_IFDIR | 0555,
		.st_nlink = text ? 1 : 2,
		.st_uid = m->owner,
		.st_size = text ? (off_t)text->buf.len : 0,
		.st_blksize = 4096,
		.st_mtim = text ? text->made : m->embassy->made,
	};
	out->st_atim = out->st_ctim = out->st_mtim;
}

void embassy_reply_node(fuse_req_t req, struct mount *m, uint64_t node)
{
	struct fuse_entry_param e = {.ino = embassy_id(node),
				     .generation = 1,
				     .attr_timeout = TIMEOUT_LONG_S,
				     .entry_timeout = TIMEOUT_LONG_S};

	embassy_fill_stat(m, node, NULL, &e.attr);
	fuse_reply_entry(req, &e);
}

static void lookup_member(fuse_req_t req, struct mount *m, const char *name)
{
	for (size_t i = 0; i < EMBASSY_MEMBERS; i++) {
		if (strcmp(embassy_members[i].name, name) != 0 ||
		    (embassy_members[i].live_only && !m->volume))
			continue;
		if (embassy_members[i].node == EMBASSY_NODE_STATUS)
			embassy_lookup_status(req, m);
		else
			embassy_reply_node(req, m, embassy_members[i].node);
		return;
	}
	fuse_reply_err(req, ENOENT);
}

void embassy_lookup_top(fuse_req_t req, struct mount *m)
{
	embassy_reply_node(req, m, EMBASSY_NODE_TOP);
}

static void lookup_parent(fuse_req_t req, struct mount *m, uint64_t node)
{
	if (node == EMBASSY_NODE_TOP)
		node_ops_of(m, INO_ROOT)->lookup(req, m, INO_ROOT, ".");
	else if (node == EMBASSY_NODE_UPGRADE)
		embassy_reply_node(req, m, EMBASSY_NODE_CONTROL);
	else
		embassy_reply_node(req, m, EMBASSY_NODE_TOP);
}

static void lookup(fuse_req_t req, struct mount *m, uint64_t parent, const char *name)
{
	uint64_t node = embassy_node(parent);

	if (strcmp(name, ".") == 0) {
		embassy_reply_node(req, m, node);
	} else if (strcmp(name, "..") == 0) {
		lookup_parent(req, m, node);
	} else if (node == EMBASSY_NODE_TOP) {
		lookup_member(req, m, name);
	} else if (node == EMBASSY_NODE_AT || node == EMBASSY_NODE_AGO) {
		embassy_lookup_time(req, m, parent, name);
	} else if (node == EMBASSY_NODE_SNAPSHOTS) {
		embassy_lookup_snapshot(req, m, parent, name);
	} else if (node == EMBASSY_NODE_CONTROL && strcmp(name, EMBASSY_UPGRADE_NAME) == 0) {
		embassy_reply_node(req, m, EMBASSY_NODE_UPGRADE);
	} else if (node == EMBASSY_NODE_CONTROL || node == EMBASSY_NODE_UPGRADE) {
		fuse_reply_err(req, ENOENT);
	} else {
		fuse_reply_err(req, ENOTDIR);
	}
}

/*
 * A status node may belong to a process that is gone: ESTALE makes the kernel look its name up
 * anew.
 */
static int attributes(struct mount *m, uint64_t id, struct node_attributes *out)
{
	struct embassy_dir *d = m->embassy;
	uint64_t node = embassy_node(id);
	const struct text *t = NULL;
	bool found;

	*out = (struct node_attributes){.timeout_s = TIMEOUT_LONG_S};
	pthread_mutex_lock(&d->mu);
	if (node >= EMBASSY_NODE_STATUS)
		t = embassy_text_locked(d, node);
	found = t || node < EMBASSY_NODE_STATUS;
	if (found)
		embassy_fill_stat(m, node, t, &out->st);
	pthread_mutex_unlock(&d->mu);
	return found ? 0 : -ESTALE;
}

static void refuse_invalid(fuse_req_t req, struct mount *m, uint64_t id)
{
	(void)m;
	(void)id;
	fuse_reply_err(req, EINVAL);
}

static void seek_nothing(fuse_req_t req, struct mount *m, uint64_t id, off_t off, bool hole)
{
	(void)off;
	(void)hole;
	refuse_invalid(req, m, id);
}

static void get_no_xattr(fuse_req_t req, struct mount *m, uint64_t id, const char *name,
			 size_t size)
{
	(void)m;
	(void)id;
	if (past_stops_write(name, size))
		fuse_reply_xattr(req, PAST_CAPABILITY_LEN);
	else
		fuse_reply_err(req, ENODATA);
}

static void list_no_xattr(fuse_req_t req, struct mount *m, uint64_t id, size_t size)
{
	(void)m;
	(void)id;
	if (size == 0)
		fuse_reply_xattr(req, 0);
	else
		fuse_reply_buf(req, NULL, 0);
}

static void take_order(fuse_req_t req, struct mount *m, uint64_t id, const char *name,
		       const char *value, size_t size, int flags)
{
	(void)flags;
	if (embassy_node(id) != EMBASSY_NODE_TOP)
		reply_unchangeable(req);
	else
		reply_rc(req, INO_ROOT, order_take(req, m, name, value, size));
}

static void sync_folder(fuse_req_t req, struct mount *m, uint64_t id)
{
	if (embassy_node(id) == EMBASSY_NODE_UPGRADE)
		reply_rc(req, INO_ROOT,
			 order_allowed(req, m) ? order_upgrade(m, request_of(req)) : -EPERM);
	else if (!m->volume || embassy_node(id) != EMBASSY_NODE_TOP)
		fuse_reply_err(req, 0);
	else if (!order_allowed(req, m))
		fuse_reply_err(req, EPERM);
	else
		reply_rc(req, INO_ROOT, order_drain(m));
}

/* clang-format off */
const struct node_ops node_virtual = {
	.lookup		= lookup,
	.forget		= embassy_forget,
	.attributes	= attributes,
	.readlink	= refuse_invalid,
	.read		= embassy_read,
	.lseek		= seek_nothing,
	.readdir	= embassy_readdir,
	.getxattr	= get_no_xattr,
	.listxattr	= list_no_xattr,
	.fsync		= past_fsync,
	.fsyncdir	= sync_folder,
	.mkdir		= embassy_mkdir,
	.rmdir		= embassy_rmdir,
	.setxattr	= take_order,
};
/* clang-format on */
