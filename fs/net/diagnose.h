#ifndef DIAGNOSE_H_
#define DIAGNOSE_H_

/*
 * Why a server cannot be reached, in words for people.  gRPC says little more than that a socket
 * was closed, whichever of a dozen things is wrong.
 */

#include "compiler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * diagnose(address, tls_dir, stop, out, size): connect to HOST:PORT, or unix:PATH, as a client would
 * (tls_dir NULL: plain), and put into ${out} what is wrong and what to do: the host is unknown,
 * nobody listens, no answer comes, the server speaks no TLS, or TLS only; which certificate is
 * expired, of another authority or for another host.  Gives up when ${*stop} becomes true.
 * Takes at most DIAGNOSE_MS.  Any thread.
 * Returns true if something is known to be wrong; false: nothing was found, or it was stopped.
 */
#define DIAGNOSE_MS 4000
bool diagnose(const char *address, const char *tls_dir, const atomic_bool *stop, char *out,
	      size_t size);

#endif /* !DIAGNOSE_H_ */
