#ifndef HANDOVER_H_
#define HANDOVER_H_

/*
 * Messages between a supervisor, its daemon, and the supervisor that replaces it: a few words with
 * descriptors, over a socket pair that keeps message boundaries.
 */

#include "compiler.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct options;

#define HANDOVER_FDS_MAX 6u

enum handover_kind {
	HANDOVER_READY = 1, /* daemon: it serves; the first time with device and lock */
	HANDOVER_ENDING,    /* daemon: unmounted, now closing */
	HANDOVER_UPGRADE,   /* daemon: an upgrade was requested */
	HANDOVER_FAILED,    /* to the daemon: the upgrade failed */
	HANDOVER_START,	    /* to a new program: memory, keys, device, lock, folder, the daemon's
			     * pidfd if one serves, and a handover_start */
	HANDOVER_HELLO,	    /* new program: it can continue with these */
	HANDOVER_GO,	    /* to a new program: the daemon is dead */
	HANDOVER_ENDED,	    /* daemon: everything is closed */
};

struct handover_start {
	uint16_t background;
	uint16_t serving; /* the sender is the serving daemon, whose supervisor has died */
	uint32_t live;
};

struct handover {
	enum handover_kind kind;
	struct handover_start start;
	int fds[HANDOVER_FDS_MAX]; /* -1: absent; the receiver owns them */
};

/*
 * handover_send(fd, kind, fds, n, start): send ${n} descriptors, -1 for absent ones; ${start} may
 * be NULL.  Returns 0 or -errno.
 */
MUST_CHECK int handover_send(int fd, enum handover_kind kind, const int *fds, unsigned n,
			     const struct handover_start *start);

/* handover_receive(fd, out): wait for a message.  Returns 0; -errno; -EPIPE at the stream's end. */
MUST_CHECK int handover_receive(int fd, struct handover *out);

/*
 * handover_wait(fd, ms, out): wait up to ${ms} (-1: without limit) for a message, and return its
 * kind.
 * Returns as handover_receive(), or -ETIMEDOUT.
 */
MUST_CHECK int handover_wait(int fd, int ms, enum handover_kind *out);

/*
 * handover_exec(program, name, o, out_pid, out_fd): execute the file ${program} under the name
 * ${name}, with the options of ${o}.  ${*out_fd} is a socket to the new process, which gets its own
 * end as --handover.  The new process starts with the signals of handover_signals() blocked, so
 * that none is lost before it waits for them.  Any thread.
 * Returns 0 or -errno.  If the file can't be executed, the socket's stream ends.
 */
MUST_CHECK int handover_exec(const char *program, const char *name, const struct options *o,
			     pid_t *out_pid, int *out_fd);

/* handover_signals(out): the signals that a supervisor waits for: SIGCHLD, and requests to end. */
void handover_signals(sigset_t *out);

#endif /* !HANDOVER_H_ */
