#ifndef SUPERVISOR_INTERNAL_H_
#define SUPERVISOR_INTERNAL_H_

/* What supervisor.c and upgrade.c share. */

#include "supervisor.h"

#include <signal.h>
#include <stdint.h>

struct supervisor {
	const struct options *o;
	struct daemon *d;
	struct estate_map map;
	int device_fd, lock_fd; /* -1: not yet */
	int folder_fd;		/* the volume's; -1: it is no folder */
	int signals;
	sigset_t mask_before;
	char program[4096]; /* the file of this program, as it was called */

	pid_t child;
	int child_fd; /* a pidfd, if it is not our child; else -1 */
	int fd;	      /* to the child */
	bool ready, ending, ended;

	int parent_fd; /* to the supervisor whose place this one takes; -1: none, or it has ended */
	uint64_t deaths_ns[SUPERVISOR_DEATHS_MAX];
	unsigned n_deaths; /* ever */
	unsigned failures; /* daemons in a row that did not come as far as READY */
};

/*
 * supervisor_signal_child(s, sig): to the child, if there is one.
 * supervisor_reap(s, out): whether the child has ended; ${*out}: as of waitpid(2), or 0 if only its
 * parent is told.
 * supervisor_forget_child(s): there is none any more.
 * supervisor_forward_signals(s): those that have come.
 */
void supervisor_signal_child(const struct supervisor *s, int sig);
MUST_CHECK bool supervisor_reap(struct supervisor *s, int *out_status);
void supervisor_forget_child(struct supervisor *s);
void supervisor_forward_signals(struct supervisor *s);

/*
 * supervisor_upgrade(s): hand over to the program's file as it is now.  Returns if that failed; the
 * daemon may have been killed then.
 */
void supervisor_upgrade(struct supervisor *s);

#endif /* !SUPERVISOR_INTERNAL_H_ */
