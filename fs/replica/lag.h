#ifndef LAG_H_
#define LAG_H_

/*
 * How long ago the oldest head was made that an embassy does not have.
 *
 * Heads that are made while this process runs get a mark by the clock that never jumps.  Of those
 * that were there before, only their times are known, which are by the wall clock: that is read
 * once, at the beginning, and so no later jump of it counts.  Not locked.
 */

#include <stdint.h>

#define LAG_MARKS 64u /* even */

struct lag_mark {
	uint64_t head;	   /* the newest one that the mark stands for */
	uint64_t since_ns; /* clock_mono_ns() when the oldest one was made */
};

struct lag {
	uint64_t acked, newest;	 /* heads' numbers; 0: none */
	uint64_t timed;		 /* heads up to this one are told by their times */
	int64_t missing_time_ns; /* acked < timed: the time of head acked + 1 */
	int64_t wall_ns;	 /* at the beginning */
	uint64_t mono_ns;	 /* at the beginning */
	struct lag_mark marks[LAG_MARKS];
	unsigned n_marks;
};

/*
 * lag_begin(l, newest, wall_ns, mono_ns): now is ${wall_ns}, as heads tell it, and ${mono_ns};
 * ${newest} heads are there, and the embassy has none of them, as far as is known.
 */
void lag_begin(struct lag *l, uint64_t newest, int64_t wall_ns, uint64_t mono_ns);

/* lag_head(l, number, now_ns): head ${number} was made just now. */
void lag_head(struct lag *l, uint64_t number, uint64_t now_ns);

/*
 * lag_acked(l, number, next_time_ns): the embassy has all up to head ${number}, which may be less
 * than it had.  ${next_time_ns}: the time of the head after it, for which
 * lag_wants_time(l, number) asks; else not used.
 */
void lag_acked(struct lag *l, uint64_t number, int64_t next_time_ns);

/* lag_wants_time(l, number): whether lag_acked() needs the time of the head that follows. */
static inline int lag_wants_time(const struct lag *l, uint64_t number)
{
	return number < l->timed || number < l->acked;
}

/* lag_seconds(l, now_ns): 0 if nothing is missing. */
double lag_seconds(const struct lag *l, uint64_t now_ns);

#endif /* !LAG_H_ */
