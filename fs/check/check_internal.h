#ifndef CHECK_INTERNAL_H_
#define CHECK_INTERNAL_H_

/*
 * Shared by the files of the check: check.c (order of the parts, reports), check_log.c,
 * check_names.c, check_contents.c, check_links.c, check_paths.c, check_recount.c.
 */

#include "check.h"
#include "err.h"
#include "head.h"
#include "params.h"
#include "recount.h"
#include "view_state.h"

#include <inttypes.h>
#include <stddef.h>

struct store;

#define CHECK_REPORTS_MAX 1000u	    /* problems reported in words; further ones are only counted */
#define CHECK_BLOCKS_MAX (1u << 16) /* damaged blocks remembered, to find their files */
#define CHECK_HURT_MAX 1000u	    /* damaged inodes remembered, to find their paths */

/* An inode that contains a damaged block. */
struct hurt {
	inode_no ino;
	uint64_t from, to; /* bytes of the file; both 0: an attribute instead of its bytes */
};

#define FIXES_MAX (1u << 20) /* repairs remembered; the next check finds the rest */

/* What is to be repaired. */
struct fixes {
	struct fix *p; /* owned; n of them */
	size_t n, cap;
	struct fix_totals totals;
	bool wrong_totals;
};

struct check {
	const struct check_config *cfg;
	struct check_counts *counts;
	struct params params;
	struct store *store;
	int worst;	    /* 0, or the worst error reported */
	struct head newest; /* newest head of an unbroken chain; number 0: none */
	log_pos *blocks;    /* owned: positions of damaged sealed blocks, ascending */
	size_t n_blocks;
	struct hurt *hurts; /* owned; room for CHECK_HURT_MAX */
	size_t n_hurts;
	struct fixes fixes;
	bool names_unsure; /* a folder's entry can't be read: names may be missing from the count */
};

/*
 * check_bad(c, rc, fmt, ...): count a problem with error ${rc} and report it.  check_note(): report
 * something that is not a problem.
 */
void check_bad(struct check *c, int rc, const char *fmt, ...) PRINTF_LIKE(3, 4);
void check_note(struct check *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
void check_progress(struct check *c, const char *what, uint64_t done, uint64_t total);

/* check_block_is_damaged(c, pos): did the pass over the log find the block at ${pos} damaged? */
bool check_block_is_damaged(const struct check *c, log_pos pos);

/*
 * check_hurt(c, ino, from, to): remember that bytes of ${ino} are damaged; adjacent ranges are
 * merged.
 */
void check_hurt(struct check *c, inode_no ino, uint64_t from, uint64_t to);

/* check_bad_inode(c, ino, fmt, ...): report a problem of one inode. */
#define check_bad_inode(c, ino, fmt, ...)                                                          \
	check_bad(c, -ERR_DAMAGED, "inode %" PRIu64 ": " fmt, (ino)__VA_OPT__(, ) __VA_ARGS__)

/*
 * check_fix(c, ino, kind, was, is): after a problem was reported: remember how to repair it.  Does
 * nothing unless the caller of the check asked for repairs.
 */
void check_fix(struct check *c, inode_no ino, enum fix_kind kind, uint64_t was, uint64_t is);

/*
 * check_recount(c): open the volume, of which nobody holds the lock, and make the remembered
 * repairs.
 * Returns 0, and the reports say what was done; or as volume_open() or a change.
 */
MUST_CHECK int check_recount(struct check *c);

/*
 * check_walk(v, from, fn, ctx): give each item from ${from} on to fn, in key order, until it
 * returns non-zero (returned if negative).  The calling thread is the only user of ${v}, so no lock
 * is taken.
 */
typedef int check_item_fn(void *ctx, const uint8_t *key, size_t key_len, const uint8_t *value,
			  size_t len);
MUST_CHECK int check_walk(struct view *v, const struct item_key *from, check_item_fn *fn,
			  void *ctx);

/* Parts 1 and 2.  Return 0 (problems are in ${c}) or why the check can't continue. */
MUST_CHECK int check_log(struct check *c);

/* Part 3, through an open view.  Returns the same. */
MUST_CHECK int check_names(struct check *c, struct view *v);

/*
 * Second half of part 3: how often each inode is named, and whether the root can be reached from
 * it.
 */
MUST_CHECK int check_links(struct check *c, struct view *v);

/* Report the paths of all damaged inodes. */
MUST_CHECK int check_paths(struct check *c, struct view *v);

#endif /* !CHECK_INTERNAL_H_ */
