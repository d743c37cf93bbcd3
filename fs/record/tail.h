#ifndef TAIL_H_
#define TAIL_H_

/*
 * Where the log ends: is what lies behind its last block the torn tail of a crash, or damage?  The
 * one place that decides, for a mount, a reader, check, rebuild and the server.  The decision and
 * what it rests on are the table in tail.c.  Needs no key, and changes nothing.
 */

#include "compiler.h"
#include "format.h"

#include <stdbool.h>
#include <stddef.h>

struct head;
struct head_ref;
struct history;
struct params;
struct storage;

struct tail_end {
	/* In: where the walk ended, after the last block that it accepted; 0: no block at all. */
	log_pos end;
	/*
	 * In: where the bytes begin that the walk found fault with: ${end}; or below, where a head
	 * at ${end} has another Merkle root than what was read since the head before it
	 * (tail_of_history() sets both).
	 */
	log_pos suspect;
	/*
	 * In: how many blocks below ${end} are gone and not covered by any head that the walk
	 * accepted (holes.h; tail_of_history() sets it).
	 */
	uint64_t n_gone;
	/*
	 * In: the newest head that a catalog knows lies below ${end}, and that catalog is whole
	 * (catalog_is_whole()), so what lies behind was never acknowledged by this copy.  Means
	 * nothing at home, where a head is durable before it is signed.
	 */
	bool acknowledged;
	/*
	 * In: why the walk refused a block, and where that block begins: at ${end}, or, if it is a
	 * segment's header, at that segment's start.  NULL or empty: there was no whole block.
	 */
	const char *why;
	log_pos refused;
	/* Out: how many bytes behind ${end} a crash left there: up to the last that is not zero. */
	uint64_t torn_bytes;
};

/*
 * tail_judge(params, st, t): judge what lies behind ${t->end} in the last segment.  The walk has
 * ended there, for whatever reason: no block of the log follows.  Earlier segments are not looked
 * at, but a block of one that the walk refused is damage.
 * Returns 0: nothing is there, or the torn tail of a crash, which may be cut off; -ERR_DAMAGED,
 * with a detail that names the segment, the reason and the way out: it is damage, and nothing may
 * be cut; -ENOMEM; -errno.
 */
MUST_CHECK int tail_judge(const struct params *params, struct storage *st, struct tail_end *t);

/*
 * tail_of_history(h, why, refused): what to ask tail_judge() after a walk that ended where ${h}
 * stands: its end, what is suspect, and ${why} (borrowed) and ${refused} as above.
 */
struct tail_end tail_of_history(const struct history *h, const char *why, log_pos refused);

/*
 * tail_check_known(params, st, known): a catalog holds durable heads only: the log must hold
 * its newest, ${known}: a head of that number at that position, whatever else the catalog says of it.
 * Returns 0 if it does; -ERR_DAMAGED, with a detail likewise, if it does not; -ENOMEM; -errno.
 */
MUST_CHECK int tail_check_known(const struct params *params, struct storage *st,
				const struct head_ref *known);

/*
 * tail_check_noted(st, noted, found): whether the log is as new as the folder once held it:
 * ${noted} is the head that newest_known() gave (number 0: nothing is known); ${found} is the
 * number of the newest head that the log holds now.
 * Returns 0; or -ERR_DAMAGED, with a detail that says what is missing and the way out.
 */
MUST_CHECK int tail_check_noted(const struct storage *st, const struct head *noted, head_no found);

#endif /* !TAIL_H_ */
