#ifndef VOLUME_INTERNAL_H_
#define VOLUME_INTERNAL_H_

/*
 * The live volume, as its files share it.
 *
 * Lock order: flush_mu, then view.mu, then orphan_mu; clock_mu and the log's locks are leaves.  No
 * lock is held across I/O but flush_mu, which orders deltas in the log and so is held while one is
 * appended, and while a head is made.
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
#define DELTA_FLUSH_BYTES (256u << 10) /* pending item changes beyond this are appended at once */
#define SINCE_BYTES_MAX (8u << 20)     /* deltas since the newest head beyond this ask for a head */
#define SINCE_COUNT_MAX 4096u
/* Beyond this changes wait for a head, which lists no more than 64 blocks of their net effect. */
#define SINCE_BYTES_FULL (16u << 20)
#define ROLLUP_FROM 64u			/* deltas; a head that would list more rolls them up */
#define ROLLUP_PIECE_BYTES (960u << 10) /* of one block of the net effect that is listed instead */
#define HEADS_TO_CHECKPOINT 1000u	/* the heads that a view has to roll forward at most */
/* So do log bytes since the newest head; an embassy refuses a log without one for long. */
#define HEAD_LOG_BYTES (4 * SEGMENT_SIZE)
#define HEAD_LOG_FULL (8 * SEGMENT_SIZE)
#endif
/* And so do blocks, of which an embassy takes 2^20 without a head. */
#define HEAD_BLOCKS (UINT64_C(1) << 18)
#define HEAD_BLOCKS_FULL (UINT64_C(1) << 19)

_Static_assert(ROLLUP_FROM <= HEAD_DELTAS_MAX, "what is not rolled up is listed");

#define EXTENT_CHANGES 1024u

struct orphans;
struct change_stamp;

/*
 * Deltas appended since the newest head: the next head lists them, or, if they are many, their net
 * effect.
 */
struct since {
	struct block_ptr *ptr; /* n of them */
	size_t n, cap;
	struct buf plain; /* their plaintexts, each after its u32 length */
};

/* A rollup of the first ${of} of them, for a head that is not made yet. */
struct rolled {
	struct block_ptr ptr[HEAD_DELTAS_MAX]; /* n pieces, in the log */
	uint32_t n;
	size_t of;
	bool whole; /* these are all pieces */
};

/* Where the merged tree lacks what the frozen overlay says.  The checkpointer's. */
struct checkpoint_gaps {
	struct tree_gaps tree;
	size_t at;	  /* the first that is not all renewed */
	uint64_t renewed; /* changes that this made in the live overlay since it was frozen last */
};

/* What may fail again and again while all else goes on; the status says why the newest did. */
enum failing { FAILING_SPACE, FAILING_HEAD, FAILING_CHECKPOINT, FAILING_MERGE, FAILING_KINDS };

struct volume {
	struct view view; /* the mutable view */
	struct volume_config cfg;
	struct log *log;
	struct node_cache *cache;
	struct volume_shm shm;
	struct journal journal; /* Guarded by view.mu. */
	uint64_t next_ino;	/* as of its newest entry.  Guarded by view.mu. */
	struct timespec newest_time; /* of a change.  Guarded by view.mu. */
	_Atomic uint64_t n_times;    /* times that were the newest.  Set under view.mu. */
	/* counts instead of the one that an operation came with, or NULL.  Guarded by view.mu. */
	const struct change_stamp *later;
	/*
	 * How often the extents of a file were changed, from 1 on, by inode; many share a place.
	 * Guarded by view.mu.
	 */
	uint64_t extent_changes[EXTENT_CHANGES];
	int lock_fd;
	int dir_fd;

	pthread_mutex_t flush_mu;
	/* a delta taken from the overlay, not yet in the log.  Guarded by flush_mu. */
	struct buf unsent;
	uint64_t unsent_seq;	     /* its number.  Guarded by flush_mu. */
	uint64_t delta_end;	     /* position after the newest delta.  Guarded by flush_mu. */
	struct since since;	     /* Guarded by flush_mu. */
	struct rolled rolled;	     /* Guarded by flush_mu. */
	atomic_bool since_full;	     /* beyond SINCE_BYTES_FULL: operations make a head first */
	struct block_ptr checkpoint; /* newest whole one.  Guarded by flush_mu. */
	/* it states the namespace of this head at least.  Guarded by flush_mu. */
	uint64_t checkpoint_head;
	/* what the frozen overlay's checkpoint will say, but for its root.  Guarded by flush_mu. */
	struct checkpoint freezing;
	/* The checkpointer's: the tree of base and frozen, all in the log, if merged. */
	struct tree_root merged_root;
	bool merged;
	struct checkpoint_gaps gaps;
	bool checkpoint_news;	      /* no head names it yet.  Guarded by flush_mu. */
	atomic_bool blocked;	      /* unsent could not be appended: operations try first */
	_Atomic uint64_t head_end;    /* end of the newest head */
	_Atomic uint64_t head_blocks; /* blocks below it */

	pthread_mutex_t orphan_mu;
	/* inodes without a name, not yet forgotten.  Guarded by orphan_mu. */
	struct orphans *orphans;
	/* What a mount before left: by volume_open(), then by the dropper alone. */
	uint64_t drop_from, drop_end; /* inodes from here, and below this */
	uint64_t drop_failed;	      /* that could not be read */
	pthread_t dropper;
	bool dropping; /* it was started.  By volume_open() and volume_close(). */

	pthread_mutex_t clock_mu;
	pthread_cond_t clock_wake;		   /* to the clock and the checkpointer */
	pthread_cond_t checkpoint_done;		   /* to whoever waits for one */
	bool stopping, want_head, want_checkpoint; /* Guarded by clock_mu. */
	uint64_t checkpoints; /* taken or failed so far.  Guarded by clock_mu. */
	int checkpoint_rc;    /* of the newest.  Guarded by clock_mu. */
	_Atomic bool full; /* the newest write was refused, for want of space */
	/* why the newest of each kind failed, or empty.  Guarded by clock_mu. */
	char reason[FAILING_KINDS][256];
	int head_rc;		      /* of the newest try to make a head.  Guarded by clock_mu. */
	uint64_t head_retry_ns;	      /* if that failed: no other before.  Guarded by clock_mu. */
	bool checkpoint_now;	      /* one is asked for whatever failed.  Guarded by clock_mu. */
	uint64_t checkpoint_retry_ns; /* as head_retry_ns.  Guarded by clock_mu. */
	int64_t head_ns;	      /* the newest head's time.  Guarded by clock_mu. */
	uint64_t head_mono_ns; /* when it was made, or the volume opened.  Guarded by clock_mu. */
	pthread_t clock, checkpointer;
	struct figure_counter written; /* bytes */
	struct figure_histogram syncs;
	size_t overlay_max;   /* bytes of one overlay */
	size_t overlay_empty; /* bytes of an overlay without changes */
};

/* scheduler_head_made(v, time_ns): the newest head says ${time_ns}, now. */
void scheduler_head_made(struct volume *v, int64_t time_ns);
/* scheduler_head_tried(v, rc): a head was made (not negative), or why it could not be. */
void scheduler_head_tried(struct volume *v, int rc);
/*
 * scheduler_space_tried(v, rc): contents were appended to the log, or ${rc} says why not.  Cheap, but
 * where that changes.
 */
void scheduler_space_tried(struct volume *v, int rc);

/* scheduler_head_failing(v): why the newest try failed, if it is too early for another; or 0. */
int scheduler_head_failing(struct volume *v);
/*
 * scheduler_reason(v, out, cap): what fails, and why; empty: nothing does.  Does it keep the volume from
 * being written to?
 */
bool scheduler_reason(struct volume *v, char *out, size_t cap);

/* commit.c */

/*
 * commit_flush(v): append what is pending as a delta.  Takes flush_mu.  0, -ENOSPC, -EIO,
 * -ERR_STUCK, -ENOMEM; nothing is lost then.
 */
MUST_CHECK int commit_flush(struct volume *v) EXCLUDES(v->flush_mu);
/*
 * The same with flush_mu held; ${freeze}: the live overlay becomes the frozen one in the same step
 * (there is none).
 */
MUST_CHECK int commit_flush_locked(struct volume *v, bool freeze) REQUIRES(v->flush_mu);
/*
 * commit_heads_keep_up(v): before more is appended: asks for a head if there is much since the
 * newest, and makes one if the thread that does so is behind.  No lock is held.  0 or as
 * volume_add_head().
 */
MUST_CHECK int commit_heads_keep_up(struct volume *v);
/*
 * commit_since_add(v, ptr, plain, len): note a delta that the log holds and no head lists.
 * REQUIRES(flush_mu).  0 or -ENOMEM.
 */
MUST_CHECK int commit_since_add(struct volume *v, const struct block_ptr *ptr, const void *plain,
				size_t len)
	REQUIRES(v->flush_mu);
/*
 * commit_take_again(v): the pending changes are those of a delta that a dead process took and did
 * not append.  0 or -ENOMEM.
 */
MUST_CHECK int commit_take_again(struct volume *v);
void commit_release(struct volume *v);

/*
 * takeover.c: takeover_replay(v): v->view holds what the log does; add what v->shm does.  0,
 * -ERR_DAMAGED, -ERR_VERSION or -ENOMEM.
 */
MUST_CHECK int takeover_replay(struct volume *v);
/* volume_journal_mem(v): where in v->shm the journal lies. */
void *volume_journal_mem(const struct volume *v);

/* scheduler.c */
MUST_CHECK int scheduler_start(struct volume *v);
void scheduler_stop(struct volume *v);
void scheduler_want_head(struct volume *v);
void scheduler_want_checkpoint(struct volume *v);
/*
 * Wait until an overlay has room; asks for a checkpoint where it gets full.  0 or why the
 * checkpoint fails.
 */
MUST_CHECK int scheduler_admit(struct volume *v);
/* checkpoint_take(v): one checkpoint, in the calling thread; one at a time. */
MUST_CHECK int checkpoint_take(struct volume *v);

/*
 * checkpoint_gaps.c: what a checkpoint leaves out.  The checkpointer's, as the fields.
 *
 * gaps_merge(v, io): merge base and frozen into v->merged_root, around what can't be read; gaps_renew(v)
 * has to come before that tree's checkpoint.  0 or as tree_merge().
 * gaps_renew(v): put the frozen changes that it lacks into the live overlay, and into deltas.  Called
 * again after an error it goes on.  0; as commit_flush(); or the error of what can't be read, where
 * there is more than may stay in memory.
 * gaps_say(v): 0, or the error of what can't be read, with a detail, if the newest checkpoint left
 * something out.
 */
MUST_CHECK int gaps_merge(struct volume *v, const struct block_io *io);
MUST_CHECK int gaps_renew(struct volume *v) EXCLUDES(v->flush_mu);
MUST_CHECK int gaps_say(const struct volume *v);

/* orphan.c */
MUST_CHECK int orphans_new(struct orphans **out);
void orphans_free(struct orphans *o);
/* Have room for one more, so that orphan_add() cannot fail.  0 or -ENOMEM. */
MUST_CHECK int orphan_reserve(struct volume *v);
void orphan_add(struct volume *v, uint64_t ino);
void orphan_remove(struct volume *v, uint64_t ino);
bool orphan_is(struct volume *v, uint64_t ino);
/*
 * orphans_drop(v): delete what an unclean stop left without a name, the first few thousand at once,
 * the rest by a thread, which ends by itself or once v->stopping.  What can't be deleted stays, and
 * is told.  orphans_drop_end(v): wait for that thread.
 */
void orphans_drop(struct volume *v);
void orphans_drop_end(struct volume *v);
/* Fill the set with what lies without a name and can be read.  0 or -ENOMEM. */
MUST_CHECK int orphans_adopt(struct volume *v);

/* change.c: what operations are made of */

/*
 * An operation is tried under the exclusive lock: it reads first (any read may find a node missing:
 * then it is tried again), checks, reserves, and only then changes, which cannot fail.
 *
 * change_begin(v): wait until there is room for a change.  No lock is held.  0, or why not.
 * change_run(v, c, attempt, in, out, out_len): view_run() under the exclusive lock, after
 * change_begin().  What an attempt changed is one operation, of ${c}'s request (NULL: of none); one
 * that returns an error has changed nothing (asserted).
 * change_run_late(..., late): the same; ${late}: since change_stamp() it was waited for something.
 * change_end(v, rc): after a change of one's own under change_lock(): sees that a delta is made of
 * many; returns ${rc}.  change_run() calls it.
 */
MUST_CHECK int change_begin(struct volume *v);
typedef int change_attempt(struct volume *v, struct need *need, const void *in, void *out);
MUST_CHECK int change_run(struct volume *v, const struct caller *c, change_attempt *attempt,
			  const void *in, void *out, size_t out_len);
MUST_CHECK int change_run_late(struct volume *v, const struct caller *c, change_attempt *attempt,
			       const void *in, void *out, size_t out_len, bool late);
int change_end(struct volume *v, int rc);
/*
 * The exclusive lock of an operation; on unlocking its changes, all of one operation, are put into
 * the journal, and noted as of ${c}'s request (NULL: of none).
 */
void change_lock(struct volume *v) ACQUIRES(v->view.mu);
void change_unlock(struct volume *v, const struct caller *c) RELEASES(v->view.mu);

/* All REQUIRES(view.mu, exclusive) and room reserved. */
void change_inode(struct volume *v, const struct attr *a);
void change_bucket(struct volume *v, const struct bucket *b); /* an empty one is deleted */
/* ${extra_bytes} beyond 512 an item */
MUST_CHECK int change_reserve(struct volume *v, size_t n_items, size_t extra_bytes);

/*
 * bucket_insert: -ENOSPC if the (never seen) bucket is full.  bucket_erase: the name is there
 * (asserted).
 */
MUST_CHECK int bucket_insert(struct bucket *b, const char *name, uint64_t ino, uint32_t type);
void bucket_erase(struct bucket *b, const char *name);

/*
 * The time of a change.  Asking the kernel for it takes system calls, so that is done before the lock
 * is taken; and since others may take the lock meanwhile, with a later time, what counts is decided
 * under the lock: changes have times in the order in which they are made, unless the clock is set back.
 * An attempt that follows upon a wait, for a node from the disk say, has a later time: a head may have
 * been made meanwhile, and what it lacks must not look older than it is.
 *
 * change_stamp(v): the time now, for an operation that begins.  No lock is held.
 * change_time(v, s): the time of the change that is being made.  REQUIRES(view.mu, exclusive).
 */
struct change_stamp {
	struct timespec at;
	uint64_t seen; /* v->n_times before */
};
struct change_stamp change_stamp(const struct volume *v);
struct timespec change_time(struct volume *v, const struct change_stamp *s);

/* namespace.c */
/*
 * named_inode_locked(): the inode that an entry names; -ERR_DAMAGED if it can't be named.
 * folder_empty_locked(): 0; -ENOTEMPTY; -ERR_DAMAGED, what it states and what it has differ; or
 * LOOK_FIRST: so many entries were removed lately that view_folder_empty() has to look.  ${looked}: the
 * folder that it found empty, or 0.
 * REQUIRES(view.mu); both may return -ERR_NEED_NODE.
 * change_run_looking(): change_run() of an attempt that may return LOOK_FIRST, with the folder in its
 * output, and takes the folder from ${*looked}, which is part of its input.
 */
#define LOOK_FIRST 1
MUST_CHECK int named_inode_locked(struct volume *v, const struct entry *e, struct need *need,
				  struct attr *out);
MUST_CHECK int folder_empty_locked(struct volume *v, const struct attr *dir, uint64_t looked,
				   struct need *need);
MUST_CHECK int change_run_looking(struct volume *v, const struct caller *c, change_attempt *attempt,
				  const void *in, uint64_t *looked);
/*
 * One entry, of a folder or not, came or went.  Counts that were wrong when they were read stay
 * within their bounds: they are not ours to assert.
 */
void folder_gains(struct attr *dir, bool folder);
void folder_loses(struct attr *dir, bool folder);
/*
 * name_dropped(v, a, now): one name of ${a} went; the last one makes it an orphan (orphan_reserve()
 * was called).  2 changes.
 */
void name_dropped(struct volume *v, struct attr *a, const struct timespec *now);
/*
 * kill_priv(v, a): clear what a write by another must not leave: set-id bits and file capabilities.
 * 1 change; ${a} is put by the caller.
 */
void kill_priv(struct volume *v, struct attr *a);
/* touch(a, now): mtime and ctime of a folder that changed. */
static inline void touch(struct attr *a, const struct timespec *now)
{
	a->mtime = a->ctime = *now;
}

/* extents.c: REQUIRES(view.mu, exclusive) */

/*
 * What lies in [from, to) of a file, found before it is changed.  Zero-initialised; then kept over the
 * attempts of one operation, since counting a huge file from its start again for each missing node
 * would never end.  It holds only as long as nothing changed the file's extents: cut_find() compares
 * the file's change number, and starts over where that moved on.
 */
struct cut {
	uint64_t change; /* the file's change number, never 0, that the rest is true at */
	uint64_t ino, from, to;
	uint64_t scanned;	   /* extents that end at or before it are counted */
	uint64_t bytes;		   /* extent bytes in the range */
	uint64_t touched;	   /* all bytes of the extents that touch the range */
	bool any;		   /* an extent touches it */
	struct extent left, right; /* parts that stay before and after; len 0: none */
};
/*
 * cut_find(v, ino, from, to, need, c): reads only.  0; -ERR_NEED_NODE: call it again with the same
 * ${c} in the next attempt; or as extent_first().
 * cut_find_lost(v, a, need, c, out_bytes): all that the file ${a}, of no length, has, before it gets one:
 * older versions left extents in files that they cut to nothing.  ${*out_bytes}: of those that it states,
 * how many go.  Returns as cut_find().
 * cut_all(v, ino, bytes, c): all that a file has, ${bytes}, without looking.
 * cut_apply(v, c): delete the range; at most 3 changes, reserved by the caller.  Nothing changed the
 * file since ${c} was found (asserted).
 */
MUST_CHECK int cut_find(struct volume *v, uint64_t ino, uint64_t from, uint64_t to,
			struct need *need, struct cut *c);
MUST_CHECK int cut_find_lost(struct volume *v, const struct attr *a, struct need *need,
			     struct cut *c, uint64_t *out_bytes);
void cut_all(struct volume *v, uint64_t ino, uint64_t bytes, struct cut *c);
void cut_apply(struct volume *v, const struct cut *c);
void extent_put(struct volume *v, uint64_t ino, const struct extent *e);

#endif /* !VOLUME_INTERNAL_H_ */
