/*
 * Requests about files' contents.
 *
 * The kernel's page cache is the only cache of contents; it gathers writes and reads ahead. 
 * Files are never opened as far as we are told: the kernel takes "not implemented" for "no need
 * to ask again", keeps its cache over opens, and sends FORGET when the last user is gone.
 */

#include "mount.h"

#include "embassy_dir.h"
#include "syncs.h"
#include "volume.h"
#include "wire.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

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

	(void)fi;
	if (node_is_virtual(id)) {
		embassy_read(req, m, id, size, off);
		return;
	}
	p = thread_buffer(size);
	rc = p ? place_get(m, id, &n) : -ENOMEM;
	if (rc == 0) {
		rc = off < 0 ? -EINVAL : view_read(n.view, n.ino, (uint64_t)off, size, p, &len);
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
	uint64_t ino;
	int rc = off < 0 ? -EINVAL : place_for_change(m, id, &ino);

	(void)fi;
	if (rc == 0)
		rc = volume_write(m->volume, ino, (uint64_t)off, size, data,
				  wire_write_kills_priv());
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
	if (m->syncs && id >> NODE_SHIFT == 0)
		syncs_answer(m->syncs, req);
	else
		fuse_reply_err(req, 0);
}

/* A change of contents that is no write: a caller without privileges must not keep a program's. */
static int kill_priv(struct mount *m, const struct fuse_ctx *c, uint64_t ino)
{
	struct attr a, want = {0};
	int rc;

	if (c->uid == 0 || !atomic_load(&m->handles_killpriv))
		return 0;
	rc = view_getattr(m->view, ino, &a);
	if (rc == 0 && (a.mode & (S_ISUID | S_ISGID)))
		rc = volume_setattr(m->volume, ino, SET_KILL_PRIV, &want, &a);
	return rc;
}

void op_fallocate(fuse_req_t req, fuse_ino_t id, int mode, off_t off, off_t len,
		  struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	uint64_t ino;
	int rc = off < 0 || len <= 0 ? -EINVAL : place_for_change(m, id, &ino);

	(void)fi;
	if (rc == 0)
		rc = kill_priv(m, fuse_req_ctx(req), ino);
	if (rc == 0)
		rc = volume_allocate(m->volume, ino, mode, (uint64_t)off, (uint64_t)len);
	reply_rc(req, id, rc);
}

void op_lseek(fuse_req_t req, fuse_ino_t id, off_t off, int whence, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	uint64_t found;
	struct place n;
	int rc;

	(void)fi;
	/*
	 * The kernel asks without writing back first what it holds dirty, so where holes are we
	 * know only in a mount that nobody writes to.  Elsewhere it takes "not implemented" for
	 * "all is data", which is always right; a guess would make cp(1) skip what another
	 * program has just written.
	 */
	if (m->volume) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	if (node_is_virtual(id) || off < 0 || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	rc = place_get(m, id, &n);
	if (rc == 0) {
		rc = view_seek(n.view, n.ino, (uint64_t)off, whence == SEEK_HOLE, &found);
		place_put(m, &n);
	}
	if (rc < 0)
		reply_rc(req, id, rc);
	else
		fuse_reply_lseek(req, (off_t)found);
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
		rc = kill_priv(m, fuse_req_ctx(req), to_ino);
	/* The answer has 32 bits for the length. */
	if (len > UINT32_MAX / 2)
		len = UINT32_MAX / 2;
	if (rc == 0)
		rc = volume_copy_range(m->volume, from_ino, (uint64_t)from_off, to_ino,
				       (uint64_t)to_off, len, &done);
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
