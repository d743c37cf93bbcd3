#ifndef MODEL_SHARED_H_
#define MODEL_SHARED_H_

/*
 * Several threads in one folder of the tested side.  What each sees depends on the others, so there
 * is nothing to compare with; what must hold whatever the order is checked instead:
 *
 * - a name made with O_EXCL, link or mkdir by several has one maker;
 * - records appended by several are all there, whole;
 * - a token that is renamed from name to name is never two and never lost;
 * - names that nobody touches are listed, once each, whatever happens around them;
 * - at the end link counts are what the names say, and nothing but what is known is left.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHARED_THREADS_MAX 64

/*
 * Works in a folder ${name} of ${root} that it makes and removes.
 * Returns the number of operations; 0: something did not hold, and was said on standard error.
 */
uint64_t shared_run(const char *root, const char *name, uint64_t seed, unsigned n_threads,
		    unsigned n_rounds);

#endif /* !MODEL_SHARED_H_ */
