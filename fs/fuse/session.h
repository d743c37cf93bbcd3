#ifndef SESSION_H_
#define SESSION_H_

/* A mount's life with the kernel: mounted, served by worker threads, unmounted. */

#include "mount.h"

struct options;

#define SESSION_THREADS_MAX 32u

/*
 * session_open(m, o): mount it, by the options, or, as m->successor says, take over a mount whose daemon
 * was killed; nothing is served yet.
 * Returns 0, or -EIO with a detail; libfuse has said why; or as wire_adopt().
 */
MUST_CHECK int session_open(struct mount *m, const struct options *o);

/*
 * session_serve(m, o): serve requests with m->n_threads threads until it is unmounted, by
 * whomever, or SIGTERM, SIGINT or SIGHUP asks us to unmount it; these three do no harm from then
 * on.  The first answer calls m->ready(); after a takeover this does.
 * Returns 0 or -errno with a detail.
 */
MUST_CHECK int session_serve(struct mount *m, const struct options *o);

/*
 * session_remount(o): give an existing mount the flags of the options.  Nothing else changes, and
 * its daemon is not told.  Returns 0 or -errno with a detail.
 */
MUST_CHECK int session_remount(const struct options *o);

/* session_close(m): after session_serve(), or if nothing was ever served; a mount that is left is dead. */
void session_close(struct mount *m);

#endif /* !SESSION_H_ */
