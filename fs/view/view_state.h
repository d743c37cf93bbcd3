#ifndef VIEW_STATE_H_
#define VIEW_STATE_H_

/*
 * The structure of a view, for view*.c, for the live volume, which changes one, and for the check,
 * which walks one.  Other code uses view.h.
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
	uint64_t seq;		     /* the newest flush in the map.  Guarded by mu. */
	inode_no base_end; /* all inodes of the map's base are below it.  Guarded by mu. */
};

/*
 * view_init(v, cfg): an empty namespace with an empty live overlay.  view_release(): releases that,
 * and the overlays.
 */
MUST_CHECK int view_init(struct view *v, const struct view_config *cfg);
void view_release(struct view *v);

/*
 * view_load(v, checkpoint, head, out_checkpoint): make ${v} (fresh from view_init) the state of
 * ${head}: load ${*checkpoint} (pos 0: start empty) and apply the deltas of the heads after it.  Where
 * its block can't be read, an earlier checkpoint is used, which ${*checkpoint} is then.
 * ${*out_checkpoint} is the decoded checkpoint.  No other thread sees ${v} yet.
 */
MUST_CHECK int view_load(struct view *v, struct block_ptr *checkpoint, const struct head *head,
			 struct checkpoint *out_checkpoint);

/*
 * view_apply_tail(v, ptr, seq, out_plain): apply to ${v} the delta at ${ptr}, which lies above the
 * newest head and is listed by none, unless the deltas before it contain all of it.
 * ${*seq}: number of the newest such delta so far (0: none); updated.  ${*out_plain}: the
 * plaintext, which the caller frees; or NULL if the delta adds nothing, and then no head may list
 * it.  No other thread sees ${v} yet.  Returns 0, -ERR_DAMAGED, -ERR_VERSION, -ENOMEM or as
 * blocks_read().
 */
MUST_CHECK int view_apply_tail(struct view *v, const struct block_ptr *ptr, uint64_t *seq,
			       uint8_t **out_plain);

static inline void view_rdlock(struct view *v) ACQUIRES_SHARED(v->mu);
static inline void view_wrlock(struct view *v) ACQUIRES(v->mu);
static inline void view_unlock(struct view *v) RELEASES_EITHER(v->mu);

/*
 * view_base_ends(v): from now on, look up no inode in the base that is above all of the base's own.
 * A sound base would answer by itself; one with an unreadable last leaf would fail every new file.
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
 * returns anything but -ERR_NEED_NODE.  Between attempts the lock is released and the missing node
 * is loaded.  An attempt starts from nothing: it reads ${in} and fills the ${out_len} bytes ${out},
 * which are overwritten before each further attempt, so that none can rely on an earlier one's
 * findings.  ${attempt} must not take a lock or do I/O, and should read a bounded number of nodes;
 * a longer scan is cut into several runs (restart.c).
 * Returns the last attempt's result, or as node_cache_load().
 */
typedef int view_attempt(struct view *v, struct need *need, const void *in, void *out);
MUST_CHECK int view_run(struct view *v, view_attempt *attempt, const void *in, void *out,
			size_t out_len);

/* The entries of one hash in a folder, as a value that can be changed and stored again. */
struct bucket {
	struct item_key key;
	uint8_t value[TREE_VALUE_MAX];
	size_t len;
};

/* All REQUIRES(v->mu); reads, so each may return -ERR_NEED_NODE and what map_get() returns. */
/* -ENOENT */
MUST_CHECK int view_inode_locked(struct view *v, inode_no ino, struct need *need, struct attr *out);
/* -ENOENT, -ENOTDIR */
MUST_CHECK int view_folder_locked(struct view *v, inode_no ino, struct need *need,
				  struct attr *out);
/* The bucket that ${name} belongs to; empty if the folder has none. */
MUST_CHECK int view_bucket_locked(struct view *v, inode_no parent, const char *name,
				  struct need *need, struct bucket *out);

/*
 * view_folder_empty(v, ino): search a folder that states no entries, however many were removed
 * lately.  The caller holds no lock.  The searched part stays empty while the folder states no
 * entries, because a change that adds one states it.  Returns 0; -ENOTEMPTY if it states some;
 * -ERR_DAMAGED if it has some; -ENOENT; -ENOTDIR; or as map_seek().
 */
MUST_CHECK int view_folder_empty(struct view *v, inode_no ino);

/*
 * A walk over a file's extents in order.  Each is checked to lie within FILE_SIZE_MAX and not to
 * overlap the one before it.
 *
 * extent_first(w, v, ino, off, need, out): the first extent that ends after ${off}.  extent_next():
 * the next one; not after an error.  extent_walk_end(): always, also after an error.
 * REQUIRES(v->mu).  Return 0; -ENOENT if there is none; -ERR_DAMAGED with a detail; -ERR_NEED_NODE;
 * or as map_seek().
 */
struct extent_walk {
	struct map_cursor mc;
	struct item_key key; /* of the inode's extents */
	uint64_t end;	     /* of the last extent */
};
MUST_CHECK int extent_first(struct extent_walk *w, struct view *v, inode_no ino, uint64_t off,
			    struct need *need, struct extent *out);
MUST_CHECK int extent_next(struct extent_walk *w, struct extent *out);
void extent_walk_end(struct extent_walk *w);

/* bucket_find(b, name, out): 0, -ENOENT or -ERR_DAMAGED. */
MUST_CHECK int bucket_find(const struct bucket *b, const char *name, struct entry *out);

#endif /* !VIEW_STATE_H_ */
