/*
 * The block server's program as a child.  Key idea: the line "listening on" tells that it is
 * ready, and where.
 */

#include "embassyd_child.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

const char *embassyd_path(void)
{
	const char *path = getenv("EMBASSYD");

#ifdef EMBASSYD_PATH
	if (!path)
		path = EMBASSYD_PATH;
#endif
	return path && access(path, X_OK) == 0 ? path : NULL;
}

/* In the child: only calls that are safe after a fork of a program with threads. */
static void become_embassyd(const char *const argv[], int out_fd)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* A test that fails or runs out of time leaves no server behind. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && dup2(out_fd, 1) == 1)
		execv(argv[0], (char *const *)argv);
	_exit(127);
}

void embassyd_start(struct embassyd *e, const char *store, const char *listen, const char *tls_dir)
{
	const char *security = tls_dir ? "--tls" : "--insecure";
	const char *const argv[] = {embassyd_path(), "--store", store,	 "--listen",
				    listen,	     security,	tls_dir, NULL};
	char line[400];
	char *where;
	int fds[2];
	FILE *f;

	if (pipe2(fds, O_CLOEXEC) < 0)
		abort();
	e->pid = fork();
	if (e->pid < 0)
		abort();
	if (e->pid == 0)
		become_embassyd(argv, fds[1]);
	close(fds[1]);
	f = fdopen(fds[0], "r");
	if (!f || !fgets(line, sizeof(line), f) || !(where = strstr(line, "listening on "))) {
		fprintf(stderr, "embassyd did not start\n");
		abort();
	}
	where += strlen("listening on ");
	where[strcspn(where, "\n")] = '\0';
	snprintf(e->address, sizeof(e->address), "%.290s", where);
	fclose(f);
}

void embassyd_end(struct embassyd *e, int signal_number)
{
	kill(e->pid, signal_number);
	if (waitpid(e->pid, NULL, 0) != e->pid)
		abort();
	e->pid = 0;
}

void embassyd_usage(const struct embassyd *e, double *out_cpu_s, double *out_rss_mb)
{
	unsigned long user = 0, sys = 0;
	char path[64], line[1024];
	char *p;
	FILE *f;

	*out_cpu_s = *out_rss_mb = 0;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)e->pid);
	f = fopen(path, "r");
	if (f && fgets(line, sizeof(line), f) && (p = strrchr(line, ')')) &&
	    sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) == 2)
		*out_cpu_s = (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
	if (f)
		fclose(f);
	snprintf(path, sizeof(path), "/proc/%d/status", (int)e->pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmHWM: %lf", out_rss_mb) == 1)
			*out_rss_mb /= 1024;
	if (f)
		fclose(f);
}

bool make_tls(const char *dir)
{
	static const char script[] =
		"cd '%s' && mkdir -p server home && "
		"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
		"-keyout ca.key -out ca.pem -subj /CN=ca && for who in server home; do "
		"openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
		"-keyout $who/key.pem -out $who/csr -subj /CN=$who && "
		"printf 'subjectAltName=IP:127.0.0.1,DNS:localhost' >ext && "
		"openssl x509 -req -in $who/csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 "
		"-extfile ext -out $who/cert.pem && cp ca.pem $who/ || exit 1; done";
	char command[2000];

	snprintf(command, sizeof(command), "(");
	snprintf(command + 1, sizeof(command) - 1, script, dir);
	strncat(command, ") >/dev/null 2>&1", sizeof(command) - strlen(command) - 1);
	return system(command) == 0;
}
