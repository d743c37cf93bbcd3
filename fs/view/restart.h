#ifndef RESTART_H_
#define RESTART_H_

/*
 * The loop behind view_run() and change_run(): attempts, and the loading of nodes between them.
 * Its rules are in restart.c.
 */

#include "view_state.h"

#define RESTARTS_HELD_MAX 128u /* the most nodes held; the latest ones */

/* Enough for an operation that finds all nodes of ten paths missing, one by one. */
_Static_assert(RESTARTS_HELD_MAX >= 10 * TREE_HEIGHT_MAX, "a rename reads six paths");

struct restarts {
	struct need need;
	unsigned n; /* nodes loaded so far */
	struct {
		log_pos pos;
		struct node *node;
	} held[RESTARTS_HELD_MAX]; /* the latest of them */
	unsigned played;	   /* forced restarts: -DEMBASSYFS_RESTART */
};

/*
 * restarts_begin(r): before the first attempt, which gets ${&r->need}.
 * restarts_again(v, r, out, out_len, rc): after an attempt that returned ${*rc}, without ${v}'s
 * lock.
 * Returns true if there must be another attempt: the missing node is loaded and held, and the
 * ${out_len} bytes ${out} are overwritten.  Returns false if ${*rc} is anything but -ERR_NEED_NODE,
 * or if loading failed; ${*rc} is then the error of node_cache_load().
 * restarts_end(v, r): after the last attempt: releases the nodes.
 * One thread uses ${r}.
 */
void restarts_begin(struct restarts *r);
MUST_CHECK bool restarts_again(struct view *v, struct restarts *r, void *out, size_t out_len,
			       int *rc);
void restarts_end(struct view *v, struct restarts *r);

#endif /* !RESTART_H_ */
