#ifndef WRITEBACK_H_
#define WRITEBACK_H_

/*
 * A helper process that uses the mount on behalf of the daemon.  It makes the kernel write back
 * what programs wrote: all of it at intervals, so that its age is bounded, and one file's when
 * asked.  It unmounts when the daemon is to end.  It also raises the kernel's cautious limits for
 * FUSE (read-ahead, share of dirty pages).
 *
 * It must be a separate process.  A process that uses a mount may wait for the mount's daemon where
 * no signal reaches it, not even SIGKILL.  If a thread of the daemon waited so, a killed daemon
 * could not end, and no successor could take over.  So the helper has none of the daemon's
 * descriptors, above all not /dev/fuse.
 */

#include "compiler.h"
#include "locks.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define WRITEBACK_NAME "embassyfs-sync" /* the process' name */

struct writeback {
	pid_t pid;
	int fd;
	pthread_mutex_t mu;    /* held from a request to its answer */
	pthread_mutex_t fd_mu; /* covers replacing or closing fd; taken after mu */
	const char *mount_point;
	unsigned interval_s;
	uint64_t device; /* the mount's; 0: unknown.  Guarded by mu, like what follows. */
	bool begun;	 /* it has answered the first message */
	atomic_bool cancelled;
};

/* writeback_fork(out): start it, idle.  Before any thread is created.  Returns 0 or -errno. */
MUST_CHECK int writeback_fork(struct writeback *out);

/*
 * writeback_begin(w, mount_point, device, interval_s): the mount is served; let the helper begin.
 * ${device}: the mount's number, as an earlier call returned it; 0: that of the mount now at the
 * path.  ${interval_s} 0: nothing is ever written back (a read-only mount).  Borrows the path, of
 * at most PATH_MAX bytes.  Waits until the helper has looked at the mount and closed it; other
 * threads serve the kernel meanwhile.
 * Returns the device's number, or 0 if unknown.
 */
uint64_t writeback_begin(struct writeback *w, const char *mount_point, uint64_t device,
			 unsigned interval_s);

/*
 * writeback_flush(w, node, generation): make the kernel send the daemon its dirty pages of one
 * file, and wait until it has.  Not from a thread that serves the kernel.
 * Returns 0; -ENOSYS if the file can't be reached (the mount is not root's, or is not found) or if
 * any thread called writeback_cancel(): the kernel may then still hold dirty pages; or another
 * -errno, with which writing failed: the kernel then holds none.
 */
MUST_CHECK int writeback_flush(struct writeback *w, uint64_t node, uint64_t generation);
void writeback_cancel(struct writeback *w);

/*
 * writeback_umount(w): unmount it, wherever it is seen, if no process uses it; the kernel writes
 * back first.
 * writeback_leave(w): make the kernel write back everything, then detach it wherever it is seen,
 * even while processes use it.  A mount that another one covers is left; ${*out_left}: how many are
 * left.  Call neither from a thread that serves the kernel, nor after writeback_cancel().  If the
 * helper has ended, another is started.  Each returns 0; -ENOENT if the mount is gone; -errno: the
 * kernel may not have written everything back.
 */
MUST_CHECK int writeback_umount(struct writeback *w);
MUST_CHECK int writeback_leave(struct writeback *w, unsigned *out_left);

/*
 * writeback_end(w): end it and wait for its end, but not for long if it waits for a mount that is
 * no longer served.  It also ends by itself when this process does.
 */
void writeback_end(struct writeback *w);

#endif /* !WRITEBACK_H_ */
