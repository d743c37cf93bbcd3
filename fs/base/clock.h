#ifndef CLOCK_H_
#define CLOCK_H_

/* Time: the only callers of the OS for it. */

#include "compiler.h"
#include "locks.h"

#include <pthread.h>
#include <stdint.h>
#include <time.h>

/* clock_wall_ns(): nanoseconds since 1970-01-01 UTC; may jump either way. */
int64_t clock_wall_ns(void);

/*
 * clock_stamp(): the time that the kernel stamps files with: as of its last tick, or of a finer
 * stamp that it gave since.  A file's times come from both sides: with any other clock on ours, a
 * file that was made first and written later could be older than it was.
 */
struct timespec clock_stamp(void);

/*
 * clock_onward_ns(last_ns, last_mono_ns, wall_ns, mono_ns): what a clock shows that never goes
 * back: the time ${wall_ns}, unless that is behind what it showed last (${last_ns}, when
 * clock_mono_ns() was ${last_mono_ns}): then it goes at half speed until the wall clock has caught
 * up.
 */
int64_t clock_onward_ns(int64_t last_ns, uint64_t last_mono_ns, int64_t wall_ns, uint64_t mono_ns);

/* clock_mono_ns(): nanoseconds of a clock that never jumps; only differences mean anything. */
uint64_t clock_mono_ns(void);

/*
 * clock_cond_init(cond): a condition to be waited for with clock_wait().
 * clock_wait(cond, mu, until_ns): as pthread_cond_timedwait(), until clock_mono_ns() says
 * ${until_ns}, so that no jump of the wall clock makes a wait longer or shorter.
 * Returns 0, also for no reason, or -ETIMEDOUT.
 */
void clock_cond_init(pthread_cond_t *cond);
MUST_CHECK int clock_wait(pthread_cond_t *cond, pthread_mutex_t *mu, uint64_t until_ns)
	REQUIRES(*mu);

#endif /* !CLOCK_H_ */
