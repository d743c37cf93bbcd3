#ifndef SUPERVISOR_INTERNAL_H_
#define SUPERVISOR_INTERNAL_H_

/* Shared by supervisor.c and upgrade.c. */

#include "supervisor.h"

#include <signal.h>
#include <stdint.h>

struct supervisor {
	const struct options *o;
	struct daemon *d;
	struct shared_map map;
	int device_fd, lock_fd; /* -1: not yet */
	int folder_fd;		/* the volume's folder; -1: not a folder */
	int signals;
	sigset_t mask_before;
	char program[4096]; /* path of this program's file, as it was called */

	pid_t child;
	int child_fd; /* a pidfd, if the daemon is not our child; else -1 */
	int fd;	      /* socket to the child */
	bool ready, ending, ended;

	int parent_fd; /* socket to the supervisor replaced by this one; -1: none, or ended */
	uint64_t deaths_ns[SUPERVISOR_DEATHS_MAX];
	unsigned n_deaths; /* of daemons, in all */
	unsigned failures; /* consecutive daemons that died before READY */
};

/*
 * supervisor_signal_child(s, sig): send ${sig} to the child, if there is one.
 * supervisor_reap(s, out): has the child ended?  ${*out}: as of waitpid(2), or 0 if only its parent
 * is told.
 * supervisor_forget_child(s): there is no child any more.
 * supervisor_forward_signals(s): forward the signals that have arrived.
 */
void supervisor_signal_child(const struct supervisor *s, int sig);
MUST_CHECK bool supervisor_reap(struct supervisor *s, int *out_status);
void supervisor_forget_child(struct supervisor *s);
void supervisor_forward_signals(struct supervisor *s);

/*
 * supervisor_upgrade(s): hand over to the program's file as it is now.  Returns only if that
 * failed; the daemon may have been killed by then.
 */
void supervisor_upgrade(struct supervisor *s);

#endif /* !SUPERVISOR_INTERNAL_H_ */
