/* embassyd as a child process; posix_spawn, since a plain fork after grpc_init() is not safe. */

#include "child.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static bool spawn(char *const argv[], struct child *c)
{
	posix_spawn_file_actions_t actions;
	int out[2], err[2], rc;

	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		return false;
	/* Nobody need read its log while it runs. */
	(void)fcntl(err[0], F_SETPIPE_SZ, 1 << 20);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
	rc = posix_spawnp(&c->pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(out[1]);
	close(err[1]);
	c->out = out[0];
	c->err = err[0];
	return rc == 0;
}

/* One line, without its newline; false at the end. */
static bool read_line(int fd, char *line, size_t cap)
{
	size_t len = 0;

	while (len + 1 < cap && read(fd, line + len, 1) == 1) {
		if (line[len] == '\n') {
			line[len] = '\0';
			return true;
		}
		len++;
	}
	return false;
}

bool child_start(struct child *c, const char *store, const char *listen, const char *tls_dir)
{
	static const char ready[] = "embassyd: listening on ";
	char *argv[8] = {EMBASSYD,	  "--store",
			 (char *)store,	  "--listen",
			 (char *)listen,  tls_dir ? "--tls" : "--insecure",
			 (char *)tls_dir, NULL};
	char line[300];

	memset(c, 0, sizeof(*c));
	if (!spawn(argv, c) || !read_line(c->out, line, sizeof(line)) ||
	    strncmp(line, ready, strlen(ready)) != 0)
		return false;
	snprintf(c->address, sizeof(c->address), "%s", line + strlen(ready));
	return true;
}

int child_end(struct child *c, int signal)
{
	int status;

	if (signal)
		kill(c->pid, signal);
	if (waitpid(c->pid, &status, 0) != c->pid)
		return -1000;
	close(c->out);
	close(c->err);
	c->pid = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int child_run(char *const argv[], char *out, size_t len)
{
	struct child c;
	size_t have = 0;
	ssize_t n;

	if (!spawn(argv, &c))
		return -1000;
	while (have + 1 < len && (n = read(c.err, out + have, len - 1 - have)) > 0)
		have += (size_t)n;
	out[have] = '\0';
	return child_end(&c, 0);
}
