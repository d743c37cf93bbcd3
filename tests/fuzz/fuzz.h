#ifndef FUZZ_H_
#define FUZZ_H_

/*
 * A fuzz target is one file with a fuzz_one(): give the bytes to a parser, and where it takes them,
 * check what it promises (mostly that encoding gives the same bytes again).  Built with
 * libFuzzer by tests/fuzz/run, else with driver.c, which runs it on the files that it is given.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* fuzz_one(bytes, len): must return, and may abort() only for a defect of ours. */
void fuzz_one(const uint8_t *bytes, size_t len);

/* What must hold, also in builds without assertions. */
#define MUST_HOLD(condition)                                                                       \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

#endif /* !FUZZ_H_ */
