#ifndef DAEMON_H_
#define DAEMON_H_

/*
 * From a command into the background: the command ends when the mount is usable, or with the reason
 * why it is not.
 */

#include "compiler.h"

struct daemon {
	int fd; /* to the waiting command; -1: none */
};

/*
 * daemon_fork(mount_point, out): continue in a child process; the parent waits inside, never
 * returns, and exits with the code that the child sends.  Call it before any thread is created.
 * Returns 0 in the child, or -errno.
 */
MUST_CHECK int daemon_fork(const char *mount_point, struct daemon *out);

/*
 * daemon_ready(d): the mount is usable: leave the terminal, log to syslog from now on, and let the
 * parent exit with 0.
 * daemon_leave(): the same without a waiting parent.
 * daemon_drop(d): another process will answer the parent.
 * daemon_failed(d, code): let the parent exit with ${code}; the error was printed on standard
 * error.
 */
void daemon_ready(struct daemon *d);
void daemon_leave(void);
void daemon_drop(struct daemon *d);
void daemon_failed(struct daemon *d, int code);

#endif /* !DAEMON_H_ */
