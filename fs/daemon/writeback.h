#ifndef WRITEBACK_H_
#define WRITEBACK_H_

/*
 * A helper process that touches the mount for the daemon.  It has the kernel write back what programs
 * wrote: all of it now and then, so that its age is bounded, and one file's when asked.  It unmounts
 * when the daemon is to end.  It also lifts the kernel's cautious limits for FUSE (read-ahead, share
 * of dirty pages).
 *
 * It must be a process of its own: whoever touches a mount may wait for the daemon that serves it,
 * where no signal reaches him, SIGKILL neither.  A thread of the daemon that waits so would keep a
 * killed daemon from ending, and nobody could take over.  So it has none of the daemon's
 * descriptors, /dev/fuse least of all.
 */

#include "compiler.h"
#include "locks.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define WRITEBACK_NAME "embassyfs-sync" /* of the process */

struct writeback {
	pid_t pid;
	int fd;
	pthread_mutex_t mu; /* a message and its answer */
	pthread_mutex_t fd_mu; /* fd becomes another helper's, or none's; after mu */
	const char *mount_point;
	unsigned interval_s;
	uint64_t device; /* of the mount; 0: not known.  Guarded by mu, like what follows. */
	bool begun;	 /* it has answered the first message */
	atomic_bool cancelled;
};

/* writeback_fork(out): start it, idle.  Before any thread is made.  Returns 0 or -errno. */
MUST_CHECK int writeback_fork(struct writeback *out);

/*
 * writeback_begin(w, mount_point, device, interval_s): the mount answers; begin.  ${device}: its number,
 * as an earlier call returned it; 0: what is mounted at the path now.  ${interval_s} 0: nothing is
 * ever written back (a read-only mount).  Borrows the path, of at most PATH_MAX bytes.  Waits until the
 * helper, which looks at the mount, has let go of it: other threads serve the kernel meanwhile.
 * Returns the device's number, or 0: not known.
 */
uint64_t writeback_begin(struct writeback *w, const char *mount_point, uint64_t device,
			 unsigned interval_s);

/*
 * writeback_flush(w, node, generation): have the kernel send us what it holds dirty of one file,
 * and wait until it has.  Not from a thread that serves the kernel.
 * Returns 0; -ENOSYS if the file can't be reached (the mount is not root's, or is found nowhere), or
 * writeback_cancel() was called, by any thread: then the kernel may hold anything; or another -errno,
 * with which writing failed: then the kernel holds nothing any more.
 */
MUST_CHECK int writeback_flush(struct writeback *w, uint64_t node, uint64_t generation);
void writeback_cancel(struct writeback *w);

/*
 * writeback_umount(w): unmount it, wherever it is seen, if nobody uses it; the kernel writes back
 * first.
 * writeback_leave(w): have the kernel write back all, then detach it wherever it is seen, whoever uses
 * it; a mount that another one lies on is left.  ${*out_left}: how many are left.
 * Neither from a thread that serves the kernel; not after writeback_cancel().  If the helper has ended,
 * another one is started.  Each returns 0; -ENOENT: there is no such mount any more; -errno: what
 * the kernel held may not have been written back.
 */
MUST_CHECK int writeback_umount(struct writeback *w);
MUST_CHECK int writeback_leave(struct writeback *w, unsigned *out_left);

/*
 * writeback_end(w): end it and wait until it has ended, but not for long where it waits for a mount
 * that is served no more.  It also ends by itself when this process does.
 */
void writeback_end(struct writeback *w);

#endif /* !WRITEBACK_H_ */
