/*
 * What all request handlers share: node ids, replies, the table of operations.
 *
 * A view of the past must not be closed under a request, so a handler holds it from place_get()
 * to place_put(), and lets go before it replies where it can: a reply may be what the kernel
 * waits for before it forgets the node.  References that a reply will give are counted before,
 * while the view is held: a node that was looked up by its id alone may be forgotten meanwhile.
 *
 * Lock order: the locks of slots, unnamed, syncs, seeks and embassy_dir are leaves; none is held
 * across a reply, a call into the volume or a view, or each other.
 */

#include "mount.h"

#include "acl.h"
#include "clock.h"
#include "complain.h"
#include "embassy_dir.h"
#include "err.h"
#include "past.h"
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
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

const struct fuse_lowlevel_ops mount_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.statfs = op_statfs,
	.create = op_create,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.symlink = op_symlink,
	.link = op_link,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.rename = op_rename,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.fsyncdir = op_fsyncdir,
	.open = op_open,
	.release = op_release,
	.flush = op_flush,
	.read = op_read,
	.write = op_write,
	.fsync = op_fsync,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.copy_file_range = op_copy_file_range,
	.ioctl = op_ioctl,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.setxattr = op_setxattr,
	.removexattr = op_removexattr,
};

static int open_view(void *ctx, uint64_t number, struct view **out)
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

static bool kernel_holds(void *ctx, uint64_t ino)
{
	struct mount *m = ctx;

	/*
	 * A negative offset: nothing but attributes is invalidated.  Anything but "no such inode"
	 * keeps the contents.
	 */
	return fuse_lowlevel_notify_inval_inode(m->session, ino, -1, 0) != -ENOENT;
}

/* It may have forgotten the file, and then has nothing to be told. */
static void forget_attributes(void *ctx, uint64_t ino)
{
	struct mount *m = ctx;

	(void)fuse_lowlevel_notify_inval_inode(m->session, ino, -1, 0);
}

/*
 * A program before this one let files of the past be shared: the kernel is to look up anew what it
 * has under .embassy.  What is open stays so.
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

void kernel_writes(struct mount *m, uint64_t ino)
{
	if (unwritten_begun(m->unwritten, ino))
		(void)fuse_lowlevel_notify_inval_inode(m->session, ino, -1, 0);
}

static void drop_contents(void *ctx, uint64_t ino)
{
	struct mount *m = ctx;

	volume_forget(m->volume, ino);
}

static void adopt_orphan(void *ctx, uint64_t ino)
{
	struct mount *m = ctx;

	unnamed_add(m->unnamed, ino);
}

/*
 * Word of the kernel's letting go may have died with the process.  What was made by a request that
 * is not answered yet is not known to the kernel, and still wanted.
 */
static void ask_about_orphan(void *ctx, uint64_t ino)
{
	struct mount *m = ctx;

	if (!inflight_has_made(ino))
		unnamed_forget(m->unnamed, ino);
}

void mount_adopted(struct mount *m)
{
	if (!m->volume || !m->heir->take_over)
		return;
	volume_orphans(m->volume, ask_about_orphan, m);
	if (slots_of_older(m->slots)) {
		atomic_store(&m->names_of_older, true);
		tell_views(m->tell);
	}
}

static int flush_file(void *ctx, uint64_t ino)
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
				     .mem = m->heir->map.slots};
	struct unnamed_config unnamed = {.held = kernel_holds, .gone = drop_contents, .ctx = m};
	struct tell_config tell = {
		.attributes = forget_attributes, .views = forget_views, .ctx = m};
	const struct estate *e = m->heir->map.estate;
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
		rc = unwritten_new(m->heir->take_over, &m->unwritten);
	if (rc == 0 && m->volume)
		rc = relinked_new(m->heir->take_over ? clock_mono_ns() + RELINKED_NS : 0,
				  &m->relinked);
	if (rc == 0 && m->volume)
		rc = tell_new(&tell, &m->tell);
	if (rc == 0 && m->volume)
		rc = unnamed_new(&unnamed, &m->unnamed);
	/* Somebody may have them open still. */
	if (rc == 0 && m->volume && m->heir->take_over)
		volume_orphans(m->volume, adopt_orphan, m);
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

int place_get(struct mount *m, uint64_t id, struct place *out)
{
	uint64_t top = id >> NODE_SHIFT;
	int rc = 0;

	*out = (struct place){.view = m->view, .ino = id & (INO_MAX - 1), .slot = -1};
	if (top == 0) {
		out->live = m->volume != NULL;
		return 0;
	}
	out->view = NULL;
	if (!m->slots || top == NODE_VIRTUAL)
		return -ESTALE;
	rc = slots_view(m->slots, (uint32_t)(top - 1), &out->view);
	if (rc == 0) {
		out->slot = (int)(top - 1);
		out->head = view_head(out->view)->number;
	}
	return rc;
}

void place_put(struct mount *m, struct place *n)
{
	if (n->slot >= 0 && n->view)
		slots_view_put(m->slots, (uint32_t)n->slot, n->view);
	n->view = NULL;
}

int place_for_change(struct mount *m, uint64_t id, uint64_t *out_ino)
{
	if (!m->volume || id >> NODE_SHIFT != 0)
		return -EROFS;
	*out_ino = id;
	return 0;
}

/* The kernel leaves access times of FUSE to us. */
void place_accessed(struct mount *m, const struct place *n, bool is_dir)
{
	if (n->live && !m->noatime && !(is_dir && m->nodiratime))
		volume_accessed(m->volume, n->ino, m->strictatime);
}

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

int reply_errno(uint64_t id, int rc)
{
	/*
	 * An errno is an answer; one of our own codes means that something is wrong with what is
	 * stored, or out of reach.
	 */
	if (-rc > ERR_BASE)
		complain(complain_subject(id & (INO_MAX - 1), err_text(rc)),
			 "inode %" PRIu64 ": %s", id & (INO_MAX - 1), err_detail(rc));
	return rc ? err_errno(rc) : 0;
}

void reply_rc(fuse_req_t req, uint64_t id, int rc)
{
	fuse_reply_err(req, reply_errno(id, rc));
}

void place_give(struct mount *m, const struct place *n, uint64_t count)
{
	if (n->slot >= 0 && count > 0)
		slots_add(m->slots, (uint32_t)n->slot, count);
}

void reply_entry(fuse_req_t req, struct mount *m, const struct fuse_entry_param *e, int slot)
{
	if (fuse_reply_entry(req, e) != 0 && slot >= 0)
		slots_drop(m->slots, (uint32_t)slot, 1);
}

static pthread_key_t buffer_key;
static pthread_once_t buffer_once = PTHREAD_ONCE_INIT;
static int buffer_rc;

struct thread_memory {
	void *p;
	size_t size;
};

static void free_thread_memory(void *arg)
{
	struct thread_memory *t = arg;

	free(t->p);
	free(t);
}

static void make_buffer_key(void)
{
	buffer_rc = pthread_key_create(&buffer_key, free_thread_memory);
}

void *thread_buffer(size_t size)
{
	struct thread_memory *t;
	void *p;

	pthread_once(&buffer_once, make_buffer_key);
	if (buffer_rc != 0)
		return NULL;
	t = pthread_getspecific(buffer_key);
	if (!t) {
		t = calloc(1, sizeof(*t));
		if (!t)
			return NULL;
		if (pthread_setspecific(buffer_key, t) != 0) {
			free(t);
			return NULL;
		}
	}
	if (t->size < size) {
		size = (size + 4095) & ~(size_t)4095;
		p = aligned_alloc(4096, size);
		if (!p)
			return NULL;
		free(t->p);
		t->p = p;
		t->size = size;
	}
	return t->p;
}
