#ifndef CHILD_H_
#define CHILD_H_

/* embassyd as a child process. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct child {
	pid_t pid;
	int out, err;	   /* read ends of its standard output and error */
	char address[300]; /* from the line "listening on" */
};

/*
 * child_start(c, store, listen, tls_dir): start it (plain if ${tls_dir} is NULL); true once it
 * listens, false once it has ended.
 */
bool child_start(struct child *c, const char *store, const char *listen, const char *tls_dir);

/*
 * child_end(c, signal): send it (0: none) and wait; its exit code, or minus the signal that ended
 * it.
 */
int child_end(struct child *c, int signal);

/*
 * child_run(argv, out, len): run a program to its end; its exit code, and what it wrote to standard
 * error.
 */
int child_run(char *const argv[], char *out, size_t len);

#endif /* !CHILD_H_ */
