#ifndef MODEL_GENERATE_H_
#define MODEL_GENERATE_H_

/* Random operations from a seed: the same seed gives the same operations everywhere. */

#include "op.h"

/* ${remounts}: there is a way to remount, so that sometimes it is taken. */
void generate(uint64_t seed, bool remounts, struct op *out, size_t n);

uint64_t random_next(uint64_t *state);

#endif /* !MODEL_GENERATE_H_ */
