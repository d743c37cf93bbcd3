#ifndef DAEMON_H_
#define DAEMON_H_

/*
 * From a command into the background: the command ends when the mount can be used, or with the
 * reason why it can't.
 */

#include "compiler.h"

struct daemon {
	int fd; /* to the waiting command; -1: none */
};

/*
 * daemon_fork(mount_point, out): go on in a child process; the parent waits there, never returns,
 * and exits with the code that the child gives.  Before any thread is made.  Returns 0 in the
 * child, or -errno.
 */
MUST_CHECK int daemon_fork(const char *mount_point, struct daemon *out);

/*
 * daemon_ready(d): the mount can be used: leave the terminal, log to syslog from now on, and let
 * the parent exit with 0.
 * daemon_leave(): the same without a parent that waits.
 * daemon_drop(d): it is another process that will say so.
 * daemon_failed(d, code): let the parent exit with ${code}; what is wrong was said on standard
 * error.
 */
void daemon_ready(struct daemon *d);
void daemon_leave(void);
void daemon_drop(struct daemon *d);
void daemon_failed(struct daemon *d, int code);

#endif /* !DAEMON_H_ */
