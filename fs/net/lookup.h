#ifndef LOOKUP_H_
#define LOOKUP_H_

/* getaddrinfo() with a time-out: by itself it waits for name servers, up to half a minute. */

#include "compiler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct addrinfo;

/*
 * lookup(host, port, stop, until_ns, out, out_late): the stream addresses of HOST and PORT.  Gives
 * up when clock_mono_ns() reaches ${until_ns} or ${*stop} becomes true.  Any thread.
 * Returns 0 and a list for freeaddrinfo(); or a negative EAI_ code: EAI_AGAIN also if it gave up;
 * EAI_MEMORY.  ${*out_late} says whether it gave up.
 */
MUST_CHECK int lookup(const char *host, const char *port, const atomic_bool *stop,
		      uint64_t until_ns, struct addrinfo **out, bool *out_late);

#endif /* !LOOKUP_H_ */
