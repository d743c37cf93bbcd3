#ifndef SESSION_H_
#define SESSION_H_

/* The session of a mount with the kernel: mount, serve with worker threads, unmount. */

#include "mount.h"

struct options;

#define SESSION_THREADS_MAX 32u

/*
 * session_open(m, o): mount as the options say, or, if m->successor says so, take over a mount
 * whose daemon was killed.  Nothing is served yet.
 * Returns 0; -EIO with a detail, after libfuse has said why; or as wire_adopt().
 */
MUST_CHECK int session_open(struct mount *m, const struct options *o);

/*
 * session_serve(m, o): serve requests with m->n_threads threads until somebody unmounts, or until
 * SIGTERM, SIGINT or SIGHUP asks us to unmount; after the return these three do no harm.  The first
 * answer calls m->ready(); after a takeover this function does.
 * Returns 0 or -errno with a detail.
 */
MUST_CHECK int session_serve(struct mount *m, const struct options *o);

/*
 * session_remount(o): give an existing mount the flags of the options.  Nothing else changes, and
 * the mount's daemon does not learn of it.  Returns 0 or -errno with a detail.
 */
MUST_CHECK int session_remount(const struct options *o);

/*
 * session_close(m): call it after session_serve(), or if nothing was ever served.  It does not
 * unmount: a mount that still exists is dead.
 */
void session_close(struct mount *m);

#endif /* !SESSION_H_ */
