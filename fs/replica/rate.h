#ifndef RATE_H_
#define RATE_H_

/* Bytes per second over the last few seconds.  A zeroed struct is empty.  Not locked. */

#include "units.h"

#include <stddef.h>
#include <stdint.h>

#define RATE_SECONDS 8u

struct rate {
	uint64_t second[RATE_SECONDS]; /* the sum's second, plus one */
	uint64_t bytes[RATE_SECONDS];
	uint64_t begin_ns; /* when the first bytes after a pause came */
};

static inline void rate_add(struct rate *r, uint64_t now_ns, size_t n)
{
	uint64_t second = now_ns / NS_PER_S + 1;
	unsigned i = second % RATE_SECONDS, before = (second - 1) % RATE_SECONDS;

	if (r->second[i] != second) {
		if (r->second[before] != second - 1)
			r->begin_ns = now_ns;
		r->second[i] = second;
		r->bytes[i] = 0;
	}
	r->bytes[i] += n;
}

/*
 * The mean since the last pause, over RATE_SECONDS - 1 seconds at most.  0 after a second without
 * bytes.
 */
static inline double rate_get(const struct rate *r, uint64_t now_ns)
{
	uint64_t second = now_ns / NS_PER_S + 1, since = now_ns, sum = 0;

	for (uint64_t s = second; s > 0 && s + RATE_SECONDS - 1 > second; s--) {
		unsigned i = s % RATE_SECONDS;

		if (r->second[i] != s) {
			if (s == second)
				continue; /* the current one may have just begun */
			break;
		}
		sum += r->bytes[i];
		since = (s - 1) * NS_PER_S;
	}
	if (sum == 0)
		return 0;
	if (since < r->begin_ns)
		since = r->begin_ns;
	/* Less than a tenth of a second is too short to tell. */
	if (now_ns < since + 100000000u)
		return (double)sum * 10;
	return (double)sum * 1e9 / (double)(now_ns - since);
}

#endif /* !RATE_H_ */
