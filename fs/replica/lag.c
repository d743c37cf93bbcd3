/*
 * The age of the oldest missing head; see lag.h.
 *
 * Invariants (after each function):
 * 1. Marks are of heads in rising order, above both acked and timed; their times rise too.
 * 2. When the marks are full, each two become one, which is as old as the older of them.  The
 *    reported age may then be too large, by the time between two marks, but never too small.
 */

#include "lag.h"

#include <assert.h>
#include <string.h>

void lag_begin(struct lag *l, head_no newest, int64_t wall_ns, uint64_t mono_ns)
{
	memset(l, 0, sizeof(*l));
	l->newest = l->timed = newest;
	l->wall_ns = l->missing_time_ns = wall_ns;
	l->mono_ns = mono_ns;
}

void lag_head(struct lag *l, head_no number, uint64_t now_ns)
{
	if (number <= l->newest)
		return;
	l->newest = number;
	if (number <= l->acked)
		return;
	if (l->n_marks == LAG_MARKS) {
		l->n_marks /= 2;
		for (unsigned i = 0; i < l->n_marks; i++)
			l->marks[i] = (struct lag_mark){.head = l->marks[2 * i + 1].head,
							.since_ns = l->marks[2 * i].since_ns};
	}
	assert(l->n_marks == 0 || l->marks[l->n_marks - 1].head < number);
	l->marks[l->n_marks++] = (struct lag_mark){.head = number, .since_ns = now_ns};
}

void lag_acked(struct lag *l, head_no number, int64_t next_time_ns)
{
	unsigned n = 0;

	/*
	 * The embassy lost heads that it had: their marks were removed, so their age is told by
	 * their times.
	 */
	if (number < l->acked && l->acked > l->timed)
		l->timed = l->acked;
	l->acked = number;
	if (number < l->timed)
		l->missing_time_ns = next_time_ns;
	while (n < l->n_marks && l->marks[n].head <= number)
		n++;
	l->n_marks -= n;
	memmove(l->marks, l->marks + n, l->n_marks * sizeof(l->marks[0]));
}

double lag_seconds(const struct lag *l, uint64_t now_ns)
{
	double lag = 0;

	if (l->acked < l->timed)
		lag = (double)(l->wall_ns - l->missing_time_ns) + (double)(now_ns - l->mono_ns);
	else if (l->n_marks > 0)
		lag = (double)(now_ns - l->marks[0].since_ns);
	return lag > 0 ? lag / 1e9 : 0;
}
