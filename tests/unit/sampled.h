#ifndef SAMPLED_H_
#define SAMPLED_H_

#include <stdlib.h>

/*
 * sampled(n): of places that a test could try one by one, each ${n}th is tried; where
 * EMBASSYFS_TEST_FULL is set, each.
 */
static inline unsigned sampled(unsigned n)
{
	return getenv("EMBASSYFS_TEST_FULL") ? 1 : n;
}

#endif /* !SAMPLED_H_ */
