#ifndef PROCESS_H_
#define PROCESS_H_

/* What a long-running program does first, so that the environment it starts in cannot end it. */

#include "compiler.h"

/*
 * process_std_fds(): if standard input, output or error is closed, open /dev/null in its place.
 * Otherwise the next file to be opened would get that number, and messages would be written into
 * it.  Call it before anything is opened.
 */
void process_std_fds(void);

/*
 * process_ignore_signals(): let calls fail with EPIPE and EFBIG instead of ending the process
 * (SIGPIPE: a peer is gone; SIGXFSZ: RLIMIT_FSIZE).  Also ignore what means nothing here and would
 * end it: timers' signals, SIGUSR1 and the like.  Have the ends of children told (SIGCHLD), also
 * where the program that starts this one ignores them.
 */
void process_ignore_signals(void);

/*
 * process_raise_files(least, who): raise the limit of open files to what this process may have; a
 * warning if that fails.  Returns 0; -EMFILE with a detail, in which ${who}, such as "a server",
 * needs at least ${least}.
 */
MUST_CHECK int process_raise_files(unsigned least, const char *who);

#endif /* !PROCESS_H_ */
