#ifndef SUPERVISOR_H_
#define SUPERVISOR_H_

/*
 * The process that keeps a mount alive.  It forks the daemon that serves it; when that is killed
 * or crashes it forks another, which takes over; it ends when the daemon ends in the normal way.
 * It holds what a successor needs: the descriptor of the session with the kernel, the volume's
 * lock, the memory of estate.h.  It is small: no thread, no library's state, no secret but the
 * keys in the estate.
 *
 *	starting --READY--> serving --killed--> starting again (taking over) ...
 *	starting --ended--> ends with its exit code
 *	serving --ENDING, ended--> ends with its exit code; of one that is no child: with 0, and only
 *				   if it said ENDED
 *
 * An upgrade: the supervisor executes the program's file anew, as a child; the new program says
 * HELLO when it understands what it is given; then the daemon is killed, and the new program, told
 * GO, is the supervisor, and forks a daemon that takes over.  If it ends before that daemon
 * serves, the old supervisor goes on with a daemon of its own code.
 *
 * A daemon whose supervisor is killed goes on, and executes its own program anew to be the supervisor
 * of the daemon that there is; in between a death of the daemon is the mount's.
 *
 * A signal that asks for the end is kept in the estate until there is a daemon to do it.
 */

#include "compiler.h"
#include "estate.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

struct daemon;
struct options;

/* Daemons that may end one after the other before the mount is let go. */
#define SUPERVISOR_DEATHS_MAX 10u
#define SUPERVISOR_DEATHS_S 10u
#define SUPERVISOR_HELLO_MS 20000

/* What a daemon has of its supervisor. */
struct heir {
	struct estate_map map; /* map.estate NULL: there is no supervisor */
	bool take_over;
	int device_fd, lock_fd; /* take_over: of the dead daemon; lock_fd -1: a view */
	int folder_fd;		/* the volume's, wherever it is by now; -1: it is no folder */
	int fd;			/* to the supervisor */
	atomic_bool supervised; /* there is one */
};

/*
 * supervisor_start(o, argc, argv, d, out): go on in a child process, now and, as the next daemon,
 * whenever one has died; the parent is the supervisor and never returns.  ${argv} is main's: in the
 * supervisor its memory says another title.  ${d} is answered when the mount can be used.  Before
 * any thread is made.  Returns 0 in a daemon, or -errno: there is no supervisor.
 */
MUST_CHECK int supervisor_start(const struct options *o, int argc, char **argv, struct daemon *d,
				struct heir *out);

/*
 * For a daemon; each does nothing if there never was a supervisor.
 * heir_watch(h, o): from now on this process ends with its supervisor until heir_ready(), so that
 * there are never two, and gets a new one after that.  Starts a thread.  Returns 0 or -errno.
 * heir_ready(h, device_fd, lock_fd): the mount can be used; the supervisor keeps copies of both
 * (lock_fd -1: none).  Borrows them until the end of this process.
 * heir_ending(h): it is no mount any more; what is left is to close the volume.
 * heir_ended(h): that is done, and its end a normal one.
 * heir_upgrade(h): ask for an upgrade.  Returns only if there is none: -ENOTSUP without a
 * supervisor, -EBUSY while one is under way, else -ECANCELED, and estate.failure says why.
 */
MUST_CHECK int heir_watch(struct heir *h, const struct options *o);
void heir_ready(struct heir *h, int device_fd, int lock_fd);
void heir_ending(struct heir *h);
void heir_ended(struct heir *h);
MUST_CHECK int heir_upgrade(struct heir *h);

#endif /* !SUPERVISOR_H_ */
