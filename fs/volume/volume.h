#ifndef VOLUME_H_
#define VOLUME_H_

/*
 * A live volume: the one mutable view, its writer, and the scheduler that makes deltas durable,
 * signs heads and takes checkpoints.
 *
 * An operation is whole or not at all, in memory and after any crash; it is durable after
 * volume_sync(), or by itself within the second. Every function: any thread, own locking.  Errors
 * as in view.h; -ENOSPC when the disk is full; -EROFS never; -ERR_STUCK once a write to the log
 * failed in a way that can't be undone (the mount must be opened anew).
 */

#include "note.h"
#include "view.h"

struct volume;
struct figures;
struct params;
struct volume_keys;
struct log;

/*
 * Memory that outlives the process that writes to a volume, for the one that takes over from it
 * when it is killed: all that was done and is in no file yet, sealed as the log or, of changes to
 * names and attributes, in the clear: no core file and no swap should have it.
 */
struct volume_shm {
	void *mem;	/* volume_shm_bytes() bytes, shared, aligned to 2 MiB; NULL: none */
	bool take_over; /* it is a dead process's: its changes go on */
	int lock_fd;	/* take_over: the dead process's lock, kept for it; copied */
	/*
	 * note_of(ctx, tag): where changes of the request ${tag} are noted, or NULL.  Called by
	 * volume_open() alone, when taking over, for each change that it finds; without a lock.  May
	 * be NULL.
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
	/* after each durable head, from the volume's own thread; may be NULL */
	void (*on_head)(void *ctx, const struct head *h);
	void *ctx;
	const struct volume_shm *shm; /* copied; NULL: none */
};

/*
 * volume_lock(dir, out_fd): take the one writer's lock of a volume's folder; waits up to 30 s for a
 * holder that is closing, 2 s for one that may be about to. Held until the descriptor is closed.
 * Returns 0, -ERR_LOCKED with a detail naming the holder, or -errno.
 */
MUST_CHECK int volume_lock(const char *dir, int *out_fd);

/*
 * volume_lock_to_read(dir, out_fd): the same for who only reads and may not be able to write there: a
 * read-only medium, another's folder.  ${*out_fd} is -1 if there is no lock that it could take: no
 * file, and none can be made, or one that this user may not read.
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
 * volume_open(cfg, out): lock, recover, load the checkpoint, roll forward, drop what was unlinked
 * but open; start the scheduler. With shm->take_over what was unlinked but open stays
 * (volume_orphans()), and every change that the dead process made is there.
 * Returns 0; -ERR_FORBIDDEN with a detail if the folder is an embassy's copy; -ERR_LOCKED with a
 * detail (as volume_lock()); -ERR_NO_VOLUME; -ERR_DAMAGED;
 * -ERR_TAMPERED; -ERR_VERSION; -errno.
 */
MUST_CHECK int volume_open(const struct volume_config *cfg, struct volume **out);

/*
 * volume_closing(v): whoever wants the volume waits for its end from now on, instead of being told
 * that it is mounted.
 * volume_close(v): everything durable, a last head and checkpoint, unlock.  Frees whatever it
 * returns: 0 or the first error.
 */
void volume_closing(struct volume *v);
MUST_CHECK int volume_close(struct volume *v);

/*
 * The mutable view, for all reading; the log, for replication and for views of the past.  Borrowed.
 */
struct view *volume_view(struct volume *v);
/*
 * volume_now_ns(v): the time as the heads tell it, to reckon back from: the wall clock's, but never
 * before the newest head (clock_onward_ns()).  Any thread.
 */
int64_t volume_now_ns(struct volume *v);

struct log *volume_log(struct volume *v);
/*
 * volume_view_config(v): what view_open() needs for a view of the past that shares this volume's
 * caches.
 */
const struct view_config *volume_view_config(struct volume *v);

/*
 * Who has a change made: for the owner of what is made, and so that a process that takes over knows
 * which changes of a request were made.  Each function that changes something takes it as ${c}; NULL:
 * nobody's request (not where something is made).
 */
struct caller {
	uint32_t uid, gid;
	uint64_t tag;		  /* the request's number; 0: of none */
	struct change_note *note; /* where its changes are noted, or NULL */
};

/*
 * volume_make_node(v, c, parent, name, mode, rdev, target, out): a new file, folder, device, pipe,
 * socket or (S_IFLNK, with ${target}) symbolic link. ${mode} is final (umask applied); a setgid
 * parent gives its group, and its bit to a folder.  -EEXIST, -ENOTDIR, -ENOENT, -ENAMETOOLONG,
 * -EMLINK, -ENOSPC.
 */
MUST_CHECK int volume_make_node(struct volume *v, const struct caller *c, uint64_t parent,
				const char *name, uint32_t mode, uint64_t rdev, const char *target,
				struct attr *out);

/* volume_make_unnamed(): a file without a name (O_TMPFILE), gone when forgotten unless linked. */
MUST_CHECK int volume_make_unnamed(struct volume *v, const struct caller *c, uint64_t parent,
				   uint32_t mode, struct attr *out);

MUST_CHECK int volume_link(struct volume *v, const struct caller *c, uint64_t ino, uint64_t parent,
			   const char *name, struct attr *out);
/* -EISDIR for a folder */
MUST_CHECK int volume_unlink(struct volume *v, const struct caller *c, uint64_t parent,
			     const char *name);
MUST_CHECK int volume_rmdir(struct volume *v, const struct caller *c, uint64_t parent,
			    const char *name);

/*
 * volume_rename(v, c, ..., flags): flags 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT (or
 * with NOREPLACE); else -EINVAL.
 */
MUST_CHECK int volume_rename(struct volume *v, const struct caller *c, uint64_t parent,
			     const char *name, uint64_t new_parent, const char *new_name,
			     unsigned flags);

/*
 * volume_forget(v, ino): the kernel holds no more reference: if it has no name any more, its
 * contents go.  Nobody's request.  Never fails the caller.
 */
void volume_forget(struct volume *v, uint64_t ino);

/*
 * volume_orphans(v, fn, ctx): call ${fn} for each inode that has no name now; no lock is held.  Any
 * thread.  Returns 0 or -ENOMEM, and ${fn} was not called.
 */
MUST_CHECK int volume_orphans(struct volume *v, void (*fn)(void *ctx, uint64_t ino), void *ctx);

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
	/* of the mode, what user, group and others may do, and nothing else */
	SET_PERMISSIONS = 512,
};

/*
 * volume_setattr(v, c, ino, set, want, out): ${set} says which fields of ${want}; ctime becomes now
 * unless set.  -EFBIG, -EINVAL.
 */
MUST_CHECK int volume_setattr(struct volume *v, const struct caller *c, uint64_t ino, unsigned set,
			      const struct attr *want, struct attr *out);

/*
 * volume_accessed(v, ino, strict): its contents were read now.  The access time becomes now if
 * ${strict}, else only if it would tell less than ext4's relatime does: not after the last change,
 * or a day old.  It counts for no request: reading again does no harm.  Never fails the caller: a
 * read must not fail for it, on a full disk say.
 */
void volume_accessed(struct volume *v, uint64_t ino, bool strict);

/*
 * volume_write(v, c, ino, off, len, data, how): all ${len} (at most 4 MiB) bytes, or nothing.  ${how}
 * is 0, or WRITE_KILL_PRIV: set-id bits and capabilities go; or WRITE_KEEP_TIMES: pages that the
 * kernel cached come late, and it sets the times itself.
 */
enum { WRITE_KILL_PRIV = 1, WRITE_KEEP_TIMES = 2 };
MUST_CHECK int volume_write(struct volume *v, const struct caller *c, uint64_t ino, uint64_t off,
			    size_t len, const void *data, unsigned how);

/*
 * volume_allocate(v, c, ino, mode, off, len): fallocate(2)'s modes 0, KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE,
 * ZERO_RANGE[|KEEP_SIZE]; else -EOPNOTSUPP.  Space is not set aside, but all except holes are
 * -ENOSPC where the disk has less.
 */
MUST_CHECK int volume_allocate(struct volume *v, const struct caller *c, uint64_t ino, int mode,
			       uint64_t off, uint64_t len);

/*
 * volume_copy_range(): shares extents, copies no data; up to ${len} bytes, ${*out_len} says how
 * many.  -EINVAL where ranges of one file overlap.
 */
MUST_CHECK int volume_copy_range(struct volume *v, const struct caller *c, uint64_t from,
				 uint64_t from_off, uint64_t to, uint64_t to_off, uint64_t len,
				 uint64_t *out_len);
/*
 * volume_copy_pages(): the same for a target of which ${page} bytes at a time may be cached and changed by
 * others meanwhile, who forget what they have of each that is copied to: so such a piece is copied to
 * as a whole, or up to the target's end.  What is left at the end of the range is not copied; -EXDEV if
 * there is nothing else, or the range begins inside a piece.
 */
MUST_CHECK int volume_copy_pages(struct volume *v, const struct caller *c, uint64_t from,
				 uint64_t from_off, uint64_t to, uint64_t to_off, uint64_t len,
				 uint64_t page, uint64_t *out_len);

/*
 * volume_setxattr(v, c, ino, name, value, len, flags): XATTR_CREATE, XATTR_REPLACE.  -EEXIST,
 * -ENODATA, -E2BIG, -ENAMETOOLONG.
 */
MUST_CHECK int volume_setxattr(struct volume *v, const struct caller *c, uint64_t ino,
			       const char *name, const void *value, size_t len, int flags);
MUST_CHECK int volume_removexattr(struct volume *v, const struct caller *c, uint64_t ino,
				  const char *name);

/*
 * volume_sync(v): everything done before the call is durable on return; callers at one time share
 * one fdatasync.
 */
MUST_CHECK int volume_sync(struct volume *v);

/* volume_add_head(v, out): the same, and a head that states it. */
MUST_CHECK int volume_add_head(struct volume *v, struct head *out);

/*
 * volume_snapshot(v, c, name, hold, out): name the state of now; durable on return.  -EEXIST, -EINVAL
 * (empty, '.', '..', '/' or too long); or as volume_add_head(), and there is no such snapshot.
 * volume_snapshot_remove(v, c, name): -ENOENT; -EPERM if held.
 * volume_snapshot_hold(v, c, name): hold it; durable on return.  -ENOENT; or as volume_add_head(), and it
 * may be held.  volume_snapshot_release(v, c, name): take the hold off.  -ENOENT.  Neither minds if it is
 * so already.
 */
MUST_CHECK int volume_snapshot(struct volume *v, const struct caller *c, const char *name,
			       bool hold, struct snapshot *out);
MUST_CHECK int volume_snapshot_remove(struct volume *v, const struct caller *c, const char *name);
MUST_CHECK int volume_snapshot_hold(struct volume *v, const struct caller *c, const char *name);
MUST_CHECK int volume_snapshot_release(struct volume *v, const struct caller *c, const char *name);

/* volume_checkpoint(v): take one now and wait for it. */
MUST_CHECK int volume_checkpoint(struct volume *v);

/* volume_lock_fd(v): the descriptor that holds the lock.  Borrowed. */
int volume_lock_fd(const struct volume *v);

/*
 * volume_figures(v, f): set the figures of a live volume but for its ID, mode and processes.
 * volume_disk_free(v, out): bytes that the disk under the log has for us.  Returns 0 or -errno.
 */
void volume_figures(struct volume *v, struct figures *f);
MUST_CHECK int volume_disk_free(const struct volume *v, uint64_t *out_bytes);

#endif /* !VOLUME_H_ */
