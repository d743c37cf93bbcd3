/*
 * sim: deterministic simulation of a home and its embassies.
 *
 * Each history is played by a process of its own, so that a failure ends that one only, and what
 * a crash abandons is gone with it.  The process says its trace's hash; some are played twice,
 * and must say the same.
 */

#include "breaks.h"
#include "conf.h"
#include "kept.h"
#include "play.h"
#include "secret.h"
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TWICE_ONE_IN 50u
#define CPU_SECONDS_MAX 120u /* of one history; more: it spins */
#define SECONDS_MAX 3600u    /* it hangs, whatever runs beside it */
#define BREAK_HISTORIES 1500u

static const char usage[] =
	"usage: sim [--histories N] [--seed S] [--break WHAT]   play N histories from seed S on\n"
	"       sim --one --seed S [--verbose]                  play one, and print what happens\n"
	"       sim --breaks                                    make each mistake, and find it\n"
	"With --memory the embassies keep their copies not in folders, but in a storage that keeps\n"
	"commits apart.\n"
	"Each history is its seed's: the same seed, the same history.  WHAT is a mistake to make "
	"on\n"
	"purpose, one of:\n";

struct options {
	uint64_t seed, histories;
	bool one, verbose, breaks;
	const char *mistake;
};

static uint64_t play(uint64_t seed, bool verbose)
{
	breaks_begin();
	return play_history(seed, verbose);
}

/* What the code under test says is not what is looked for; nor is how a mistake was found. */
static void be_quiet(void)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		fail_fd = breaks_any() ? fd : dup(2);
		dup2(fd, 1);
		dup2(fd, 2);
	}
}

/* Play it in a process of its own: 0 and its hash, or 1 if it failed. */
static int play_apart(uint64_t seed, uint64_t *out_hash)
{
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	if (pipe(fds) < 0)
		exit(2);
	pid = fork();
	if (pid < 0) {
		perror("sim: fork");
		exit(2);
	}
	if (pid == 0) {
		const struct rlimit cpu = {CPU_SECONDS_MAX, CPU_SECONDS_MAX};
		uint64_t hash;

		be_quiet();
		(void)setrlimit(RLIMIT_CPU, &cpu);
		alarm(SECONDS_MAX);
		hash = play(seed, false);
		n = write(fds[1], &hash, sizeof(hash));
		_exit(n == sizeof(hash) ? 0 : 2);
	}
	close(fds[1]);
	n = read(fds[0], out_hash, sizeof(*out_hash));
	close(fds[0]);
	if (waitpid(pid, &status, 0) < 0)
		exit(2);
	if (WIFSIGNALED(status))
		printf("seed %llu: ended by signal %d\n", (unsigned long long)seed,
		       WTERMSIG(status));
	return n == sizeof(*out_hash) && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}

/* The number of histories until one failed; 0: none did. */
static uint64_t play_all(const struct options *o, uint64_t *out_seed)
{
	for (uint64_t i = 0; i < o->histories; i++) {
		uint64_t hash, again;

		*out_seed = o->seed + i;
		if (play_apart(*out_seed, &hash) != 0)
			return i + 1;
		if (i % TWICE_ONE_IN > 0)
			continue;
		if (play_apart(*out_seed, &again) != 0 || again != hash) {
			printf("seed %llu: played twice, it was not the same\n",
			       (unsigned long long)*out_seed);
			return i + 1;
		}
	}
	return 0;
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int play_many(const struct options *o)
{
	double begin = seconds(), took;
	uint64_t seed, n;
	bool broken = o->mistake && breaks_set(o->mistake);

	n = play_all(o, &seed);
	took = seconds() - begin;
	if (n == 0) {
		printf("sim: %llu histories from seed %llu, %.0f a minute: all is as it must be\n",
		       (unsigned long long)o->histories, (unsigned long long)o->seed,
		       60 * (double)o->histories / took);
		return broken ? 1 : 0;
	}
	printf("sim: seed %llu fails, the %lluth; see it with: sim --one --verbose --seed "
	       "%llu%s%s\n",
	       (unsigned long long)seed, (unsigned long long)n, (unsigned long long)seed,
	       broken ? " --break " : "", broken ? o->mistake : "");
	return broken ? 0 : 1;
}

static int play_breaks(const struct options *o)
{
	struct options all = *o;
	uint64_t seed, n;
	int rc = 0;

	all.histories = BREAK_HISTORIES;
	for (size_t i = 0; breaks_name(i); i++) {
		(void)breaks_set(breaks_name(i));
		all.seed = o->seed + (getenv("EMBASSYFS_TEST_FULL") ? 0 : breaks_skip(i));
		n = play_all(&all, &seed);
		if (n > 0)
			printf("%-12s found in history %llu\n", breaks_name(i),
			       (unsigned long long)n);
		else
			printf("%-12s NOT FOUND in %u histories\n", breaks_name(i),
			       BREAK_HISTORIES);
		fflush(stdout);
		rc = n > 0 ? rc : 1;
	}
	return rc;
}

static int play_one(const struct options *o)
{
	uint64_t hash;

	if (o->mistake)
		(void)breaks_set(o->mistake);
	setlinebuf(stdout);
	hash = play(o->seed, o->verbose);
	printf("sim: seed %llu: all is as it must be; trace %016llx\n", (unsigned long long)o->seed,
	       (unsigned long long)hash);
	fflush(stdout);
	/* What crashes abandoned is no leak. */
	_exit(0);
}

static int help(int code)
{
	FILE *f = code ? stderr : stdout;

	fputs(usage, f);
	for (size_t i = 0; breaks_name(i); i++)
		fprintf(f, "  %s\n", breaks_name(i));
	return code;
}

static int read_options(int argc, char **argv, struct options *o)
{
	static const struct option list[] = {
		{"histories", required_argument, NULL, 'n'},
		{"seed", required_argument, NULL, 's'},
		{"break", required_argument, NULL, 'b'},
		{"breaks", no_argument, NULL, 'B'},
		{"one", no_argument, NULL, '1'},
		{"verbose", no_argument, NULL, 'v'},
		{"memory", no_argument, NULL, 'm'},
		{NULL, 0, NULL, 0},
	};
	int ch;

	while ((ch = getopt_long(argc, argv, "", list, NULL)) != -1) {
		switch (ch) {
		case 'n':
			o->histories = strtoull(optarg, NULL, 10);
			break;
		case 's':
			o->seed = strtoull(optarg, NULL, 10);
			break;
		case 'b':
			o->mistake = optarg;
			if (!breaks_set(optarg))
				return -EINVAL;
			break;
		case 'B':
			o->breaks = true;
			break;
		case '1':
			o->one = true;
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'm':
			kept_use_memory();
			break;
		default:
			return -EINVAL;
		}
	}
	return optind < argc ? -EINVAL : 0;
}

int main(int argc, char **argv)
{
	struct options o = {.seed = 1, .histories = 1000};

	if (argc > 1 && strcmp(argv[1], "--help") == 0)
		return help(0);
	if (read_options(argc, argv, &o) < 0)
		return help(2);
	if (secret_init() < 0)
		return 2;
	conf_init();
	/* Large pages cost more to clear than a history is long. */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TOP_PAD, 4 << 20);
	if (o.one)
		return play_one(&o);
	return o.breaks ? play_breaks(&o) : play_many(&o);
}
