/*
 * Requests about files' contents.
 *
 * The kernel's page cache is the only cache of contents; it gathers writes and reads ahead. 
 * Files are never opened as far as we are told: the kernel takes "not implemented" for "no need
 * to ask again", keeps its cache over opens, and sends FORGET when the last user is gone.
 */

#include "mount.h"

#include "clock.h"
#include "embassy_dir.h"
#include "request.h"
#include "seeks.h"
#include "syncs.h"
#include "tell.h"
#include "unwritten.h"
#include "walks.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_MAX (UINT32_C(1) << 30)

void op_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	(void)id;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

void op_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	(void)id;
	(void)fi;
	fuse_reply_err(req, 0);
}

void op_flush(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
	(void)id;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

void op_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	struct place n;
	size_t len;
	void *p;
	int rc;

	if (node_is_virtual(id)) {
		embassy_read(req, m, id, size, off);
		return;
	}
	p = thread_buffer(size);
	rc = p ? place_get(m, id, &n) : -ENOMEM;
	if (rc == 0) {
		rc = off < 0 ? -EINVAL : view_read(n.view, n.ino, (uint64_t)off, size, p, &len);
		if (rc == 0 && len > 0 && !(fi->flags & O_NOATIME))
			place_accessed(m, &n, false);
		if (n.slot >= 0)
			walks_used(m->walks, n.head, clock_mono_ns());
		place_put(m, &n);
	}
	if (rc < 0)
		reply_rc(req, id, rc);
	else
		fuse_reply_buf(req, p, len);
}

void op_write(fuse_req_t req, fuse_ino_t id, const char *data, size_t size, off_t off,
	      struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	const struct request *r = request_of(req);
	uint64_t ino;
	int rc = off < 0 ? -EINVAL : place_for_change(m, id, &ino);

	if (rc == 0 && r->kills_priv)
		rc = privs_drop(req, ino);
	if (rc == 0)
		rc = volume_write(m->volume, &r->caller, ino, (uint64_t)off, size, data,
				  (r->kills_priv ? WRITE_KILL_PRIV : 0) |
					  (fi->writepage ? WRITE_KEEP_TIMES : 0));
	/* Before the answer: until then nothing is cut off that was written. */
	if (rc == 0)
		unwritten_ended(m->unwritten, ino);
	if (rc == 0 && fi->writepage)
		tell_written(m->tell, ino);
	if (rc < 0)
		reply_rc(req, id, rc);
	else
		fuse_reply_write(req, size);
}

void op_fsync(fuse_req_t req, fuse_ino_t id, int data_only, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);

	(void)data_only;
	(void)fi;
	if (m->syncs && id >> NODE_SHIFT == 0) {
		tell_synced(m->tell, id);
		syncs_answer(m->syncs, req);
	} else
		fuse_reply_err(req, 0);
}

void op_fallocate(fuse_req_t req, fuse_ino_t id, int mode, off_t off, off_t len,
		  struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	uint64_t ino;
	int rc = off < 0 || len <= 0 ? -EINVAL : place_for_change(m, id, &ino);

	(void)fi;
	if (rc == 0)
		rc = privs_drop(req, ino);
	if (rc == 0)
		rc = volume_allocate(m->volume, &request_of(req)->caller, ino, mode, (uint64_t)off,
				     (uint64_t)len);
	reply_rc(req, id, rc);
}

static void reply_seek(fuse_req_t req, uint64_t id, struct view *v, uint64_t ino, uint64_t off,
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
 * A file that can't be written back is answered from what is stored: what failed to be written is
 * data no more.  Where there is no way to write back at all the kernel takes "not implemented"
 * for "all is data", which is always right.
 */
void answer_seek(void *ctx, const struct seek *s, int rc)
{
	struct mount *m = ctx;

	if (rc == -ENOSYS || rc == -EINTR)
		fuse_reply_err(s->req, -rc);
	else
		reply_seek(s->req, s->ino, m->view, s->ino, s->off, s->hole);
}

void op_lseek(fuse_req_t req, fuse_ino_t id, off_t off, int whence, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	bool hole = whence == SEEK_HOLE;
	struct place n;
	int rc;

	(void)fi;
	if (node_is_virtual(id) || (whence != SEEK_DATA && !hole)) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	/* Before a file's beginning there is as little as after its end. */
	if (off < 0) {
		fuse_reply_err(req, ENXIO);
		return;
	}
	rc = place_get(m, id, &n);
	if (rc < 0) {
		reply_rc(req, id, rc);
		return;
	}
	if (!n.live) {
		reply_seek(req, id, n.view, n.ino, (uint64_t)off, hole);
	} else {
		struct seek s = {.req = req, .ino = n.ino, .off = (uint64_t)off, .hole = hole};

		rc = seeks_ask(m->seeks, &s);
		if (rc < 0)
			reply_rc(req, id, rc);
	}
	place_put(m, &n);
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_off,
			struct fuse_file_info *from_fi, fuse_ino_t to, off_t to_off,
			struct fuse_file_info *to_fi, size_t len, int flags)
{
	struct mount *m = mount_of(req);
	uint64_t from_ino, to_ino, done = 0;
	int rc;

	(void)from_fi;
	(void)to_fi;
	/*
	 * From a view of the past there are no extents to share: the kernel copies by reading and
	 * writing.
	 */
	if (place_for_change(m, from, &from_ino) < 0) {
		fuse_reply_err(req, EXDEV);
		return;
	}
	rc = flags != 0 || from_off < 0 || to_off < 0 ? -EINVAL : place_for_change(m, to, &to_ino);
	if (rc == 0)
		rc = privs_drop(req, to_ino);
	/* The answer has 32 bits for the length. */
	if (len > COPY_MAX)
		len = COPY_MAX;
	/*
	 * The kernel writes pages of the target back before it asks, and forgets those that were copied
	 * to afterwards, as wholes: what was stored into the rest of one through a map meanwhile would be
	 * lost.  After EXDEV it copies through its cache.
	 */
	if (rc == 0)
		rc = volume_copy_pages(m->volume, &request_of(req)->caller, from_ino,
				       (uint64_t)from_off, to_ino, (uint64_t)to_off, len,
				       (uint64_t)sysconf(_SC_PAGESIZE), &done);
	if (rc < 0)
		reply_rc(req, from, rc);
	else
		fuse_reply_write(req, done);
}

void op_ioctl(fuse_req_t req, fuse_ino_t id, unsigned cmd, void *arg, struct fuse_file_info *fi,
	      unsigned flags, const void *in, size_t in_len, size_t out_len)
{
	(void)id;
	(void)cmd;
	(void)arg;
	(void)fi;
	(void)flags;
	(void)in;
	(void)in_len;
	(void)out_len;
	fuse_reply_err(req, ENOTTY);
}
