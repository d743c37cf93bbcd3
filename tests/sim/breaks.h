#ifndef BREAKS_H_
#define BREAKS_H_

/*
 * Mistakes made on purpose, to show that the simulation finds them: each changes one step of the
 * code under test, at the place where its modules meet.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* breaks_set(name): false if there is none of that name.  breaks_name(i): NULL after the last. */
bool breaks_set(const char *name);
const char *breaks_name(size_t i);

/*
 * breaks_skip(i): how many of the first histories don't meet mistake ${i}, about, as the code is now.
 * A search that begins behind them ends soon; where the code has changed it goes on longer.
 */
uint64_t breaks_skip(size_t i);

/* breaks_any(): whether one is set. */
bool breaks_any(void);

/* breaks_roll_up(): overlay_encode(), or how it should not be done. */
struct overlay;
typedef int piece_fn(void *ctx, const void *records, size_t len);
int breaks_roll_up(const struct overlay *ov, size_t piece_max, piece_fn *fn, void *ctx);

/* breaks_begin(): at a history's begin. */
void breaks_begin(void);

#endif /* !BREAKS_H_ */
