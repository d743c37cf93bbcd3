/*
 * A load generator: one workload on one folder, timed, its figures printed as
 * "METRIC VALUE UNIT [AMOUNT]", where AMOUNT is how many bytes or operations were timed.
 *
 *	load WORKLOAD FOLDER [SIZE]	see usage()
 *
 * What is written is a function of file and offset, so that whatever is read back is compared.
 * tests/bench/compare runs it on several mounted folders in turn.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define CHUNK (1u << 20)
#define SMALL_PER_FOLDER 100u
#define THREADS_MAX 64u
#define LATENCIES_MAX (1u << 20)

static const char *folder;

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s: %s\n", folder, what,
		errno ? strerror(errno) : "wrong content");
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t mix(uint64_t x)
{
	/* splitmix64's output function (Steele, Lea, Flood 2014). */
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* A page that doesn't compress, or one line of text over and over that does. */
static void fill_page(uint64_t seed, int text, uint8_t *page)
{
	if (!text) {
		for (unsigned i = 0; i < PAGE / 8; i++) {
			uint64_t v = mix(seed * (PAGE / 8) + i);

			memcpy(page + 8 * i, &v, 8);
		}
		return;
	}
	for (unsigned i = 0; i < PAGE / 64; i++) {
		char line[80];

		snprintf(line, sizeof(line), "%019llu parcel %08x owner %08x sheet %06x\n",
			 (unsigned long long)(seed * 64 + i), (unsigned)mix(seed + i),
			 (unsigned)mix(i), (unsigned)mix(seed) & 0xffffff);
		memcpy(page + 64 * (size_t)i, line, 64);
	}
}

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags, 0644);

	if (fd < 0)
		die(path);
	return fd;
}

static const char *in_folder(const char *name)
{
	static _Thread_local char path[4096];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void write_big(uint64_t bytes, int text)
{
	uint8_t *buf = malloc(CHUNK);
	double start, spent = 0;
	int fd = open_or_die(in_folder("big"), O_CREAT | O_TRUNC | O_WRONLY);

	for (uint64_t off = 0; off < bytes; off += CHUNK) {
		for (unsigned i = 0; i < CHUNK / PAGE; i++)
			fill_page(off / PAGE + i, text, buf + (size_t)i * PAGE);
		/* Making the content isn't what is measured. */
		start = now();
		if (write(fd, buf, CHUNK) != CHUNK)
			die("write");
		spent += now() - start;
	}
	start = now();
	if (fdatasync(fd) < 0)
		die("fdatasync");
	spent += now() - start;
	printf("write%s %.0f MB/s %llu\n", text ? "-text" : "", (double)bytes / spent / 1e6,
	       (unsigned long long)bytes);
	close(fd);
	free(buf);
}

static void read_big(uint64_t bytes, int text)
{
	uint8_t *buf = malloc(CHUNK), want[PAGE];
	double start, spent = 0;
	int fd = open_or_die(in_folder("big"), O_RDONLY);

	for (uint64_t off = 0; off < bytes; off += CHUNK) {
		start = now();
		if (read(fd, buf, CHUNK) != CHUNK)
			die("read");
		spent += now() - start;
		errno = 0;
		fill_page(off / PAGE, text, want);
		if (memcmp(buf, want, PAGE) != 0)
			die("read");
	}
	printf("read%s %.0f MB/s %llu\n", text ? "-text" : "", (double)bytes / spent / 1e6,
	       (unsigned long long)bytes);
	close(fd);
	free(buf);
}

static void random_writes(uint64_t bytes, unsigned n)
{
	uint8_t page[PAGE];
	double start = now();
	int fd = open_or_die(in_folder("big"), O_RDWR);

	for (unsigned i = 0; i < n; i++) {
		uint64_t at = mix(i) % (bytes / PAGE);

		/* The same bytes again: the file stays as it was for those who read it. */
		fill_page(at, 0, page);
		if (pwrite(fd, page, PAGE, (off_t)(at * PAGE)) != PAGE)
			die("write");
	}
	if (fdatasync(fd) < 0)
		die("fdatasync");
	printf("random-write %.0f /s %u\n", n / (now() - start), n);
	close(fd);
}

/*
 * One block in eight of 8 KiB, at random, gets other bytes; or they are read and compared, and
 * what read_big() compares isn't there any more.
 */
static void blocks_8k(const char *metric, uint64_t bytes, int reading)
{
	uint8_t block[2 * PAGE], want[2 * PAGE];
	uint64_t n_blocks = bytes / sizeof(block);
	unsigned n = (unsigned)(n_blocks / 8);
	double start, spent = 0;
	int fd = open_or_die(in_folder("big"), O_RDWR);

	for (unsigned i = 0; i < n; i++) {
		uint64_t at = mix(i) % n_blocks;
		off_t off = (off_t)(at * sizeof(block));

		/* The seeds are those of pages that the file doesn't have. */
		fill_page(2 * (n_blocks + at), 0, want);
		fill_page(2 * (n_blocks + at) + 1, 0, want + PAGE);
		start = now();
		if (reading ? pread(fd, block, sizeof(block), off) != sizeof(block)
			    : pwrite(fd, want, sizeof(want), off) != sizeof(want))
			die(metric);
		spent += now() - start;
		errno = 0;
		if (reading && memcmp(block, want, sizeof(block)) != 0)
			die(metric);
	}
	start = now();
	if (fdatasync(fd) < 0)
		die("fdatasync");
	spent += now() - start;
	printf("%s %.0f /s %u\n", metric, n / spent, n);
	close(fd);
}

struct worker {
	pthread_t thread;
	unsigned number;
	uint64_t bytes;
	double until;
	uint64_t n;
	uint32_t *latency_us;
};

static void *read_at_random(void *arg)
{
	struct worker *w = arg;
	uint8_t page[PAGE], want[PAGE];
	int fd = open_or_die(in_folder("big"), O_RDONLY);

	for (; now() < w->until; w->n++) {
		uint64_t at = mix((uint64_t)w->number << 40 | w->n) % (w->bytes / PAGE);

		if (pread(fd, page, PAGE, (off_t)(at * PAGE)) != PAGE)
			die("read");
		errno = 0;
		fill_page(at, 0, want);
		if (memcmp(page, want, PAGE) != 0)
			die("read");
	}
	close(fd);
	return NULL;
}

static void *append_and_sync(void *arg)
{
	struct worker *w = arg;
	char name[32];
	uint8_t page[PAGE];
	int fd;

	snprintf(name, sizeof(name), "append%u", w->number);
	fd = open_or_die(in_folder(name), O_CREAT | O_TRUNC | O_WRONLY);
	fill_page(w->number, 0, page);
	while (now() < w->until && w->n < LATENCIES_MAX) {
		double start = now();

		if (write(fd, page, PAGE) != PAGE || fdatasync(fd) < 0)
			die("append");
		w->latency_us[w->n++] = (uint32_t)((now() - start) * 1e6);
	}
	close(fd);
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void run_threads(const char *metric, unsigned n, uint64_t bytes, void *(*fn)(void *))
{
	static struct worker w[THREADS_MAX];
	int sync = fn == append_and_sync;
	uint32_t *all = malloc(sizeof(*all) * LATENCIES_MAX * n);
	double start = now(), spent;
	uint64_t total = 0;

	for (unsigned i = 0; i < n; i++) {
		w[i] = (struct worker){.number = i, .bytes = bytes, .until = start + 3};
		w[i].latency_us = sync ? malloc(sizeof(uint32_t) * LATENCIES_MAX) : NULL;
		if (pthread_create(&w[i].thread, NULL, fn, &w[i]) != 0)
			die("thread");
	}
	for (unsigned i = 0; i < n; i++) {
		pthread_join(w[i].thread, NULL);
		if (sync)
			memcpy(all + total, w[i].latency_us, w[i].n * sizeof(*all));
		total += w[i].n;
		free(w[i].latency_us);
	}
	spent = now() - start;
	printf("%s-%u %.0f /s %llu\n", metric, n, (double)total / spent, (unsigned long long)total);
	if (sync && total > 0) {
		qsort(all, total, sizeof(*all), by_value);
		printf("%s-%u-p99 %u us\n", metric, n, all[total * 99 / 100]);
	}
	free(all);
}

static const char *small_name(unsigned i)
{
	char name[64];

	snprintf(name, sizeof(name), "d%u/f%u", i / SMALL_PER_FOLDER, i);
	return in_folder(name);
}

/* One pass over all small files. */
static void small_files(const char *metric, unsigned n, void (*each)(unsigned i))
{
	double start = now();

	for (unsigned i = 0; i < n; i++)
		each(i);
	printf("%s %.0f files/s %u\n", metric, n / (now() - start), n);
}

static void create_small(unsigned i)
{
	uint8_t page[PAGE];
	char name[32];
	int fd;

	if (i % SMALL_PER_FOLDER == 0) {
		snprintf(name, sizeof(name), "d%u", i / SMALL_PER_FOLDER);
		if (mkdir(in_folder(name), 0755) < 0)
			die(name);
	}
	fill_page(i, 0, page);
	fd = open_or_die(small_name(i), O_CREAT | O_EXCL | O_WRONLY);
	if (write(fd, page, PAGE) != PAGE || close(fd) < 0)
		die("write");
}

static void stat_small(unsigned i)
{
	struct stat st;

	if (stat(small_name(i), &st) < 0 || st.st_size != PAGE)
		die("stat");
}

static void read_small(unsigned i)
{
	uint8_t page[PAGE], want[PAGE];
	int fd = open_or_die(small_name(i), O_RDONLY);

	if (read(fd, page, PAGE) != PAGE)
		die("read");
	errno = 0;
	fill_page(i, 0, want);
	if (memcmp(page, want, PAGE) != 0)
		die("read");
	close(fd);
}

static void delete_small(unsigned i)
{
	char name[32];

	if (unlink(small_name(i)) < 0)
		die("unlink");
	if (i % SMALL_PER_FOLDER == SMALL_PER_FOLDER - 1) {
		snprintf(name, sizeof(name), "d%u", i / SMALL_PER_FOLDER);
		if (rmdir(in_folder(name)) < 0)
			die(name);
	}
}

static void create_and_sync(unsigned n)
{
	double start = now();
	int fd;

	small_files("create", n, create_small);
	fd = open_or_die(folder, O_RDONLY | O_DIRECTORY);
	if (syncfs(fd) < 0)
		die("syncfs");
	printf("create+syncfs %.0f files/s %u\n", n / (now() - start), n);
	close(fd);
}

static void list_small(unsigned n)
{
	double start = now();
	unsigned seen = 0;

	for (unsigned i = 0; i < n / SMALL_PER_FOLDER; i++) {
		struct dirent *e;
		struct stat st;
		char name[32];
		DIR *d;

		snprintf(name, sizeof(name), "d%u", i);
		d = opendir(in_folder(name));
		if (!d)
			die(name);
		while ((e = readdir(d))) {
			if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
				die("stat");
			seen += S_ISREG(st.st_mode);
		}
		closedir(d);
	}
	errno = 0;
	if (seen != n)
		die("list");
	printf("list %.0f files/s %u\n", n / (now() - start), n);
}

/* A head for each change: fsync of the folder .embassy makes one. */
static void make_heads(unsigned n)
{
	double start = now();
	int fd = open_or_die(in_folder("counter"), O_CREAT | O_WRONLY);
	int control = open_or_die(in_folder(".embassy"), O_RDONLY | O_DIRECTORY);

	for (unsigned i = 0; i < n; i++) {
		if (pwrite(fd, &i, sizeof(i), 0) != sizeof(i) || fsync(fd) < 0 ||
		    fsync(control) < 0)
			die("head");
	}
	printf("heads %.0f /s %u\n", n / (now() - start), n);
	close(control);
	close(fd);
}

static int usage(void)
{
	fprintf(stderr,
		"usage: load WORKLOAD FOLDER SIZE\n"
		"  write, write-text, read, read-text, random-write   SIZE in MiB\n"
		"  overwrite-8k, read-8k (what that wrote)            SIZE in MiB\n"
		"  random-read-1, random-read-4, fsync-1, fsync-8     SIZE in MiB\n"
		"  create, list, stat, read-small, delete             SIZE in files, by 100\n"
		"  heads                                              FOLDER is a mount\n");
	return 2;
}

int main(int argc, char **argv)
{
	uint64_t size, bytes;
	const char *w;

	if (argc != 4)
		return usage();
	w = argv[1];
	folder = argv[2];
	size = strtoull(argv[3], NULL, 10);
	bytes = size << 20;
	if (strcmp(w, "write") == 0 || strcmp(w, "write-text") == 0)
		write_big(bytes, w[5] != 0);
	else if (strcmp(w, "read") == 0 || strcmp(w, "read-text") == 0)
		read_big(bytes, w[4] != 0);
	else if (strcmp(w, "random-write") == 0)
		random_writes(bytes, 20000);
	else if (strcmp(w, "overwrite-8k") == 0 || strcmp(w, "read-8k") == 0)
		blocks_8k(w, bytes, w[0] == 'r');
	else if (strcmp(w, "random-read-1") == 0 || strcmp(w, "random-read-4") == 0)
		run_threads("random-read", (unsigned)(w[12] - '0'), bytes, read_at_random);
	else if (strcmp(w, "fsync-1") == 0 || strcmp(w, "fsync-8") == 0)
		run_threads("fsync", (unsigned)(w[6] - '0'), bytes, append_and_sync);
	else if (strcmp(w, "create") == 0)
		create_and_sync((unsigned)size);
	else if (strcmp(w, "list") == 0)
		list_small((unsigned)size);
	else if (strcmp(w, "stat") == 0)
		small_files(w, (unsigned)size, stat_small);
	else if (strcmp(w, "read-small") == 0)
		small_files(w, (unsigned)size, read_small);
	else if (strcmp(w, "delete") == 0)
		small_files(w, (unsigned)size, delete_small);
	else if (strcmp(w, "heads") == 0)
		make_heads((unsigned)size);
	else
		return usage();
	return 0;
}
