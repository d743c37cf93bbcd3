#ifndef HANDOVER_H_
#define HANDOVER_H_

/*
 * Messages between a supervisor, its daemon, and the supervisor that takes its place: a few words
 * over a socket pair that keeps their borders, with descriptors.
 */

#include "compiler.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct options;

#define HANDOVER_FDS_MAX 6u

enum handover_kind {
	HANDOVER_READY = 1, /* daemon: it serves; first time: device, lock */
	HANDOVER_ENDING,    /* daemon: unmounted, closing */
	HANDOVER_UPGRADE,   /* daemon: somebody asks for it */
	HANDOVER_FAILED,    /* to the daemon: there is no upgrade */
	HANDOVER_START,	    /* to a new program: memory, keys, device, lock, folder and, if a daemon
			     * serves, that process; with a start */
	HANDOVER_HELLO,	    /* new program: it can go on with these */
	HANDOVER_GO,	    /* to a new program: the daemon is dead */
	HANDOVER_ENDED,	    /* daemon: all is closed */
};

struct handover_start {
	uint16_t background;
	uint16_t serving; /* it is the daemon that says this: its supervisor has gone */
	uint32_t live;
};

struct handover {
	enum handover_kind kind;
	struct handover_start start;
	int fds[HANDOVER_FDS_MAX]; /* -1: not given; the receiver's */
};

/*
 * handover_send(fd, kind, fds, n, start): ${n} descriptors, of which some may be -1; ${start} NULL:
 * none.  Returns 0 or -errno.
 */
MUST_CHECK int handover_send(int fd, enum handover_kind kind, const int *fds, unsigned n,
			     const struct handover_start *start);

/* handover_receive(fd, out): wait for a message.  Returns 0; -errno; -EPIPE: there is no more. */
MUST_CHECK int handover_receive(int fd, struct handover *out);

/*
 * handover_wait(fd, ms, out): the next message's kind, within ${ms} (-1: for ever).  Returns as
 * handover_receive(), or -ETIMEDOUT.
 */
MUST_CHECK int handover_wait(int fd, int ms, enum handover_kind *out);

/*
 * handover_exec(program, name, o, out_pid, out_fd): execute the file ${program}, which is to be called
 * ${name}, with the options of ${o}; ${*out_fd} is to the new process, which has its end as
 * --handover.  It begins with the signals of handover_signals() blocked, so that none is lost before
 * it looks at them.  Any thread.
 * Returns 0 or -errno; that the file can't be executed is seen at the socket's end.
 */
MUST_CHECK int handover_exec(const char *program, const char *name, const struct options *o,
			     pid_t *out_pid, int *out_fd);

/* handover_signals(out): what a supervisor waits for: SIGCHLD, and those that ask for the end. */
void handover_signals(sigset_t *out);

#endif /* !HANDOVER_H_ */
