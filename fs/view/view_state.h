#ifndef VIEW_STATE_H_
#define VIEW_STATE_H_

/*
 * What a view consists of: for view*.c, for the live volume, which changes one, and for the check, which
 * walks one.  Everybody else uses view.h.
 */

#include "cache.h"
#include "delta.h"
#include "err.h"
#include "item.h"
#include "locks.h"
#include "map.h"
#include "view.h"

#include <pthread.h>

struct view {
	struct view_config cfg;
	struct head head;	     /* a read-only view's */
	pthread_rwlock_t mu;	     /* covers all below */
	struct map map;		     /* Guarded by mu. */
	struct volume_counts counts; /* Guarded by mu. */
	uint64_t seq;		     /* newest flush that the map holds.  Guarded by mu. */
	uint64_t base_end; /* the lowest inode that the map's base has nothing of.  Guarded by mu. */
};

/*
 * view_init(v, cfg): an empty namespace with an empty live overlay.  view_release(): what
 * view_init() made, and the overlays.
 */
MUST_CHECK int view_init(struct view *v, const struct view_config *cfg);
void view_release(struct view *v);

/*
 * view_load(v, checkpoint, head): make ${v} (fresh from view_init) the state of ${head}: load
 * ${checkpoint} (pos 0: begin empty), apply the deltas of the heads after it.  ${out_checkpoint}
 * tells what the checkpoint said.  No other thread sees ${v} yet.
 */
MUST_CHECK int view_load(struct view *v, const struct block_ptr *checkpoint,
			 const struct head *head, struct checkpoint *out_checkpoint);

/*
 * view_apply_tail(v, ptr, seq, out_plain): lay over ${v} the delta at ${ptr}, which lies above the
 * newest head and which no head lists, unless the deltas before it say all that it does.
 * ${*seq}: number of the newest such delta so far (0: none); kept up to date.  ${*out_plain}: the
 * plaintext, the caller's to free, or NULL: the delta says nothing new, and no head is to list it.
 * No other thread sees ${v} yet.  Returns 0, -ERR_DAMAGED, -ERR_VERSION, -ENOMEM or as
 * blocks_read().
 */
MUST_CHECK int view_apply_tail(struct view *v, const struct block_ptr *ptr, uint64_t *seq,
			       uint8_t **out_plain);

static inline void view_rdlock(struct view *v) ACQUIRES_SHARED(v->mu);
static inline void view_wrlock(struct view *v) ACQUIRES(v->mu);
static inline void view_unlock(struct view *v) RELEASES_EITHER(v->mu);

/*
 * view_base_ends(v): from now on the base is not asked for inodes that it has nothing of.  A sound one
 * says so by itself; in one whose last leaf can't be read no new file could be used otherwise.
 */
void view_base_ends(struct view *v) REQUIRES(v->mu);

static inline void view_rdlock(struct view *v)
{
	pthread_rwlock_rdlock(&v->mu);
}

static inline void view_wrlock(struct view *v)
{
	pthread_rwlock_wrlock(&v->mu);
}

static inline void view_unlock(struct view *v)
{
	pthread_rwlock_unlock(&v->mu);
}

/*
 * view_run(v, attempt, in, out, out_len): read ${v}: call ${attempt} under the shared lock until it
 * returns anything but -ERR_NEED_NODE; between attempts the lock is dropped and the node loaded that
 * was missing.  An attempt starts from nothing: it takes ${in} and fills the ${out_len} bytes
 * ${out}, which are overwritten before each further attempt, so that none can rely on what an earlier
 * one found there.  ${attempt} calls nothing that takes a lock or does I/O, and should read a bounded
 * number of nodes: what scans more is cut into several runs (restart.c).
 * Returns what the last attempt did, or as node_cache_load().
 */
typedef int view_attempt(struct view *v, struct need *need, const void *in, void *out);
MUST_CHECK int view_run(struct view *v, view_attempt *attempt, const void *in, void *out,
			size_t out_len);

/* A folder's entries of one hash, as a value that can be changed and put back. */
struct bucket {
	struct item_key key;
	uint8_t value[TREE_VALUE_MAX];
	size_t len;
};

/* All REQUIRES(v->mu); reads, so each may return -ERR_NEED_NODE and what map_get() returns. */
/* -ENOENT */
MUST_CHECK int view_inode_locked(struct view *v, uint64_t ino, struct need *need, struct attr *out);
/* -ENOENT, -ENOTDIR */
MUST_CHECK int view_folder_locked(struct view *v, uint64_t ino, struct need *need,
				  struct attr *out);
/* The bucket that ${name} belongs to; empty if there is none. */
MUST_CHECK int view_bucket_locked(struct view *v, uint64_t parent, const char *name,
				  struct need *need, struct bucket *out);

/*
 * view_folder_empty(v, ino): look through a folder that states no entries, however many were removed
 * lately.  No lock is held.  What was looked through stays without entries while the folder states
 * none: whoever adds one states it.  0; -ENOTEMPTY, it states some; -ERR_DAMAGED, it has some; -ENOENT;
 * -ENOTDIR; or as map_seek().
 */
MUST_CHECK int view_folder_empty(struct view *v, uint64_t ino);

/*
 * A walk over a file's extents in order, each verified to lie within FILE_SIZE_MAX and not to overlap
 * the one before it.
 *
 * extent_first(w, v, ino, off, need, out): the first extent that ends after ${off}.  extent_next():
 * the one after; not after an error.  extent_walk_end(): also after an error.
 * REQUIRES(v->mu).  Return 0; -ENOENT, there is none; -ERR_DAMAGED with a detail; -ERR_NEED_NODE; or
 * as map_seek().
 */
struct extent_walk {
	struct map_cursor mc;
	struct item_key key; /* of the inode's extents */
	uint64_t end;	     /* of the newest extent */
};
MUST_CHECK int extent_first(struct extent_walk *w, struct view *v, uint64_t ino, uint64_t off,
			    struct need *need, struct extent *out);
MUST_CHECK int extent_next(struct extent_walk *w, struct extent *out);
void extent_walk_end(struct extent_walk *w);

/* bucket_find(b, name, out): 0, -ENOENT or -ERR_DAMAGED. */
MUST_CHECK int bucket_find(const struct bucket *b, const char *name, struct entry *out);

#endif /* !VIEW_STATE_H_ */
