/*
 * Power cuts: a workload runs under the recorder; then the recording is played to a disk that
 * keeps only what it promised (disk.h), the power is cut at hundreds of points in many ways, and
 * on each state that this leaves the volume must open by itself, be sound, and hold everything that
 * was said to be durable.
 *
 *   home     operations on a volume; what it holds is the state after operation M, and M is not
 *            below the newest that a sync had returned for; heads over roll-ups of several blocks
 *   roll     the same, writing enough to begin segments in one mount
 *   takeover the same, by processes that are killed and taken over, some after a call failed
 *   server   a home's log appended to a server's copy; it holds every acknowledged head, is a
 *            prefix of the home's log, and takes the rest
 *
 * Each state is opened twice, and the process killed between: the second finds what the first found.  In
 * some the catalog is lost, damaged, or an older one, as an earlier moment left it.
 *
 * The seed is printed and replays a run, but for the timing of the recorded program's threads.
 */

#include "power_internal.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATE_SECONDS 120u
#define OLDER_EACH 12u /* promises between two that a catalog is kept of */
/* A write of so much is torn on purpose a few times: records that take several blocks are in it. */
#define LARGE_WRITE (512u << 10)
#define LARGE_STATES 10u

struct state {
	struct run *r;
	struct disk *d;
	enum cut cut;
	enum way way;
	uint64_t dice;
};

static void judge_state(void *ctx)
{
	struct state *s = ctx;
	struct run *r = s->r;
	char dir[GROUND_PATH], volume[GROUND_PATH];

	ground_path(dir, r->base, "state");
	disk_cut(s->d, s->cut, &s->dice);
	disk_write(s->d, dir);
	ground_path(volume, dir, r->what == SERVER ? "store" : "volume");
	if (r->what == SERVER)
		power_judge_server(r, volume, s->way);
	else if (access(volume, F_OK) == 0)
		power_judge_home(r, volume, s->way);
}

/* In a process of its own, so that an abort is one state's failure and the disk stays as it is. */
static bool try_way(struct run *r, struct disk *d, enum cut cut, enum way way, uint64_t dice)
{
	struct state s = {.r = r, .d = d, .cut = cut, .way = way, .dice = dice};
	char dir[GROUND_PATH], words[GROUND_PATH];
	int code;

	ground_path(dir, r->base, "state");
	ground_path(words, r->base, "words");
	(void)unlink(words);
	code = ground_apart(judge_state, &s, STATE_SECONDS, words);
	if (code == EXIT_REFUSED) {
		r->refused++;
		code = 0;
	}
	if (code != 0) {
		fprintf(stderr,
			"cut '%s', way %d, after record %llu (synced %llu, done %llu, head %llu): "
			"exit %d\n",
			cut_name(cut), (int)way, (unsigned long long)r->record,
			(unsigned long long)r->mark[MARK_SYNCED],
			(unsigned long long)r->mark[MARK_DONE],
			(unsigned long long)r->mark[MARK_ACKED], code);
		ground_show(words);
	}
	if (access(dir, F_OK) == 0 && !(code != 0 && r->keep))
		ground_remove(dir);
	return code == 0;
}

/* Opened in one way, or with --every-way in each. */
static bool try_state(struct run *r, struct disk *d, enum cut cut, uint64_t dice)
{
	enum way way = (enum way)(dice >> 8) % WAY_END;

	if (!r->every_way)
		return try_way(r, d, cut, way, dice);
	for (way = 0; way < WAY_END; way++)
		if (!try_way(r, d, cut, way, dice))
			return false;
	return true;
}

static void write_older(void *ctx)
{
	struct state *s = ctx;
	char dir[GROUND_PATH];

	ground_path(dir, s->r->base, "older");
	disk_cut(s->d, CUT_ALL, &s->dice);
	disk_write(s->d, dir);
}

/* What a process that is killed now leaves; of which later states get the catalog. */
static void keep_older(struct run *r, struct disk *d)
{
	struct state s = {.r = r, .d = d};
	char dir[GROUND_PATH], words[GROUND_PATH];

	ground_path(dir, r->base, "older");
	ground_path(words, r->base, "words");
	if (access(dir, F_OK) == 0)
		ground_remove(dir);
	if (ground_apart(write_older, &s, STATE_SECONDS, words) != 0)
		ground_die("an older state can't be written");
}

static void take_mark(struct run *r, const struct record *rec)
{
	if (rec->kind != RECORD_MARK || rec->a >= MARK_END)
		return;
	r->mark[rec->a] = rec->b;
	r->marked[rec->a] = true;
}

static bool is_large(const struct record *rec)
{
	return rec->kind == RECORD_WRITE && rec->data_len >= LARGE_WRITE;
}

/* Returns how many states failed. */
static unsigned play(struct run *r)
{
	uint64_t dice = r->seed ^ 0x9e3779b97f4a7c15u, n_records = 0;
	unsigned tried = 0, failed = 0, promises = 0;
	char path[GROUND_PATH];
	struct recording recording;
	const struct record *rec;
	struct disk *d = disk_new(r->root, r->forget);
	size_t at = 0;

	ground_path(path, r->base, "recording");
	recording_load(&recording, path);
	while (recording_next(&recording, &at))
		n_records++;
	for (at = 0; (rec = recording_next(&recording, &at)) != NULL && failed < 5; r->record++) {
		/* So many for each record, on average; one more after each promise. */
		double more = (double)r->states / (double)n_records;

		disk_play(d, rec);
		take_mark(r, rec);
		if (rec->kind == RECORD_MARK && rec->a != MARK_DONE) {
			tried++;
			failed += !try_state(r, d, CUT_NONE, model_random(&dice));
			if (promises++ % OLDER_EACH == 0)
				keep_older(r, d);
		}
		for (unsigned i = 0; is_large(rec) && i < LARGE_STATES; i++) {
			tried++;
			failed += !try_state(r, d, CUT_ORDERED, model_random(&dice));
		}
		for (; more > 0; more -= 1) {
			enum cut cut = (enum cut)(model_random(&dice) % CUT_END);

			if (more < 1 && (double)(model_random(&dice) % 1000000) >= more * 1e6)
				break;
			tried++;
			failed += !try_state(r, d, cut, model_random(&dice));
		}
	}
	if (failed == 0 && r->forget == FORGET_NOTHING && !disk_compare(d, r->root)) {
		fprintf(stderr, "the recorder missed something\n");
		failed++;
	}
	printf("%llu records, %u states tried, %u failed, %u rightly refused\n",
	       (unsigned long long)n_records, tried, failed, r->refused);
	recording_free(&recording);
	disk_free(d);
	return failed;
}

static unsigned run(struct run *r, char **argv)
{
	char *child[] = {argv[0], argv[1], (char *)"--work", r->base, NULL, NULL, NULL};
	char seed[40], ops[40];
	int code;

	if (mkdir(r->root, 0700) < 0)
		ground_die("%s: %s", r->root, strerror(errno));
	if (r->what == SERVER) {
		int rc = 0, status;
		pid_t pid = fork();

		/* RocksDB's threads must not be here when states are forked. */
		if (pid == 0)
			exit(power_make_home(r) == 0 ? 0 : 1);
		rc = waitpid(pid, &status, 0) < 0 || status != 0;
		if (rc)
			ground_die("no home to ship");
		shipped_load(&r->shipped, r->home);
	}
	snprintf(seed, sizeof(seed), "--seed=%llu", (unsigned long long)r->seed);
	snprintf(ops, sizeof(ops), "--ops=%u", r->ops);
	child[4] = seed;
	child[5] = ops;
	code = ground_run_recorded(child);
	if (code != 0)
		ground_die("the recorded program ended with %d", code);
	return play(r);
}

static void usage(void)
{
	ground_die("usage: power home|roll|server|takeover [--states N] [--ops N] [--seed N] "
		   "[--keep]\n"
		   "       [--every-way]   each state opened in each way, not in one\n"
		   "       [--forget files|folders]   the disk ignores these syncs: must fail");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"states", required_argument, NULL, 's'}, {"ops", required_argument, NULL, 'o'},
		{"seed", required_argument, NULL, 'e'},	  {"keep", no_argument, NULL, 'k'},
		{"every-way", no_argument, NULL, 'y'},	  {"forget", required_argument, NULL, 'f'},
		{"work", required_argument, NULL, 'w'},	  {NULL, 0, NULL, 0},
	};
	struct run *r = calloc(1, sizeof(*r));
	const char *working = NULL;
	unsigned failed;
	int opt;

	if (argc < 2)
		usage();
	if (strcmp(argv[1], "home") == 0)
		*r = (struct run){.what = HOME, .states = 300, .ops = 250};
	else if (strcmp(argv[1], "roll") == 0)
		*r = (struct run){.what = ROLL, .states = 40, .ops = 420};
	else if (strcmp(argv[1], "takeover") == 0)
		*r = (struct run){.what = TAKEOVER, .states = 300, .ops = 250};
	else if (strcmp(argv[1], "server") == 0)
		*r = (struct run){.what = SERVER, .states = 300, .ops = 250};
	else
		usage();
	r->seed = (uint64_t)getpid() * 2654435761u;
	while ((opt = getopt_long(argc - 1, argv + 1, "", options, NULL)) != -1) {
		if (opt == 's')
			r->states = (unsigned)atoi(optarg);
		else if (opt == 'o')
			r->ops = (unsigned)atoi(optarg);
		else if (opt == 'e')
			r->seed = strtoull(optarg, NULL, 0);
		else if (opt == 'k')
			r->keep = true;
		else if (opt == 'y')
			r->every_way = true;
		else if (opt == 'f')
			r->forget = strcmp(optarg, "files") == 0 ? FORGET_FILES : FORGET_FOLDERS;
		else if (opt == 'w')
			working = optarg;
		else
			usage();
	}
	ground_init(&r->ground);
	r->shared = mmap(NULL, SHARED_LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
			 0);
	if (r->shared == MAP_FAILED)
		ground_die("no memory");
	if (working)
		snprintf(r->base, sizeof(r->base), "%s", working);
	else
		ground_folder(r->base);
	ground_path(r->root, r->base, "root");
	ground_path(r->store, r->root, "store");
	ground_path(r->home, r->what == SERVER ? r->base : r->root,
		    r->what == SERVER ? "home" : "volume");
	if (working)
		return power_work(r);
	printf("power %s: seed %llu\n", argv[1], (unsigned long long)r->seed);
	fflush(stdout);
	failed = run(r, argv);
	if (failed == 0 || !r->keep)
		ground_remove(r->base);
	ground_release(&r->ground);
	free(r);
	return failed == 0 ? 0 : 1;
}
