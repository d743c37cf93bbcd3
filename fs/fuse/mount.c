/*
 * One mount: the parts that its requests share, and the questions that these parts ask the kernel.
 *
 * Lock order: the locks of slots, unnamed, syncs, seeks and embassy_dir are leaves.  None of them
 * is held during a reply, a call into the volume or a view, or while another of them is taken.
 */

#include "mount.h"

#include "attributes.h"
#include "clock.h"
#include "embassy_dir.h"
#include "err.h"
#include "kinds.h"
#include "msg.h"
#include "relinked.h"
#include "seeks.h"
#include "slots.h"
#include "source.h"
#include "supervisor.h"
#include "syncs.h"
#include "tell.h"
#include "unnamed.h"
#include "unwritten.h"
#include "volume.h"
#include "walks.h"
#include "wire.h"
#include "writeback.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static int open_view(void *ctx, head_no number, struct view **out)
{
	struct mount *m = ctx;
	struct source *src = m->view_cfg->source;
	struct head h;
	size_t n;
	int rc = src->ops->heads(src, number, 1, &h, &n);

	if (rc == 0 && n != 1)
		rc = -ERR_ABSENT;
	return rc ? rc : view_open(m->view_cfg, &h, out);
}

static bool kernel_holds(void *ctx, inode_no ino)
{
	struct mount *m = ctx;

	/*
	 * A negative offset invalidates only attributes.  Only "no such inode" says that the kernel
	 * has forgotten it; any other answer keeps the contents.
	 */
	return fuse_lowlevel_notify_inval_inode(m->session, ino, -1, 0) != -ENOENT;
}

/* If the kernel has forgotten the file, there is nothing to invalidate. */
static void forget_attributes(void *ctx, inode_no ino)
{
	struct mount *m = ctx;

	(void)fuse_lowlevel_notify_inval_inode(m->session, ino, -1, 0);
}

/*
 * An older program let several users share the nodes (and so the cached pages) of files of the
 * past.  Have the kernel look up all names under .embassy anew.  Files that are open stay shared.
 */
static void forget_names_of_older(struct mount *m)
{
	if (atomic_exchange(&m->names_of_older, false))
		(void)fuse_lowlevel_notify_inval_entry(m->session, INO_ROOT, EMBASSY_NAME,
						       strlen(EMBASSY_NAME));
}

static void forget_views(void *ctx)
{
	struct mount *m = ctx;
	uint32_t slot[WIRE_PRUNE_MAX];
	uint64_t node[WIRE_PRUNE_MAX];
	unsigned n;

	forget_names_of_older(m);
	while ((n = slots_surplus(m->slots, slot, WIRE_PRUNE_MAX)) > 0) {
		for (unsigned i = 0; i < n; i++)
			node[i] = node_id((int)slot[i], slots_top(m->slots, slot[i]));
		wire_prune(m, node, n);
	}
}

static void drop_contents(void *ctx, inode_no ino)
{
	struct mount *m = ctx;

	volume_forget(m->volume, ino);
}

static void adopt_orphan(void *ctx, inode_no ino)
{
	struct mount *m = ctx;

	unnamed_add(m->unnamed, ino);
}

/*
 * The dead process may have read a FORGET for this orphan and not acted on it, so the kernel is
 * asked again.  Leave out inodes made by a request that is not answered yet: the kernel does not
 * know them, but the request's caller wants them.  The kernel does not know them the moment the
 * answer is written, either: first the caller has to run.
 */
static void ask_about_orphan(void *ctx, inode_no ino)
{
	struct mount *m = ctx;

	if (!inflight_has_made(ino))
		unnamed_forget(m->unnamed, ino);
}

void mount_adopt(struct mount *m)
{
	/*
	 * On failure, orphans about which the kernel was not asked take space until the next mount
	 * drops them.
	 */
	if (m->volume && volume_orphans(m->volume, ask_about_orphan, m) < 0)
		msg_warn("no memory to ask the kernel which removed files are still in use");
}

void mount_adopted(struct mount *m)
{
	if (m->volume && slots_of_older(m->slots)) {
		atomic_store(&m->names_of_older, true);
		tell_views(m->tell);
	}
}

static int flush_file(void *ctx, inode_no ino)
{
	struct mount *m = ctx;

	int rc;

	atomic_store(&m->flushing, ino);
	rc = writeback_flush(m->writeback, ino, NODE_GENERATION);
	atomic_store(&m->flushing, 0);
	return rc;
}

static void answer_asked(void *ctx, const struct seek *s, int rc)
{
	if (s->asks == ASKS_ATTRIBUTES)
		answer_attributes(ctx, s->req, s->ino, rc == 0);
	else if (s->asks == ASKS_STATX)
		wire_answer_statx(ctx, s->req, rc == 0);
	else
		answer_seek(ctx, s, rc);
}

static void cancel_flush(void *ctx)
{
	struct mount *m = ctx;

	writeback_cancel(m->writeback);
}

int mount_init(struct mount *m)
{
	struct slots_config slots = {.open = open_view,
				     .close = view_close,
				     .bytes = view_bytes,
				     .ctx = m,
				     .bytes_max = m->memory_bytes / 8,
				     .mem = m->successor->map.slots};
	struct unnamed_config unnamed = {.held = kernel_holds, .gone = drop_contents, .ctx = m};
	struct tell_config tell = {
		.attributes = forget_attributes, .views = forget_views, .ctx = m};
	const struct shared_state *e = m->successor->map.state;
	struct seeks_config seeks = {
		.flush = flush_file, .answer = answer_asked, .cancel = cancel_flush, .ctx = m};
	int rc = embassy_dir_new(e ? e->takeovers : 0, &m->embassy);

	if (rc == 0 && m->volume)
		rc = slots_new(&slots, &m->slots);
	if (rc == 0 && m->volume)
		rc = walks_new(&m->walks);
	if (rc == 0 && m->volume)
		rc = syncs_new(m->volume, &m->syncs);
	if (rc == 0 && m->volume)
		rc = seeks_new(&seeks, &m->seeks);
	if (rc == 0 && m->volume)
		rc = unwritten_new(m->successor->take_over, &m->unwritten);
	if (rc == 0 && m->volume)
		rc = relinked_new(m->successor->take_over ? clock_mono_ns() + RELINKED_NS : 0,
				  &m->relinked);
	if (rc == 0 && m->volume)
		rc = tell_new(&tell, &m->tell);
	if (rc == 0 && m->volume)
		rc = unnamed_new(&unnamed, &m->unnamed);
	/* Orphans of the dead process may still be open. */
	if (rc == 0 && m->volume && m->successor->take_over)
		rc = volume_orphans(m->volume, adopt_orphan, m);
	if (rc < 0)
		mount_release(m);
	return rc;
}

void mount_quiesce(struct mount *m)
{
	seeks_stop(m->seeks);
	unnamed_stop(m->unnamed);
	tell_stop(m->tell);
}

void mount_release(struct mount *m)
{
	seeks_free(m->seeks);
	unnamed_free(m->unnamed);
	tell_free(m->tell);
	unwritten_free(m->unwritten);
	relinked_free(m->relinked);
	syncs_free(m->syncs);
	walks_free(m->walks);
	slots_free(m->slots);
	embassy_dir_free(m->embassy);
	m->seeks = NULL;
	m->unnamed = NULL;
	m->tell = NULL;
	m->unwritten = NULL;
	m->relinked = NULL;
	m->syncs = NULL;
	m->walks = NULL;
	m->slots = NULL;
	m->embassy = NULL;
}
