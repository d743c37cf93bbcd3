/*
 * Requests about files' contents.
 *
 * The kernel's page cache is the only cache of contents; it gathers writes and reads ahead.
 */

#include "kinds.h"

#include "clock.h"
#include "privs.h"
#include "reply.h"
#include "request.h"
#include "seeks.h"
#include "syncs.h"
#include "tell.h"
#include "unwritten.h"
#include "walks.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define COPY_MAX (UINT32_C(1) << 30)

void live_read(fuse_req_t req, struct mount *m, uint64_t id, size_t size, off_t off, int flags)
{
	void *p = thread_buffer(size);
	size_t len = 0;
	int rc = !p ? -ENOMEM : off < 0 ? -EINVAL : 0;

	if (rc == 0)
		rc = view_read(m->view, id, (uint64_t)off, size, p, &len);
	if (rc == 0 && len > 0 && !(flags & O_NOATIME))
		live_accessed(m, id, false);
	reply_bytes(req, id, rc, p, len);
}

void past_read(fuse_req_t req, struct mount *m, uint64_t id, size_t size, off_t off, int flags)
{
	void *p = thread_buffer(size);
	struct place n;
	size_t len = 0;
	int rc = p ? place_get(m, id, &n) : -ENOMEM;

	(void)flags;
	if (rc == 0) {
		rc = off < 0 ? -EINVAL : view_read(n.view, n.ino, (uint64_t)off, size, p, &len);
		if (n.slot >= 0)
			walks_used(m->walks, n.head, clock_mono_ns());
		place_put(m, &n);
	}
	reply_bytes(req, id, rc, p, len);
}

void live_write(fuse_req_t req, struct mount *m, uint64_t id, const char *data, size_t size,
		off_t off, bool from_cache)
{
	const struct request *r = request_of(req);
	int rc = off < 0 ? -EINVAL : 0;

	if (rc == 0 && r->kills_priv)
		rc = privs_drop(req, id);
	if (rc == 0)
		rc = volume_write(m->volume, &r->caller, id, (uint64_t)off, size, data,
				  (r->kills_priv ? WRITE_KILL_PRIV : 0) |
					  (from_cache ? WRITE_KEEP_TIMES : 0));
	/*
	 * Before the answer: until the kernel has it, nothing that was written can be cut off
	 * again.
	 */
	if (rc == 0)
		unwritten_ended(m->unwritten, id);
	if (rc == 0 && from_cache)
		tell_written(m->tell, id);
	if (rc < 0)
		reply_rc(req, id, rc);
	else
		fuse_reply_write(req, size);
}

void live_fsync(fuse_req_t req, struct mount *m, uint64_t id)
{
	tell_synced(m->tell, id);
	syncs_answer(m->syncs, req);
}

void live_fallocate(fuse_req_t req, struct mount *m, uint64_t id, int mode, off_t off, off_t len)
{
	int rc = off < 0 || len <= 0 ? -EINVAL : privs_drop(req, id);

	if (rc == 0)
		rc = volume_allocate(m->volume, &request_of(req)->caller, id, mode, (uint64_t)off,
				     (uint64_t)len);
	reply_rc(req, id, rc);
}

static void reply_seek(fuse_req_t req, uint64_t id, struct view *v, inode_no ino, uint64_t off,
		       bool hole)
{
	uint64_t found;
	int rc = view_seek(v, ino, off, hole, &found);

	if (rc < 0)
		reply_rc(req, id, rc);
	else
		fuse_reply_lseek(req, (off_t)found);
}

/*
 * If the file could not be written back, answer from what is stored: bytes that failed to be
 * written are no longer data.  If write-back is impossible altogether (ENOSYS), pass that on: the
 * kernel then takes the whole file for data, which is always right.
 */
void answer_seek(void *ctx, const struct seek *s, int rc)
{
	struct mount *m = ctx;

	if (rc == -ENOSYS || rc == -EINTR)
		fuse_reply_err(s->req, -rc);
	else
		reply_seek(s->req, s->ino, m->view, s->ino, s->off, s->hole);
}

void live_lseek(fuse_req_t req, struct mount *m, uint64_t id, off_t off, bool hole)
{
	struct seek s = {.req = req, .ino = id, .off = (uint64_t)off, .hole = hole};
	/* An offset before the file's beginning is answered like one after its end. */
	int rc = off < 0 ? -ENXIO : seeks_ask(m->seeks, &s);

	if (rc < 0)
		reply_rc(req, id, rc);
}

void past_lseek(fuse_req_t req, struct mount *m, uint64_t id, off_t off, bool hole)
{
	struct place n;
	int rc = off < 0 ? -ENXIO : place_get(m, id, &n);

	if (rc < 0) {
		reply_rc(req, id, rc);
		return;
	}
	reply_seek(req, id, n.view, n.ino, (uint64_t)off, hole);
	place_put(m, &n);
}

void live_copy(fuse_req_t req, struct mount *m, uint64_t to, off_t to_off, uint64_t from,
	       off_t from_off, size_t len)
{
	uint64_t done = 0;
	int rc = from_off < 0 || to_off < 0 ? -EINVAL : privs_drop(req, to);

	/* The answer has only 32 bits for the length. */
	if (len > COPY_MAX)
		len = COPY_MAX;
	/*
	 * Before it asks, the kernel writes back the pages of the target.  Afterwards it drops
	 * every page that was copied to, as a whole.  Bytes that an application stored through a
	 * map into the rest of such a page meanwhile would be lost.  So only whole pages are copied
	 * here; after EXDEV the kernel copies through its cache.
	 */
	if (rc == 0)
		rc = volume_copy_pages(m->volume, &request_of(req)->caller, from,
				       (uint64_t)from_off, to, (uint64_t)to_off, len,
				       (uint64_t)sysconf(_SC_PAGESIZE), &done);
	if (rc < 0)
		reply_rc(req, from, rc);
	else
		fuse_reply_write(req, done);
}
