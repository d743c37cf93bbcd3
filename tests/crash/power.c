/*
 * Power cuts: a workload runs under the recorder; then the recording is played to a disk that
 * keeps only what it promised (disk.h), the power is cut at hundreds of points in many ways, and
 * on each state that this leaves the volume must open by itself, be sound, and hold everything that
 * was said to be durable.
 *
 *   home     operations on a volume; what it holds is the state after operation M, and M is not
 *            below the newest that a sync had returned for; heads over roll-ups of several blocks
 *   roll     the same, writing enough to begin segments in one mount
 *   server   a home's log appended to a server's copy; it holds every acknowledged head, is a
 *            prefix of the home's log, and takes the rest
 *
 * The seed is printed and replays a run, but for the timing of the recorded program's threads.
 */

#include "disk.h"
#include "ground.h"
#include "model.h"
#include "shipped.h"

#include "err.h"
#include "file.h"
#include "head.h"
#include "source.h"
#include "vault.h"
#include "view.h"
#include "volume.h"

#include "buf.h"
#include "secret.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATE_SECONDS 120u
#define EXIT_REFUSED 7 /* what a state's process says: rightly not opened */
#define ROLL_LEN 380000u
/* Two pieces of a roll-up, in more deltas than a head lists. */
#define ROLLUP_NAMES 1600u
#define ROLLUP_VALUE 1000u
#define ROLLUP_EACH 20u
/* A write of so much is torn on purpose a few times: records that take several blocks are in it. */
#define LARGE_WRITE (512u << 10)
#define LARGE_STATES 10u

enum mark {
	MARK_MADE,   /* the volume, or the server's copy, exists */
	MARK_DONE,   /* so many operations have returned */
	MARK_SYNCED, /* all of them are durable */
	MARK_ACKED,  /* this head */
	MARK_SERIAL, /* of the server's volume.conf */
	MARK_END
};

struct run {
	enum { HOME, ROLL, SERVER } what;
	uint64_t seed;
	unsigned ops, states, refused;
	enum forget forget;
	bool keep;
	char base[GROUND_PATH], root[GROUND_PATH], home[GROUND_PATH], store[GROUND_PATH];
	uint64_t record; /* the newest played */
	uint64_t mark[MARK_END];
	bool marked[MARK_END];
	struct ground ground;
	struct shipped shipped;
};

/* ---- the recorded programs ---- */

static struct op next_op(const struct run *r, uint64_t *random, unsigned i)
{
	struct op op = op_random(random);

	if (r->what == ROLL && i > 1) {
		op.kind = 2;
		op.a = 0;
		op.len = ROLL_LEN;
		op.off = op.off % (MODEL_SIZE_MAX - ROLL_LEN);
		op.noise = true;
	} else if (r->what == ROLL) {
		op.kind = 0;
		op.a = 0;
	}
	return op;
}

/* Write bytes of each file over themselves: the state stays, its extents are deleted and put. */
static int rewrite_files(struct volume *v)
{
	uint8_t data[4096];
	struct attr a;
	char name[16];
	size_t len;
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < MODEL_FILES; i++) {
		snprintf(name, sizeof(name), "file-%u", i);
		if (view_lookup(volume_view(v), INO_ROOT, name, &a) < 0)
			continue;
		rc = view_read(volume_view(v), a.ino, 0, sizeof(data), data, &len);
		if (rc == 0 && len > 0)
			rc = volume_write(v, a.ino, 0, len, data, false);
	}
	return rc;
}

/*
 * A head over a roll-up of several pieces: many deltas, and most of what they change comes before
 * all files in the order of keys, so that the files' changes are in the last piece.
 */
static int roll_up(const struct recorder *rec, struct volume *v, uint64_t *random, unsigned done)
{
	uint8_t value[ROLLUP_VALUE];
	struct head head;
	char name[32];
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < ROLLUP_NAMES; i++) {
		for (size_t k = 0; k < sizeof(value); k++)
			value[k] = (uint8_t)model_random(random);
		snprintf(name, sizeof(name), "user.%u", i);
		rc = volume_setxattr(v, INO_ROOT, name, value, sizeof(value), 0);
		if (rc == 0 && i % (ROLLUP_NAMES / 4) == 0)
			rc = rewrite_files(v);
		if (rc == 0 && i % ROLLUP_EACH == 0)
			rc = volume_sync(v);
		if (rc == 0 && i == 0)
			rec->mark(MARK_SYNCED, done);
	}
	return rc == 0 ? volume_add_head(v, &head) : rc;
}

/* What else happens after an operation. */
static int after_op(struct run *r, const struct recorder *rec, struct volume **v,
		    const struct op *op, unsigned i)
{
	struct head head;
	int rc = 0;

	if (op->fill % 8 == 0) {
		rc = volume_sync(*v);
		if (rc == 0)
			rec->mark(MARK_SYNCED, i + 1);
	} else if (op->fill % 32 == 1) {
		rc = volume_add_head(*v, &head);
		if (rc == 0)
			rec->mark(MARK_SYNCED, i + 1);
	} else if (op->fill % 32 == 2) {
		rc = volume_checkpoint(*v);
		if (rc == 0)
			rec->mark(MARK_SYNCED, i + 1);
	} else if (op->fill % 64 == 3) {
		rc = volume_close(*v);
		if (rc == 0) {
			rec->mark(MARK_SYNCED, i + 1);
			rc = ground_open(&r->ground, r->home, v);
		}
	} else if (op->fill % 64 == 4 && r->what == HOME) {
		uint64_t random = i;

		rc = roll_up(rec, *v, &random, i + 1);
	}
	return rc;
}

static int work_home(struct run *r, const struct recorder *rec)
{
	uint64_t random = r->seed;
	struct model m;
	struct volume *v;
	int rc;

	model_init(&m);
	if (mkdir(r->home, 0700) < 0)
		return -errno;
	rc = ground_make(&r->ground, r->home);
	/* The folder is the admin's, who made it durable before. */
	if (rc == 0)
		rc = file_sync_dir(AT_FDCWD, r->root);
	if (rc == 0)
		rec->mark(MARK_MADE, 1);
	if (rc == 0)
		rc = ground_open(&r->ground, r->home, &v);
	for (unsigned i = 0; rc == 0 && i < r->ops; i++) {
		struct op op = next_op(r, &random, i);

		rc = model_apply(&m, v, &op);
		rec->mark(MARK_DONE, i + 1);
		if (rc == 0)
			rc = after_op(r, rec, &v, &op, i);
	}
	if (rc == 0)
		rc = volume_close(v);
	if (rc == 0)
		rec->mark(MARK_SYNCED, r->ops);
	model_release(&m);
	return rc;
}

static int put_conf(const struct run *r, struct vault *v, uint64_t serial, struct copy **out)
{
	struct params p = r->ground.params;
	struct buf text = {0};
	int rc;

	p.serial = serial;
	rc = params_encode_unsigned(&p, &text);
	if (rc == 0)
		crypto_sign_detached(p.signature, NULL, text.p, text.len,
				     r->ground.keys.authority_secret);
	buf_reset(&text);
	if (rc == 0)
		rc = params_encode(&p, &text);
	if (rc == 0)
		rc = vault_put(v, text.p, text.len, GROUND_OWNER, out);
	buf_release(&text);
	return rc;
}

static void mark_acked(void *ctx, uint64_t head)
{
	((const struct recorder *)ctx)->mark(MARK_ACKED, head);
}

static int work_server(struct run *r, const struct recorder *rec)
{
	uint64_t random = r->seed, upto = 0, serial = 1;
	struct vault *v;
	struct copy *c;
	int rc;

	rc = vault_open(r->store, &v);
	if (rc == 0)
		rc = put_conf(r, v, serial, &c);
	if (rc == 0)
		rec->mark(MARK_MADE, 1);
	while (rc == 0 && upto < r->shipped.heads) {
		upto += model_random(&random) % 6 + 1;
		if (upto > r->shipped.heads)
			upto = r->shipped.heads;
		rc = shipped_send(&r->shipped, c, upto, (unsigned)model_random(&random) % 3 + 1,
				  mark_acked, (void *)rec);
		if (rc == 0 && model_random(&random) % 4 == 0) {
			rc = put_conf(r, v, ++serial, &c);
			if (rc == 0)
				rec->mark(MARK_SERIAL, serial);
		}
		if (rc == 0 && model_random(&random) % 4 == 0) {
			vault_close(v);
			rc = vault_open(r->store, &v);
			if (rc == 0)
				rc = vault_find(v, r->ground.params.id, &c);
		}
	}
	if (rc == 0)
		vault_close(v);
	return rc;
}

/* The home that a server's workload ships. */
static int make_home(struct run *r)
{
	uint64_t random = r->seed;
	struct head head;
	struct volume *v;
	struct model m;
	int rc;

	model_init(&m);
	if (mkdir(r->home, 0700) < 0)
		return -errno;
	rc = ground_make(&r->ground, r->home);
	if (rc == 0)
		rc = ground_open(&r->ground, r->home, &v);
	for (unsigned i = 0; rc == 0 && i < r->ops; i++) {
		struct op op = op_random(&random);

		rc = model_apply(&m, v, &op);
		if (rc == 0 && i % 5 == 4)
			rc = volume_add_head(v, &head);
		if (rc == 0 && i % 60 == 59)
			rc = volume_close(v);
		if (rc == 0 && i % 60 == 59)
			rc = ground_open(&r->ground, r->home, &v);
	}
	if (rc == 0)
		rc = volume_close(v);
	model_release(&m);
	return rc;
}

static int work(struct run *r)
{
	char recording[GROUND_PATH];
	struct recorder rec;
	int rc;

	ground_recorder(&rec);
	if (!rec.start)
		ground_die("the recorder is not loaded");
	if (r->what == SERVER)
		shipped_load(&r->shipped, r->home);
	ground_path(recording, r->base, "recording");
	rec.start(r->root, recording);
	rc = r->what == SERVER ? work_server(r, &rec) : work_home(r, &rec);
	rec.stop();
	if (rc != 0)
		ground_die("the workload failed: %s", rc < 0 ? err_detail(rc) : "wrong result");
	return 0;
}

/* ---- what a state must be ---- */

#define REQUIRE(cond, ...)                                                                         \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, __VA_ARGS__);                                              \
			fputc('\n', stderr);                                                       \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* Bring ${m} to the state found: after ${*at} operations.  ${*at} in: the first possible. */
static bool find_prefix(const struct run *r, struct view *view, struct model *m, uint64_t *random,
			unsigned *at)
{
	int rc = 0;

	for (;;) {
		struct op op;

		if (model_equal(view, m, &rc))
			return true;
		REQUIRE(rc == 0, "can't be read: %s", err_detail(rc));
		/* The one that was under way may be there too. */
		if (*at > r->mark[MARK_DONE])
			return false;
		op = next_op(r, random, (*at)++);
		(void)model_apply(m, NULL, &op);
	}
}

/* As a mount with -o ro finds it: nothing is recovered, the newest head is what there is. */
static void require_readable(const struct run *r, const char *dir)
{
	struct source *src;
	struct head head;
	int rc = source_open_folder(dir, &src);

	(void)r;
	REQUIRE(rc == 0, "read-only: %s", err_detail(rc));
	rc = src->ops->head_at(src, INT64_MAX, &head);
	REQUIRE(rc == 0, "read-only, newest head: %s", err_detail(rc));
	source_free(src);
}

static void lose_catalog(const char *dir)
{
	char path[GROUND_PATH];

	ground_path(path, dir, "catalog");
	ground_remove(path);
}

/* Cut a byte of the catalog's newest files: it is damaged, not lost. */
static int spoil_file(void *ctx, const char *name)
{
	char path[GROUND_PATH];
	struct stat st;
	int fd;

	ground_path(path, (const char *)ctx, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0)
		(void)!pwrite(fd, "x", 1, st.st_size / 2);
	close(fd);
	return 0;
}

static void spoil_catalog(const char *dir)
{
	char path[GROUND_PATH];

	ground_path(path, dir, "catalog");
	(void)!file_list(AT_FDCWD, path, spoil_file, path);
}

static void require_sound(const struct run *r, const char *dir, const char *when)
{
	struct check_counts counts;
	int rc = ground_check(&r->ground, dir, true, &counts);

	REQUIRE(rc == 0 && counts.problems == 0, "%s: not sound: %s", when, err_detail(rc));
}

static void judge_home(struct run *r, const char *dir, uint64_t *dice)
{
	uint64_t random = r->seed, way = model_random(dice) % 6;
	struct volume *v;
	struct model m;
	unsigned at = 0;
	int rc;

	if (!r->marked[MARK_MADE]) {
		/* Half a volume: 'embassy init' did not end.  It opens or says why not. */
		if (ground_open(&r->ground, dir, &v) == 0)
			REQUIRE(volume_close(v) == 0, "a new volume does not close");
		return;
	}
	if (way == 0)
		require_sound(r, dir, "as found");
	else if (way == 1)
		lose_catalog(dir);
	else if (way == 2)
		spoil_catalog(dir);
	else if (way == 3)
		require_readable(r, dir);
	model_init(&m);
	for (; at < r->mark[MARK_SYNCED]; at++) {
		struct op op = next_op(r, &random, at);

		(void)model_apply(&m, NULL, &op);
	}
	rc = ground_open(&r->ground, dir, &v);
	REQUIRE(rc == 0, "does not open: %s", err_detail(rc));
	REQUIRE(find_prefix(r, volume_view(v), &m, &random, &at),
		"holds no state from operation %llu to %llu",
		(unsigned long long)r->mark[MARK_SYNCED], (unsigned long long)r->mark[MARK_DONE]);
	for (unsigned i = 0; i < 6; i++) {
		struct op op = next_op(r, &random, at + i);

		rc = model_apply(&m, v, &op);
		REQUIRE(rc == 0, "does not go on: %s", rc < 0 ? err_detail(rc) : "wrong result");
	}
	rc = volume_close(v);
	REQUIRE(rc == 0, "does not close: %s", err_detail(rc));
	require_sound(r, dir, "after going on");
	if (way < 3) {
		REQUIRE(ground_open(&r->ground, dir, &v) == 0, "does not open again");
		REQUIRE(model_equal(volume_view(v), &m, NULL), "differs when opened again");
		REQUIRE(volume_close(v) == 0, "does not close again");
	}
	model_release(&m);
}

static void judge_server(struct run *r, const char *dir, uint64_t *dice)
{
	uint64_t way = model_random(dice) % 4;
	char id[VOLUME_ID_TEXT_LEN], folder[GROUND_PATH];
	struct copy_stand stand;
	struct params p;
	struct vault *v;
	struct copy *c;
	int rc;

	volume_id_format(r->ground.params.id, id);
	ground_path(folder, dir, id);
	if (r->marked[MARK_MADE] && way == 0)
		lose_catalog(folder);
	if (r->marked[MARK_MADE] && way == 1)
		spoil_catalog(folder);
	rc = vault_open(dir, &v);
	REQUIRE(rc == 0, "the store does not open: %s", err_detail(rc));
	rc = vault_find(v, r->ground.params.id, &c);
	if (rc == -ERR_NO_VOLUME && !r->marked[MARK_MADE])
		rc = put_conf(r, v, 1, &c);
	/*
	 * The index was lost, and a head lies beyond a hole: only the index knew whether it was
	 * acknowledged.  So the copy must be left as it is.
	 */
	if (rc == -ERR_DAMAGED && way < 2 && strstr(err_detail(rc), "nothing tells whether")) {
		REQUIRE(shipped_folder_holds(&r->shipped, folder, r->mark[MARK_ACKED]),
			"refused, and not left as it was");
		exit(EXIT_REFUSED);
	}
	REQUIRE(rc == 0, "the copy does not open: %s", err_detail(rc));
	copy_get_stand(c, &stand);
	REQUIRE(stand.head >= r->mark[MARK_ACKED], "stands at head %llu, acknowledged %llu",
		(unsigned long long)stand.head, (unsigned long long)r->mark[MARK_ACKED]);
	REQUIRE(shipped_holds(&r->shipped, c), "is no prefix of the home's log");
	rc = params_load(folder, &p);
	REQUIRE(rc == 0 && p.serial >= r->mark[MARK_SERIAL], "volume.conf is lost");
	params_release(&p);
	rc = shipped_send(&r->shipped, c, r->shipped.heads, 1, NULL, NULL);
	REQUIRE(rc == 0, "does not go on: %s", err_detail(rc));
	REQUIRE(shipped_holds(&r->shipped, c), "is not the home's log");
	copy_get_stand(c, &stand);
	REQUIRE(stand.head == r->shipped.heads, "did not take all");
	vault_close(v);
	require_sound(r, folder, "after going on");
}

/* ---- states ---- */

struct state {
	struct run *r;
	struct disk *d;
	enum cut cut;
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
		judge_server(r, volume, &s->dice);
	else if (access(volume, F_OK) == 0)
		judge_home(r, volume, &s->dice);
}

/* In a process of its own, so that an abort is one state's failure and the disk stays as it is. */
static bool try_state(struct run *r, struct disk *d, enum cut cut, uint64_t dice)
{
	struct state s = {.r = r, .d = d, .cut = cut, .dice = dice};
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
			"cut '%s' after record %llu (synced %llu, done %llu, head %llu): exit %d\n",
			cut_name(cut), (unsigned long long)r->record,
			(unsigned long long)r->mark[MARK_SYNCED],
			(unsigned long long)r->mark[MARK_DONE],
			(unsigned long long)r->mark[MARK_ACKED], code);
		ground_show(words);
	}
	if (access(dir, F_OK) == 0 && !(code != 0 && r->keep))
		ground_remove(dir);
	return code == 0;
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
	unsigned tried = 0, failed = 0;
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
			exit(make_home(r) == 0 ? 0 : 1);
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
	ground_die("usage: power home|roll|server [--states N] [--ops N] [--seed N] [--keep]\n"
		   "       [--forget files|folders]   the disk ignores these syncs: must fail");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"states", required_argument, NULL, 's'},
		{"ops", required_argument, NULL, 'o'},
		{"seed", required_argument, NULL, 'e'},
		{"keep", no_argument, NULL, 'k'},
		{"forget", required_argument, NULL, 'f'},
		{"work", required_argument, NULL, 'w'},
		{NULL, 0, NULL, 0},
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
		else if (opt == 'f')
			r->forget = strcmp(optarg, "files") == 0 ? FORGET_FILES : FORGET_FOLDERS;
		else if (opt == 'w')
			working = optarg;
		else
			usage();
	}
	ground_init(&r->ground);
	if (working)
		snprintf(r->base, sizeof(r->base), "%s", working);
	else
		ground_folder(r->base);
	ground_path(r->root, r->base, "root");
	ground_path(r->store, r->root, "store");
	ground_path(r->home, r->what == SERVER ? r->base : r->root,
		    r->what == SERVER ? "home" : "volume");
	if (working)
		return work(r);
	printf("power %s: seed %llu\n", argv[1], (unsigned long long)r->seed);
	fflush(stdout);
	failed = run(r, argv);
	if (failed == 0 || !r->keep)
		ground_remove(r->base);
	ground_release(&r->ground);
	free(r);
	return failed == 0 ? 0 : 1;
}
