#ifndef VOLUME_INTERNAL_H_
#define VOLUME_INTERNAL_H_

/*
 * The live volume: what its files share.
 *
 * Lock order: flush_mu, then view.mu, then orphan_mu; clock_mu and the log's locks are leaves.  No
 * lock is held across I/O, with one exception: flush_mu orders deltas in the log, so it is held
 * while a delta is appended and while a head is made.
 */

#include "volume.h"

#include "buf.h"
#include "figures.h"
#include "journal.h"
#include "locks.h"
#include "view_state.h"

#include <stdatomic.h>

/* The simulation has smaller ones, in the same proportions. */
#ifndef DELTA_FLUSH_BYTES
#define DELTA_FLUSH_BYTES (256u << 10) /* more bytes of pending changes are appended at once */
#define SINCE_BYTES_MAX (8u << 20)     /* more bytes of deltas since a head ask for one */
#define SINCE_COUNT_MAX 4096u
/* With more, changes wait for a head.  So a head lists at most 64 blocks of their net effect. */
#define SINCE_BYTES_FULL (16u << 20)
#define ROLLUP_FROM 64u			/* a head that would list more deltas rolls them up */
#define ROLLUP_PIECE_BYTES (960u << 10) /* size of one block of a rollup */
#define HEADS_TO_CHECKPOINT 1000u	/* heads that a view has to apply at most */
/*
 * The same for log bytes since the newest head: an embassy refuses a log that goes on without a
 * head for long.
 */
#define HEAD_LOG_BYTES (4 * SEGMENT_SIZE)
#define HEAD_LOG_FULL (8 * SEGMENT_SIZE)
#endif
/* And for blocks since the newest head, of which an embassy accepts 2^20. */
#define HEAD_BLOCKS (UINT64_C(1) << 18)
#define HEAD_BLOCKS_FULL (UINT64_C(1) << 19)

_Static_assert(ROLLUP_FROM <= HEAD_DELTAS_MAX, "what is not rolled up is listed");

#define EXTENT_CHANGES 1024u

struct orphans;
struct change_stamp;

/*
 * Deltas appended since the newest head.  The next head lists them or, if there are many, their net
 * effect.
 */
struct since {
	struct block_ptr *ptr; /* n of them */
	size_t n, cap;
	struct buf plain; /* their plaintexts, each after its u32 length */
};

/* A rollup of the first ${of} deltas in struct since, for a head that is not made yet. */
struct rolled {
	struct block_ptr ptr[HEAD_DELTAS_MAX]; /* n pieces that are in the log */
	uint32_t n;
	size_t of;
	bool whole; /* no piece is missing */
};

/* Where the merged tree lacks changes of the frozen overlay.  Only the checkpointer uses it. */
struct checkpoint_gaps {
	struct tree_gaps tree;
	size_t at;	  /* the first gap that is not renewed completely */
	uint64_t renewed; /* changes made here in the live overlay since the last freeze */
};

/*
 * Things that may keep failing while everything else goes on.  The status says why the newest try
 * failed.
 */
enum failing { FAILING_SPACE, FAILING_HEAD, FAILING_CHECKPOINT, FAILING_MERGE, FAILING_KINDS };

struct volume {
	struct view view; /* the mutable view */
	struct volume_config cfg;
	struct log *log;
	struct node_cache *cache;
	struct volume_shm shm;
	struct journal journal; /* Guarded by view.mu. */
	inode_no next_ino;	/* counts as of the newest entry.  Guarded by view.mu. */
	struct timespec newest_time; /* the newest time of a change.  Guarded by view.mu. */
	_Atomic uint64_t n_times;    /* how often newest_time was set.  Set under view.mu. */
	/* replaces the stamp of the operation, or NULL.  Guarded by view.mu. */
	const struct change_stamp *later;
	/*
	 * How often the extents of a file were changed, counted from 1, by a hash of its inode:
	 * many files share a place.  Guarded by view.mu.
	 */
	uint64_t extent_changes[EXTENT_CHANGES];
	int lock_fd;
	int dir_fd;

	pthread_mutex_t flush_mu;
	/* a delta taken from the overlay, not yet in the log.  Guarded by flush_mu. */
	struct buf unsent;
	uint64_t unsent_seq;	     /* its number.  Guarded by flush_mu. */
	log_pos delta_end;	     /* position after the newest delta.  Guarded by flush_mu. */
	struct since since;	     /* Guarded by flush_mu. */
	struct rolled rolled;	     /* Guarded by flush_mu. */
	atomic_bool since_full;	     /* beyond SINCE_BYTES_FULL: operations make a head first */
	struct block_ptr checkpoint; /* newest complete one.  Guarded by flush_mu. */
	/* the checkpoint contains the namespace of this head at least.  Guarded by flush_mu. */
	head_no checkpoint_head;
	/*
	 * what the checkpoint of the frozen overlay will state, except its root.  Guarded by
	 * flush_mu.
	 */
	struct checkpoint freezing;
	/*
	 * Used by the checkpointer only.  If merged, the tree of base and frozen is complete in the
	 * log.
	 */
	struct tree_root merged_root;
	bool merged;
	struct checkpoint_gaps gaps;
	bool checkpoint_news;	      /* no head names it yet.  Guarded by flush_mu. */
	atomic_bool blocked;	      /* unsent failed to be appended: operations retry first */
	_Atomic log_pos head_end;     /* end of the newest head */
	_Atomic leaf_no head_blocks;  /* blocks below its position */

	pthread_mutex_t orphan_mu;
	/* inodes without a name that the kernel has not forgotten.  Guarded by orphan_mu. */
	struct orphans *orphans;
	/* Orphans of an earlier mount.  Used by volume_open(), then by the dropper only. */
	inode_no drop_from, drop_end; /* inode numbers: first, and end */
	uint64_t drop_failed;	      /* orphans that could not be dropped */
	pthread_t dropper;
	bool dropping; /* the dropper was started and not joined.  Used by volume_open(), volume_close(). */

	pthread_mutex_t clock_mu;
	pthread_cond_t clock_wake;		   /* wakes clock and checkpointer */
	pthread_cond_t checkpoint_done;		   /* wakes those who wait for one */
	bool stopping, want_head, want_checkpoint; /* Guarded by clock_mu. */
	uint64_t checkpoints; /* taken or failed so far.  Guarded by clock_mu. */
	int checkpoint_rc;    /* result of the newest.  Guarded by clock_mu. */
	_Atomic bool full; /* the newest write failed for want of space */
	/* why the newest try of each kind failed, or empty.  Guarded by clock_mu. */
	char reason[FAILING_KINDS][256];
	int head_rc;		      /* result of the newest head.  Guarded by clock_mu. */
	uint64_t head_retry_ns;	      /* if it failed: retry then.  Guarded by clock_mu. */
	bool checkpoint_now;	      /* take one whatever failed.  Guarded by clock_mu. */
	uint64_t checkpoint_retry_ns; /* as head_retry_ns.  Guarded by clock_mu. */
	int64_t head_ns;	      /* the newest head's time.  Guarded by clock_mu. */
	uint64_t head_mono_ns; /* when it was made or the volume opened.  Guarded by clock_mu. */
	pthread_t clock, checkpointer;
	struct figure_counter written; /* bytes */
	struct figure_histogram syncs;
	size_t overlay_max;   /* bytes of one overlay */
	size_t overlay_empty; /* bytes of an overlay without changes */
};

/* scheduler_head_made(v, time_ns): a head with the time ${time_ns} was made now. */
void scheduler_head_made(struct volume *v, int64_t time_ns);
/* scheduler_head_tried(v, rc): a try to make a head ended; negative: why it failed. */
void scheduler_head_tried(struct volume *v, int rc);
/*
 * scheduler_space_tried(v, rc): contents were appended to the log, or failed to be with ${rc}.
 * Cheap unless the disk has just become full, or has space again.
 */
void scheduler_space_tried(struct volume *v, int rc);

/* scheduler_head_failing(v): the error of the newest try, if it is too early for another; or 0. */
int scheduler_head_failing(struct volume *v);
/*
 * scheduler_reason(v, out, cap): write what fails at present, and why, to ${out}; empty if nothing
 * does.  Returns whether that keeps the volume from being written to.
 */
bool scheduler_reason(struct volume *v, char *out, size_t cap);

/* commit.c */

/*
 * commit_flush(v): append the pending changes as a delta.  Takes flush_mu.  Returns 0, -ENOSPC,
 * -EIO, -ERR_STUCK or -ENOMEM; after an error nothing is lost.
 */
MUST_CHECK int commit_flush(struct volume *v) EXCLUDES(v->flush_mu);
/*
 * The same with flush_mu held.  ${freeze}: in the same step the live overlay becomes the frozen
 * one, of which there must be none yet.
 */
MUST_CHECK int commit_flush_locked(struct volume *v, bool freeze) REQUIRES(v->flush_mu);
/*
 * commit_heads_keep_up(v): call it before more is appended.  It asks for a head if there is much
 * since the newest one, and makes one itself if the clock's thread is behind.  No lock is held.
 * Returns 0 or as volume_add_head().
 */
MUST_CHECK int commit_heads_keep_up(struct volume *v);
/*
 * commit_since_add(v, ptr, plain, len): note a delta that is in the log and that no head lists yet.
 * REQUIRES(flush_mu).  Returns 0 or -ENOMEM.
 */
MUST_CHECK int commit_since_add(struct volume *v, const struct block_ptr *ptr, const void *plain,
				size_t len)
	REQUIRES(v->flush_mu);
/*
 * commit_take_again(v): the pending changes are those of a delta that a dead process took and did
 * not append: make that delta anew.  Returns 0 or -ENOMEM.
 */
MUST_CHECK int commit_take_again(struct volume *v);
void commit_release(struct volume *v);

/*
 * takeover.c: takeover_replay(v): v->view contains what the log does; apply what v->shm contains in
 * addition.  Returns 0, -ERR_DAMAGED, -ERR_VERSION or -ENOMEM.
 */
MUST_CHECK int takeover_replay(struct volume *v);
/* volume_journal_mem(v): where the journal is in v->shm. */
void *volume_journal_mem(const struct volume *v);

/* scheduler.c */
MUST_CHECK int scheduler_start(struct volume *v);
void scheduler_stop(struct volume *v);
void scheduler_want_head(struct volume *v);
void scheduler_want_checkpoint(struct volume *v);
/*
 * Wait until the overlay has room for a change; ask for a checkpoint when it gets full.  Returns 0,
 * or why the checkpoint fails.
 */
MUST_CHECK int scheduler_admit(struct volume *v);
/* checkpoint_take(v): take one checkpoint, in the calling thread; only one call at a time. */
MUST_CHECK int checkpoint_take(struct volume *v);

/*
 * checkpoint_gaps.c: changes that a checkpoint leaves out.  Only the checkpointer calls these, as
 * only it uses the fields.
 *
 * gaps_merge(v, io): merge base and frozen into v->merged_root, leaving out what can't be read.
 * gaps_renew(v) must come before that tree's checkpoint.  Returns 0 or as tree_merge().
 * gaps_renew(v): put the frozen changes that the tree lacks into the live overlay, and into deltas.
 * After an error, a further call continues.  Returns 0; as commit_flush(); or the error of what
 * can't be read, if more was left out than may stay in memory.
 * gaps_say(v): returns 0; or, if the newest checkpoint left something out, the error of what can't
 * be read, with a detail.
 */
MUST_CHECK int gaps_merge(struct volume *v, const struct block_io *io);
MUST_CHECK int gaps_renew(struct volume *v) EXCLUDES(v->flush_mu);
MUST_CHECK int gaps_say(const struct volume *v);

/* orphan.c */
MUST_CHECK int orphans_new(struct orphans **out);
void orphans_free(struct orphans *o);
/* Make room for one more, so that orphan_add() cannot fail.  Returns 0 or -ENOMEM. */
MUST_CHECK int orphan_reserve(struct volume *v);
void orphan_add(struct volume *v, inode_no ino);
void orphan_remove(struct volume *v, inode_no ino);
bool orphan_is(struct volume *v, inode_no ino);
/*
 * orphans_drop(v): delete the inodes that an unclean stop left without a name: the first few
 * thousand at once, the rest in a thread.  The thread ends when it is done, or once v->stopping.
 * What can't be deleted stays, and a warning says so.
 * orphans_drop_end(v): wait for that thread.
 */
void orphans_drop(struct volume *v);
void orphans_drop_end(struct volume *v);
/* Fill the set with the inodes that have no name and can be read.  Returns 0 or -ENOMEM. */
MUST_CHECK int orphans_adopt(struct volume *v);

/* change.c: the steps of an operation */

/*
 * An operation is attempted under the exclusive lock.  The attempt first reads; any read may find
 * that a node is not in memory, and then the attempt is repeated after the node was loaded.  Then
 * it checks, then it reserves, and only then it changes, which cannot fail.
 *
 * change_begin(v): wait until there is room for a change.  No lock is held.  Returns 0, or why
 * there is none.
 * change_run(v, c, attempt, in, out, out_len): view_run() under the exclusive lock; call
 * change_begin() before.  The changes of an attempt are one operation, of ${c}'s request (NULL: of
 * none).  An attempt that returns an error has changed nothing (asserted).
 * change_run_late(..., late): the same.  ${late}: the caller has waited for something since
 * change_stamp(), so even the first attempt takes a later time.
 * change_end(v, rc): call it after changes made under change_lock() without change_run(), which
 * calls it itself.  Makes a delta if many changes are pending.  Returns ${rc}.
 */
MUST_CHECK int change_begin(struct volume *v);
typedef int change_attempt(struct volume *v, struct need *need, const void *in, void *out);
MUST_CHECK int change_run(struct volume *v, const struct caller *c, change_attempt *attempt,
			  const void *in, void *out, size_t out_len);
MUST_CHECK int change_run_late(struct volume *v, const struct caller *c, change_attempt *attempt,
			       const void *in, void *out, size_t out_len, bool late);
int change_end(struct volume *v, int rc);
/*
 * The exclusive lock of an operation.  Unlocking puts its changes into the journal as one
 * operation, and notes them as changes of ${c}'s request (NULL: of none).
 */
void change_lock(struct volume *v) ACQUIRES(v->view.mu);
void change_unlock(struct volume *v, const struct caller *c) RELEASES(v->view.mu);

/* All of these need view.mu held exclusively and room reserved.  REQUIRES(view.mu, exclusive) */
void change_inode(struct volume *v, const struct attr *a);
void change_bucket(struct volume *v, const struct bucket *b); /* deletes a bucket that is empty */
/* ${extra_bytes}: what exceeds 512 bytes per item */
MUST_CHECK int change_reserve(struct volume *v, size_t n_items, size_t extra_bytes);

/*
 * bucket_insert: -ENOSPC if the bucket is full, which was never seen.
 * bucket_erase: the name must be in the bucket (asserted).
 */
MUST_CHECK int bucket_insert(struct bucket *b, const char *name, inode_no ino, uint32_t type);
void bucket_erase(struct bucket *b, const char *name);

/*
 * The time of a change.
 *
 * To ask the kernel for the time takes system calls, so an operation does that before it takes the
 * lock.  Other operations may take the lock meanwhile, with a later time; so which time counts is
 * decided under the lock.  Thus the times of changes are in the order in which the changes are
 * made, unless the clock is set back.  An attempt that follows a wait, say for a node from the
 * disk, gets a later time: a head may have been made meanwhile, and a change that this head lacks
 * must not look older than the head.
 *
 * change_stamp(v): the time now, for an operation that begins.  No lock is held.
 * change_time(v, s): the time of the change that is being made.  REQUIRES(view.mu, exclusive).
 */
struct change_stamp {
	struct timespec at;
	uint64_t seen; /* v->n_times before ${at} was asked for */
};
struct change_stamp change_stamp(const struct volume *v);
struct timespec change_time(struct volume *v, const struct change_stamp *s);

/* namespace.c */
/*
 * named_inode_locked(): read the inode that an entry names.  -ERR_DAMAGED if no name may lead to
 * it.
 * folder_empty_locked(): returns 0; -ENOTEMPTY; -ERR_DAMAGED if the folder's count of entries and
 * its entries differ; or LOOK_FIRST if so many entries were removed lately that view_folder_empty()
 * has to look without the lock.  ${looked}: the folder that it found empty, or 0.
 * REQUIRES(view.mu).  Both may return -ERR_NEED_NODE.
 * change_run_looking(): change_run() for an attempt that may return LOOK_FIRST with the folder in
 * its output.  The attempt gets the folder that was looked at in ${*looked}, which is part of its
 * input.
 */
#define LOOK_FIRST 1
MUST_CHECK int named_inode_locked(struct volume *v, const struct entry *e, struct need *need,
				  struct attr *out);
MUST_CHECK int folder_empty_locked(struct volume *v, const struct attr *dir, uint64_t looked,
				   struct need *need);
MUST_CHECK int change_run_looking(struct volume *v, const struct caller *c, change_attempt *attempt,
				  const void *in, uint64_t *looked);
/*
 * An entry, of a folder or not, was added or removed.  Stored counts may have been wrong when they
 * were read, so these functions keep them within bounds instead of asserting them.
 */
void folder_gains(struct attr *dir, bool folder);
void folder_loses(struct attr *dir, bool folder);
/*
 * name_dropped(v, a, now): ${a} lost one name.  If it was the last one, ${a} becomes an orphan; the
 * caller has called orphan_reserve().  Makes 2 changes.
 */
void name_dropped(struct volume *v, struct attr *a, const struct timespec *now);
/*
 * kill_priv(v, a): clear what another user's write must not leave: set-id bits and file
 * capabilities.  Makes 1 change; the caller puts ${a}.
 */
void kill_priv(struct volume *v, struct attr *a);
/* touch(a, now): mtime and ctime of a folder that changed. */
static inline void touch(struct attr *a, const struct timespec *now)
{
	a->mtime = a->ctime = *now;
}

/* extents.c: REQUIRES(view.mu, exclusive) */

/*
 * The extents in [from, to) of a file, found before they are changed.  Zero-initialise it, then
 * keep it over the attempts of one operation: if every missing node made the count of a huge file
 * start over, it would never end.  It is valid only while the file's extents do not change.
 * cut_find() compares the file's change number, and starts over if that has moved on.
 */
struct cut {
	uint64_t change; /* the file's change number for which the rest is valid; never 0 */
	inode_no ino;
	uint64_t from, to;
	uint64_t scanned;	   /* extents that end at or before this offset are counted */
	uint64_t bytes;		   /* extent bytes in the range */
	uint64_t touched;	   /* all bytes of the extents that touch the range */
	bool any;		   /* some extent touches the range */
	struct extent left, right; /* parts to keep before and after the range; len 0: none */
};
/*
 * cut_find(v, ino, from, to, need, c): find what is in the range; only reads.  Returns 0;
 * -ERR_NEED_NODE: call it again with the same ${c} in the next attempt; or as extent_first().
 * cut_find_lost(v, a, need, c, out_bytes): for a file ${a} of length 0 that is about to get a
 * length: find all its extents.  Older versions left extents in files that they truncated to 0.
 * ${*out_bytes}: how many of the bytes that ${a} counts are removed with them.  Returns as
 * cut_find().
 * cut_all(v, ino, bytes, c): all that a file has, ${bytes}, without looking.
 * cut_apply(v, c): delete the range.  At most 3 changes, which the caller reserved.  The file must
 * not have changed since ${c} was found (asserted).
 */
MUST_CHECK int cut_find(struct volume *v, inode_no ino, uint64_t from, uint64_t to,
			struct need *need, struct cut *c);
MUST_CHECK int cut_find_lost(struct volume *v, const struct attr *a, struct need *need,
			     struct cut *c, uint64_t *out_bytes);
void cut_all(struct volume *v, inode_no ino, uint64_t bytes, struct cut *c);
void cut_apply(struct volume *v, const struct cut *c);
void extent_put(struct volume *v, inode_no ino, const struct extent *e);

#endif /* !VOLUME_INTERNAL_H_ */
