#ifndef CLOCK_H_
#define CLOCK_H_

/* Time: the only callers of the OS for it. */

#include <stdint.h>

/* clock_wall_ns(): nanoseconds since 1970-01-01 UTC; may jump either way. */
int64_t clock_wall_ns(void);

/*
 * clock_stamp_ns(): the same as of the kernel's last tick, which is what the kernel itself stamps
 * files with.  A file's times come from both sides: with a finer clock on ours, a file that was
 * made first and written later would be older than it is.
 */
int64_t clock_stamp_ns(void);

/* clock_mono_ns(): nanoseconds of a clock that never jumps; only differences mean anything. */
uint64_t clock_mono_ns(void);

#endif /* !CLOCK_H_ */
