#ifndef SIM_LIVE_H_
#define SIM_LIVE_H_

/*
 * The live volume of a home, in place of a bare log: opened, taken over after a kill, looked at,
 * closed. On MACHINE_HOME.  What it must hold is in model.h.
 */

#include "compiler.h"
#include "params.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log;

struct live_config {
	const char *dir;
	const struct params *params; /* borrowed, outlives the volume */
	size_t memory_bytes;
	bool supervised; /* a kill leaves what is in memory to the next */
	void (*on_head)(void);
	void (*stuck)(int rc); /* an operation failed */
};

/* live_make(dir, params): the volume, of which there is a model already. */
MUST_CHECK int live_make(const char *dir, const struct params *params);

/*
 * live_open(cfg, out): open it, taking over where a predecessor was killed; what is there is what
 * must be there.  0 or as volume_open().
 */
MUST_CHECK int live_open(const struct live_config *cfg, struct log **out);

/* live_look(): all that is seen now, and at some time in the past, is what it must be. */
void live_look(void);

/* live_close(): 0 or as volume_close(). */
MUST_CHECK int live_close(void);

/* live_check(dir, params): a closed volume is sound (fs/check/check.h).  -EIO: the disk failed. */
void live_check(const char *dir, const struct params *params);

/* live_crashed(power): its process was killed, or the power failed. */
void live_crashed(bool power);

#endif /* !SIM_LIVE_H_ */
