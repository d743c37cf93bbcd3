#ifndef LAG_H_
#define LAG_H_

/*
 * The age of the oldest head that an embassy does not have.
 *
 * A head that is made while this process runs gets a mark, with the time of a clock that never
 * jumps.  Of older heads only their own times are known, which are by the wall clock.  That clock
 * is read once, at the beginning, so that no later jump of it counts.  Not locked.
 */

#include "numbers.h"

#include <stdint.h>

#define LAG_MARKS 64u /* even */

struct lag_mark {
	head_no head;	   /* the newest head that the mark stands for */
	uint64_t since_ns; /* clock_mono_ns() when the mark's oldest head was made */
};

struct lag {
	head_no acked, newest;	 /* heads' numbers; 0: none */
	head_no timed;		 /* up to this head, ages come from heads' own times */
	int64_t missing_time_ns; /* acked < timed: the time of head acked + 1 */
	int64_t wall_ns;	 /* at the beginning */
	uint64_t mono_ns;	 /* at the beginning */
	struct lag_mark marks[LAG_MARKS];
	unsigned n_marks;
};

/*
 * lag_begin(l, newest, wall_ns, mono_ns): start at the time ${wall_ns}, by the clock of heads,
 * which is ${mono_ns} by the other.  ${newest} heads exist, and the embassy has none of them as far
 * as is known.
 */
void lag_begin(struct lag *l, head_no newest, int64_t wall_ns, uint64_t mono_ns);

/* lag_head(l, number, now_ns): head ${number} was made just now. */
void lag_head(struct lag *l, head_no number, uint64_t now_ns);

/*
 * lag_acked(l, number, next_time_ns): the embassy has all heads up to ${number}, which may be fewer
 * than before.  ${next_time_ns}: the time of the head after that one, if lag_wants_time(l, number)
 * asks for it; else not used.
 */
void lag_acked(struct lag *l, head_no number, int64_t next_time_ns);

/* lag_wants_time(l, number): does lag_acked() need the time of the next head? */
static inline int lag_wants_time(const struct lag *l, head_no number)
{
	return number < l->timed || number < l->acked;
}

/* lag_seconds(l, now_ns): the age; 0 if no head is missing. */
double lag_seconds(const struct lag *l, uint64_t now_ns);

#endif /* !LAG_H_ */
