/*
 * Does one folder behave as another?  Random operations on both, compared all the time.
 *
 * The first is on the file system that is tested, the second on one that is trusted.  Everything
 * follows from the seed.  A sequence that differs is shrunk and printed as a script that
 * --replay takes.
 */

#include "generate.h"
#include "run.h"
#include "shared.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 16
#define SHARED_ROUNDS 10
#define SHRINK_S_MAX 120

struct options {
	struct config cfg;
	uint64_t seed;
	size_t n_ops;
	uint64_t n_runs, seconds;
	unsigned n_threads;
	const char *replay, *script;
};

static const char usage_text[] =
	"usage: model [OPTION]... TESTED REFERENCE\n"
	"  --seed N       of the first sequence; the next has the next (default: by the clock)\n"
	"  --ops N        operations in a sequence (default 1000)\n"
	"  --runs N       sequences (default 1)\n"
	"  --seconds N    instead: as many as begin in this time\n"
	"  --threads N    so many sequences at once, and a folder that the threads share\n"
	"  --remount CMD  makes TESTED go and come back; done now and then\n"
	"  --replay FILE  one sequence, from a script\n"
	"  --script FILE  where to write the smallest sequence that differs\n"
	"  --break N      TESTED gets this mistake, which must be found:\n";

static void usage(FILE *to)
{
	fputs(usage_text, to);
#define BREAK_LINE(number, name, words) fprintf(to, "                   %2d  %s\n", number, words);
	BREAKS(BREAK_LINE)
#undef BREAK_LINE
	fputs("Exit codes: 0 no difference, 1 a difference, 2 it could not be found out.\n", to);
}

static uint64_t number(const char *text, uint64_t max)
{
	char *end;
	uint64_t n = strtoull(text, &end, 10);

	if (*end || end == text || n > max) {
		fprintf(stderr, "model: %s: no number up to %" PRIu64 "\n", text, max);
		exit(2);
	}
	return n;
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option options[] = {
		{"seed", 1, NULL, 's'},	   {"ops", 1, NULL, 'o'},     {"runs", 1, NULL, 'r'},
		{"seconds", 1, NULL, 't'}, {"threads", 1, NULL, 'T'}, {"remount", 1, NULL, 'm'},
		{"replay", 1, NULL, 'R'},  {"script", 1, NULL, 'S'},  {"break", 1, NULL, 'b'},
		{"help", 0, NULL, 'h'},	   {NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 's')
			o->seed = number(optarg, UINT64_MAX);
		else if (c == 'o')
			o->n_ops = number(optarg, N_OPS_MAX);
		else if (c == 'r')
			o->n_runs = number(optarg, UINT64_MAX);
		else if (c == 't')
			o->seconds = number(optarg, UINT32_MAX);
		else if (c == 'T')
			o->n_threads = (unsigned)number(optarg, THREADS_MAX);
		else if (c == 'm')
			o->cfg.remount = optarg;
		else if (c == 'R')
			o->replay = optarg;
		else if (c == 'S')
			o->script = optarg;
		else if (c == 'b')
			o->cfg.broken = (enum broken)number(optarg, N_BREAKS - 1);
		else {
			usage(c == 'h' ? stdout : stderr);
			exit(c == 'h' ? 0 : 2);
		}
	}
	if (argc - optind != 2) {
		usage(stderr);
		exit(2);
	}
	for (int i = 0; i < 2; i++) {
		o->cfg.root[i] = realpath(argv[optind + i], NULL);
		if (!o->cfg.root[i])
			give_up("no such folder", argv[optind + i]);
	}
}

static size_t read_script(const char *path, struct op *ops)
{
	FILE *f = fopen(path, "r");
	char line[OP_TEXT_MAX + 2];
	size_t n = 0;

	if (!f)
		give_up("open", path);
	while (fgets(line, sizeof(line), f)) {
		if (line[0] == '#' || line[0] == '\n')
			continue;
		if (n == N_OPS_MAX || !op_parse(line, &ops[n++])) {
			fprintf(stderr, "model: %s: no operation: %s", path, line);
			exit(2);
		}
	}
	fclose(f);
	return n;
}

static void print_script(FILE *to, const struct op *ops, size_t n)
{
	char text[OP_TEXT_MAX];

	for (size_t i = 0; i < n; i++) {
		op_format(&ops[i], text);
		fprintf(to, "%s\n", text);
	}
}

static void print_failure(const struct failure *f, const struct op *ops, size_t n)
{
	char text[OP_TEXT_MAX] = "comparison at the end";

	if (f->index < n)
		op_format(&ops[f->index], text);
	printf("operation %zu: %s: %s: %s\n", f->index + 1, text, f->d.aspect, f->d.text);
}

/* Tells of a difference, and of the smallest sequence that shows it. */
static void tell(const struct options *o, uint64_t seed, struct op *ops, size_t n,
		 struct failure *f)
{
	size_t before = n;
	unsigned runs;
	FILE *to;

	printf("seed %" PRIu64 ": DIFFERENT\n", seed);
	print_failure(f, ops, n);
	fflush(stdout);
	runs = shrink(&o->cfg, "model-shrink", ops, &n, f);
	if (runs == 0) {
		printf("the same sequence, alone, does not differ again; it is printed as it is\n");
	} else {
		printf("shrunk from %zu operations to %zu in %u runs\n", before, n, runs);
		print_failure(f, ops, n);
	}
	printf("# replay: model --replay FILE TESTED REFERENCE\n");
	print_script(stdout, ops, n);
	if (o->script) {
		to = fopen(o->script, "w");
		if (!to)
			give_up("write", o->script);
		print_script(to, ops, n);
		if (fclose(to) != 0)
			give_up("write", o->script);
	}
}

struct job {
	const struct options *o;
	uint64_t seed;
	char name[64];
	struct op *ops;
	bool same;
	struct counts counts;
	struct failure failure;
};

static void *do_job(void *arg)
{
	struct job *j = arg;

	run_thread_begin();
	j->same = run(&j->o->cfg, j->name, j->ops, j->o->n_ops, &j->counts, &j->failure);
	return NULL;
}

static void add(struct counts *sum, const struct counts *c)
{
	sum->ops += c->ops;
	sum->succeeded += c->succeeded;
	sum->compared += c->compared;
}

/* One sequence for each thread, all at once, each in a folder of its own; and one for all. */
static bool run_threads(struct options *o, uint64_t seed, struct counts *sum)
{
	struct job jobs[THREADS_MAX];
	pthread_t threads[THREADS_MAX];
	uint64_t shared;
	bool same;

	for (unsigned i = 0; i < o->n_threads; i++) {
		struct job *j = &jobs[i];

		*j = (struct job){.o = o, .seed = seed + i};
		snprintf(j->name, sizeof(j->name), "model-%u", i);
		j->ops = malloc(o->n_ops * sizeof(*j->ops));
		if (!j->ops)
			give_up("memory", j->name);
		/* A mount can't go while others work on it. */
		generate(j->seed, false, j->ops, o->n_ops);
		if (pthread_create(&threads[i], NULL, do_job, j) != 0)
			give_up("thread", j->name);
	}
	shared = shared_run(o->cfg.root[0], "model-shared", seed, o->n_threads, SHARED_ROUNDS);
	sum->ops += shared;
	same = shared > 0;
	for (unsigned i = 0; i < o->n_threads; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < o->n_threads; i++) {
		add(sum, &jobs[i].counts);
		if (!jobs[i].same && same) {
			same = false;
			printf("beside %u other threads:\n", o->n_threads - 1);
			tell(o, jobs[i].seed, jobs[i].ops, o->n_ops, &jobs[i].failure);
		}
		free(jobs[i].ops);
	}
	return same;
}

static bool run_one(struct options *o, uint64_t seed, struct op *ops, size_t n, struct counts *sum)
{
	struct counts counts = {0};
	struct failure f;
	bool same = run(&o->cfg, "model", ops, n, &counts, &f);

	add(sum, &counts);
	if (!same)
		tell(o, seed, ops, n, &f);
	return same;
}

static bool run_all(struct options *o, struct op *ops, struct counts *sum, uint64_t *runs)
{
	time_t end = time(NULL) + (time_t)o->seconds;
	bool same = true;

	for (; same && (o->seconds ? time(NULL) < end : *runs < o->n_runs); ++*runs) {
		if (o->n_threads > 0) {
			same = run_threads(o, o->seed + *runs * o->n_threads, sum);
		} else {
			generate(o->seed + *runs, o->cfg.remount != NULL, ops, o->n_ops);
			same = run_one(o, o->seed + *runs, ops, o->n_ops, sum);
		}
	}
	return same;
}

int main(int argc, char **argv)
{
	struct options o = {.cfg.shrink_ns_max = SHRINK_S_MAX * UINT64_C(1000000000),
			    .seed = (uint64_t)time(NULL) * 1000,
			    .n_ops = 1000,
			    .n_runs = 1};
	struct counts sum = {0};
	uint64_t runs = 0;
	struct op *ops;
	bool same;

	parse(argc, argv, &o);
	signal(SIGPIPE, SIG_IGN); /* fifos */
	run_thread_begin();
	ops = malloc(N_OPS_MAX * sizeof(*ops));
	if (!ops)
		give_up("memory", "operations");
	printf("seed %" PRIu64 "%s\n", o.seed, o.replay ? ", not used: a script" : "");
	fflush(stdout);
	if (o.replay) {
		same = run_one(&o, 0, ops, read_script(o.replay, ops), &sum);
		runs = 1;
	} else {
		same = run_all(&o, ops, &sum, &runs);
	}
	printf("%" PRIu64 " sequences, %" PRIu64 " operations, %" PRIu64 " succeeded, %" PRIu64
	       " comparisons: %s\n",
	       runs * (o.n_threads ? o.n_threads : 1), sum.ops, sum.succeeded, sum.compared,
	       same ? "no difference" : "a difference");
	free(ops);
	free((char *)o.cfg.root[0]);
	free((char *)o.cfg.root[1]);
	return same ? 0 : 1;
}
