#ifndef STORAGE_H_
#define STORAGE_H_

/*
 * The interface behind which the bytes of logs are kept: what a copy needs of them, and nothing of
 * how it is done.  A pool holds volumes; a storage is one volume of it.  Sees ciphertext only,
 * never a key.
 *
 * Back ends: a folder (storage_folder.h, a volume as FORMAT.md has it, of a home or of a server),
 * and memory (storage_memory.h, for tests).  This file says all that a back end must do.
 *
 * What a storage holds
 *
 *   conf      volume.conf, replaced whole
 *   owner     who created the volume; never changes
 *   segments  by number; a byte's offset in one is its position minus the segment's start
 *   commit    the newest end and head that were committed, where the back end keeps it apart
 *   index     keys and values made from the segments; may be lost, and is made again then
 *   leaves    of each segment of which bytes are gone: what stands for them
 *
 * How a writer uses it: take() the lease, rewrite() and read what is there, cut off what was not
 * committed; then create() a segment, write() to its end, drain(), truncate() it to its length, and
 * so on.  Now and then a write() carries a commit: once that has returned, the copy keeps that end
 * and head, whatever happens next.
 *
 *   crash before it returned     the commit before holds, or this one; never a mixture
 *   an error                     likewise, and the storage tells which: the writer stops writing,
 *                                takes the lease anew, and reads where it stands
 *   another took the lease       likewise, and nothing more of this writer takes effect
 *
 * Invariants that a back end keeps
 *
 *  1. What a call promised to be durable is there after any crash.  All else that was written may
 *     be there or not, each sector of 512 bytes by itself; what is not there reads as zeros, or as
 *     what was there before, or the segment ends before it.
 *  2. A commit is whole: end and head change together, and only once every byte below end is
 *     durable.
 *  3. A write of an older epoch never takes effect: not once take() has returned to a newer holder,
 *     however late the write arrives.  The lease gives liveness, the epoch gives safety.
 *  4. A call that fails with -ENOSPC or -EIO may succeed later; none waits for ever: a back end
 *     that can hang has deadlines of its own, and says -EIO.
 *
 * Threads: read(), hint(), size(), next(), last(), space(), get_conf() and get_leaves() may be
 * called by any thread at any time; put_conf() by one at a time, beside any other.  All else: one
 * call at a time for each storage, from whatever threads.
 * Details (err_say()) are given where it says so below; otherwise the caller adds what it was
 * doing.
 */

#include "compiler.h"
#include "format.h"

#include <stdbool.h>
#include <stddef.h>

struct holes;
struct kv;
struct storage;
struct storage_pool;

/* What write() is given begins and ends at multiples of this, so that it can pass a page cache by. */
#define STORAGE_PAGE ((size_t)4096)

/* How messages call what put_note() keeps. */
#define STORAGE_NOTE "newest-head"

/* How often a pool's leases are renewed, and how long one may go without. */
#define STORAGE_RENEW_MS 5000u
#define STORAGE_LEASE_MS 15000u

/* Where a copy stands: it holds everything below end, whose newest head has this number. */
struct storage_commit {
	log_pos end;
	head_no head; /* 0: none yet */
};

/* Bytes that belong at a position. */
struct storage_piece {
	log_pos pos;
	const void *bytes;
	size_t len;
};

struct storage_ops {
	/* ---- reading ---- */

	/*
	 * read(st, pos, len, out): exactly ${len} bytes that lie in one segment.  What is not committed
	 * may be read once a drain() or a commit has returned.
	 * Returns 0; -ERR_ABSENT if the segment or that part of it is not there, or the range leaves the
	 * segment; -ENOMEM; -EIO.
	 */
	int (*read)(struct storage *st, log_pos pos, size_t len, void *out);

	/* hint(st, pos, len): these bytes will be read soon. */
	void (*hint)(struct storage *st, log_pos pos, size_t len);

	/* size(st, number, out): the length of a segment.  Returns 0, -ERR_ABSENT or -errno. */
	int (*size)(struct storage *st, segment_no number, uint64_t *out_len);

	/*
	 * next(st, from, out): the lowest existing segment number >= ${from}; last(st, out): the highest.
	 * Both return 0, -ERR_ABSENT (there is none) or -errno.
	 */
	int (*next)(struct storage *st, segment_no from, segment_no *out_number);
	int (*last)(struct storage *st, segment_no *out_number);

	/*
	 * get_conf(st, max, out, out_len): volume.conf, in malloc memory that the caller frees.
	 * Returns 0; -ERR_NO_VOLUME if there is none; -EFBIG if it is longer than ${max}; -ENOMEM;
	 * -errno.
	 */
	int (*get_conf)(struct storage *st, size_t max, void **out, size_t *out_len);

	/* space(st, out): how many bytes there is room for, about.  Returns 0 or -errno. */
	int (*space)(struct storage *st, uint64_t *out_bytes);

	/* ---- the writer ---- */

	/*
	 * take(st): become the one writer, with a new epoch that is greater than all before,
	 * durable.  What an earlier repair() left is durable then.  The holder calls it again after
	 * any error of create(), write(), drain(), truncate() or remove(), before it goes on.  The
	 * pool's renew() keeps the lease.  Nothing below may be called before it.
	 * Returns 0; -ERR_LOCKED, with a detail, if another holds the lease and renews it; -EIO.
	 */
	int (*take)(struct storage *st);

	/*
	 * newest(st, out): the newest commit; {0, 0}: none yet.
	 * Returns 0; -EIO; -ERR_ABSENT: this back end keeps no commits, and where the copy stands
	 * is judged from the segments and the index (tail.h).
	 */
	int (*newest)(struct storage *st, struct storage_commit *out);

	/*
	 * rewrite(st, from): make durable what readers see of the last segment from position
	 * ${from} on, whatever went before: after a sync that failed, or a writer that died,
	 * readers may see bytes that are not durable.  Returns 0, also where there is nothing;
	 * -ENOMEM; -errno.
	 */
	int (*rewrite)(struct storage *st, log_pos from);

	/*
	 * create(st, number): make an empty segment, which must not exist; its name is durable.
	 * All that was written to lower ones has been drained.
	 * Returns 0; -EEXIST; -ENOSPC, -EIO: it may be there, empty; -ERR_STALE: another took the
	 * lease.
	 */
	int (*create)(struct storage *st, segment_no number);

	/*
	 * write(st, pos, bytes, len, commit): put ${len} bytes into the one segment of ${pos},
	 * which exists.  A page that was written before may be written again, as is the last one of
	 * a log that grows.  ${bytes}, ${pos} and ${len} are multiples of STORAGE_PAGE.  Borrows
	 * ${bytes} until it returns.  The caller drains all before it writes to another segment.
	 *
	 * ${commit} NULL: it may return before anything is durable, or was even tried; then the
	 * error comes from a later call.  Else (${len} may be 0 then) every byte below
	 * ${commit->end} and the commit itself are durable when it returns 0.
	 *
	 * Returns 0; -ERR_ABSENT: no such segment; -ERR_STALE: another took the lease, and nothing
	 * of this landed; -ENOSPC, -EDQUOT, -EIO: what of this landed, the commit included, is
	 * unknown.
	 */
	int (*write)(struct storage *st, log_pos pos, const void *bytes, size_t len,
		     const struct storage_commit *commit);

	/*
	 * drain(st): make durable all that was written.  Returns 0; or as write(), for any of the
	 * writes before.
	 */
	int (*drain)(struct storage *st);

	/*
	 * truncate(st, number, len): cut a segment to its first ${len} bytes, durably.  No commit covers
	 * what goes.  Returns 0; -ERR_ABSENT; -ERR_STALE; -errno.
	 */
	int (*truncate)(struct storage *st, segment_no number, uint64_t len);

	/*
	 * remove(st, number): remove a segment with its leaves, durably.  Returns 0; -ERR_ABSENT;
	 * -ERR_STALE; -errno.
	 */
	int (*remove)(struct storage *st, segment_no number);

	/*
	 * put_conf(st, old, old_len, new, new_len): replace volume.conf, whole and durably, if it is
	 * ${old} or is ${new} already.
	 * Returns 0; -ERR_STALE if it is another, or another took the lease; -ENOSPC, -EIO: it is the one
	 * or the other, and which of them after a crash is unknown.
	 */
	int (*put_conf)(struct storage *st, const void *old, size_t old_len, const void *new,
			size_t new_len);

	/*
	 * repair(st, pieces, n): write bytes below the newest commit again where they are damaged or gone,
	 * durably; all ${n} pieces in one segment, which is made where it is missing.  The caller has
	 * verified that they are what belongs there.
	 * Returns 0; -errno: readers may see them, and a crash lose them: the caller serves nothing of
	 * that segment until a later repair() has returned 0, which, also with ${n} 0, makes durable what
	 * an earlier one left.
	 */
	int (*repair)(struct storage *st, const struct storage_piece *pieces, size_t n);

	/*
	 * put_note(st, bytes, len): store a note of the newest head outside segments and index, for
	 * back ends that keep no commits (newest.h): a few hundred bytes, replaced whole, durable
	 * on return.
	 * Returns 0; -errno: the old note is there, or the new one.
	 * get_note(st, max, out, out_len): the note, in malloc memory that the caller frees.  Any
	 * thread.  Returns 0; -ERR_ABSENT: there is none; -EFBIG; -ENOMEM; -errno.
	 */
	int (*put_note)(struct storage *st, const void *bytes, size_t len);
	int (*get_note)(struct storage *st, size_t max, void **out, size_t *out_len);

	/* ---- bytes that are gone ---- */

	/*
	 * put_leaves(st, number, bytes, len): store what stands for the bytes of a segment that are
	 * gone: replaced whole, durable on return.  The caller stores it before any of them goes.
	 * Returns 0, -ERR_STALE or -errno: the old is there, or the new.
	 * get_leaves(st, number, max, out, out_len): the same, in malloc memory that the caller
	 * frees.  Any thread.  Returns 0; -ERR_ABSENT: all of its bytes are here; -EFBIG; -ENOMEM;
	 * -errno.
	 */
	int (*put_leaves)(struct storage *st, segment_no number, const void *bytes, size_t len);
	int (*get_leaves)(struct storage *st, segment_no number, size_t max, void **out,
			  size_t *out_len);

	/*
	 * punch(st, pos, len): give back the space of whole pages inside one segment, which keeps its
	 * length; they read as zeros.  Returns 0; -EOPNOTSUPP; -ERR_ABSENT; -ERR_STALE; -errno: some
	 * may be gone.
	 */
	int (*punch)(struct storage *st, log_pos pos, uint64_t len);

	/* ---- the index ---- */

	/*
	 * index(st, fresh, out): open the table that the index is kept in, durable in name;
	 * ${fresh}: put an empty one in its place.  One at a time; the caller closes it
	 * (kv_close()) before the storage.  It may be older than it was, or empty, whenever it is
	 * opened: a back end that can't keep one gives an empty one in memory each time.
	 * Returns as kv_open().
	 */
	int (*index)(struct storage *st, bool fresh, struct kv **out);

	/* close(st): ends the lease, and frees ${st}.  No call is under way. */
	void (*close)(struct storage *st);
};

struct storage {
	const struct storage_ops *ops;
	const char *name; /* for messages; lives as long as the storage */
	/*
	 * Whether it is an embassy's copy, whose last segment grows as it receives; a home's has its
	 * whole length from the start and is cut, durably, at its last block when it is closed.
	 */
	bool is_copy;
	/*
	 * What stands for blocks whose bytes are gone: borrowed from the caller that opened the
	 * storage, which sets it before any use.  NULL: all are here.
	 */
	const struct holes *holes;
};

struct storage_pool_ops {
	/*
	 * list(p, fn, ctx): call fn for each volume's id, until it returns non-zero, returned.
	 * Returns 0, that, or -errno.
	 */
	int (*list)(struct storage_pool *p, int (*fn)(void *ctx, const uint8_t id[VOLUME_ID_LEN]),
		    void *ctx);

	/* has(p, id): 1, 0, or -errno, with a detail, if that can't be told. */
	int (*has)(struct storage_pool *p, const uint8_t id[VOLUME_ID_LEN]);

	/*
	 * owner(p, id, out, cap): who created the volume, as text of at most ${cap} bytes, its NUL
	 * included.  Returns 0; -ERR_DAMAGED (none is stored, or it is too long) or -errno, with a detail.
	 */
	int (*owner)(struct storage_pool *p, const uint8_t id[VOLUME_ID_LEN], char *out,
		     size_t cap);

	/*
	 * create(p, id, owner, conf, len): create a volume without a segment; whole or not at all.
	 * Returns 0, durable; -EEXIST; -ENOMEM; -ENOSPC or -errno: it may be there, whole, and is
	 * durable once open() has returned.
	 */
	int (*create)(struct storage_pool *p, const uint8_t id[VOLUME_ID_LEN], const char *owner,
		      const void *conf, size_t len);

	/*
	 * open(p, id, out): open a volume's storage, not yet as its writer.  On return the volume's
	 * name is durable, whoever created it.  Once at a time for each volume.
	 * Returns 0; -ERR_NO_VOLUME or -errno.
	 */
	int (*open)(struct storage_pool *p, const uint8_t id[VOLUME_ID_LEN], struct storage **out);

	/*
	 * renew(p): extend the leases of all storages of the pool that took one.  Called each
	 * STORAGE_RENEW_MS.  What could not be renewed shows at its storage's next write.  Does not wait
	 * for other calls.
	 */
	void (*renew)(struct storage_pool *p);

	/* close(p): frees ${p}.  No storage of it is open. */
	void (*close)(struct storage_pool *p);
};

/* Any thread may call any of these at any time, except close(). */
struct storage_pool {
	const struct storage_pool_ops *ops;
	const char *name; /* for messages */
};

/* clang-format off */

MUST_CHECK static inline int storage_read(struct storage *st, log_pos pos, size_t len, void *out)
{
	return st->ops->read(st, pos, len, out);
}

static inline void storage_hint(struct storage *st, log_pos pos, size_t len)
{
	st->ops->hint(st, pos, len);
}

MUST_CHECK static inline int storage_size(struct storage *st, segment_no number, uint64_t *out_len)
{
	return st->ops->size(st, number, out_len);
}

MUST_CHECK static inline int storage_next(struct storage *st, segment_no from, segment_no *out_number)
{
	return st->ops->next(st, from, out_number);
}

MUST_CHECK static inline int storage_last(struct storage *st, segment_no *out_number)
{
	return st->ops->last(st, out_number);
}

MUST_CHECK static inline int storage_get_conf(struct storage *st, size_t max, void **out, size_t *out_len)
{
	return st->ops->get_conf(st, max, out, out_len);
}

MUST_CHECK static inline int storage_space(struct storage *st, uint64_t *out_bytes)
{
	return st->ops->space(st, out_bytes);
}

MUST_CHECK static inline int storage_take(struct storage *st)
{
	return st->ops->take(st);
}

MUST_CHECK static inline int storage_newest(struct storage *st, struct storage_commit *out)
{
	return st->ops->newest(st, out);
}

MUST_CHECK static inline int storage_rewrite(struct storage *st, log_pos from)
{
	return st->ops->rewrite(st, from);
}

MUST_CHECK static inline int storage_create(struct storage *st, segment_no number)
{
	return st->ops->create(st, number);
}

MUST_CHECK static inline int storage_write(struct storage *st, log_pos pos, const void *bytes, size_t len,
					   const struct storage_commit *commit)
{
	return st->ops->write(st, pos, bytes, len, commit);
}

MUST_CHECK static inline int storage_drain(struct storage *st)
{
	return st->ops->drain(st);
}

MUST_CHECK static inline int storage_truncate(struct storage *st, segment_no number, uint64_t len)
{
	return st->ops->truncate(st, number, len);
}

MUST_CHECK static inline int storage_remove(struct storage *st, segment_no number)
{
	return st->ops->remove(st, number);
}

MUST_CHECK static inline int storage_put_conf(struct storage *st, const void *old, size_t old_len,
					      const void *new, size_t new_len)
{
	return st->ops->put_conf(st, old, old_len, new, new_len);
}

MUST_CHECK static inline int storage_repair(struct storage *st, const struct storage_piece *pieces, size_t n)
{
	return st->ops->repair(st, pieces, n);
}

MUST_CHECK static inline int storage_put_note(struct storage *st, const void *bytes, size_t len)
{
	return st->ops->put_note(st, bytes, len);
}

MUST_CHECK static inline int storage_get_note(struct storage *st, size_t max, void **out, size_t *out_len)
{
	return st->ops->get_note(st, max, out, out_len);
}

MUST_CHECK static inline int storage_put_leaves(struct storage *st, segment_no number, const void *bytes, size_t len)
{
	return st->ops->put_leaves(st, number, bytes, len);
}

MUST_CHECK static inline int storage_get_leaves(struct storage *st, segment_no number, size_t max, void **out,
						size_t *out_len)
{
	return st->ops->get_leaves(st, number, max, out, out_len);
}

MUST_CHECK static inline int storage_punch(struct storage *st, log_pos pos, uint64_t len)
{
	return st->ops->punch(st, pos, len);
}

MUST_CHECK static inline int storage_index(struct storage *st, bool fresh, struct kv **out)
{
	return st->ops->index(st, fresh, out);
}

/* storage_close(NULL) and storage_pool_close(NULL) are no-ops. */
static inline void storage_close(struct storage *st)
{
	if (st)
		st->ops->close(st);
}

MUST_CHECK static inline int storage_pool_list(struct storage_pool *p,
					       int (*fn)(void *ctx, const uint8_t id[VOLUME_ID_LEN]), void *ctx)
{
	return p->ops->list(p, fn, ctx);
}

MUST_CHECK static inline int storage_pool_has(struct storage_pool *p, const uint8_t id[VOLUME_ID_LEN])
{
	return p->ops->has(p, id);
}

MUST_CHECK static inline int storage_pool_owner(struct storage_pool *p, const uint8_t id[VOLUME_ID_LEN], char *out,
						size_t cap)
{
	return p->ops->owner(p, id, out, cap);
}

MUST_CHECK static inline int storage_pool_create(struct storage_pool *p, const uint8_t id[VOLUME_ID_LEN],
						 const char *owner, const void *conf, size_t len)
{
	return p->ops->create(p, id, owner, conf, len);
}

MUST_CHECK static inline int storage_pool_open(struct storage_pool *p, const uint8_t id[VOLUME_ID_LEN],
					       struct storage **out)
{
	return p->ops->open(p, id, out);
}

static inline void storage_pool_renew(struct storage_pool *p)
{
	p->ops->renew(p);
}

static inline void storage_pool_close(struct storage_pool *p)
{
	if (p)
		p->ops->close(p);
}

/* clang-format on */

#endif /* !STORAGE_H_ */
