/*
 * A supervisor hands over to another program, which becomes the supervisor of a daemon that takes
 * over.  Until that daemon serves, the old supervisor can continue by itself.
 */

#include "supervisor_internal.h"

#include "handover.h"
#include "msg.h"
#include "options.h"
#include "writeback.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* With -f the mount's user waits for this process, so it stays until the new program ends. */
static void stand_by(struct supervisor *s)
{
	struct pollfd pfd = {.fd = s->signals, .events = POLLIN};
	int status;

	if (s->device_fd >= 0)
		close(s->device_fd);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	if (s->folder_fd >= 0)
		close(s->folder_fd);
	shared_drop_keys(&s->map);
	s->ready = true;
	for (;;) {
		poll(&pfd, 1, -1);
		supervisor_forward_signals(s);
		if (supervisor_reap(s, &status))
			_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
	}
}

/* A write-back helper is no danger: it has no descriptor of the mount and none of our memory. */
static bool is_writeback_helper(pid_t pid)
{
	char path[64], name[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(name, sizeof(name), f))
		name[0] = '\0';
	fclose(f);
	return strcmp(name, WRITEBACK_NAME "\n") == 0;
}

/* Kill our children.  Returns one whose end must be waited for, or 0. */
static pid_t kill_children(void)
{
	char path[64];
	pid_t found = 0;
	int pid;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	f = fopen(path, "re");
	while (f && fscanf(f, "%d", &pid) == 1) {
		kill(pid, SIGKILL);
		if (!is_writeback_helper(pid))
			found = pid;
	}
	if (f)
		fclose(f);
	return found;
}

/*
 * Kill everything that a failed new program has left behind, and wait until it is dead: otherwise
 * two daemons might run.  Write-back helpers are not waited for: a helper may wait for the mount,
 * where SIGKILL does not reach it, until the next daemon serves.
 */
static void end_all(void)
{
	pid_t pid;

	while ((pid = kill_children()) > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
}

static void fail_upgrade(struct supervisor *s, const char *why)
{
	snprintf(s->map.state->failure, sizeof(s->map.state->failure), "%s", why);
	msg_error("%s: no upgrade: %s; version " EMBASSYFS_VERSION " goes on", s->o->mount_point,
		  why);
}

static void end_process(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static void end_daemon(struct supervisor *s)
{
	struct pollfd pfd = {.fd = s->child_fd, .events = POLLIN};

	if (s->child_fd < 0) {
		end_process(s->child);
	} else {
		supervisor_signal_child(s, SIGKILL);
		while (poll(&pfd, 1, -1) < 0)
			;
	}
	supervisor_forget_child(s);
}

/* The new program has everything: from here on it is the supervisor. */
static void let_go(struct supervisor *s, pid_t pid, int fd)
{
	close(fd);
	s->child = pid;
	supervisor_forward_signals(s);
	/* Requests to end that came after the daemon was killed; a successor must act on them. */
	if (s->map.state->stopping)
		kill(pid, SIGTERM);
	if (!s->o->foreground)
		_exit(0);
	stand_by(s);
}

/*
 * Execute the program's file.  Returns 0 once it says that it can continue with what it was given.
 */
static int start_new(struct supervisor *s, pid_t *out_pid, int *out_fd)
{
	struct handover_start start = {.background = !s->o->foreground,
				       .live = s->map.state->live != 0};
	const int fds[] = {s->map.fd, s->map.keys_fd, s->device_fd, s->lock_fd, s->folder_fd};
	enum handover_kind kind;

	if (handover_exec(s->program, s->program, s->o, out_pid, out_fd) < 0) {
		fail_upgrade(s, "a process can't be made");
		return -ECANCELED;
	}
	if (handover_send(*out_fd, HANDOVER_START, fds, 5, &start) == 0 &&
	    handover_wait(*out_fd, SUPERVISOR_HELLO_MS, &kind) == 0 && kind == HANDOVER_HELLO) {
		supervisor_forward_signals(s);
		if (!s->map.state->stopping)
			return 0;
		fail_upgrade(s, "it was asked to unmount meanwhile");
	} else {
		fail_upgrade(s, "the new program does not start or does not know this one's "
				"memory; unmount and mount instead");
	}
	end_process(*out_pid);
	close(*out_fd);
	return -ECANCELED;
}

/* The daemon may have been killed by the time this fails. */
void supervisor_upgrade(struct supervisor *s)
{
	enum handover_kind kind;
	pid_t pid;
	int fd;

	if (start_new(s, &pid, &fd) < 0)
		return;
	end_daemon(s);
	s->map.state->failure[0] = '\0';
	s->map.state->upgrades++;
	if (handover_send(fd, HANDOVER_GO, NULL, 0, NULL) == 0 &&
	    handover_wait(fd, -1, &kind) == 0 && kind == HANDOVER_READY)
		let_go(s, pid, fd);
	close(fd);
	kill(pid, SIGKILL);
	end_all();
	s->map.state->upgrades--;
	fail_upgrade(s, "the new program did not come to serve the mount");
}
