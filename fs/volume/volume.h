#ifndef VOLUME_H_
#define VOLUME_H_

/*
 * A live volume: the one mutable view, its writer, and the scheduler that makes deltas durable,
 * signs heads and takes checkpoints.
 *
 * An operation is applied as a whole or not at all, in memory and after any crash.  It is durable
 * after volume_sync(), or by itself within a second.  Every function may be called by any thread
 * and takes its own locks.  Errors are as in view.h; -ENOSPC when the disk is full; -EROFS never;
 * -ERR_STUCK once a write to the log failed in a way that can't be undone (the mount must be opened
 * anew).
 */

#include "note.h"
#include "view.h"

struct volume;
struct figures;
struct params;
struct volume_keys;
struct log;

/*
 * Memory that outlives the process that writes to a volume, for the process that takes over when
 * that one is killed.  It contains all changes that are in no file yet: file bytes sealed as in the
 * log, changes of names and attributes in the clear.  So it must not get into a core file or into
 * swap.
 */
struct volume_shm {
	void *mem;	/* volume_shm_bytes() bytes, shared, aligned to 2 MiB; NULL: none */
	bool take_over; /* a dead process left it; go on from its changes */
	int lock_fd;	/* with take_over: the lock kept for us; copied */
	/*
	 * note_of(ctx, tag): where changes of the request ${tag} are noted, or NULL.  Only
	 * volume_open() calls it, when taking over, for each change that it finds; no lock is held.
	 * May be NULL.
	 */
	struct change_note *(*note_of)(void *ctx, uint64_t tag);
	void *ctx;
};

size_t volume_shm_bytes(void);

struct volume_config {
	const char *dir;
	const struct params *params;	/* borrowed, outlives the volume */
	const struct volume_keys *keys; /* borrowed, outlives the volume */
	unsigned checkpoint_s;		/* 0: 60 */
	size_t memory_bytes;		/* bound for all that grows; 0: 256 MiB */
	/* called after each durable head, by the volume's own thread; may be NULL */
	void (*on_head)(void *ctx, const struct head *h);
	void *ctx;
	const struct volume_shm *shm; /* copied; NULL: none */
};

/*
 * volume_lock(dir, out_fd): take the writer's lock of a volume's folder, which only one process can
 * hold.  Waits up to 30 s for a holder that is closing, and 2 s for one that may be about to close.
 * The lock is held until the descriptor is closed.
 * Returns 0, -ERR_LOCKED with a detail naming the holder, or -errno.
 */
MUST_CHECK int volume_lock(const char *dir, int *out_fd);

/*
 * volume_lock_to_read(dir, out_fd): the same, for a caller that only reads and may not be able to
 * write there (a read-only medium, another user's folder).  ${*out_fd} is -1 if there is no lock
 * that it could take: the file does not exist and can't be made, or this user may not read it.
 * Returns as volume_lock().
 */
MUST_CHECK int volume_lock_to_read(const char *dir, int *out_fd);

/*
 * volume_make(dir, params, keys): write the first segment (root folder owned by uid:gid with mode
 * 0755, first head) of a new volume whose volume.conf lies in ${dir}.
 * Returns 0; -EEXIST if it has a log already; -errno.
 */
MUST_CHECK int volume_make(const char *dir, const struct params *params,
			   const struct volume_keys *keys, uint32_t uid, uint32_t gid);

/*
 * volume_open(cfg, out): lock, recover, load the checkpoint, apply the deltas after it, drop
 * orphans, start the scheduler.  With shm->take_over, orphans stay (volume_orphans()), and every
 * change that the dead process made is there.
 * Returns 0; -ERR_FORBIDDEN with a detail if the folder is an embassy's copy; -ERR_LOCKED with a
 * detail (as volume_lock()); -ERR_NO_VOLUME; -ERR_DAMAGED; -ERR_TAMPERED; -ERR_VERSION; -errno.
 */
MUST_CHECK int volume_open(const struct volume_config *cfg, struct volume **out);

/*
 * volume_closing(v): from now on, a process that wants the volume waits until it is closed, instead
 * of being told that it is mounted.
 * volume_close(v): make everything durable, make a last head and checkpoint, unlock.  Frees ${v} in
 * any case.  Returns 0 or the first error.
 */
void volume_closing(struct volume *v);
MUST_CHECK int volume_close(struct volume *v);

/*
 * volume_view(): the mutable view, for all reading.  volume_log(): the log, for replication and for
 * views of the past.  Borrowed.
 */
struct view *volume_view(struct volume *v);
/*
 * volume_now_ns(v): the time by which heads are made, and from which ages count back: the wall
 * clock's, but never before the newest head (clock_onward_ns()).  Any thread.
 */
int64_t volume_now_ns(struct volume *v);

struct log *volume_log(struct volume *v);
/*
 * volume_view_config(v): the configuration with which view_open() opens a view of the past that
 * shares this volume's caches.
 */
const struct view_config *volume_view_config(struct volume *v);

/*
 * The caller of a change.  It gives the owner of a new inode, and lets a process that takes over
 * know which changes of a request were made.  Each function that changes something takes it as
 * ${c}.  NULL means that the change belongs to no request; functions that make an inode need one.
 */
struct caller {
	uint32_t uid, gid;
	uint64_t tag;		  /* number of the request; 0: no request */
	struct change_note *note; /* where the request's changes are noted, or NULL */
};

/*
 * volume_make_node(v, c, parent, name, mode, rdev, target, out): make a file, folder, device, pipe,
 * socket or (S_IFLNK, with ${target}) symbolic link.  ${mode} is final: the caller has applied the
 * umask.  A setgid parent passes on its group and, to a folder, its setgid bit.  -EEXIST, -ENOTDIR,
 * -ENOENT, -ENAMETOOLONG, -EMLINK, -ENOSPC.
 */
MUST_CHECK int volume_make_node(struct volume *v, const struct caller *c, inode_no parent,
				const char *name, uint32_t mode, uint64_t rdev, const char *target,
				struct attr *out);

/*
 * volume_make_unnamed(): make a file without a name (O_TMPFILE).  Unless it is linked, it is
 * dropped when the kernel forgets it.
 */
MUST_CHECK int volume_make_unnamed(struct volume *v, const struct caller *c, inode_no parent,
				   uint32_t mode, struct attr *out);

MUST_CHECK int volume_link(struct volume *v, const struct caller *c, inode_no ino, inode_no parent,
			   const char *name, struct attr *out);
/* -EISDIR for a folder */
MUST_CHECK int volume_unlink(struct volume *v, const struct caller *c, inode_no parent,
			     const char *name);
MUST_CHECK int volume_rmdir(struct volume *v, const struct caller *c, inode_no parent,
			    const char *name);

/*
 * volume_rename(v, c, ..., flags): flags 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT (or
 * with NOREPLACE); else -EINVAL.
 */
MUST_CHECK int volume_rename(struct volume *v, const struct caller *c, inode_no parent,
			     const char *name, inode_no new_parent, const char *new_name,
			     unsigned flags);

/*
 * volume_forget(v, ino): the kernel holds no more reference to the inode: if it has no name, drop
 * its contents.  Belongs to no request.  The caller never sees an error.
 */
void volume_forget(struct volume *v, inode_no ino);

/*
 * volume_orphans(v, fn, ctx): call ${fn} for each inode that has no name now, with no lock held.
 * Any thread.  Returns 0, or -ENOMEM before any call of ${fn}.
 */
MUST_CHECK int volume_orphans(struct volume *v, void (*fn)(void *ctx, inode_no ino), void *ctx);

enum {
	SET_MODE = 1,
	SET_UID = 2,
	SET_GID = 4,
	SET_SIZE = 8,
	SET_ATIME = 16,
	SET_MTIME = 32,
	SET_CTIME = 64,
	/* clear setuid, and setgid where group-executable, and security.capability */
	SET_KILL_PRIV = 128,
	/* clear setgid, also where the group may not execute */
	SET_KILL_SGID = 256,
	/* the permission bits of the mode only */
	SET_PERMISSIONS = 512,
};

/*
 * volume_setattr(v, c, ino, set, want, out): ${set} says which fields of ${want} to set; ctime
 * becomes now unless set.  -EFBIG, -EINVAL.
 */
MUST_CHECK int volume_setattr(struct volume *v, const struct caller *c, inode_no ino, unsigned set,
			      const struct attr *want, struct attr *out);

/*
 * volume_accessed(v, ino, strict): the contents were read now.  If ${strict}, the access time
 * becomes now.  Otherwise it does so only under the rule of ext4's relatime: if it is not after the
 * last change, or is a day old.  Belongs to no request, since doing it again does no harm.  The
 * caller never sees an error: a read must not fail because of it, on a full disk say.
 */
void volume_accessed(struct volume *v, inode_no ino, bool strict);

/*
 * volume_write(v, c, ino, off, len, data, how): write all ${len} (at most 4 MiB) bytes, or nothing.
 * ${how} is 0 or a set of flags.  WRITE_KILL_PRIV: clear set-id bits and capabilities.
 * WRITE_KEEP_TIMES: these are cached pages, which come late; the kernel sets the times itself.
 */
enum { WRITE_KILL_PRIV = 1, WRITE_KEEP_TIMES = 2 };
MUST_CHECK int volume_write(struct volume *v, const struct caller *c, inode_no ino, uint64_t off,
			    size_t len, const void *data, unsigned how);

/*
 * volume_allocate(v, c, ino, mode, off, len): fallocate(2) with the modes 0, KEEP_SIZE,
 * PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE[|KEEP_SIZE]; else -EOPNOTSUPP.  No space is reserved, but all
 * modes except punching a hole return -ENOSPC if the disk has less.
 */
MUST_CHECK int volume_allocate(struct volume *v, const struct caller *c, inode_no ino, int mode,
			       uint64_t off, uint64_t len);

/*
 * volume_copy_range(): share extents instead of copying data.  Copies up to ${len} bytes;
 * ${*out_len} says how many.  -EINVAL if the ranges are of one file and overlap.
 */
MUST_CHECK int volume_copy_range(struct volume *v, const struct caller *c, inode_no from,
				 uint64_t from_off, inode_no to, uint64_t to_off, uint64_t len,
				 uint64_t *out_len);
/*
 * volume_copy_pages(): the same for a target that others may cache and change meanwhile, in pages
 * of ${page} bytes.  They drop each page that was copied to, with their changes.  So a page is only
 * copied to as a whole, or up to the target's end.  A part of a page at the end of the range is not
 * copied.  -EXDEV if nothing else is left, or if the range begins inside a page.
 */
MUST_CHECK int volume_copy_pages(struct volume *v, const struct caller *c, inode_no from,
				 uint64_t from_off, inode_no to, uint64_t to_off, uint64_t len,
				 uint64_t page, uint64_t *out_len);

/*
 * volume_setxattr(v, c, ino, name, value, len, flags): XATTR_CREATE, XATTR_REPLACE.  -EEXIST,
 * -ENODATA, -E2BIG, -ENAMETOOLONG.
 */
MUST_CHECK int volume_setxattr(struct volume *v, const struct caller *c, inode_no ino,
			       const char *name, const void *value, size_t len, int flags);
MUST_CHECK int volume_removexattr(struct volume *v, const struct caller *c, inode_no ino,
				  const char *name);

/*
 * volume_sync(v): on return, everything done before the call is durable.  Concurrent callers share
 * one fdatasync.
 */
MUST_CHECK int volume_sync(struct volume *v);

/* volume_add_head(v, out): the same, and make a head that states it. */
MUST_CHECK int volume_add_head(struct volume *v, struct head *out);

/*
 * volume_snapshot(v, c, name, hold, out): name the present state; durable on return.  -EEXIST;
 * -EINVAL (empty, '.', '..', '/' or too long); or as volume_add_head(), and then there is no such
 * snapshot.
 * volume_snapshot_remove(v, c, name): remove the name.  -ENOENT; -EPERM if it is held.
 * volume_snapshot_hold(v, c, name): hold it; durable on return.  -ENOENT; or as volume_add_head(),
 * and then it may or may not be held.
 * volume_snapshot_release(v, c, name): take the hold off.  -ENOENT.
 * To hold a held snapshot, or to release one that is not held, is no error.
 */
MUST_CHECK int volume_snapshot(struct volume *v, const struct caller *c, const char *name,
			       bool hold, struct snapshot *out);
MUST_CHECK int volume_snapshot_remove(struct volume *v, const struct caller *c, const char *name);
MUST_CHECK int volume_snapshot_hold(struct volume *v, const struct caller *c, const char *name);
MUST_CHECK int volume_snapshot_release(struct volume *v, const struct caller *c, const char *name);

/* volume_checkpoint(v): take a checkpoint now and wait for it. */
MUST_CHECK int volume_checkpoint(struct volume *v);

/* volume_lock_fd(v): the descriptor that holds the lock.  Borrowed. */
int volume_lock_fd(const struct volume *v);

/*
 * volume_figures(v, f): set the figures of a live volume, except its ID, mode and processes.
 * volume_disk_free(v, out): bytes that the filesystem of the log has free for us.  Returns 0 or
 * -errno.
 */
void volume_figures(struct volume *v, struct figures *f);
MUST_CHECK int volume_disk_free(const struct volume *v, uint64_t *out_bytes);

#endif /* !VOLUME_H_ */
