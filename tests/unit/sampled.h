#ifndef SAMPLED_H_
#define SAMPLED_H_

#include <stdlib.h>

/* A sanitizer makes all slower, and looks for mistakes that a third of the places show as well. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SAMPLED_FEWER 3u
#else
#define SAMPLED_FEWER 1u
#endif

/*
 * sampled(n): of places that a test could try one by one, each ${n}th is tried; under a sanitizer each
 * third of these; where EMBASSYFS_TEST_FULL is set, each.
 */
static inline unsigned sampled(unsigned n)
{
	return getenv("EMBASSYFS_TEST_FULL") ? 1 : n * SAMPLED_FEWER;
}

/* rounds(n): of a test that rolls dice; a third under a sanitizer, unless EMBASSYFS_TEST_FULL is set. */
static inline unsigned rounds(unsigned n)
{
	return getenv("EMBASSYFS_TEST_FULL") ? n : n / SAMPLED_FEWER;
}

#endif /* !SAMPLED_H_ */
