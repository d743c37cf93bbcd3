/*
 * Errors, one at a time: each call that a workload makes on a file, RocksDB's included, is failed
 * once, and the rest of the workload must cope.
 *
 *   eio, enospc   the nth call fails with that, and no other
 *   full          from the nth call on, each that needs room fails with ENOSPC, until the end
 *   short         the nth call, if it writes, writes half
 *   inner         as eio, for those calls of ours that the recorder does not see: stat, lock, list
 *
 * What must hold: an error is told to whoever waited; an operation that failed has done nothing; a
 * sync that failed is not forgotten; when the cause is gone, work goes on, by itself for lack of
 * room, after opening the volume again otherwise; and on a disk that lost what a failed sync should
 * have covered (disk.h), all that another sync had promised is there.
 */

#include "disk.h"
#include "ground.h"
#include "model.h"
#include "shipped.h"

#include "err.h"
#include "file.h"
#include "head.h"
#include "vault.h"
#include "volume.h"

#include "buf.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TEMPLATE_OPS 40u
#define OPS 30u
#define AFTER_OPS 6u
#define OPS_MAX (TEMPLATE_OPS + OPS + AFTER_OPS)
#define TRIAL_SECONDS 120u
#define RECOVER_MS 5000u
#define EXIT_UNTOUCHED 7 /* the workload ended before its nth call */

enum how { HOW_EIO, HOW_ENOSPC, HOW_FULL, HOW_SHORT, HOW_INNER, HOW_END };
static const char *const how_names[HOW_END] = {"eio", "enospc", "full", "short", "inner"};

/* What a trial leaves for who judges it, in shared memory. */
struct told {
	bool applied[OPS_MAX];
	unsigned done, synced; /* operations tried; those before this are durable */
	bool closed;	       /* the volume was closed well */
	uint64_t acked;
	bool put;
	bool touched; /* there was an nth call */
	bool failed;  /* and it was failed */
};

struct run {
	bool server;
	bool forget; /* take a failed sync for a good one: must fail */
	uint64_t seed;
	unsigned stride;
	enum how how;
	uint64_t nth, only; /* 0: all */
	char base[GROUND_PATH], root[GROUND_PATH], volume[GROUND_PATH];
	char before[GROUND_PATH]; /* what each trial begins with */
	char recording[GROUND_PATH];
	struct ground ground;
	struct shipped shipped;
	struct recorder rec;
	struct told *told;
	uint64_t inner_left; /* HOW_INNER: calls before the one that fails */
	bool inner_failed;
};

#define REQUIRE(cond, ...)                                                                         \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, __VA_ARGS__);                                              \
			fputc('\n', stderr);                                                       \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* ---- failing ---- */

static int inner_fault(void *ctx, const char *op)
{
	struct run *r = ctx;

	if (strcmp(op, "stat") != 0 && strcmp(op, "lock") != 0 && strcmp(op, "list") != 0)
		return 0;
	if (r->inner_left == 0 || --r->inner_left > 0)
		return 0;
	r->inner_failed = true;
	return -EIO;
}

static void begin_failing(struct run *r)
{
	static const enum recorder_fail ways[] = {RECORDER_FAIL_ONCE, RECORDER_FAIL_ONCE,
						  RECORDER_FAIL_SPACE, RECORDER_FAIL_SHORT};

	r->inner_left = r->nth;
	r->inner_failed = false;
	if (r->how == HOW_INNER)
		file_set_fault(inner_fault, r);
	else
		r->rec.fail(r->nth, r->how == HOW_EIO ? EIO : ENOSPC, ways[r->how]);
}

static bool has_failed(struct run *r)
{
	struct told *t = r->told;

	if (r->how == HOW_INNER ? r->inner_failed : r->rec.failed())
		t->failed = true;
	if (r->how == HOW_INNER ? r->inner_failed : r->rec.calls() >= r->nth)
		t->touched = true;
	return t->failed;
}

static void end_failing(struct run *r)
{
	(void)has_failed(r);
	file_set_fault(NULL, NULL);
	r->inner_left = 0;
	r->rec.fail(0, 0, RECORDER_FAIL_ONCE);
}

/* An error that is told must have a cause, and the right name. */
static void require_cause(struct run *r, int rc, const char *what)
{
	REQUIRE(has_failed(r), "%s failed without a cause: %s", what, err_detail(rc));
	REQUIRE(r->how != HOW_SHORT, "%s failed for a short write: %s", what, err_detail(rc));
	REQUIRE(rc == -EIO || rc == -ENOSPC || rc == -ERR_STUCK,
		"%s failed with another error than the cause: %d %s", what, rc, err_detail(rc));
	REQUIRE(rc != -ENOSPC || r->how != HOW_EIO, "%s: ENOSPC for EIO", what);
}

/* ---- the home's workload ---- */

static struct op small_op(uint64_t *random)
{
	struct op op = op_random(random);

	op.off %= 60000;
	op.off2 %= 60000;
	op.len = op.len % 20000 + 1;
	return op;
}

static int open_volume(struct run *r, struct volume **v, bool may_fail)
{
	int rc = ground_open(&r->ground, r->volume, v);

	if (rc < 0 && may_fail) {
		require_cause(r, rc, "opening");
		/* The cause of a full disk is still there. */
		if (r->how == HOW_FULL)
			end_failing(r);
		rc = ground_open(&r->ground, r->volume, v);
	}
	REQUIRE(rc == 0, "does not open: %s", err_detail(rc));
	return rc;
}

/* Returns whether the volume's state is known to be durable. */
static bool sync_it(struct run *r, struct volume *v, unsigned kind, unsigned i)
{
	struct snapshot snap;
	struct head head;
	char name[32];
	int rc;

	snprintf(name, sizeof(name), "snap-%u", i);
	if (kind == 0)
		rc = volume_add_head(v, &head);
	else if (kind == 1)
		rc = volume_checkpoint(v);
	else if (kind == 2)
		rc = volume_snapshot(v, NULL, name, false, &snap);
	else
		rc = volume_sync(v);
	if (rc < 0)
		require_cause(r, rc, "syncing");
	if (rc == 0 || r->forget)
		r->told->synced = i + 1;
	return rc == 0;
}

static void ops(struct run *r, struct volume **v, struct model *m, uint64_t *random)
{
	struct told *t = r->told;

	for (unsigned i = TEMPLATE_OPS; i < TEMPLATE_OPS + OPS; i++) {
		struct op op = small_op(random);
		int rc = model_apply(m, *v, &op);

		REQUIRE(rc <= 0, "operation %u did what it should not", i);
		if (rc < 0)
			require_cause(r, rc, "an operation");
		t->applied[i] = rc == 0;
		t->done = i + 1;
		if (i % 3 == 2)
			(void)sync_it(r, *v, i / 3 % 8, i);
		if (i == TEMPLATE_OPS + OPS / 2) {
			rc = volume_close(*v);
			if (rc < 0)
				require_cause(r, rc, "closing");
			else
				t->synced = i + 1;
			/* What was not durable is gone: from here on the model can't know. */
			if (rc < 0) {
				end_failing(r);
				r->rec.stop();
				exit(0);
			}
			open_volume(r, v, true);
		}
	}
}

static void sleep_ms(unsigned ms)
{
	struct timespec ts = {.tv_nsec = (long)ms * 1000000};

	nanosleep(&ts, NULL);
}

/* The cause is gone: work goes on, or is refused until the volume is opened again. */
static void go_on(struct run *r, struct volume *v, struct model *m, uint64_t *random)
{
	int rc = volume_sync(v), again;
	struct told *t = r->told;

	for (unsigned waited = 0; rc == -ENOSPC && waited < RECOVER_MS; waited += 50) {
		sleep_ms(50);
		rc = volume_sync(v);
	}
	if (rc < 0) {
		REQUIRE(rc == -EIO || rc == -ERR_STUCK, "does not go on: %d %s", rc,
			err_detail(rc));
		again = volume_sync(v);
		REQUIRE(again < 0, "a sync that failed was forgotten");
		rc = volume_close(v);
		REQUIRE(rc < 0, "closed well, and a sync had failed");
		return;
	}
	t->synced = t->done;
	REQUIRE(model_equal(volume_view(v), m, &rc), "not the operations that succeeded: %s",
		err_detail(rc));
	for (unsigned i = TEMPLATE_OPS + OPS; i < OPS_MAX; i++) {
		struct op op = small_op(random);

		for (unsigned waited = 0; waited < RECOVER_MS; waited += 50) {
			rc = model_apply(m, v, &op);
			if (rc != -ENOSPC && rc != -EIO)
				break;
			sleep_ms(50);
		}
		REQUIRE(rc == 0, "an operation fails when the cause is gone: %s", err_detail(rc));
		t->applied[i] = true;
		t->done = i + 1;
	}
	rc = volume_close(v);
	REQUIRE(rc == 0, "does not close: %s", err_detail(rc));
	t->synced = t->done;
	t->closed = true;
}

static void model_at(struct run *r, struct model *m, uint64_t *random, unsigned upto)
{
	model_init(m);
	*random = r->seed;
	for (unsigned i = 0; i < upto; i++) {
		struct op op = small_op(random);

		if (r->told->applied[i])
			(void)model_apply(m, NULL, &op);
	}
}

static void trial_home(struct run *r)
{
	struct volume *v;
	struct model m;
	uint64_t random;

	model_at(r, &m, &random, TEMPLATE_OPS);
	r->rec.start(r->root, r->recording);
	begin_failing(r);
	open_volume(r, &v, true);
	ops(r, &v, &m, &random);
	end_failing(r);
	go_on(r, v, &m, &random);
	r->rec.stop();
}

/* ${dir} holds the state after some operation that is not before the newest sync. */
static void judge_home(struct run *r, const char *dir, bool check)
{
	struct told *t = r->told;
	struct check_counts counts;
	unsigned at = t->synced;
	struct volume *v;
	uint64_t random;
	struct model m;
	int rc = 0;

	if (check) {
		rc = ground_check(&r->ground, dir, true, &counts);
		REQUIRE(rc == 0 && counts.problems == 0, "not sound: %s", err_detail(rc));
	}
	rc = ground_open(&r->ground, dir, &v);
	REQUIRE(rc == 0, "does not open afterwards: %s", err_detail(rc));
	model_at(r, &m, &random, at);
	while (!model_equal(volume_view(v), &m, &rc)) {
		struct op op = small_op(&random);

		REQUIRE(rc == 0, "can't be read: %s", err_detail(rc));
		REQUIRE(at < t->done, "holds no state from operation %u to %u", t->synced, t->done);
		if (t->applied[at++])
			(void)model_apply(&m, NULL, &op);
	}
	rc = volume_close(v);
	REQUIRE(rc == 0, "does not close afterwards: %s", err_detail(rc));
}

static int make_template(struct run *r)
{
	uint64_t random = r->seed;
	struct volume *v;
	struct model m;
	int rc;

	model_init(&m);
	if (mkdir(r->before, 0700) < 0)
		return -errno;
	rc = ground_make(&r->ground, r->before);
	if (rc == 0)
		rc = ground_open(&r->ground, r->before, &v);
	for (unsigned i = 0; rc == 0 && i < TEMPLATE_OPS + (r->server ? 20 : 0); i++) {
		struct op op = small_op(&random);
		struct head head;

		rc = model_apply(&m, v, &op);
		if (rc == 0 && i % 6 == 5)
			rc = volume_add_head(v, &head);
		if (rc == 0 && i == TEMPLATE_OPS / 2)
			rc = volume_close(v);
		if (rc == 0 && i == TEMPLATE_OPS / 2)
			rc = ground_open(&r->ground, r->before, &v);
	}
	if (rc == 0)
		rc = volume_close(v);
	return rc;
}

/* ---- the server's workload ---- */

static int put_conf(const struct run *r, struct vault *v, struct copy **out)
{
	struct buf text = {0};
	int rc = params_encode(&r->ground.params, &text);

	if (rc == 0)
		rc = vault_put(v, text.p, text.len, GROUND_OWNER, out);
	buf_release(&text);
	return rc;
}

static void note_acked(void *ctx, uint64_t head)
{
	((struct told *)ctx)->acked = head;
}

/* Open the store and find the copy; each step is tried again once after an error. */
static int open_store(struct run *r, struct vault **v, struct copy **c)
{
	int rc = shipped_open_vault(r->root, v);

	if (rc < 0)
		return rc;
	rc = r->told->put ? vault_find(*v, r->ground.params.id, c) : put_conf(r, *v, c);
	if (rc == 0)
		r->told->put = true;
	else
		vault_close(*v);
	return rc;
}

static void retry_open_store(struct run *r, struct vault **v, struct copy **c)
{
	int rc = open_store(r, v, c);

	if (rc < 0) {
		require_cause(r, rc, "opening the store");
		if (r->how == HOW_FULL)
			end_failing(r);
		rc = open_store(r, v, c);
	}
	REQUIRE(rc == 0, "the store does not open: %s", err_detail(rc));
}

static void trial_server(struct run *r)
{
	uint64_t heads = r->shipped.heads;
	struct copy_committed committed;
	struct vault *v;
	struct copy *c;
	int rc;

	r->told->put = false;
	r->rec.start(r->root, r->recording);
	begin_failing(r);
	retry_open_store(r, &v, &c);
	for (unsigned part = 1; part <= 4; part++) {
		rc = shipped_send(&r->shipped, c, heads * part / 4, part, note_acked, r->told);
		if (rc < 0)
			require_cause(r, rc, "appending");
		copy_get_committed(c, &committed);
		REQUIRE(committed.head >= r->told->acked, "what was acknowledged is gone");
		if (part == 2) {
			vault_close(v);
			retry_open_store(r, &v, &c);
		}
	}
	end_failing(r);
	rc = shipped_send(&r->shipped, c, heads, 1, note_acked, r->told);
	REQUIRE(rc == 0, "does not go on when the cause is gone: %s", err_detail(rc));
	REQUIRE(r->told->acked == heads && shipped_holds(&r->shipped, c), "not the home's log");
	vault_close(v);
	r->rec.stop();
}

static void judge_server(struct run *r, const char *dir, bool check)
{
	char id[VOLUME_ID_TEXT_LEN], folder[GROUND_PATH];
	struct check_counts counts;
	struct copy_committed committed;
	struct vault *v;
	struct copy *c;
	int rc;

	rc = shipped_open_vault(dir, &v);
	if (rc == 0)
		rc = vault_find(v, r->ground.params.id, &c);
	REQUIRE(rc == 0, "the copy does not open afterwards: %s", err_detail(rc));
	copy_get_committed(c, &committed);
	REQUIRE(committed.head >= r->told->acked, "stands at head %llu, acknowledged %llu",
		(unsigned long long)committed.head, (unsigned long long)r->told->acked);
	REQUIRE(shipped_holds(&r->shipped, c), "is no prefix of the home's log");
	vault_close(v);
	if (!check)
		return;
	volume_id_format(r->ground.params.id, id);
	ground_path(folder, dir, id);
	rc = ground_check(&r->ground, folder, true, &counts);
	REQUIRE(rc == 0 && counts.problems == 0, "not sound: %s", err_detail(rc));
}

/* ---- trials ---- */

/* What is on a disk that kept no more than it must, after the trial. */
static void write_cut(struct run *r, const char *dir)
{
	struct disk *d = disk_new(r->root, FORGET_NOTHING);
	struct recording recording;
	const struct record *rec;
	uint64_t dice = r->seed;
	size_t at = 0;

	if (!r->server) {
		char top[GROUND_PATH];

		ground_path(top, r->base, "before");
		disk_import(d, top);
	}
	recording_load(&recording, r->recording);
	while ((rec = recording_next(&recording, &at)) != NULL)
		disk_play(d, rec);
	disk_cut(d, CUT_NONE, &dice);
	disk_write(d, dir);
	recording_free(&recording);
	disk_free(d);
}

static void judge(struct run *r)
{
	char dir[GROUND_PATH], volume[GROUND_PATH];

	if (r->server) {
		judge_server(r, r->root, false);
	} else {
		judge_home(r, r->volume, false);
	}
	ground_path(dir, r->base, "state");
	write_cut(r, dir);
	ground_path(volume, dir, "volume");
	if (r->server)
		judge_server(r, dir, true);
	else
		judge_home(r, volume, true);
}

static void on_abort(int sig)
{
	void *frames[64];

	backtrace_symbols_fd(frames, backtrace(frames, 64), 2);
	signal(sig, SIG_DFL);
	raise(sig);
}

struct part {
	void (*fn)(struct run *r);
	struct run *r;
};

static void run_part(void *ctx)
{
	const struct part *p = ctx;

	signal(SIGABRT, on_abort);
	p->fn(p->r);
}

/* Run ${fn} in a process of its own; its exit code, or 128 and a signal. */
static int apart(struct run *r, void (*fn)(struct run *), const char *words)
{
	struct part p = {.fn = fn, .r = r};

	return ground_apart(run_part, &p, TRIAL_SECONDS, words);
}

static void copy_template(struct run *r)
{
	struct disk *d = disk_new(r->root, FORGET_NOTHING);
	char top[GROUND_PATH];

	if (!r->server) {
		ground_path(top, r->base, "before");
		disk_import(d, top);
	}
	disk_write(d, r->root);
	disk_free(d);
}

/* Returns 0; 1 if it failed; EXIT_UNTOUCHED after the last call. */
static int try_one(struct run *r)
{
	char words[GROUND_PATH], dir[GROUND_PATH];
	int code;

	ground_path(words, r->base, "words");
	ground_path(dir, r->base, "state");
	(void)unlink(words);
	memset(r->told, 0, sizeof(*r->told));
	for (unsigned i = 0; i < TEMPLATE_OPS; i++)
		r->told->applied[i] = true;
	r->told->done = r->told->synced = TEMPLATE_OPS;
	copy_template(r);
	code = apart(r, r->server ? trial_server : trial_home, words);
	if (code == 0)
		code = apart(r, judge, words);
	if (code != 0) {
		fprintf(stderr, "%s, call %llu: exit %d\n", how_names[r->how],
			(unsigned long long)r->nth, code);
		ground_show(words);
	}
	ground_remove(r->root);
	if (access(dir, F_OK) == 0)
		ground_remove(dir);
	if (code == 0 && !r->told->touched)
		return EXIT_UNTOUCHED;
	return code == 0 ? 0 : 1;
}

static unsigned series(struct run *r)
{
	unsigned tried = 0, failed = 0;

	r->nth = r->only ? r->only : 1 + r->seed % r->stride;
	for (; failed < 5; r->nth += r->stride) {
		int code = try_one(r);

		if (code == EXIT_UNTOUCHED)
			break;
		tried++;
		failed += code != 0;
		if (r->only != 0)
			break;
	}
	printf("  %-6s %u calls failed one by one, of %llu; %u went wrong\n", how_names[r->how],
	       tried, (unsigned long long)r->nth - 1, failed);
	fflush(stdout);
	return failed;
}

static void make_before(struct run *r)
{
	exit(make_template(r) == 0 ? 0 : 1);
}

static int work(struct run *r, unsigned how)
{
	char words[GROUND_PATH], top[GROUND_PATH];
	unsigned failed = 0;

	ground_recorder(&r->rec);
	r->told = mmap(NULL, sizeof(*r->told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	ground_path(words, r->base, "words");
	ground_path(top, r->base, "before");
	ground_path(r->before, top, "volume");
	ground_path(r->root, r->base, "root");
	ground_path(r->volume, r->root, "volume");
	ground_path(r->recording, r->base, "recording");
	if (mkdir(top, 0700) < 0 || apart(r, make_before, words) != 0)
		ground_die("no volume to begin with");
	if (r->server)
		shipped_load(&r->shipped, r->before);
	for (unsigned h = 0; h < HOW_END; h++) {
		r->how = (enum how)h;
		if (how == HOW_END || how == h)
			failed += series(r);
	}
	return failed == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"stride", required_argument, NULL, 's'},
		{"seed", required_argument, NULL, 'e'},
		{"how", required_argument, NULL, 'h'},
		{"work", required_argument, NULL, 'w'},
		{"nth", required_argument, NULL, 'n'},
		{"forget", no_argument, NULL, 'f'},
		{NULL, 0, NULL, 0},
	};
	struct run *r = calloc(1, sizeof(*r));
	char *child[24] = {argv[0]}, seed[40];
	const char *working = NULL;
	unsigned how = HOW_END;
	int opt, code, n = 1;

	if (argc < 2 || (strcmp(argv[1], "home") != 0 && strcmp(argv[1], "server") != 0))
		ground_die("usage: errors home|server [--stride N] [--seed N] [--how HOW] [--nth N]"
			   " [--forget]");
	r->server = strcmp(argv[1], "server") == 0;
	r->seed = (uint64_t)getpid() * 2654435761u;
	r->stride = 1;
	while ((opt = getopt_long(argc - 1, argv + 1, "", options, NULL)) != -1) {
		if (opt == 's')
			r->stride = (unsigned)atoi(optarg) ? (unsigned)atoi(optarg) : 1;
		else if (opt == 'e')
			r->seed = strtoull(optarg, NULL, 0);
		else if (opt == 'n')
			r->only = strtoull(optarg, NULL, 0);
		else if (opt == 'f')
			r->forget = true;
		else if (opt == 'w')
			working = optarg;
		else if (opt == 'h')
			for (how = 0; how < HOW_END && strcmp(optarg, how_names[how]) != 0; how++)
				;
	}
	ground_init(&r->ground);
	if (working) {
		snprintf(r->base, sizeof(r->base), "%s", working);
		return work(r, how);
	}
	ground_folder(r->base);
	printf("errors %s: seed %llu\n", argv[1], (unsigned long long)r->seed);
	fflush(stdout);
	for (; n < argc && n < 18; n++)
		child[n] = argv[n];
	snprintf(seed, sizeof(seed), "--seed=%llu", (unsigned long long)r->seed);
	child[n++] = seed;
	child[n++] = (char *)"--work";
	child[n++] = r->base;
	code = ground_run_recorded(child);
	ground_remove(r->base);
	ground_release(&r->ground);
	free(r);
	return code;
}
