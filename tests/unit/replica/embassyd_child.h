#ifndef EMBASSYD_CHILD_H_
#define EMBASSYD_CHILD_H_

/* The block server's program, started by a test as a child. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct embassyd {
	pid_t pid;
	char address[300]; /* where it listens, as a client writes it */
};

/* The program's path ($EMBASSYD, else what the build knows), or NULL if there is none. */
const char *embassyd_path(void);

/*
 * Start it on ${store} and wait until it listens.  ${listen}: "127.0.0.1:0" or "unix:PATH";
 * ${tls_dir}: NULL for plain text. Aborts if it does not come up.
 */
void embassyd_start(struct embassyd *e, const char *store, const char *listen, const char *tls_dir);

/* Send a signal and wait until it has ended. */
void embassyd_end(struct embassyd *e, int signal_number);

/* CPU seconds and largest resident size that it has used so far. */
void embassyd_usage(const struct embassyd *e, double *out_cpu_s, double *out_rss_mb);

/*
 * A CA and two folders with certificates of it under ${dir}: server/ and home/.  False if
 * openssl(1) is missing.
 */
bool make_tls(const char *dir);

#endif /* !EMBASSYD_CHILD_H_ */
