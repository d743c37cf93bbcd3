#ifndef SUPERVISOR_H_
#define SUPERVISOR_H_

/*
 * The process that keeps a mount alive.  It forks the daemon that serves the mount.  When that
 * daemon is killed or crashes, it forks another, which takes over.  It ends when the daemon ends
 * normally.  It holds what a successor needs: the descriptor of the session with the kernel, the
 * volume's lock, the memory of shared_state.h.  It is small: no thread, no library's state, no secret but
 * the keys in the shared state.
 *
 *	starting --READY--> serving --killed--> starting again (taking over) ...
 *	starting --ended--> ends with its exit code
 *	serving --ENDING, ended--> ends with its exit code; if it is not a child: with 0, and
 *				   only if it said ENDED
 *
 * An upgrade: the supervisor executes the program's file anew, as a child.  The new program says
 * HELLO when it understands what it was given.  Then the daemon is killed, and the new program is
 * told GO: it is the supervisor now, and forks a daemon that takes over.  If it ends before that
 * daemon serves, the old supervisor continues with a daemon of its own code.
 *
 * A daemon whose supervisor is killed keeps serving, and executes its own program anew as its next
 * supervisor.  If the daemon dies before that is done, the mount dies with it.
 *
 * A signal that asks for the mount's end is noted in the shared state until a daemon acts on it.
 */

#include "compiler.h"
#include "shared_state.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

struct daemon;
struct options;

/* So many daemons may die within as many seconds before the supervisor gives the mount up. */
#define SUPERVISOR_DEATHS_MAX 10u
#define SUPERVISOR_DEATHS_S 10u
#define SUPERVISOR_HELLO_MS 20000

/* The daemon's side of its supervisor. */
struct successor {
	struct shared_map map; /* map.state NULL: unsupervised */
	bool take_over;
	int device_fd, lock_fd; /* take_over: the dead daemon's; lock_fd -1: a view */
	int folder_fd;		/* the volume's folder, wherever it was moved; -1: not a folder */
	int fd;			/* socket to the supervisor */
	atomic_bool supervised; /* a supervisor is alive */
};

/*
 * supervisor_start(o, argc, argv, d, out): fork.  The parent becomes the supervisor and never
 * returns.  The function returns in the child, which is the first daemon, and again in each later
 * daemon, forked when the one before has died.  ${argv} is main's: the supervisor writes its own
 * title over it.  The supervisor answers ${d} when the mount is usable.  Call it before any thread
 * is created.  Returns 0 in a daemon, or -errno: there is no supervisor.
 */
MUST_CHECK int supervisor_start(const struct options *o, int argc, char **argv, struct daemon *d,
				struct successor *out);

/*
 * For a daemon; each does nothing in an unsupervised one.
 * successor_watch(h, o): until successor_ready(), this process ends with its supervisor, so that there are
 * never two daemons; after that, it gets a new supervisor.  Starts a thread.  Returns 0 or -errno.
 * successor_ready(h, device_fd, lock_fd): the mount is usable; the supervisor keeps copies of both
 * (lock_fd -1: none).  Borrows them until the end of this process.
 * successor_ending(h): it is unmounted; the volume is yet to be closed.
 * successor_ended(h): the volume is closed; the end that follows is a normal one.
 * successor_upgrade(h): request an upgrade.  Returns only if it fails: -ENOTSUP without a supervisor,
 * -EBUSY while another is under way, else -ECANCELED, and shared state.failure says why.
 */
MUST_CHECK int successor_watch(struct successor *h, const struct options *o);
void successor_ready(struct successor *h, int device_fd, int lock_fd);
void successor_ending(struct successor *h);
void successor_ended(struct successor *h);
MUST_CHECK int successor_upgrade(struct successor *h);

#endif /* !SUPERVISOR_H_ */
