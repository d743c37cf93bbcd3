#ifndef TAKEN_OVER_H_
#define TAKEN_OVER_H_

/*
 * A volume whose process is killed again and again, some of them after a call failed, and taken over by
 * another: what power plays to its disk.
 */

#include "ground.h"

struct taken_over {
	const struct ground *ground;
	const struct recorder *rec;
	const char *dir;
	unsigned ops;
	uint64_t seed;
	/* Of recorder_mark(): the volume exists; so many operations have returned; they are durable. */
	uint64_t mark_made, mark_done, mark_synced;
};

/* From an empty folder to a closed volume.  Returns 0, or 1: a successor found another state. */
int taken_over_work(const struct taken_over *t);

#endif /* !TAKEN_OVER_H_ */
