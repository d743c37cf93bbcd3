/*
 * onefile on fs/volume itself, without a mount: several threads in one file of a volume that has next
 * to no memory, so that nodes are always missing, and whose look-ups start over at random besides.
 *
 * Each round is a process of its own.  Some are killed in the middle: the next then either takes
 * the dead one's memory over, and all that was answered is there, or does not, and all that was
 * synced is.  A history is some rounds on one volume, and ends with a check of the whole volume:
 * sums, extents, every block.
 */

#include "onefile.h"

#include "ground.h"

#include "err.h"
#include "huge.h"
#include "volume.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 9u /* of a history */
#define FILE_NAME "file"
#define OTHER_NAME "other name"

static const struct caller root_user = {0};

/* What all processes of a history share. */
struct history {
	struct onefile file;
	/* of each thread's attribute: what was set, and what was begun */
	uint64_t set[ONEFILE_THREADS_MAX], begun[ONEFILE_THREADS_MAX];
	atomic_bool opened;
	struct ground g;
	char dir[GROUND_PATH];
	struct volume_shm shm;
	unsigned n_ops;
	/* of the process that looks at them: */
	struct volume *v;
	uint64_t ino;
};

static int put(void *ctx, unsigned thread, uint64_t off, const void *data, size_t len)
{
	struct history *h = ctx;

	(void)thread;
	return volume_write(h->v, NULL, h->ino, off, len, data, 0);
}

static int get(void *ctx, unsigned thread, uint64_t off, void *out, size_t len)
{
	struct history *h = ctx;
	size_t got = 0;
	int rc = view_read(volume_view(h->v), h->ino, off, len, out, &got);

	(void)thread;
	if (rc == 0)
		memset((uint8_t *)out + got, 0, len - got);
	return rc;
}

static int allocate(void *ctx, unsigned thread, int mode, uint64_t off, uint64_t len)
{
	struct history *h = ctx;

	(void)thread;
	return volume_allocate(h->v, NULL, h->ino, mode, off, len);
}

static int copy(void *ctx, unsigned thread, uint64_t from, uint64_t to, uint64_t len)
{
	struct history *h = ctx;
	uint64_t done = 0;
	int rc = volume_copy_range(h->v, NULL, h->ino, from, h->ino, to, len, &done);

	(void)thread;
	return rc < 0 ? rc : done != len ? -ENODATA : 0;
}

static int truncate_to(void *ctx, unsigned thread, uint64_t size)
{
	struct attr a, want = {.size = size};
	struct history *h = ctx;

	(void)thread;
	return volume_setattr(h->v, NULL, h->ino, SET_SIZE, &want, &a);
}

static int size_of(void *ctx, unsigned thread, uint64_t *out)
{
	struct history *h = ctx;
	struct attr a;
	int rc = view_getattr(volume_view(h->v), h->ino, &a);

	(void)thread;
	*out = a.size;
	return rc;
}

static int sync_it(void *ctx, unsigned thread)
{
	struct history *h = ctx;

	(void)thread;
	return volume_sync(h->v);
}

/* Nobody else changes this attribute. */
static int attribute(struct history *h, unsigned thread, bool change)
{
	uint64_t value = h->set[thread], found = 0;
	char name[32];
	size_t len = 0;
	int rc = 0;

	snprintf(name, sizeof(name), "user.of-%u", thread);
	if (change) {
		h->begun[thread] = ++value;
		rc = volume_setxattr(h->v, NULL, h->ino, name, &value, sizeof(value), 0);
		if (rc < 0)
			return rc;
		h->set[thread] = value;
	}
	rc = view_getxattr(volume_view(h->v), h->ino, name, &found, sizeof(found), &len);
	if (rc == -ENODATA)
		rc = 0;
	if (rc == 0 && found != value)
		onefile_wrong(&h->file, "%s is %" PRIu64 ", was set to %" PRIu64, name, found,
			      value);
	return rc;
}

/* Each of these fields is changed by one thread, while others change the others. */
static int mode_and_owner(struct history *h, unsigned thread, uint64_t random)
{
	struct attr a, b,
		want = {.mode = random & 0777, .uid = random & 0xffff, .gid = random & 0xff};
	unsigned set = thread == 0 ? SET_MODE : thread == 1 ? SET_UID : SET_GID;
	int rc;

	if (thread > 2)
		return 0;
	rc = volume_setattr(h->v, NULL, h->ino, set, &want, &a);
	if (rc == 0)
		rc = view_getattr(volume_view(h->v), h->ino, &b);
	if (rc == 0 &&
	    ((set == SET_MODE && (b.mode & 0777) != want.mode) ||
	     (set == SET_UID && b.uid != want.uid) || (set == SET_GID && b.gid != want.gid)))
		onefile_wrong(&h->file, "mode, owner or group that thread %u has set is not there",
			      thread);
	return rc;
}

/* A file that comes, goes, and is forgotten. */
static int other_file(struct history *h, unsigned thread, uint64_t random)
{
	struct attr a;
	char name[32];
	int rc;

	snprintf(name, sizeof(name), "file of %u", thread);
	rc = volume_unlink(h->v, NULL, INO_ROOT, name); /* of one that was killed */
	if (rc < 0 && rc != -ENOENT)
		return rc;
	rc = volume_make_node(h->v, &root_user, INO_ROOT, name, S_IFREG | 0600, 0, NULL, &a);
	if (rc == 0)
		rc = volume_write(h->v, NULL, a.ino, random % 5000, sizeof(a), &a, 0);
	if (rc == 0)
		rc = volume_unlink(h->v, NULL, INO_ROOT, name);
	volume_forget(h->v, a.ino);
	return rc;
}

/* The file has another name for a moment; its contents don't go with that. */
static int other_name(struct history *h)
{
	struct attr a;
	int rc = volume_link(h->v, NULL, h->ino, INO_ROOT, OTHER_NAME, &a);

	if (rc == 0 && a.nlink != 2)
		onefile_wrong(&h->file, "it has %u links, should be 2", a.nlink);
	if (rc == 0)
		rc = volume_unlink(h->v, NULL, INO_ROOT, OTHER_NAME);
	volume_forget(h->v, h->ino);
	return rc;
}

static int aside(void *ctx, unsigned thread, uint64_t random)
{
	struct history *h = ctx;
	struct head head;

	switch (random % 16) {
	case 0:
		return thread == 0 ? volume_checkpoint(h->v) : 0;
	case 1:
		return volume_add_head(h->v, &head);
	case 2:
	case 3:
		return other_file(h, thread, random >> 8);
	case 4:
		return thread == 0 ? other_name(h) : 0;
	case 5:
	case 6:
		return mode_and_owner(h, thread, random >> 8);
	case 7:
		volume_accessed(h->v, h->ino, true);
		return 0;
	default:
		return attribute(h, thread, random & 64);
	}
}

static void note_nameless(void *ctx, uint64_t ino)
{
	uint64_t *list = ctx;

	if (list[0] < 64)
		list[++list[0]] = ino;
}

/* Opens the volume in this process; what a dead one left is as promised. */
static bool begin(struct history *h)
{
	struct volume_config cfg = {.dir = h->dir,
				    .params = &h->g.params,
				    .keys = &h->g.keys,
				    .memory_bytes = 1,
				    .shm = h->file.kept ? &h->shm : NULL};
	uint64_t nameless[65] = {0};
	struct attr a;
	int rc;

	rc = volume_open(&cfg, &h->v);
	if (rc < 0)
		return onefile_wrong(&h->file, "it can't be opened: %s", err_detail(rc));
	rc = volume_orphans(h->v, note_nameless, nameless);
	if (rc < 0)
		return onefile_wrong(&h->file, "orphans: %s", err_detail(rc));
	for (uint64_t i = 1; i <= nameless[0]; i++)
		volume_forget(h->v, nameless[i]);
	rc = volume_unlink(h->v, NULL, INO_ROOT, OTHER_NAME);
	if (rc == 0 || rc == -ENOENT)
		rc = view_lookup(volume_view(h->v), INO_ROOT, FILE_NAME, &a);
	if (rc == -ENOENT && h->file.round == 0)
		rc = volume_make_node(h->v, &root_user, INO_ROOT, FILE_NAME, S_IFREG | 0600, 0,
				      NULL, &a);
	if (rc == 0 && h->file.round == 0)
		rc = volume_sync(h->v);
	if (rc < 0)
		return onefile_wrong(&h->file, "the file: %s", err_detail(rc));
	h->ino = a.ino;
	return true;
}

static struct subject subject_of(struct history *h)
{
	return (struct subject){.ctx = h,
				.write = put,
				.read = get,
				.allocate = allocate,
				.copy = copy,
				.truncate = truncate_to,
				.size = size_of,
				.sync = sync_it,
				.aside = aside};
}

/* What each thread's attribute is when nobody works. */
static void find_attributes(struct history *h)
{
	for (unsigned i = 0; i < h->file.n_threads; i++) {
		uint64_t found = 0;
		char name[32];
		size_t len;
		int rc;

		snprintf(name, sizeof(name), "user.of-%u", i);
		rc = view_getxattr(volume_view(h->v), h->ino, name, &found, sizeof(found), &len);
		if ((rc < 0 && rc != -ENODATA) || found > h->begun[i] ||
		    (h->file.kept && found < h->set[i]))
			onefile_wrong(&h->file,
				      "%s is %" PRIu64 ", should be %" PRIu64 " to %" PRIu64 ": %d",
				      name, found, h->set[i], h->begun[i], rc);
		h->set[i] = h->begun[i] = found;
	}
}

/* A round, in a process of its own.  Exit code 0: nothing was wrong. */
static int round_process(struct history *h, bool last)
{
	struct subject s = subject_of(h);
	int rc;

	if (!begin(h) || !onefile_compare(&h->file, &s))
		return 1;
	find_attributes(h);
	atomic_store(&h->opened, true);
	if (!last && !onefile_round(&h->file, &s, h->n_ops))
		return 1;
	/* What was changed goes into the tree, so that the next looks for it there. */
	rc = volume_close(h->v);
	if (rc < 0)
		return onefile_wrong(&h->file, "close: %s", err_detail(rc)), 1;
	if (!last)
		onefile_settled(&h->file);
	return atomic_load(&h->file.failed);
}

/* How a process ended; false if not as it should: with ${kill_at} it may have been killed. */
static bool ended_well(struct history *h, int status, uint64_t kill_at)
{
	h->shm.take_over = WIFSIGNALED(status) && h->file.kept;
	if (WIFSIGNALED(status) && !(kill_at != 0 && WTERMSIG(status) == SIGKILL))
		onefile_wrong(&h->file, "the process died of signal %d", WTERMSIG(status));
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		onefile_wrong(&h->file, "the process ended with code %d", WEXITSTATUS(status));
	return !atomic_load(&h->file.failed);
}

/* Runs one; kills it after so many operations if ${kill_at} is not 0.  False: something was wrong. */
static bool run_round(struct history *h, uint64_t kill_at, bool last)
{
	uint64_t before = atomic_load(&h->file.ops);
	int status = 0;
	pid_t pid;

	atomic_store(&h->opened, false);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(round_process(h, last));
	if (pid < 0)
		ground_die("fork: %s", strerror(errno));
	/* One that was never open has nothing that can be taken over. */
	while (kill_at != 0 &&
	       (!atomic_load(&h->opened) || atomic_load(&h->file.ops) < before + kill_at)) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return ended_well(h, status, kill_at);
		usleep(100);
	}
	if (kill_at != 0)
		kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid)
		ground_die("waitpid: %s", strerror(errno));
	return ended_well(h, status, kill_at);
}

static int make(struct history *h)
{
	return ground_make(&h->g, h->dir) < 0;
}

static int check(struct history *h)
{
	struct check_counts counts = {0};
	int rc = ground_check(&h->g, h->dir, true, &counts);

	return rc < 0 || counts.problems > 0;
}

/*
 * In a process of its own: this one forks again and again, so it has no volume open, and no threads.
 * Whether it returned 0.
 */
static bool apart(int (*fn)(struct history *h), struct history *h)
{
	int status = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(fn(h));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		ground_die("fork: %s", strerror(errno));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool sound(struct history *h)
{
	return apart(check, h) || onefile_wrong(&h->file, "the volume is not sound");
}

static bool run_history(struct history *h, uint64_t seed, unsigned n_threads, bool kills)
{
	uint64_t random = seed;
	bool right = true;

	memset(h->shm.mem, 0, volume_shm_bytes());
	h->shm.take_over = false;
	memset(&h->file, 0, sizeof(h->file));
	memset(h->set, 0, sizeof(h->set));
	memset(h->begun, 0, sizeof(h->begun));
	onefile_init(&h->file, seed, n_threads);
	h->file.kept = onefile_random(&random) % 2;
	h->file.quick = onefile_random(&random) % 4 != 0;
	ground_folder(h->dir);
	if (!apart(make, h))
		ground_die("%s: no volume can be made", h->dir);
	for (unsigned i = 0; right && i < ROUNDS; i++) {
		uint64_t at = 1 + onefile_random(&random) % ((uint64_t)h->n_ops * n_threads);

		right = run_round(h, kills && i % 3 == 1 ? at : 0, false);
	}
	/* The last looks at what the one before left. */
	right = right && run_round(h, 0, true) && sound(h);
	if (right || !getenv("EMBASSYFS_KEEP"))
		ground_remove(h->dir);
	else
		fprintf(stderr, "onefile: %s is kept for a look\n", h->dir);
	return right;
}

static void *shared_memory(size_t len)
{
	uint8_t *p = mmap(NULL, len + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			  -1, 0);

	if (p == MAP_FAILED)
		ground_die("no memory");
	return (void *)huge_up((uintptr_t)p);
}

static const char usage[] =
	"usage: onefile_volume [--seed N] [--histories N | --seconds N] [--threads N] [--ops N] "
	"[--no-kills]\n"
	"Several threads in one file of a volume, opened anew and killed.  The first history has "
	"the seed,\n"
	"the next the next.  Exit codes: 0 nothing is wrong, 1 something is, 2 it could not be "
	"found out.\n";

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", 1, NULL, 's'},	   {"histories", 1, NULL, 'n'}, {"seconds", 1, NULL, 't'},
		{"threads", 1, NULL, 'T'}, {"ops", 1, NULL, 'o'},	{"no-kills", 0, NULL, 'k'},
		{"help", 0, NULL, 'h'},	   {NULL, 0, NULL, 0}};
	uint64_t seed = (uint64_t)time(NULL) * 1000, n = 10, seconds = 0, done, ops = 0;
	struct history *h = shared_memory(sizeof(*h));
	unsigned n_threads = 4;
	bool kills = true, right = true;
	time_t end;
	int c;

	h->n_ops = 1500;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		uint64_t value = optarg ? strtoull(optarg, NULL, 10) : 0;

		if (c == 's')
			seed = value;
		else if (c == 'n')
			n = value;
		else if (c == 't')
			seconds = value;
		else if (c == 'T' && value >= 1 && value <= ONEFILE_THREADS_MAX)
			n_threads = (unsigned)value;
		else if (c == 'o' && value >= 1 && value <= 1000000)
			h->n_ops = (unsigned)value;
		else if (c == 'k')
			kills = false;
		else {
			fputs(usage, c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : 2;
		}
	}
	printf("seed %" PRIu64 "\n", seed);
	fflush(stdout);
	ground_init(&h->g);
	h->shm.mem = shared_memory(volume_shm_bytes());
	h->shm.lock_fd = -1;
	end = time(NULL) + (time_t)seconds;
	for (done = 0; right && (seconds ? time(NULL) < end : done < n); done++) {
		right = run_history(h, seed + done, n_threads, kills);
		ops += atomic_load(&h->file.ops);
	}
	printf("%" PRIu64 " histories, %" PRIu64 " operations: %s\n", done, ops,
	       right ? "nothing is wrong" : "WRONG");
	ground_release(&h->g);
	return right ? 0 : 1;
}
