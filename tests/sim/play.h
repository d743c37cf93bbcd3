#ifndef PLAY_H_
#define PLAY_H_

/*
 * One history: what happens to the home, the embassies and the network between them, by the seed;
 * then all heals, and all must converge.
 */

#include <stdbool.h>
#include <stdint.h>

/* play_history(seed, verbose): returns the trace's hash.  Once in a process; a failure ends it. */
uint64_t play_history(uint64_t seed, bool verbose);

#endif /* !PLAY_H_ */
