#ifndef DIAGNOSE_H_
#define DIAGNOSE_H_

/*
 * Why a server cannot be reached, in words for people.  gRPC says little more than that a socket
 * was closed, for a dozen different causes.
 */

#include "compiler.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * diagnose(address, tls_dir, stop, out, size): connect to HOST:PORT, or unix:PATH, as a client
 * would (tls_dir NULL: plain text), and write to ${out} what is wrong and what to do: the host is
 * unknown, nobody listens, no answer comes, the server speaks no TLS, or only TLS; which
 * certificate is expired, was issued by another authority or is for another host.  Gives up when
 * ${*stop} becomes true.  Takes at most DIAGNOSE_MS.  Any thread.
 * Returns true if a cause was found; false if none was, or if it was stopped.
 */
#define DIAGNOSE_MS 4000
bool diagnose(const char *address, const char *tls_dir, const atomic_bool *stop, char *out,
	      size_t size);

#endif /* !DIAGNOSE_H_ */
