/*
 * embassyfs: mounts a volume.
 *
 * Processes: the command forks the supervisor and waits until the mount answers (with -f, the
 * command is the supervisor).  The supervisor forks the daemon that serves the mount, and forks
 * another one when that dies.  The daemon forks the write-back helper.  Every process forks before
 * it starts a thread.
 */

#include "content.h"
#include "daemon.h"
#include "err.h"
#include "mount.h"
#include "mountpoint.h"
#include "msg.h"
#include "options.h"
#include "process.h"
#include "secret.h"
#include "session.h"
#include "supervisor.h"
#include "volume.h"
#include "writeback.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define EXIT_INTERRUPTED 130

#define THREADS_LOCAL 4u
#define THREADS_REMOTE 16u /* requests that wait for the network */
#define FLUSH_S_DEFAULT 5u
#define FD_PATH_LEN 32
#define FILES_MIN 64u /* with fewer a mount might be made, and then fail to write or be taken over */

/* Keep secrets out of core files, and away from a debugger of the same user. */
static void keep_secrets(void)
{
	struct rlimit none = {0};

	if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
		msg_warn("core files can't be switched off: %s", strerror(errno));
}

static int prepare_process(void)
{
	int rc = process_raise_files(FILES_MIN, "a mount");

	if (rc < 0)
		return rc;
	keep_secrets();
	process_ignore_signals();
	/*
	 * Requests allocate and free buffers of several MiB.  Keep freed memory in the process: to
	 * give it back to the system each time costs more than the work on the buffers.
	 */
	mallopt(M_ARENA_MAX, 8);
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	mallopt(M_TOP_PAD, 4 << 20);
	umask(077);
	return 0;
}

/*
 * Report an error once.  Add the name of the thing and a next step where the layer below gave
 * neither.
 */
static int fail(const char *thing, int rc)
{
	const char *detail = err_detail(rc);
	const char *hint = "";

	if (rc == -ERR_NO_VOLUME)
		hint = "; make one with embassy init";
	else if (rc == -ERR_LOCKED)
		hint = "; unmount it there, or mount a view of it with -o ro";
	else if (rc == -ERR_WRONG_KEY)
		hint = "; give the right passphrase or key file";
	else if (rc == -ERR_UNREACHABLE)
		hint = "; check the address and that embassyd runs there";
	else if (rc == -ERR_DAMAGED || rc == -ERR_TAMPERED)
		hint = "; run embassy check on it";
	else if (rc == -EROFS)
		hint = "; mount a view of it with -o ro";
	else if (rc == -EACCES || rc == -EPERM)
		hint = "; check its permissions";
	/*
	 * A detail with a semicolon has its own advice already; gRPC's texts ("...; last
	 * error: ...") have none.
	 */
	if (strchr(detail, ';') && !strstr(detail, "; last error: "))
		hint = "";
	if (strcmp(detail, err_text(rc)) == 0)
		msg_error("%s: %s%s", thing, detail, hint);
	else
		msg_error("%s%s", detail, hint);
	/* It was said: what fails while this mount is closed is another matter. */
	err_forget(0);
	if (rc == -EINTR)
		return EXIT_INTERRUPTED;
	return rc == -EACCES || rc == -EPERM ? err_exit(-ERR_FORBIDDEN) : err_exit(rc);
}

/* The parts that become ready once the kernel has our first answer. */
struct run {
	const struct options *options;
	struct daemon daemon;
	struct successor successor;
	struct writeback writeback;
	struct mount *mount;
};

static void ready(void *ctx)
{
	struct run *run = ctx;
	const struct options *o = run->options;

	struct shared_state *e = run->successor.map.state;
	struct volume *v = run->mount->volume;
	unsigned interval_s = o->flush_s ? o->flush_s : FLUSH_S_DEFAULT;
	uint64_t device = writeback_begin(&run->writeback, o->mount_point, e ? e->device : 0,
					  v ? interval_s : 0);

	if (e) {
		e->device = device;
		if (!o->foreground)
			daemon_leave();
		successor_ready(&run->successor, fuse_session_fd(run->mount->session),
				v ? volume_lock_fd(v) : -1);
	} else {
		daemon_ready(&run->daemon);
	}
}

static int serve(struct run *run, struct content *c)
{
	const struct options *o = run->options;
	struct mount m = {
		.volume = content_volume(c),
		.view = content_view(c),
		.writeback = &run->writeback,
		.view_cfg = content_view_config(c),
		.volume_id = content_volume_id(c),
		.owner = getuid(),
		.n_threads = content_is_remote(c) ? THREADS_REMOTE : THREADS_LOCAL,
		.memory_bytes = content_memory(o),
		.successor = &run->successor,
		.history_users = o->history_users,
		.noatime = o->noatime && !o->strictatime,
		.nodiratime = o->nodiratime,
		.strictatime = o->strictatime,
		.ready = ready,
		.ready_ctx = run,
	};
	int rc;

	run->mount = &m;
	m.replicators = content_replicators(c, &m.n_replicators);
	rc = mount_init(&m);
	if (rc < 0)
		return rc;
	rc = session_open(&m, o);
	if (rc == 0) {
		rc = session_serve(&m, o);
		if (rc == 0)
			successor_ending(&run->successor);
		/* From here on, a mount that is waiting for this volume's lock keeps waiting. */
		if (rc == 0 && m.volume)
			volume_closing(m.volume);
	}
	/* The threads in the mount use the session, so they are stopped before it is closed. */
	mount_release(&m);
	session_close(&m);
	return rc;
}

/*
 * A successor finds the volume's folder by the descriptor that was kept open: the folder may have
 * been renamed, or its path may be covered by another mount, even by this very mount.
 */
static struct options as_successor(const struct options *o, const struct successor *h,
				   char path[FD_PATH_LEN])
{
	struct options own = *o;

	if (h->take_over && h->folder_fd >= 0) {
		snprintf(path, FD_PATH_LEN, "/proc/self/fd/%d", h->folder_fd);
		own.target = path;
	}
	return own;
}

static int run_mount(struct run *run)
{
	const struct options *o = run->options;
	char path[FD_PATH_LEN];
	struct options own = as_successor(o, &run->successor, path);
	struct content *c;
	int rc, closed;

	/*
	 * A successor knows its mount point.  To look at it would send a request that nobody serves
	 * yet.
	 */
	rc = run->successor.take_over ? 0 : mountpoint_check(o);
	if (rc == 0)
		rc = secret_init();
	if (run->successor.map.state)
		inflight_use(&run->successor.map.state->inflight,
			     run->successor.map.state->takeovers);
	if (rc == 0)
		rc = content_open(&own, &run->successor, &c);
	if (rc < 0)
		return fail(o->target, rc);

	rc = serve(run, c);
	if (rc < 0)
		rc = fail(o->mount_point, rc);
	closed = content_close(c);
	if (closed < 0)
		closed = fail(o->target, closed);
	if (rc == 0)
		successor_ended(&run->successor);
	return rc ? rc : closed;
}

int main(int argc, char *argv[])
{
	struct options o;
	struct run run = {
		.options = &o, .daemon = {.fd = -1}, .successor = {.folder_fd = -1, .fd = -1}};
	int rc;

	process_std_fds();
	msg_init("embassyfs");
	rc = options_parse(argc, argv, &o);
	if (rc < 0) {
		msg_error("%s", err_detail(rc));
		return rc == -EINVAL ? EXIT_USAGE : 1;
	}
	if (o.help || o.version) {
		fputs(o.help ? options_help : "embassyfs " EMBASSYFS_VERSION "\n", stdout);
		options_release(&o);
		return 0;
	}

	if (o.remount) {
		rc = session_remount(&o);
		rc = rc < 0 ? fail(o.mount_point, rc) : 0;
		options_release(&o);
		return rc;
	}

	rc = prepare_process();
	if (rc == 0)
		rc = content_choose(&o);
	if (rc < 0) {
		int code = fail(o.target, rc);

		options_release(&o);
		return rc == -EINVAL ? EXIT_USAGE : code;
	}
	rc = o.foreground || o.handover_fd >= 0 ? 0 : daemon_fork(o.mount_point, &run.daemon);
	if (rc == 0 && !o.unsupervised)
		rc = supervisor_start(&o, argc, argv, &run.daemon, &run.successor);
	if (rc == 0)
		rc = writeback_fork(&run.writeback);
	if (rc == 0)
		rc = successor_watch(&run.successor, &o);
	rc = rc < 0 ? fail(o.mount_point, rc) : run_mount(&run);
	writeback_end(&run.writeback);
	daemon_failed(&run.daemon, rc);
	options_release(&o);
	/* No destructors run: content_close() may have left a thread that waits for an embassy. */
	fflush(NULL);
	_exit(rc);
}
