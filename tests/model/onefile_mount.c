/*
 * onefile on a mount: threads with file descriptors and, with --maps, maps of their own.  Between
 * rounds the mount goes and comes back, so that nothing is in any cache.  In every third round a
 * command kills the daemon: with --kept another takes over and nobody notices; without, the threads
 * end at the first error, and after the next mount what each had synced is there.
 */

#include "onefile.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define PATH_LEN_MAX 1024
#define FILE_NAME "onefile"

struct mounted {
	struct onefile *f;
	const char *folder, *remount, *kill;
	bool maps;
	atomic_bool killed;
	uint64_t kill_at;
	struct {
		int fd, direct;
		uint8_t *map; /* ONEFILE_SIZE_MAX bytes, or NULL */
		uint64_t attribute, random;
	} thread[ONEFILE_THREADS_MAX];
};

_Noreturn static void die(const char *what, const char *about)
{
	fprintf(stderr, "onefile: %s: %s: %s\n", about, what, strerror(errno));
	exit(2);
}

/* What calls on a mount fail with that is no more. */
static int failure(struct mounted *m)
{
	if (!m->f->kept && atomic_load(&m->killed) &&
	    (errno == ECONNABORTED || errno == EIO || errno == ENOENT))
		return -ENOTCONN;
	return -errno;
}

/* One of the ways to the file's bytes. */
static int some_fd(struct mounted *m, unsigned thread)
{
	return onefile_random(&m->thread[thread].random) % 4 ? m->thread[thread].fd
							     : m->thread[thread].direct;
}

static int put(void *ctx, unsigned thread, uint64_t off, const void *data, size_t len)
{
	struct mounted *m = ctx;
	int fd = some_fd(m, thread);
	size_t done = 0;

	/* Below what the size can't be cut to; a store into a page beyond the end is a signal. */
	if (m->thread[thread].map && onefile_random(&m->thread[thread].random) % 2 &&
	    off + len <= m->f->border) {
		memcpy(m->thread[thread].map + off, data, len);
		return 0;
	}
	while (done < len) {
		ssize_t n = pwrite(fd, (const uint8_t *)data + done, len - done,
				   (off_t)(off + done));

		/* Others than FUSE want direct I/O to be aligned. */
		if (n < 0 && errno == EINVAL && fd != m->thread[thread].fd) {
			fd = m->thread[thread].fd;
			continue;
		}
		if (n < 0)
			return failure(m);
		done += (size_t)n;
	}
	return 0;
}

static int get(void *ctx, unsigned thread, uint64_t off, void *out, size_t len)
{
	struct mounted *m = ctx;
	int fd = some_fd(m, thread);
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (uint8_t *)out + done, len - done, (off_t)(off + done));

		if (n < 0 && errno == EINVAL && fd != m->thread[thread].fd) {
			fd = m->thread[thread].fd;
			continue;
		}
		if (n < 0)
			return failure(m);
		if (n == 0)
			break;
		done += (size_t)n;
	}
	memset((uint8_t *)out + done, 0, len - done);
	return 0;
}

static int allocate(void *ctx, unsigned thread, int mode, uint64_t off, uint64_t len)
{
	struct mounted *m = ctx;

	return fallocate(m->thread[thread].fd, mode, (off_t)off, (off_t)len) < 0 ? failure(m) : 0;
}

static int copy(void *ctx, unsigned thread, uint64_t from, uint64_t to, uint64_t len)
{
	struct mounted *m = ctx;
	off_t at = (off_t)from, there = (off_t)to;

	while (len > 0) {
		ssize_t n = copy_file_range(m->thread[thread].fd, &at, m->thread[thread].fd, &there,
					    len, 0);

		if (n <= 0)
			return n < 0 ? failure(m) : -ENODATA;
		len -= (size_t)n;
	}
	return 0;
}

static int truncate_to(void *ctx, unsigned thread, uint64_t size)
{
	struct mounted *m = ctx;

	return ftruncate(m->thread[thread].fd, (off_t)size) < 0 ? failure(m) : 0;
}

static int size_of(void *ctx, unsigned thread, uint64_t *out)
{
	struct mounted *m = ctx;
	struct stat st;

	if (fstat(m->thread[thread].fd, &st) < 0)
		return failure(m);
	*out = (uint64_t)st.st_size;
	return 0;
}

static int sync_it(void *ctx, unsigned thread)
{
	struct mounted *m = ctx;

	return fsync(m->thread[thread].fd) < 0 ? failure(m) : 0;
}

static int attribute(struct mounted *m, unsigned thread)
{
	uint64_t value = ++m->thread[thread].attribute, found = 0;
	char name[32];

	snprintf(name, sizeof(name), "user.of-%u", thread);
	if (fsetxattr(m->thread[thread].fd, name, &value, sizeof(value), 0) < 0 ||
	    fgetxattr(m->thread[thread].fd, name, &found, sizeof(found)) < 0)
		return failure(m);
	if (found != value)
		onefile_wrong(m->f, "%s is %" PRIu64 ", was set to %" PRIu64, name, found, value);
	return 0;
}

/*
 * link(), again where the kernel refuses because its own count of links says 0.  It takes one off when
 * the answer to an unlink comes, also where an answer to a stat that came first has told of that
 * already.  Asked, the filesystem must know of the name, and the kernel then counts as it does.
 */
static int link_counted(const char *path, const char *other)
{
	struct statx sx;

	if (link(path, other) == 0)
		return 0;
	if (errno != ENOENT || statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_NLINK, &sx) < 0 ||
	    sx.stx_nlink == 0)
		return -1;
	return link(path, other);
}

static int other_name(struct mounted *m, unsigned thread)
{
	char path[PATH_LEN_MAX], other[PATH_LEN_MAX];

	snprintf(path, sizeof(path), "%s/" FILE_NAME, m->folder);
	snprintf(other, sizeof(other), "%s/" FILE_NAME "-%u", m->folder, thread);
	if (unlink(other) < 0 && errno != ENOENT)
		return failure(m);
	if (link_counted(path, other) < 0 || unlink(other) < 0) {
		if (errno == ENOENT)
			onefile_wrong(m->f, "thread %u: a name that is there, %s, is not found",
				      thread, access(other, F_OK) == 0 ? "of the link" : path);
		return failure(m);
	}
	return 0;
}

static int aside(void *ctx, unsigned thread, uint64_t random)
{
	struct mounted *m = ctx;
	int fd = m->thread[thread].fd;
	int rc;

	switch (random % 8) {
	case 0:
	case 1:
		return attribute(m, thread);
	case 2:
		/* By its path: once the mount was killed this may be the next one's. */
		return m->f->kept ? other_name(m, thread) : 0;
	case 3:
		return fchmod(fd, 0600 | (random >> 8 & 077)) < 0 ? failure(m) : 0;
	case 4:
	case 5:
		return sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE) < 0 ? failure(m) : 0;
	default:
		rc = posix_fadvise(fd, (off_t)(random >> 8) % (off_t)ONEFILE_SIZE_MAX, 1 << 20,
				   POSIX_FADV_DONTNEED);
		errno = rc;
		return rc ? failure(m) : 0;
	}
}

static void open_all(struct mounted *m)
{
	char path[PATH_LEN_MAX];

	snprintf(path, sizeof(path), "%s/" FILE_NAME, m->folder);
	for (unsigned i = 0; i < m->f->n_threads; i++) {
		int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		int direct = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
		void *map = m->maps ? mmap(NULL, ONEFILE_SIZE_MAX, PROT_READ | PROT_WRITE,
					   MAP_SHARED, fd, 0)
				    : NULL;

		if (fd < 0 || direct < 0 || map == MAP_FAILED)
			die("open", path);
		m->thread[i].fd = fd;
		m->thread[i].direct = direct;
		m->thread[i].map = map;
	}
}

static void close_all(struct mounted *m)
{
	for (unsigned i = 0; i < m->f->n_threads; i++) {
		if (m->thread[i].map)
			munmap(m->thread[i].map, ONEFILE_SIZE_MAX);
		close(m->thread[i].fd);
		close(m->thread[i].direct);
	}
}

static void run_command(const char *command)
{
	if (system(command) != 0)
		die("the command failed", command);
}

static void *killer(void *arg)
{
	struct mounted *m = arg;

	while (atomic_load(&m->f->ops) < m->kill_at && !atomic_load(&m->f->failed))
		usleep(100);
	atomic_store(&m->killed, true);
	run_command(m->kill);
	return NULL;
}

/* One round, and what it left, before and after the mount was away. */
static bool run_round(struct mounted *m, unsigned n_ops, uint64_t random)
{
	struct subject s = {.ctx = m,
			    .write = put,
			    .read = get,
			    .allocate = allocate,
			    .copy = copy,
			    .truncate = truncate_to,
			    .size = size_of,
			    .sync = sync_it,
			    .aside = aside};
	bool kill = m->kill && m->f->round % 3 == 1, right;
	pthread_t thread;

	atomic_store(&m->killed, false);
	m->kill_at = atomic_load(&m->f->ops) + random % ((uint64_t)n_ops * m->f->n_threads) + 1;
	open_all(m);
	if (kill && pthread_create(&thread, NULL, killer, m) != 0)
		die("thread", "killer");
	right = onefile_round(m->f, &s, n_ops);
	if (kill)
		pthread_join(thread, NULL);
	if (right && (!kill || m->f->kept)) {
		onefile_settled(m->f);
		right = onefile_compare(m->f, &s);
	}
	close_all(m);
	if (m->remount && !(kill && !m->f->kept))
		run_command(m->remount);
	open_all(m);
	right = right && onefile_compare(m->f, &s);
	close_all(m);
	return right;
}

static const char usage[] =
	"usage: onefile_mount [OPTION]... FOLDER\n"
	"Several threads in one file of a folder on a mount.\n"
	"  --seed N       of plots and operations (default: by the clock)\n"
	"  --rounds N     (default 9)\n"
	"  --seconds N    instead: as many as begin in this time\n"
	"  --threads N    (default 4)\n"
	"  --ops N        of each thread in a round (default 1500)\n"
	"  --maps         write through shared maps too\n"
	"  --remount CMD  makes the mount go and come back; done after each round\n"
	"  --kill CMD     kills the daemon in every third round; there is a mount when it returns\n"
	"  --kept         what was answered outlives that; else what was synced does\n"
	"Exit codes: 0 nothing is wrong, 1 something is, 2 it could not be found out.\n";

struct options {
	uint64_t seed, rounds, seconds;
	unsigned n_threads, n_ops;
	bool kept;
};

static void parse(int argc, char **argv, struct mounted *m, struct options *o)
{
	static const struct option options[] = {
		{"seed", 1, NULL, 's'},	   {"rounds", 1, NULL, 'n'}, {"seconds", 1, NULL, 't'},
		{"threads", 1, NULL, 'T'}, {"ops", 1, NULL, 'o'},    {"maps", 0, NULL, 'M'},
		{"remount", 1, NULL, 'r'}, {"kill", 1, NULL, 'k'},   {"kept", 0, NULL, 'K'},
		{"help", 0, NULL, 'h'},	   {NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		uint64_t value = optarg ? strtoull(optarg, NULL, 10) : 0;

		if (c == 's')
			o->seed = value;
		else if (c == 'n')
			o->rounds = value;
		else if (c == 't')
			o->seconds = value;
		else if (c == 'T' && value >= 1 && value <= ONEFILE_THREADS_MAX)
			o->n_threads = (unsigned)value;
		else if (c == 'o' && value >= 1 && value <= 1000000)
			o->n_ops = (unsigned)value;
		else if (c == 'M')
			m->maps = true;
		else if (c == 'r')
			m->remount = optarg;
		else if (c == 'k')
			m->kill = optarg;
		else if (c == 'K')
			o->kept = true;
		else {
			fputs(usage, c == 'h' ? stdout : stderr);
			exit(c == 'h' ? 0 : 2);
		}
	}
	if (argc - optind != 1) {
		fputs(usage, stderr);
		exit(2);
	}
	m->folder = argv[optind];
}

int main(int argc, char **argv)
{
	struct options o = {
		.seed = (uint64_t)time(NULL), .rounds = 9, .n_threads = 4, .n_ops = 1500};
	struct mounted m = {.folder = NULL};
	uint64_t random;
	bool right = true;
	time_t end;
	unsigned n;

	parse(argc, argv, &m, &o);
	printf("seed %" PRIu64 "\n", o.seed);
	fflush(stdout);
	random = o.seed;
	m.f = calloc(1, sizeof(*m.f));
	if (!m.f)
		die("memory", "the file");
	onefile_init(m.f, o.seed, o.n_threads);
	m.f->kept = o.kept;
	m.f->quick = true;
	for (unsigned i = 0; i < o.n_threads; i++)
		m.thread[i].random = o.seed + i;
	/* It begins with what an earlier run did not leave. */
	open_all(&m);
	if (ftruncate(m.thread[0].fd, 0) < 0 || fsync(m.thread[0].fd) < 0)
		die("truncate", m.folder);
	close_all(&m);
	end = time(NULL) + (time_t)o.seconds;
	for (n = 0; right && (o.seconds ? time(NULL) < end : n < o.rounds); n++)
		right = run_round(&m, o.n_ops, onefile_random(&random));
	printf("%u rounds, %" PRIu64 " operations: %s\n", n, (uint64_t)atomic_load(&m.f->ops),
	       right ? "nothing is wrong" : "WRONG");
	free(m.f);
	return right ? 0 : 1;
}
