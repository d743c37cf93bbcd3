/*
 * The daemon's side of its supervisor, and how a daemon gets a new one.
 *
 * A thread waits for the supervisor's death, which ends the socket's stream.  The new supervisor is
 * this same program, executed from the file that the kernel holds open for this process: the file
 * at that path may be another version by now.  It is given what the old supervisor had, and a pidfd
 * of this process.
 *
 * Lock order: asking, then fd_mu.
 */

#include "supervisor.h"

#include "handover.h"
#include "msg.h"
#include "options.h"
#include "title.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define AGAIN_MS 1000
#define AGAIN_MS_MAX 60000

/* A process has one supervisor. */
static struct {
	struct successor *successor;
	const struct options *options;
	pthread_mutex_t asking;	   /* held while an upgrade is under way */
	pthread_mutex_t fd_mu;	   /* covers replacing successor->fd by the next supervisor's */
	bool ready, ending, ended; /* Guarded by fd_mu. */
} watched = {.asking = PTHREAD_MUTEX_INITIALIZER, .fd_mu = PTHREAD_MUTEX_INITIALIZER};

static int tell(struct successor *h, enum handover_kind kind, const int *fds, unsigned n)
{
	int rc;

	pthread_mutex_lock(&watched.fd_mu);
	rc = handover_send(h->fd, kind, fds, n, NULL);
	pthread_mutex_unlock(&watched.fd_mu);
	return rc;
}

/* Execute this program as the supervisor; ${*out_fd} is a socket to it.  Returns 0 or -errno. */
static int new_supervisor(struct successor *h, pid_t *out_pid, int *out_fd)
{
	const struct options *o = watched.options;
	struct handover_start start = {
		.background = !o->foreground, .serving = 1, .live = h->map.state->live != 0};
	int me = (int)syscall(SYS_pidfd_open, getpid(), 0);
	const int fds[] = {h->map.fd, h->map.keys_fd, h->device_fd, h->lock_fd, h->folder_fd, me};
	char name[4096];
	enum handover_kind kind;
	int rc = me < 0 ? -errno : title_program(name, sizeof(name));

	if (rc == 0)
		rc = handover_exec("/proc/self/exe", name, o, out_pid, out_fd);
	if (rc < 0)
		goto close_me;
	rc = handover_send(*out_fd, HANDOVER_START, fds, 6, &start);
	if (rc == 0)
		rc = handover_wait(*out_fd, SUPERVISOR_HELLO_MS, &kind);
	if (rc == 0 && kind != HANDOVER_HELLO)
		rc = -EPROTO;
	if (rc < 0) {
		kill(*out_pid, SIGKILL);
		while (waitpid(*out_pid, NULL, 0) < 0 && errno == EINTR)
			;
		close(*out_fd);
	}
close_me:
	if (me >= 0)
		close(me);
	return rc;
}

/* Retry until there is a new supervisor, or this process is to end. */
static void replace(struct successor *h, pid_t *child)
{
	const char *mount_point = watched.options->mount_point;
	int fd, rc, pause_ms = AGAIN_MS;
	bool ending = false;

	/* A requested upgrade ends here too: its answer can no longer come. */
	pthread_mutex_lock(&watched.asking);
	while (!ending && (rc = new_supervisor(h, child, &fd)) < 0) {
		msg_event(MSG_ERROR, "supervisor-failed",
			  "%s: no new supervisor: %s; trying again in %d s", mount_point,
			  strerror(-rc), pause_ms / 1000);
		*child = 0;
		poll(NULL, 0, pause_ms);
		pause_ms = 2 * pause_ms < AGAIN_MS_MAX ? 2 * pause_ms : AGAIN_MS_MAX;
		pthread_mutex_lock(&watched.fd_mu);
		ending = watched.ending;
		pthread_mutex_unlock(&watched.fd_mu);
	}
	pthread_mutex_lock(&watched.fd_mu);
	if (!ending) {
		close(h->fd);
		h->fd = fd;
		atomic_store(&h->supervised, true);
		/*
		 * Repeat what the old supervisor may have been told: the new one did not hear it.
		 */
		if (watched.ending)
			(void)!handover_send(fd, HANDOVER_ENDING, NULL, 0, NULL);
		if (watched.ended)
			(void)!handover_send(fd, HANDOVER_ENDED, NULL, 0, NULL);
	}
	pthread_mutex_unlock(&watched.fd_mu);
	pthread_mutex_unlock(&watched.asking);
	if (!ending)
		msg_event(MSG_NOTICE, "supervisor-new", "%s: it has a new supervisor, process %ld",
			  mount_point, (long)*child);
}

static void *watch(void *arg)
{
	struct successor *h = arg;
	pid_t child = 0;
	bool ready, ending;

	for (;;) {
		/* Wait for POLLHUP only: messages are for the threads that wait for them. */
		struct pollfd pfd = {.fd = h->fd};

		if (poll(&pfd, 1, -1) < 0 || !(pfd.revents & POLLHUP))
			continue;
		pthread_mutex_lock(&watched.fd_mu);
		ready = watched.ready;
		ending = watched.ending;
		pthread_mutex_unlock(&watched.fd_mu);
		if (!ready)
			kill(getpid(), SIGKILL);
		if (ending)
			return NULL;
		atomic_store(&h->supervised, false);
		msg_event(MSG_WARN, "supervisor-gone",
			  "%s: its supervisor has gone; until there is another one the mount ends "
			  "with this process",
			  watched.options->mount_point);
		while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
			;
		replace(h, &child);
	}
}

int successor_watch(struct successor *h, const struct options *o)
{
	pthread_t thread;
	int rc;

	if (!h->map.state)
		return 0;
	watched.successor = h;
	watched.options = o;
	rc = -pthread_create(&thread, NULL, watch, h);
	if (rc == 0)
		pthread_detach(thread);
	return rc;
}

void successor_ready(struct successor *h, int device_fd, int lock_fd)
{
	int fds[2] = {device_fd, lock_fd};

	if (!h->map.state)
		return;
	snprintf(h->map.state->program, sizeof(h->map.state->program), EMBASSYFS_VERSION);
	/* The shared keys stay for successors; this process has copies of its own. */
	shared_unmap_keys(&h->map);
	if (h->take_over) {
		fds[0] = fds[1] = -1;
	} else {
		h->device_fd = device_fd;
		h->lock_fd = lock_fd;
	}
	pthread_mutex_lock(&watched.fd_mu);
	watched.ready = true;
	pthread_mutex_unlock(&watched.fd_mu);
	/*
	 * A supervisor that does not hear of this daemon would fork another beside it: end this
	 * one.
	 */
	if (tell(h, HANDOVER_READY, fds, 2) < 0)
		kill(getpid(), SIGKILL);
}

void successor_ending(struct successor *h)
{
	if (!h->map.state)
		return;
	pthread_mutex_lock(&watched.fd_mu);
	watched.ending = true;
	pthread_mutex_unlock(&watched.fd_mu);
	/* If the supervisor is dead, nobody needs to know. */
	(void)!tell(h, HANDOVER_ENDING, NULL, 0);
}

void successor_ended(struct successor *h)
{
	if (!h->map.state)
		return;
	pthread_mutex_lock(&watched.fd_mu);
	watched.ended = true;
	pthread_mutex_unlock(&watched.fd_mu);
	(void)!tell(h, HANDOVER_ENDED, NULL, 0);
}

int successor_upgrade(struct successor *h)
{
	enum handover_kind kind;
	int rc;

	if (!h->map.state || !atomic_load(&h->supervised))
		return -ENOTSUP;
	if (pthread_mutex_trylock(&watched.asking) != 0)
		return -EBUSY;
	/* An answer comes only if the upgrade failed; on success this process is killed here. */
	rc = tell(h, HANDOVER_UPGRADE, NULL, 0);
	if (rc == 0)
		rc = handover_wait(h->fd, -1, &kind);
	pthread_mutex_unlock(&watched.asking);
	return rc < 0 ? -ENOTSUP : -ECANCELED;
}
