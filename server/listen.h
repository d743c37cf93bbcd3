#ifndef LISTEN_H_
#define LISTEN_H_

/* The address a server is told to listen on: ADDRESS:PORT, [IPV6]:PORT or unix:PATH. */

#include "compiler.h"

#include <stdbool.h>

/* listen_check(text): Returns 0, or -EINVAL, with a detail, if it is not of that form. */
MUST_CHECK int listen_check(const char *text);

/*
 * listen_is_local(text): whether only this machine can reach it: a Unix socket, 127.0.0.0/8, [::1]
 * or localhost.
 */
bool listen_is_local(const char *text);

/*
 * listen_format(text, port): ${text} with its port replaced by the one really listened on; owned by
 * the caller; NULL: no memory.
 */
char *listen_format(const char *text, int port);

/*
 * listen_explain(text): why ${text}, which listen_check() took, cannot be listened on: tried by
 * binding a socket.  Returns, with a detail, -EADDRINUSE, -EACCES, -EADDRNOTAVAIL, -ENOENT or
 * another -errno; -EADDRINUSE also if nothing is found to be wrong.
 */
MUST_CHECK int listen_explain(const char *text);

/*
 * listen_check_free(text): whether nobody listens on the Unix socket ${text}.  gRPC takes the place
 * of any that it finds, and the server that listened there hears nothing more.
 * Returns 0, also for what is no Unix socket; -EADDRINUSE or -EEXIST, with a detail.
 */
MUST_CHECK int listen_check_free(const char *text);

#endif /* !LISTEN_H_ */
