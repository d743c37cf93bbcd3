/*
 * The process that keeps a mount alive.
 *
 * One loop waits for three events: a message from the child, a signal, the child's end.  The child
 * is a daemon, or, during and after an upgrade with -f, the supervisor of another program.  A
 * daemon whose supervisor was killed is not a child of its next supervisor, which learns of its end
 * by a pidfd.
 */

#include "supervisor_internal.h"

#include "clock.h"
#include "daemon.h"
#include "err.h"
#include "handover.h"
#include "msg.h"
#include "options.h"
#include "title.h"
#include "units.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define RETRY_MS_MAX 1600u

static int catch_signals(struct supervisor *s)
{
	sigset_t set;

	handover_signals(&set);
	if (sigprocmask(SIG_BLOCK, &set, &s->mask_before) < 0)
		return -errno;
	/*
	 * The daemon needs them, whoever executed this program with these signals blocked: the old
	 * supervisor, or a program of the user's.
	 */
	for (int sig = 1; sig < NSIG; sig++)
		if (sigismember(&set, sig) == 1)
			sigdelset(&s->mask_before, sig);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signals < 0 ? -errno : 0;
}

static void be_daemon(struct supervisor *s, int fd, struct successor *out)
{
	*out = (struct successor){
		.map = s->map,
		.take_over = s->device_fd >= 0,
		.device_fd = s->device_fd,
		.lock_fd = s->lock_fd,
		.folder_fd = s->folder_fd,
		.fd = fd,
		.supervised = true,
	};
	if (out->take_over) {
		s->map.state->takeovers++;
		s->map.state->takeover_ns = clock_wall_ns();
	}
	shared_occupy(&out->map);
	daemon_drop(s->d);
	close(s->signals);
	if (s->parent_fd >= 0)
		close(s->parent_fd);
	sigprocmask(SIG_SETMASK, &s->mask_before, NULL);
	title_restore();
	prctl(PR_SET_NAME, "embassyfs");
}

/* Fork a daemon.  Returns 1 in the daemon. */
static int start_daemon(struct supervisor *s, struct successor *out)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	s->child = fork();
	if (s->child < 0) {
		int rc = -errno;

		close(fds[0]);
		close(fds[1]);
		return rc;
	}
	if (s->child == 0) {
		close(fds[0]);
		be_daemon(s, fds[1], out);
		return 1;
	}
	close(fds[1]);
	s->fd = fds[0];
	s->child_fd = -1;
	s->ready = s->ending = s->ended = false;
	return 0;
}

static void end(struct supervisor *s, int code)
{
	daemon_failed(s->d, code);
	shared_wipe(&s->map);
	_exit(code);
}

static void drop_fd(struct supervisor *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

void supervisor_forget_child(struct supervisor *s)
{
	drop_fd(s);
	if (s->child_fd >= 0)
		close(s->child_fd);
	s->child_fd = -1;
	s->child = 0;
	s->ready = false;
}

static void keep_fd(int *to, int fd)
{
	if (fd < 0)
		return;
	if (*to >= 0)
		close(*to);
	*to = fd;
}

void supervisor_signal_child(const struct supervisor *s, int sig)
{
	if (s->child_fd >= 0)
		syscall(SYS_pidfd_send_signal, s->child_fd, sig, NULL, 0);
	else if (s->child > 0)
		kill(s->child, sig);
}

static void take_ready(struct supervisor *s, const struct handover *m)
{
	keep_fd(&s->device_fd, m->fds[0]);
	keep_fd(&s->lock_fd, m->fds[1]);
	s->ready = true;
	s->failures = 0;
	if (s->parent_fd >= 0) {
		(void)!handover_send(s->parent_fd, HANDOVER_READY, NULL, 0, NULL);
		close(s->parent_fd);
		s->parent_fd = -1;
	}
	daemon_ready(s->d);
	/* A request to end that came while the daemon started, too late for it to see. */
	if (s->map.state->stopping)
		supervisor_signal_child(s, SIGTERM);
}

/* Has the child ended?  If so, reap it. */
bool supervisor_reap(struct supervisor *s, int *out_status)
{
	struct pollfd pfd = {.fd = s->child_fd, .events = POLLIN};
	pid_t pid;

	/* Reap adopted processes too: daemons of a new program that ended before they served. */
	while ((pid = waitpid(-1, out_status, WNOHANG)) > 0)
		if (pid == s->child && s->child_fd < 0)
			return true;
	if (s->child_fd < 0 || poll(&pfd, 1, 0) <= 0)
		return false;
	/* The kernel tells the exit status only to the parent. */
	*out_status = 0;
	return true;
}

static bool asks_for_end(int sig)
{
	return sig == SIGTERM || sig == SIGINT || sig == SIGHUP;
}

/*
 * A daemon that takes over but does not serve yet would die of the signal, and another would
 * replace it.  So it is not sent the signal, and finds the request in the shared state once it
 * serves.  Before there is a mount the daemon is sent the signal, because its death is the right
 * answer.
 */
void supervisor_forward_signals(struct supervisor *s)
{
	struct signalfd_siginfo si;

	while (read(s->signals, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (!asks_for_end((int)si.ssi_signo))
			continue;
		if (s->device_fd >= 0)
			s->map.state->stopping = 1;
		if (s->ready || s->device_fd < 0)
			supervisor_signal_child(s, (int)si.ssi_signo);
	}
}

static void sleep_ms(unsigned ms)
{
	poll(NULL, 0, (int)ms);
}

/* After a daemon's death: may another be started?  Logs the reason if not. */
static bool may_go_on(struct supervisor *s)
{
	uint64_t now = clock_mono_ns();
	uint64_t *oldest = &s->deaths_ns[s->n_deaths % SUPERVISOR_DEATHS_MAX];
	bool storm = s->n_deaths >= SUPERVISOR_DEATHS_MAX &&
		     now - *oldest < SUPERVISOR_DEATHS_S * NS_PER_S;

	*oldest = now;
	s->n_deaths++;
	if (!s->ready)
		s->failures++;
	if (!storm && s->failures < SUPERVISOR_DEATHS_MAX)
		return true;
	msg_event(MSG_ERROR, "daemon-given-up",
		  "%s: %s; giving up: unmount it (fusermount3 -u) and mount again; what was made "
		  "durable is there",
		  s->o->mount_point,
		  storm ? "its daemon ended more than 10 times within 10 s"
			: "no daemon can take over");
	return false;
}

static void say_death(const struct supervisor *s, int status)
{
	if (s->child_fd >= 0)
		msg_event(MSG_WARN, "daemon-died", "%s: its daemon has ended; another takes over",
			  s->o->mount_point);
	else if (WIFSIGNALED(status))
		msg_event(MSG_WARN, "daemon-died",
			  "%s: its daemon was ended by signal %d (%s); another takes over",
			  s->o->mount_point, WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		msg_event(MSG_WARN, "daemon-died",
			  "%s: its daemon ended with code %d; another takes over",
			  s->o->mount_point, WEXITSTATUS(status));
}

/* Did it shut down normally?  For a daemon that is not a child, its own message must say so. */
static bool ended_by_itself(const struct supervisor *s, int status)
{
	return s->ending && (s->child_fd >= 0 ? s->ended : WIFEXITED(status));
}

/* The daemon has ended.  Returns if another is to be started. */
static void bury(struct supervisor *s, int status)
{
	drop_fd(s);
	s->child = 0;
	if (s->device_fd < 0 || ended_by_itself(s, status))
		end(s, WIFEXITED(status) ? WEXITSTATUS(status) : 1);
	/* A signal that came before the daemon could catch it asked for the mount's end. */
	if (WIFSIGNALED(status) && asks_for_end(WTERMSIG(status)))
		s->map.state->stopping = 1;
	if (!may_go_on(s))
		end(s, 1);
	say_death(s, status);
	supervisor_forget_child(s);
	if (s->failures > 0) {
		unsigned ms = 25u << (s->failures < 6 ? s->failures : 6);

		sleep_ms(ms < RETRY_MS_MAX ? ms : RETRY_MS_MAX);
	}
}

static void take_message(struct supervisor *s)
{
	struct handover m;

	if (handover_receive(s->fd, &m) < 0) {
		/* The daemon has ended or is about to; SIGCHLD or the pidfd says when. */
		drop_fd(s);
		return;
	}
	switch (m.kind) {
	case HANDOVER_READY:
		take_ready(s, &m);
		break;
	case HANDOVER_ENDING:
		s->ending = true;
		break;
	case HANDOVER_ENDED:
		s->ended = true;
		break;
	case HANDOVER_UPGRADE:
		supervisor_upgrade(s);
		if (s->child > 0)
			(void)!handover_send(s->fd, HANDOVER_FAILED, NULL, 0, NULL);
		break;
	default:
		break;
	}
}

/* Serve the child until it has ended. */
static void watch(struct supervisor *s)
{
	int status;

	while (s->child > 0) {
		struct pollfd pfd[3] = {{.fd = s->fd, .events = POLLIN},
					{.fd = s->signals, .events = POLLIN},
					{.fd = s->child_fd, .events = POLLIN}};

		poll(pfd, 3, -1);
		if (pfd[0].revents)
			take_message(s);
		supervisor_forward_signals(s);
		if (s->child > 0 && supervisor_reap(s, &status)) {
			/* Read the messages that it sent before it ended. */
			while (s->child > 0 && s->fd >= 0)
				take_message(s);
			if (s->child > 0)
				bury(s, status);
		}
	}
}

/* In a new program: receive what the running supervisor hands over. */
static int receive_start(struct supervisor *s)
{
	struct handover m;
	enum handover_kind kind;
	int rc;

	s->parent_fd = s->o->handover_fd;
	rc = handover_receive(s->parent_fd, &m);
	if (rc < 0 || m.kind != HANDOVER_START || m.fds[2] < 0)
		return rc < 0 ? rc : -EPROTO;
	s->device_fd = m.fds[2];
	s->lock_fd = m.fds[3];
	s->folder_fd = m.fds[4];
	if (m.start.serving && m.fds[5] < 0)
		return -EPROTO;
	rc = shared_attach(m.fds[0], m.fds[1], m.start.live, &s->map);
	if (rc < 0)
		return rc;
	if (m.start.background)
		daemon_leave();
	rc = handover_send(s->parent_fd, HANDOVER_HELLO, NULL, 0, NULL);
	if (m.start.serving) {
		s->child = getppid();
		s->child_fd = m.fds[5];
		s->fd = s->parent_fd;
		s->parent_fd = -1;
		s->ready = true;
		return rc;
	}
	if (rc == 0)
		rc = handover_wait(s->parent_fd, -1, &kind);
	return rc < 0 ? rc : kind == HANDOVER_GO ? 0 : -EPROTO;
}

static int prepare(struct supervisor *s)
{
	int rc = title_program(s->program, sizeof(s->program));

	if (rc == 0)
		rc = catch_signals(s);
	if (rc < 0)
		return rc;
	/* Adopt what a failed new program leaves behind, so that its end can be waited for. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (s->o->handover_fd >= 0)
		return receive_start(s);
	/*
	 * A successor opens the volume by this descriptor, because the path may lead elsewhere
	 * later.
	 */
	s->folder_fd = open(s->o->target, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return shared_make(!s->o->read_only && !s->o->at, &s->map);
}

int supervisor_start(const struct options *o, int argc, char **argv, struct daemon *d,
		     struct successor *out)
{
	static struct supervisor s;
	int rc;

	s = (struct supervisor){.o = o,
				.d = d,
				.map = {.fd = -1, .keys_fd = -1},
				.device_fd = -1,
				.lock_fd = -1,
				.folder_fd = -1,
				.signals = -1,
				.child_fd = -1,
				.fd = -1,
				.parent_fd = -1};
	rc = title_save(argc, argv);
	if (rc == 0)
		rc = prepare(&s);
	if (rc < 0)
		return rc;
	for (;;) {
		rc = s.child > 0 ? 0 : start_daemon(&s, out);
		if (rc == 1)
			return 0;
		title_set("embassyfs: supervisor");
		prctl(PR_SET_NAME, "embassyfs-super");
		if (rc < 0) {
			msg_error("%s: no daemon can be started: %s", o->mount_point,
				  strerror(-rc));
			if (s.device_fd < 0 || ++s.failures >= SUPERVISOR_DEATHS_MAX)
				end(&s, 1);
			sleep_ms(RETRY_MS_MAX);
			continue;
		}
		watch(&s);
	}
}
