#ifndef WRITEBACK_H_
#define WRITEBACK_H_

/*
 * A helper process that has the kernel write back what programs wrote: all of it now and then, so
 * that its age is bounded, and one file's when asked.  It also lifts the kernel's cautious limits
 * for FUSE (read-ahead, share of dirty pages).  It must be a process of its own: whoever touches a
 * mount may wait for the daemon that serves it.
 */

#include "compiler.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct writeback {
	pid_t pid;
	int fd;
	pthread_mutex_t mu; /* a message and its answer */
	bool begun;	    /* it has answered the first message.  Guarded by mu. */
};

/* writeback_fork(out): start it, idle.  Before any thread is made.  Returns 0 or -errno. */
MUST_CHECK int writeback_fork(struct writeback *out);

/*
 * writeback_begin(w, mount_point, interval_s): the mount answers; begin.  At most PATH_MAX bytes
 * of path.  Waits until the helper, which looks at the mount, has let go of it: other threads serve
 * the kernel meanwhile.
 */
void writeback_begin(struct writeback *w, const char *mount_point, unsigned interval_s);

/*
 * writeback_flush(w, node, generation): have the kernel send us what it holds dirty of one file,
 * and wait until it has.  Not from a thread that serves the kernel.
 * Returns 0; -ENOSYS if that can't be done here (the mount is not root's) or any more (the helper
 * has ended, or writeback_cancel() was called, by any thread); another -errno if it failed this
 * once.
 */
MUST_CHECK int writeback_flush(struct writeback *w, uint64_t node, uint64_t generation);
void writeback_cancel(struct writeback *w);

/*
 * writeback_end(w): end it and wait until it has ended.  It also ends by itself when this process
 * does.
 */
void writeback_end(struct writeback *w);

#endif /* !WRITEBACK_H_ */
