/*
 * The session of a mount with the kernel.
 *
 * Each of a fixed number of threads reads a request, handles it, and reads the next.  When the
 * mount is gone every read fails, and the threads end.  A separate thread waits for signals that
 * ask us to stop.  It has the helper process unmount, so that the kernel writes back dirty pages
 * while the workers still serve.  If the mount is in use, it has the helper write back and detach
 * the mount; the workers end once the kernel has no more requests.  No thread of this process
 * touches its own mount: it would wait for the workers, unreachable even for SIGKILL, once they
 * have ended.
 */

#include "session.h"

#include "clock.h"
#include "err.h"
#include "msg.h"
#include "ops.h"
#include "options.h"
#include "supervisor.h"
#include "units.h"
#include "wire.h"
#include "writeback.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define MAX_WRITE (1u << 20)
#define RECEIVE_BYTES (MAX_WRITE + (64u << 10)) /* more than libfuse asks for */
#define MAX_READAHEAD (4u << 20)
#define MAX_BACKGROUND 64u
#define DRAIN_S_MAX 30u
#define HEAP_BYTES ((size_t)2 << 20) /* heap of each worker that is made present at the start */

static void log_line(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char text[512];
	size_t n;

	vsnprintf(text, sizeof(text), fmt, ap);
	n = strcspn(text, "\n");
	text[n] = '\0';
	if (level <= FUSE_LOG_ERR)
		msg_error("%s", text);
	else if (level == FUSE_LOG_WARNING)
		msg_warn("%s", text);
}

void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct mount *m = userdata;

	/*
	 * ASYNC_DIO is not requested.  With it, the kernel does not drop pages that a buffered
	 * reader cached during an asynchronous direct write.  A backup of a database that writes so
	 * would then read stale pages.
	 */
	unsigned want = FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
			FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_CACHE_SYMLINKS |
			FUSE_CAP_NO_OPEN_SUPPORT | FUSE_CAP_NO_OPENDIR_SUPPORT |
			FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK;

	/*
	 * Other flags that are not requested:
	 * FLOCK_LOCKS, POSIX_LOCKS: one kernel sees all users, and it locks best itself.
	 * ATOMIC_O_TRUNC: there are no open requests.
	 * AUTO_INVAL_DATA: nobody but this kernel changes files.
	 * HANDLE_KILLPRIV: its second version is better (wire.h).
	 */
	if (m->volume)
		want |= FUSE_CAP_WRITEBACK_CACHE;
	conn->want = want & conn->capable;
	conn->max_write = MAX_WRITE;
	conn->max_readahead = MAX_READAHEAD;
	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = MAX_BACKGROUND * 3 / 4;
	/* Times are stored in nanoseconds. */
	conn->time_gran = 1;
}

/* The mount options for libfuse, with commas and backslashes escaped. */
static int format_options(const struct mount *m, const struct options *o, char **out)
{
	char *source = calloc(2, strlen(o->target) + 1), *to = source;

	if (!source)
		return -ENOMEM;
	for (const char *from = o->target; *from; from++) {
		if (*from == ',' || *from == '\\')
			*to++ = '\\';
		*to++ = *from;
	}
	if (asprintf(out, "fsname=%s,subtype=embassyfs,default_permissions%s%s%s%s%s%s", source,
		     o->allow_other ? ",allow_other" : "", m->volume ? "" : ",ro",
		     /* A mount of the past runs no set-id programs and opens no devices. */
		     o->dev && m->volume ? ",dev" : "", o->suid && m->volume ? ",suid" : "",
		     o->noexec ? ",noexec" : "", o->noatime ? ",noatime" : "") < 0)
		*out = NULL;
	free(source);
	return *out ? 0 : -ENOMEM;
}

/* Continue a session that another process began. */
static int adopt(struct mount *m, const struct options *o)
{
	int fd = fcntl(m->successor->device_fd, F_DUPFD_CLOEXEC, 3);
	int rc = fd < 0 ? -errno : wire_attach(m, fd);

	if (rc == 0)
		rc = wire_adopt(m);
	if (rc < 0)
		rc = err_say(rc, "%s: can't be taken over: %s", o->mount_point, err_detail(rc));
	return rc;
}

int session_open(struct mount *m, const struct options *o)
{
	char *text;
	char *argv[] = {"embassyfs", "-o", NULL, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	int rc = format_options(m, o, &text);

	if (rc < 0)
		return rc;
	argv[2] = text;
	fuse_set_log_func(log_line);
	m->session = fuse_session_new(&args, &mount_ops, sizeof(mount_ops), m);
	fuse_opt_free_args(&args);
	free(text);
	if (!m->session)
		return err_say(-EIO, "%s: libfuse refuses the options", o->mount_point);

	if (m->successor->take_over) {
		rc = adopt(m, o);
		if (rc < 0)
			goto destroy;
		return 0;
	}
	if (fuse_session_mount(m->session, o->mount_point) != 0) {
		rc = err_say(-EIO, "%s: can't be mounted on; see the message above",
			     o->mount_point);
		goto destroy;
	}
	rc = wire_attach(m, fuse_session_fd(m->session));
	if (rc < 0) {
		rc = err_say(rc, "%s: libfuse: %s", o->mount_point, err_text(rc));
		goto unmount;
	}
	return 0;

unmount:
	fuse_session_unmount(m->session);
destroy:
	fuse_session_destroy(m->session);
	m->session = NULL;
	return rc;
}

/* Is a view of the past mounted at ${path}?  A live mount has snapshots. */
static bool is_view(const char *path)
{
	char name[PATH_MAX];
	bool ours;

	snprintf(name, sizeof(name), "%s/.embassy/status", path);
	ours = access(name, F_OK) == 0;
	snprintf(name, sizeof(name), "%s/.embassy/snapshots", path);
	return ours && access(name, F_OK) < 0 && errno == ENOENT;
}

int session_remount(const struct options *o)
{
	bool view = is_view(o->mount_point);
	unsigned long flags = MS_REMOUNT | (o->read_only ? MS_RDONLY : 0) |
			      (o->dev && !o->at && !view ? 0 : MS_NODEV) |
			      (o->suid && !o->at && !view ? 0 : MS_NOSUID) |
			      (o->noexec ? MS_NOEXEC : 0) | (o->noatime ? MS_NOATIME : 0) |
			      (o->nodiratime ? MS_NODIRATIME : 0);
	struct statfs st;

	if (statfs(o->mount_point, &st) < 0)
		return err_say(-errno, "%s: %s", o->mount_point, strerror(errno));
	if (st.f_type != FUSE_SUPER_MAGIC)
		return err_say(-EINVAL, "%s: no mount of ours to change", o->mount_point);
	if (view && !o->read_only)
		return err_say(-EROFS,
			       "%s: a view of the past stays read-only; give ro with remount",
			       o->mount_point);
	if (mount(NULL, o->mount_point, NULL, flags, NULL) < 0)
		return err_say(-errno, "%s: can't be remounted: %s", o->mount_point,
			       strerror(errno));
	return 0;
}

void session_close(struct mount *m)
{
	if (!m->session)
		return;
	/* Do not unmount: libfuse would unmount by path, and another mount may be there by now. */
	fuse_session_destroy(m->session);
	m->session = NULL;
}

/* The threads of one session_serve(). */
struct crew {
	struct mount *m;
	const char *mount_point;
	pthread_t workers[SESSION_THREADS_MAX];
	unsigned n;
	atomic_uint running;
	sem_t ended;	      /* posted by each worker at its end */
	atomic_bool draining; /* workers end when no request waits */
	atomic_bool done;     /* the workers have ended */
};

/*
 * A signal that asks us to stop posts this semaphore.  The signal may interrupt any thread, since
 * libraries have threads that do not block signals.
 */
static sem_t stop_wanted;
static _Atomic uint32_t *stopping; /* in the shared state, so that a successor stops too; or NULL */

static void want_stop(int sig)
{
	(void)sig;
	if (stopping)
		atomic_store(stopping, 1);
	sem_post(&stop_wanted);
}

/* Does a request wait?  Also true if the session is over, which a read then reports. */
static bool something_waits(const struct mount *m)
{
	struct pollfd pfd = {.fd = fuse_session_fd(m->session), .events = POLLIN};

	return poll(&pfd, 1, 0) > 0;
}

/*
 * Make the heap that a change takes in this thread present in memory.  Otherwise a worker could
 * wait for a page while it holds the view's lock; if the memory limit is full of dirty pages of
 * this very mount, the page never comes, since those can't be written back without that lock.
 * main() keeps free() from giving memory back to the system.
 */
static void occupy_heap(void)
{
	void *p = malloc(HEAP_BYTES);

	if (p)
		explicit_bzero(p, HEAP_BYTES);
	free(p);
}

static void *work(void *arg)
{
	struct crew *crew = arg;
	struct fuse_session *se = crew->m->session;
	/*
	 * Make the buffer present from the start.  The kernel fails a request that it can't copy,
	 * and in a process that is being killed it can't make a page present any more.
	 */
	struct fuse_buf buf = {.mem = aligned_alloc(4096, RECEIVE_BYTES)};
	int rc;

	if (buf.mem) {
		memset(buf.mem, 0, RECEIVE_BYTES);
		(void)mlock(buf.mem, RECEIVE_BYTES);
	}
	occupy_heap();
	while (!fuse_session_exited(se)) {
		/*
		 * The answer to a write makes room for the next one, so the worker that gave it
		 * looks for that one before it ends.  Thus the last worker leaves no request
		 * behind.
		 */
		if (atomic_load(&crew->draining) && !something_waits(crew->m))
			goto ended;
		rc = fuse_session_receive_buf(se, &buf);
		if (rc == -EINTR || rc == -EAGAIN)
			continue;
		if (rc <= 0)
			break;
		fuse_session_process_buf(se, &buf);
	}
	fuse_session_exit(se);
ended:
	free(buf.mem);
	atomic_fetch_sub(&crew->running, 1);
	sem_post(&crew->ended);
	return NULL;
}

static void no_op(int sig)
{
	(void)sig;
}

static bool session_is_over(const struct mount *m)
{
	struct pollfd pfd = {.fd = fuse_session_fd(m->session)};

	return poll(&pfd, 1, 0) > 0 && (pfd.revents & POLLERR);
}

/* Serve the requests that are under way; then end the workers, after DRAIN_S_MAX at the latest. */
static void drain(struct crew *crew)
{
	static const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
	uint64_t end_ns = clock_mono_ns() + DRAIN_S_MAX * NS_PER_S;

	mount_quiesce(crew->m);
	atomic_store(&crew->draining, true);
	/* A worker may be just about to read when the signal comes: repeat until all have ended. */
	while (atomic_load(&crew->running) > 0) {
		if (clock_mono_ns() > end_ns)
			fuse_session_exit(crew->m->session);
		for (unsigned i = 0; i < crew->n; i++)
			pthread_kill(crew->workers[i], SIGUSR1);
		nanosleep(&pause, NULL);
	}
}

static void stop(struct crew *crew)
{
	unsigned left;
	int rc = writeback_umount(crew->m->writeback);

	if (session_is_over(crew->m))
		return;
	rc = writeback_leave(crew->m->writeback, &left);
	if (session_is_over(crew->m))
		return;
	if (rc < 0)
		msg_event(MSG_ERROR, "not-written-back",
			  "%s: %s; some of what was written last may be lost", crew->mount_point,
			  rc == -ENOENT
				  ? "it is mounted nowhere where it can be reached, yet in use"
				  : strerror(-rc));
	if (left > 0)
		msg_event(MSG_WARN, "mount-covered",
			  "%s: another mount lies on it, or it can't be unmounted: it stays, dead; "
			  "unmount what lies on it, then run fusermount3 -u on it",
			  crew->mount_point);
	drain(crew);
}

static void *wait_for_signal(void *arg)
{
	struct crew *crew = arg;

	while (sem_wait(&stop_wanted) < 0)
		;
	if (!atomic_load(&crew->done))
		stop(crew);
	return NULL;
}

/*
 * Catch signals from here to the end of the process, so that a second signal can't interrupt the
 * work that makes everything durable.
 */
static void catch_signals(void)
{
	struct sigaction stop = {.sa_handler = want_stop, .sa_flags = SA_RESTART};
	struct sigaction wake = {.sa_handler = no_op};
	sigset_t all;

	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGHUP, &stop, NULL);
	sigaction(SIGUSR1, &wake, NULL);
	/* The program that started this one may have blocked them. */
	sigfillset(&all);
	pthread_sigmask(SIG_UNBLOCK, &all, NULL);
}

int session_serve(struct mount *m, const struct options *o)
{
	struct crew crew = {.m = m, .mount_point = o->mount_point};
	pthread_t signals;
	int rc;

	sem_init(&stop_wanted, 0, 0);
	sem_init(&crew.ended, 0, 0);
	stopping = m->successor->map.state ? &m->successor->map.state->stopping : NULL;
	catch_signals();
	if (stopping && atomic_load(stopping))
		sem_post(&stop_wanted);
	/*
	 * Before the first read; otherwise the kernel would also give again the requests that we
	 * have read.
	 */
	if (m->successor->take_over) {
		/*
		 * A caller may be gone when its request is answered.  The kernel would then keep a
		 * cached "no such name", although the request made that name.
		 */
		(void)wire_new_epoch(m);
		wire_resend(m);
		mount_adopt(m);
	}

	for (rc = 0; rc == 0 && crew.n < m->n_threads && crew.n < SESSION_THREADS_MAX;) {
		atomic_fetch_add(&crew.running, 1);
		rc = -pthread_create(&crew.workers[crew.n], NULL, work, &crew);
		if (rc == 0)
			crew.n++;
		else
			atomic_fetch_sub(&crew.running, 1);
	}
	if (crew.n == 0)
		goto no_thread;
	if (m->successor->take_over) {
		m->ready(m->ready_ctx);
		mount_adopted(m);
	}
	rc = -pthread_create(&signals, NULL, wait_for_signal, &crew);
	if (rc < 0) {
		/* A mount that can't be stopped is useless. */
		drain(&crew);
		err_say(rc, "%s: no thread: %s", o->mount_point, err_text(rc));
	}

	/* Join workers only after all have ended: until then stop() sends them signals. */
	for (unsigned i = 0; i < crew.n; i++)
		while (sem_wait(&crew.ended) < 0)
			;
	if (rc == 0) {
		atomic_store(&crew.done, true);
		sem_post(&stop_wanted);
		pthread_join(signals, NULL);
	}
	for (unsigned i = 0; i < crew.n; i++)
		pthread_join(crew.workers[i], NULL);
	sem_destroy(&crew.ended);
	return rc;

no_thread:
	/* It was mounted just now, so the path still leads to this mount. */
	fuse_session_unmount(m->session);
	sem_destroy(&crew.ended);
	return err_say(rc, "%s: no thread: %s", o->mount_point, err_text(rc));
}
