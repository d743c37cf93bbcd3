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
 * clock_stamp(): the time with which the kernel stamps files: that of its last tick, or of a finer
 * stamp that it gave since.  Both the kernel and we set a file's times.  If we used any other
 * clock, a file that was made first and written later could seem older than its making.
 */
struct timespec clock_stamp(void);

/*
 * clock_onward_ns(last_ns, last_mono_ns, wall_ns, mono_ns): the time of a clock that never goes
 * back.  It is ${wall_ns}, unless that is behind the time it gave last (${last_ns}, when
 * clock_mono_ns() was ${last_mono_ns}).  Then it runs at half speed until the wall clock has caught
 * up.
 */
int64_t clock_onward_ns(int64_t last_ns, uint64_t last_mono_ns, int64_t wall_ns, uint64_t mono_ns);

/* clock_mono_ns(): nanoseconds of a clock that never jumps.  Only differences are meaningful. */
uint64_t clock_mono_ns(void);

/*
 * clock_cond_init(cond): initialise a condition for clock_wait().
 * clock_wait(cond, mu, until_ns): as pthread_cond_timedwait(), until clock_mono_ns() reaches
 * ${until_ns}: no jump of the wall clock makes a wait longer or shorter.
 * Returns 0, also on a spurious wake-up, or -ETIMEDOUT.
 */
void clock_cond_init(pthread_cond_t *cond);
MUST_CHECK int clock_wait(pthread_cond_t *cond, pthread_mutex_t *mu, uint64_t until_ns)
	REQUIRES(*mu);

#endif /* !CLOCK_H_ */
