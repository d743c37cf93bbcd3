#ifndef LOOKUP_H_
#define LOOKUP_H_

/* getaddrinfo() that can be given up: by itself it waits for name servers, which may be half a minute. */

#include "compiler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct addrinfo;

/*
 * lookup(host, port, stop, until_ns, out): the addresses of HOST and PORT for a stream, until
 * clock_mono_ns() says ${until_ns} or ${*stop} becomes true.  Any thread.
 * Returns 0 and a list for freeaddrinfo(); an EAI_ code, which is below 0 like all of them;
 * EAI_AGAIN also if it was given up; EAI_MEMORY.  In ${*out_late}: whether it was.
 */
MUST_CHECK int lookup(const char *host, const char *port, const atomic_bool *stop,
		      uint64_t until_ns, struct addrinfo **out, bool *out_late);

#endif /* !LOOKUP_H_ */
