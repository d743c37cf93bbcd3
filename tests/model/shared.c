#include "shared.h"

#include "generate.h"
#include "run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define N_STILL 60   /* names that nobody touches */
#define N_TOKENS 4   /* files that are renamed about */
#define N_PLACES 16  /* names that they may have */
#define RECORD 64    /* bytes */
#define N_CONTESTS 8 /* names that all want to make, for each round */
#define N_NAMES_MAX 2000

struct shared {
	int folder;
	uint64_t seed;
	unsigned n_threads, n_rounds;
	atomic_bool failed;
	atomic_uint_least64_t ops, appended;
	atomic_uint *winners; /* for each contest */
	pthread_barrier_t round;
};

struct worker {
	struct shared *s;
	unsigned number;
	uint64_t rnd;
	unsigned n_appended;
};

static void broken_rule(struct shared *s, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void broken_rule(struct shared *s, const char *fmt, ...)
{
	va_list ap;

	/* One is enough; others follow from it. */
	if (atomic_exchange(&s->failed, true))
		return;
	fprintf(stderr, "model: seed %" PRIu64 ": shared folder: ", s->seed);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* A call that must succeed, or fail with one of two errors that the others can cause. */
static bool allowed(struct worker *w, const char *what, int rc, int err1, int err2)
{
	atomic_fetch_add(&w->s->ops, 1);
	if (rc >= 0)
		return true;
	if (errno != err1 && errno != err2)
		broken_rule(w->s, "%s: %s", what, strerror(errno));
	return false;
}

/* All threads want the same names; each has one maker. */
static void contest(struct worker *w, unsigned round)
{
	struct shared *s = w->s;
	char name[64], own[64];
	int fd, rc;

	snprintf(own, sizeof(own), "own%u", w->number);
	for (unsigned i = 0; i < N_CONTESTS; i++) {
		snprintf(name, sizeof(name), "contest%u", i);
		if (i % 3 == 0) {
			rc = fd = openat(s->folder, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC,
					 0600);
			if (fd >= 0)
				close(fd);
		} else if (i % 3 == 1) {
			rc = mkdirat(s->folder, name, 0700);
		} else {
			rc = linkat(s->folder, own, s->folder, name, 0);
		}
		if (allowed(w, name, rc, EEXIST, EEXIST))
			atomic_fetch_add(&s->winners[round * N_CONTESTS + i], 1);
	}
}

/* And whoever removes one is alone as well; a folder may not be empty, if somebody is in it. */
static void remove_contested(struct worker *w)
{
	struct shared *s = w->s;
	char name[64], inside[80];

	for (unsigned i = 0; i < N_CONTESTS; i++) {
		snprintf(name, sizeof(name), "contest%u", i);
		if (i % 3 != 1) {
			allowed(w, name, unlinkat(s->folder, name, 0), ENOENT, ENOENT);
			continue;
		}
		snprintf(inside, sizeof(inside), "%s/in%u", name, w->number);
		if (allowed(w, inside, mkdirat(s->folder, inside, 0700), ENOENT, ENOENT))
			allowed(w, inside, unlinkat(s->folder, inside, AT_REMOVEDIR), EINVAL,
				EINVAL);
		allowed(w, name, unlinkat(s->folder, name, AT_REMOVEDIR), ENOENT, ENOTEMPTY);
	}
}

static void append(struct worker *w)
{
	char record[RECORD + 1];
	int fd = openat(w->s->folder, "records", O_WRONLY | O_APPEND | O_CLOEXEC);

	snprintf(record, sizeof(record), "%10u %10u %*s\n", w->number, w->n_appended, RECORD - 23,
		 "x");
	if (!allowed(w, "open of records", fd, 0, 0))
		return;
	if (write(fd, record, RECORD) == RECORD) {
		w->n_appended++;
		atomic_fetch_add(&w->s->appended, 1);
	} else {
		broken_rule(w->s, "append: %s", strerror(errno));
	}
	if (random_next(&w->rnd) % 16 == 0 && fsync(fd) < 0)
		broken_rule(w->s, "fsync: %s", strerror(errno));
	close(fd);
}

static void move_token(struct worker *w)
{
	unsigned flag = random_next(&w->rnd) % 2 ? RENAME_NOREPLACE : RENAME_EXCHANGE;
	char from[64], to[64];

	snprintf(from, sizeof(from), "d%d/token%d", (int)(random_next(&w->rnd) % 2),
		 (int)(random_next(&w->rnd) % N_PLACES));
	snprintf(to, sizeof(to), "d%d/token%d", (int)(random_next(&w->rnd) % 2),
		 (int)(random_next(&w->rnd) % N_PLACES));
	allowed(w, "rename of a token", renameat2(w->s->folder, from, w->s->folder, to, flag),
		ENOENT, EEXIST);
}

static void list_still(struct worker *w)
{
	int fd = openat(w->s->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), number;
	unsigned seen[N_STILL] = {0};
	const struct dirent *e;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	atomic_fetch_add(&w->s->ops, 1);
	if (!d) {
		broken_rule(w->s, "opendir: %s", strerror(errno));
		return;
	}
	while ((e = readdir(d)))
		if (sscanf(e->d_name, "still%d", &number) == 1)
			seen[number]++;
	closedir(d);
	for (unsigned i = 0; i < N_STILL; i++)
		if (seen[i] != 1)
			broken_rule(w->s, "still%u was listed %u times", i, seen[i]);
}

/* Names of one's own, so that the folder grows and shrinks under those who list it. */
static void churn(struct worker *w)
{
	unsigned number = (unsigned)(random_next(&w->rnd) % 50);
	char name[64], other[64];
	int fd;

	snprintf(name, sizeof(name), "churn-%u-%u", w->number, number);
	snprintf(other, sizeof(other), "churn-%u-other-name-%u", w->number, number);
	fd = openat(w->s->folder, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (!allowed(w, name, fd, 0, 0))
		return;
	if (write(fd, name, strlen(name)) < 0)
		broken_rule(w->s, "write to %s: %s", name, strerror(errno));
	close(fd);
	allowed(w, other, renameat(w->s->folder, name, w->s->folder, other), 0, 0);
	allowed(w, other, unlinkat(w->s->folder, other, 0), 0, 0);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct shared *s = w->s;

	for (unsigned round = 0; round < s->n_rounds; round++) {
		pthread_barrier_wait(&s->round);
		contest(w, round);
		for (int i = 0; i < 20; i++) {
			append(w);
			move_token(w);
			churn(w);
		}
		list_still(w);
		pthread_barrier_wait(&s->round);
		remove_contested(w);
	}
	return NULL;
}

static void make_file(struct shared *s, const char *name)
{
	int fd = openat(s->folder, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

	if (fd < 0)
		give_up("create", name);
	close(fd);
}

static void prepare(struct shared *s)
{
	char name[64];

	for (unsigned i = 0; i < N_STILL; i++) {
		snprintf(name, sizeof(name), "still%u", i);
		make_file(s, name);
	}
	for (unsigned i = 0; i < s->n_threads; i++) {
		snprintf(name, sizeof(name), "own%u", i);
		make_file(s, name);
	}
	make_file(s, "records");
	if (mkdirat(s->folder, "d0", 0700) < 0 || mkdirat(s->folder, "d1", 0700) < 0)
		give_up("mkdir", "d0");
	for (unsigned i = 0; i < N_TOKENS; i++) {
		snprintf(name, sizeof(name), "d%u/token%u", i % 2, i);
		make_file(s, name);
	}
}

/* Each thread's records in its own order, and each whole. */
static void check_records(struct shared *s)
{
	unsigned next[SHARED_THREADS_MAX] = {0}, who, number;
	FILE *f = fdopen(openat(s->folder, "records", O_RDONLY | O_CLOEXEC), "r");
	char record[RECORD + 1];
	struct stat st;
	uint64_t n = 0;

	if (!f)
		give_up("open", "records");
	for (; fread(record, RECORD, 1, f) == 1; n++) {
		record[RECORD] = '\0';
		if (sscanf(record, "%u %u x\n", &who, &number) != 2 || who >= s->n_threads ||
		    record[RECORD - 1] != '\n' || number != next[who]++)
			broken_rule(s, "record %" PRIu64 " is torn or out of order: %.30s", n,
				    record);
	}
	if (ferror(f))
		broken_rule(s, "records can't be read: %s", strerror(errno));
	if (n != atomic_load(&s->appended) && fstat(fileno(f), &st) == 0)
		broken_rule(s, "%" PRIu64 " records in %ld bytes, %" PRIu64 " were appended", n,
			    (long)st.st_size, (uint64_t)atomic_load(&s->appended));
	fclose(f);
}

static unsigned names_in(struct shared *s, const char *folder, unsigned *out_folders)
{
	int fd = openat(s->folder, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	struct stat st;
	unsigned n = 0;

	*out_folders = 0;
	if (!d)
		give_up("opendir", folder);
	while (n < N_NAMES_MAX && (e = readdir(d))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		n++;
		if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			broken_rule(s, "%s/%s is listed, but: %s", folder, e->d_name,
				    strerror(errno));
		else if (S_ISDIR(st.st_mode))
			++*out_folders;
		else if (st.st_nlink != 1)
			broken_rule(s, "%s/%s has %u links", folder, e->d_name,
				    (unsigned)st.st_nlink);
	}
	if (fstat(fd, &st) < 0 || st.st_nlink != *out_folders + 2)
		broken_rule(s, "%s has %u links and %u folders in it", folder,
			    (unsigned)st.st_nlink, *out_folders);
	closedir(d);
	return n;
}

static void check_end(struct shared *s)
{
	unsigned folders, n = names_in(s, ".", &folders), tokens;

	if (n != N_STILL + s->n_threads + 3 || folders != 2)
		broken_rule(s, "%u names and %u folders are left", n, folders);
	tokens = names_in(s, "d0", &folders);
	tokens += names_in(s, "d1", &folders);
	if (tokens != N_TOKENS)
		broken_rule(s, "%u tokens, there were %u", tokens, N_TOKENS);
	for (unsigned i = 0; i < s->n_rounds * N_CONTESTS; i++)
		if (s->winners[i] != 1)
			broken_rule(s, "contest %u had %u winners", i, s->winners[i]);
	check_records(s);
}

uint64_t shared_run(const char *root, const char *name, uint64_t seed, unsigned n_threads,
		    unsigned n_rounds)
{
	struct shared s = {.seed = seed, .n_threads = n_threads, .n_rounds = n_rounds};
	struct worker workers[SHARED_THREADS_MAX];
	pthread_t threads[SHARED_THREADS_MAX];
	char path[1024];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	remove_tree(path);
	if (mkdir(path, 0777) < 0)
		give_up("mkdir", path);
	s.folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s.winners = calloc((size_t)n_rounds * N_CONTESTS, sizeof(*s.winners));
	if (s.folder < 0 || !s.winners)
		give_up("open", path);
	pthread_barrier_init(&s.round, NULL, n_threads);
	prepare(&s);
	for (unsigned i = 0; i < n_threads; i++) {
		workers[i] = (struct worker){.s = &s, .number = i, .rnd = seed * 64 + i};
		if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0)
			give_up("thread", path);
	}
	for (unsigned i = 0; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	check_end(&s);
	pthread_barrier_destroy(&s.round);
	free(s.winners);
	close(s.folder);
	/* What is wrong is kept for a look. */
	if (!atomic_load(&s.failed))
		remove_tree(path);
	return atomic_load(&s.failed) ? 0 : atomic_load(&s.ops);
}
