#ifndef PRNG_H_
#define PRNG_H_

/* A generator of numbers that a seed gives again: splitmix64. */

#include <stdbool.h>
#include <stdint.h>

struct prng {
	uint64_t state;
};

static inline uint64_t prng_next(struct prng *p)
{
	uint64_t z = p->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/*
 * prng_below(p, n): 0 to n - 1.  prng_between(p, a, b): a to b.  prng_one_in(p, n): now and
 * then.
 */
static inline uint64_t prng_below(struct prng *p, uint64_t n)
{
	return prng_next(p) % n;
}

static inline uint64_t prng_between(struct prng *p, uint64_t a, uint64_t b)
{
	return a + prng_below(p, b - a + 1);
}

static inline bool prng_one_in(struct prng *p, uint64_t n)
{
	return prng_below(p, n) == 0;
}

/* prng_log(p, max): 1 to about max, each order of magnitude as likely as the others. */
static inline uint64_t prng_log(struct prng *p, uint64_t max)
{
	unsigned bits = 1;

	while (bits < 63 && UINT64_C(1) << bits < max)
		bits++;
	return 1 + prng_below(p, UINT64_C(1) << prng_below(p, bits + 1));
}

#endif /* !PRNG_H_ */
