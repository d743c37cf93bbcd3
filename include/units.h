#ifndef UNITS_H_
#define UNITS_H_

/* Units of time.  Signed, so that a wall-clock time before 1970 is divided rightly. */

#include <stdint.h>

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

#endif /* !UNITS_H_ */
