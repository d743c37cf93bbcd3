#ifndef SIM_WORK_H_
#define SIM_WORK_H_

/*
 * What applications do with a volume: operations on files and names by several fibers, each told to
 * the model (model.h) in the moment that it takes effect.
 */

#include <stdbool.h>
#include <stdint.h>

struct volume;

struct work_knobs {
	uint64_t pace_ns; /* between two operations of one fiber, at most about */
	uint32_t cells;	  /* of one write, at most */
	bool quiet;	  /* nothing more is begun */
};

extern struct work_knobs work_knobs;

/*
 * work_begin(v, stuck): what follows is done with ${v}, until the next; stuck(rc) is told each
 * error of it.  NULL: none, and what changes is not told to the model (while it is opened).
 */
void work_begin(struct volume *v, void (*stuck)(int rc));

/* work_some(): one operation by the calling fiber, or a few. */
void work_some(void);

/*
 * work_hold(yes): operations that begin wait, and those under way have ended on return; or no
 * longer. One fiber at a time.
 */
void work_hold(bool yes);

/* work_crashed(): the fibers are gone. */
void work_crashed(void);

/*
 * work_stop_at(n, in_roll_up, fn): before a block is appended, or after, the ${n}th such place
 * from now, the machine stands still, and fn() is called outside of all fibers (world_stop()).
 * ${in_roll_up}: only places among the pieces of a roll-up count.  0: never.
 */
void work_stop_at(unsigned n, bool in_roll_up, void (*fn)(void));

#endif /* !SIM_WORK_H_ */
