/*
 * The process that keeps a mount alive.
 *
 * One loop waits for three things: a message of the child, a signal, the child's end.  The child
 * is a daemon, or, during and after an upgrade with -f, the supervisor of another program.
 */

#include "supervisor.h"

#include "clock.h"
#include "daemon.h"
#include "err.h"
#include "handover.h"
#include "msg.h"
#include "options.h"
#include "title.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)
#define RETRY_MS_MAX 1600u

struct supervisor {
	const struct options *o;
	struct daemon *d;
	struct estate_map map;
	int device_fd, lock_fd; /* -1: not yet */
	int signals;
	sigset_t mask_before;
	char program[4096]; /* the file of this program, as it was called */

	pid_t child;
	int fd; /* to the child */
	bool ready, ending;

	int parent_fd; /* to the supervisor whose place this one takes; -1: none, or it has ended */
	uint64_t deaths_ns[SUPERVISOR_DEATHS_MAX];
	unsigned n_deaths; /* ever */
	unsigned failures; /* daemons in a row that did not come as far as READY */
};

static int catch_signals(struct supervisor *s)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, &s->mask_before) < 0)
		return -errno;
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signals < 0 ? -errno : 0;
}

static void be_daemon(struct supervisor *s, int fd, struct heir *out)
{
	*out = (struct heir){
		.map = s->map,
		.take_over = s->device_fd >= 0,
		.device_fd = s->device_fd,
		.lock_fd = s->lock_fd,
		.fd = fd,
	};
	if (out->take_over) {
		s->map.estate->takeovers++;
		s->map.estate->takeover_ns = clock_wall_ns();
	}
	daemon_drop(s->d);
	close(s->signals);
	if (s->parent_fd >= 0)
		close(s->parent_fd);
	sigprocmask(SIG_SETMASK, &s->mask_before, NULL);
	title_restore();
	prctl(PR_SET_NAME, "embassyfs");
}

/*
 * Fork a daemon.  1: this is it.  Until it serves it dies with its supervisor, so that there are
 * never two: whoever goes on then forks one itself.
 */
static int start_daemon(struct supervisor *s, struct heir *out)
{
	pid_t me = getpid();
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
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != me)
			_exit(1);
		close(fds[0]);
		be_daemon(s, fds[1], out);
		return 1;
	}
	close(fds[1]);
	s->fd = fds[0];
	s->ready = s->ending = false;
	return 0;
}

static void end(struct supervisor *s, int code)
{
	daemon_failed(s->d, code);
	estate_wipe(&s->map);
	_exit(code);
}

static void drop_fd(struct supervisor *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static void keep_fd(int *to, int fd)
{
	if (fd < 0)
		return;
	if (*to >= 0)
		close(*to);
	*to = fd;
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
}

/* The child's end, if it has ended.  Returns whether. */
static bool reap(struct supervisor *s, int *out_status)
{
	pid_t pid;

	/* Others may have become ours: daemons of a new program that ended before they served. */
	while ((pid = waitpid(-1, out_status, WNOHANG)) > 0)
		if (pid == s->child)
			return true;
	return false;
}

static void wait_for_all(void)
{
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
}

static void forward_signals(struct supervisor *s)
{
	struct signalfd_siginfo si;

	while (read(s->signals, &si, sizeof(si)) == (ssize_t)sizeof(si))
		if (si.ssi_signo != SIGCHLD && s->child > 0)
			kill(s->child, (int)si.ssi_signo);
}

static void sleep_ms(unsigned ms)
{
	poll(NULL, 0, (int)ms);
}

/* Whether there may be another daemon after one that died; says so if not. */
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
	if (WIFSIGNALED(status))
		msg_event(MSG_WARN, "daemon-died",
			  "%s: its daemon was ended by signal %d (%s); another takes over",
			  s->o->mount_point, WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		msg_event(MSG_WARN, "daemon-died",
			  "%s: its daemon ended with code %d; another takes over",
			  s->o->mount_point, WEXITSTATUS(status));
}

/* The daemon has ended.  Returns if there is to be another. */
static void bury(struct supervisor *s, int status)
{
	drop_fd(s);
	s->child = 0;
	if (s->device_fd < 0 || (s->ending && WIFEXITED(status)))
		end(s, WIFEXITED(status) ? WEXITSTATUS(status) : 1);
	if (!may_go_on(s))
		end(s, 1);
	say_death(s, status);
	if (s->failures > 0) {
		unsigned ms = 25u << (s->failures < 6 ? s->failures : 6);

		sleep_ms(ms < RETRY_MS_MAX ? ms : RETRY_MS_MAX);
	}
}

/* With -f: whoever waits for this process waits for the mount.  A new program has it now. */
static void stand_by(struct supervisor *s)
{
	struct pollfd pfd = {.fd = s->signals, .events = POLLIN};
	int status;

	if (s->device_fd >= 0)
		close(s->device_fd);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	estate_drop_keys(&s->map);
	for (;;) {
		poll(&pfd, 1, -1);
		forward_signals(s);
		if (reap(s, &status))
			_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
	}
}

static void fail_upgrade(struct supervisor *s, const char *why)
{
	snprintf(s->map.estate->failure, sizeof(s->map.estate->failure), "%s", why);
	msg_error("%s: no upgrade: %s; version " EMBASSYFS_VERSION " goes on", s->o->mount_point,
		  why);
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* Kill what the new program left and wait until nothing of it lives. */
static void end_new(pid_t pid, int fd)
{
	kill(pid, SIGKILL);
	close(fd);
	wait_for_all();
}

/* The new program has it all: it is the supervisor from here on. */
static void let_go(struct supervisor *s, pid_t pid, int fd)
{
	close(fd);
	if (!s->o->foreground)
		_exit(0);
	s->child = pid;
	stand_by(s);
}

/*
 * Hand over to the program's file as it is now.  Returns if that failed; the daemon may have been
 * killed then.
 */
static void upgrade(struct supervisor *s)
{
	struct handover_start start = {.background = !s->o->foreground,
				       .live = s->map.estate->live};
	const int fds[HANDOVER_FDS_MAX] = {s->map.fd, s->map.keys_fd, s->device_fd, s->lock_fd};
	enum handover_kind kind;
	pid_t pid;
	int fd;

	if (handover_exec(s->program, s->o, &s->mask_before, &pid, &fd) < 0) {
		fail_upgrade(s, "a process can't be made");
		return;
	}
	if (handover_send(fd, HANDOVER_START, fds, 4, &start) < 0 ||
	    handover_wait(fd, SUPERVISOR_HELLO_MS, &kind) < 0 || kind != HANDOVER_HELLO) {
		end_child(pid);
		close(fd);
		fail_upgrade(s, "the new program does not start or does not know this one's "
				"memory; unmount and mount instead");
		return;
	}

	end_child(s->child);
	drop_fd(s);
	s->child = 0;
	s->map.estate->failure[0] = '\0';
	s->map.estate->upgrades++;
	if (handover_send(fd, HANDOVER_GO, NULL, 0, NULL) == 0 &&
	    handover_wait(fd, -1, &kind) == 0 && kind == HANDOVER_READY)
		let_go(s, pid, fd);
	end_new(pid, fd);
	s->map.estate->upgrades--;
	fail_upgrade(s, "the new program did not come to serve the mount");
}

static void take_message(struct supervisor *s)
{
	struct handover m;

	if (handover_receive(s->fd, &m) < 0) {
		/* It has ended or is about to: the signal says when. */
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
	case HANDOVER_UPGRADE:
		upgrade(s);
		if (s->child > 0)
			(void)!handover_send(s->fd, HANDOVER_FAILED, NULL, 0, NULL);
		break;
	default:
		break;
	}
}

/* Until there is no daemon any more. */
static void watch(struct supervisor *s)
{
	int status;

	while (s->child > 0) {
		struct pollfd pfd[2] = {{.fd = s->fd, .events = POLLIN},
					{.fd = s->signals, .events = POLLIN}};

		poll(pfd, 2, -1);
		if (pfd[0].revents)
			take_message(s);
		forward_signals(s);
		if (s->child > 0 && reap(s, &status)) {
			/* What it said before it ended counts. */
			while (s->child > 0 && s->fd >= 0)
				take_message(s);
			if (s->child > 0)
				bury(s, status);
		}
	}
}

/* As a new program: what the running supervisor gives. */
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
	rc = estate_attach(m.fds[0], m.fds[1], m.start.live, &s->map);
	if (rc < 0)
		return rc;
	if (m.start.background)
		daemon_leave();
	rc = handover_send(s->parent_fd, HANDOVER_HELLO, NULL, 0, NULL);
	if (rc == 0)
		rc = handover_wait(s->parent_fd, -1, &kind);
	return rc < 0 ? rc : kind == HANDOVER_GO ? 0 : -EPROTO;
}

static int prepare(struct supervisor *s)
{
	ssize_t n = readlink("/proc/self/exe", s->program, sizeof(s->program) - 1);
	int rc = n < 0 ? -errno : catch_signals(s);

	if (rc < 0)
		return rc;
	s->program[n] = '\0';
	/* What a new program leaves behind when it fails is waited for. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (s->o->handover_fd >= 0)
		return receive_start(s);
	return estate_make(!s->o->read_only && !s->o->at, &s->map);
}

int supervisor_start(const struct options *o, int argc, char **argv, struct daemon *d,
		     struct heir *out)
{
	static struct supervisor s;
	int rc;

	s = (struct supervisor){.o = o,
				.d = d,
				.map = {.fd = -1, .keys_fd = -1},
				.device_fd = -1,
				.lock_fd = -1,
				.signals = -1,
				.fd = -1,
				.parent_fd = -1};
	rc = title_save(argc, argv);
	if (rc == 0)
		rc = prepare(&s);
	if (rc < 0)
		return rc;
	for (;;) {
		rc = start_daemon(&s, out);
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

void heir_ready(struct heir *h, int device_fd, int lock_fd)
{
	int fds[2] = {device_fd, lock_fd};

	if (!h->map.estate)
		return;
	snprintf(h->map.estate->program, sizeof(h->map.estate->program), EMBASSYFS_VERSION);
	/* Successors need the keys; this process has its own copies. */
	estate_drop_keys(&h->map);
	if (h->take_over)
		fds[0] = fds[1] = -1;
	prctl(PR_SET_PDEATHSIG, 0);
	if (handover_send(h->fd, HANDOVER_READY, fds, 2, NULL) < 0)
		msg_event(MSG_WARN, "supervisor-gone",
			  "the supervisor has gone; the mount goes on without one");
}

void heir_ending(struct heir *h)
{
	/* Without a supervisor nobody wants to know. */
	if (h->map.estate)
		(void)!handover_send(h->fd, HANDOVER_ENDING, NULL, 0, NULL);
}

int heir_upgrade(struct heir *h)
{
	static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
	enum handover_kind kind;
	int rc;

	if (!h->map.estate)
		return -ENOTSUP;
	if (pthread_mutex_trylock(&one) != 0)
		return -EBUSY;
	/* The answer, if one comes, is that it failed; else this process is killed here. */
	rc = handover_send(h->fd, HANDOVER_UPGRADE, NULL, 0, NULL);
	if (rc == 0)
		rc = handover_wait(h->fd, -1, &kind);
	pthread_mutex_unlock(&one);
	return rc < 0 ? -ENOTSUP : -ECANCELED;
}
