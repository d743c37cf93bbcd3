/* See home.h. */

#include "home.h"

#include "catalog.h"
#include "clock.h"
#include "conf.h"
#include "disk.h"
#include "err.h"
#include "file.h"
#include "huge.h"
#include "live.h"
#include "log.h"
#include "log_shm.h"
#include "model.h"
#include "net.h"
#include "oracle.h"
#include "params.h"
#include "replicator.h"
#include "store.h"
#include "work.h"
#include "world.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIR_PATH "/1/v"
#define WORKERS 4u
#define RING ((size_t)4 << 20)
#define HEAD_EVERY SECOND
#define LOG_LARGE ((uint64_t)20 << 20) /* from here on, what is written is small */
#define SMALL 500u
#define MANY 1000u /* changes of a volume; from here on they are few */

/* One run of the volume, from its opening to its end. */
struct home {
	struct params params;
	struct log *log;
	struct store *store; /* what the replicators read */
	struct replicator *replicators[EMBASSIES_MAX];
	pthread_mutex_t op_mu; /* operations are appended in order */
	bool stopping;	       /* told to end */
	bool stuck;	       /* has to be opened anew */
	bool up;
};

struct home_knobs home_knobs;

static struct home *home;
static bool wanted; /* to be up */
static struct fiber *main_fiber;
static bool refused[EMBASSIES_MAX];
static uint64_t epoch;
/* What a supervisor holds: the log's ring; whether to write it out first; what was appended. */
static struct log_shm *shm;
static bool rescue;
static uint64_t appended;

bool home_is_up(void)
{
	return home && home->up;
}

bool home_refused(unsigned embassy)
{
	return refused[embassy];
}

uint64_t home_epoch(void)
{
	return epoch;
}

static void *make(void *arg)
{
	static struct params p;
	int rc;

	(void)arg;
	conf_make(&p, 1, 1);
	model_make();
	rc = file_mkdir(AT_FDCWD, DIR_PATH, 0700);
	if (rc == 0)
		rc = params_store(&p, DIR_PATH);
	if (rc == 0)
		rc = file_sync_parent(AT_FDCWD, DIR_PATH);
	if (rc == 0 && home_knobs.volume)
		rc = live_make(DIR_PATH, &p);
	assert(rc == 0);
	return NULL;
}

void home_make(void)
{
	home_knobs.serial = home_knobs.epochs = 1;
	fiber_join(fiber_start(MACHINE_HOME, make, NULL));
}

/* ---- writers ---- */

/* An error of the log: whether it has to be opened anew. */
static void judge(struct home *h, int rc)
{
	if (rc == -ENOSPC || rc == -ENOMEM)
		return;
	if (!h->stuck)
		trace("home: %s", err_text(rc));
	h->stuck = true;
}

static size_t some_length(size_t max)
{
	size_t len = (size_t)prng_log(&world_random, max);

	return len < 1 ? 1 : len > max ? max : len;
}

/* Data blocks, as a file's contents are written before the delta that points to them. */
static int append_blocks(struct home *h, struct op *op, int level)
{
	static uint8_t buf[BLOCK_PLAIN_MAX];
	uint32_t max = log_end(h->log) < LOG_LARGE ? home_knobs.block_max : SMALL;
	int rc = 0;

	op->n_blocks = (uint32_t)prng_below(&world_random, ORACLE_BLOCKS_MAX);
	for (uint32_t i = 0; i < op->n_blocks && rc == 0; i++) {
		struct op_block *b = &op->blocks[i];
		size_t len = some_length(max);
		uint8_t *bytes = level ? buf : malloc(len);

		assert(bytes);
		b->seed = prng_next(&world_random);
		b->kind = prng_one_in(&world_random, 4) ? BLOCK_NODE : BLOCK_DATA;
		oracle_fill(bytes, len, b->seed);
		rc = log_append(h->log, b->kind, bytes, len, level, &b->ptr);
		if (!level)
			free(bytes);
	}
	return rc;
}

static int append_delta(struct home *h, struct op *op)
{
	uint8_t plain[ORACLE_OP_MAX];
	size_t len;
	int rc;

	op->filler = (uint32_t)some_length(2000);
	pthread_mutex_lock(&h->op_mu);
	oracle_op_begin(op);
	len = oracle_op_encode(op, plain);
	rc = log_append(h->log, BLOCK_DELTA, plain, len, 0, &op->ptr);
	if (rc < 0)
		oracle_op_undo();
	else
		appended = op->number;
	pthread_mutex_unlock(&h->op_mu);
	return rc;
}

/* Compression keeps its memory by thread, so one of the writers compresses. */
static void write_one(struct home *h, int level)
{
	struct op op = {0};
	int rc;

	rc = append_blocks(h, &op, level);
	if (rc == 0)
		rc = append_delta(h, &op);
	if (rc == 0 && prng_one_in(&world_random, 3)) {
		rc = log_sync(h->log, op.ptr.pos + op.ptr.stored_len);
		if (rc == 0) {
			trace("home: operation %llu synced", (unsigned long long)op.number);
			oracle_synced(op.number);
		}
	}
	if (rc < 0)
		judge(h, rc);
}

static void *write_main(void *arg)
{
	struct home *h = home;
	int level = arg ? 1 : 0;

	while (!h->stopping && !h->stuck) {
		fiber_sleep(prng_between(&world_random, 0, home_knobs.pace_ns));
		if (!home_knobs.quiet)
			write_one(h, level);
	}
	return NULL;
}

/* ---- heads ---- */

static void newest(void *ctx, struct head *out)
{
	const struct home *h = ctx;

	log_newest_head(h->log, out);
	oracle_heads(h->log);
}

static void *head_main(void *arg)
{
	struct home *h = home;
	uint64_t ops_before = UINT64_MAX;
	struct head head;
	int rc;

	(void)arg;
	while (!h->stopping && !h->stuck) {
		uint64_t n = oracle_n_ops();

		fiber_sleep(prng_between(&world_random, HEAD_EVERY / 4, 3 * HEAD_EVERY / 2));
		log_prepare(h->log);
		if (n == ops_before || n == 0)
			continue;
		memset(&head, 0, sizeof(head));
		head.time_ns = clock_wall_ns();
		rc = log_add_head(h->log, &head);
		if (rc < 0) {
			judge(h, rc);
			continue;
		}
		ops_before = n;
		oracle_heads(h->log);
		for (unsigned e = 0; e < home_knobs.n_embassies; e++)
			if (h->replicators[e])
				replicator_wake(h->replicators[e]);
	}
	return NULL;
}

/* ---- a live volume ---- */

static void on_head(void)
{
	struct home *h = home;

	/* The first may come while the volume is being opened. */
	if (!h->up)
		return;
	oracle_heads(h->log);
	for (unsigned e = 0; e < home_knobs.n_embassies; e++)
		if (h->replicators[e])
			replicator_wake(h->replicators[e]);
}

/* An operation failed.  Who works goes on for a while, mostly, as applications do. */
static void on_error(int rc)
{
	if (rc == -ENOSPC || rc == -ENOMEM)
		return;
	if (rc != -EIO && rc != -ERR_STUCK)
		fail("home: an operation failed: %s", err_detail(rc));
	if (!home->stuck)
		trace("home: %s", err_text(rc));
	home->stuck = home->stuck || prng_one_in(&world_random, 4);
}

static void *work_main(void *arg)
{
	struct home *h = home;

	(void)arg;
	while (!h->stopping && !h->stuck) {
		/* Often all at one time, so that they are at the same things. */
		fiber_sleep(prng_below(&world_random, 4)
				    ? home_knobs.pace_ns - world_now() % home_knobs.pace_ns
				    : prng_between(&world_random, 0, home_knobs.pace_ns));
		work_knobs.cells = log_end(h->log) < LOG_LARGE ? home_knobs.cells : 1;
		if (!home_knobs.quiet && (model_n() < MANY || prng_one_in(&world_random, 20)))
			work_some();
	}
	return NULL;
}

static void *look_main(void *arg)
{
	struct home *h = home;

	(void)arg;
	while (!h->stopping && !h->stuck) {
		fiber_sleep(prng_between(&world_random, SECOND / 2, 6 * SECOND));
		if (!h->stopping && !h->stuck)
			live_look();
	}
	return NULL;
}

static int open_volume(struct home *h)
{
	struct live_config cfg = {.dir = DIR_PATH,
				  .params = &h->params,
				  .memory_bytes = home_knobs.memory_bytes,
				  .supervised = home_knobs.supervised,
				  .on_head = on_head,
				  .stuck = on_error};
	int rc;

	epoch = params_epoch(&h->params);
	rc = live_open(&cfg, &h->log);
	if (rc < 0)
		return rc;
	rc = store_open(DIR_PATH, 0, &h->store);
	if (rc < 0)
		(void)!live_close();
	return rc;
}

/* ---- the state of the replicators ---- */

static void look_at(struct home *h, unsigned e)
{
	struct figures f = {0};
	const struct figure_row *s;
	uint64_t state, lag_bytes;
	double lag;

	replicator_figures(h->replicators[e], &f);
	s = &f.embassy[0];
	state = figure_n(s, FIGURE_STATE);
	lag = figure_seconds(s, FIGURE_LAG_SECONDS);
	lag_bytes = figure_n(s, FIGURE_LAG_BYTES);
	refused[e] = state == REPLICATOR_REFUSED;
	if (!(lag >= 0))
		fail("home: embassy %u is %f s behind", e, lag);
	if (state == REPLICATOR_IDLE && lag_bytes > 0)
		fail("home: embassy %u is idle and lacks %llu bytes", e,
		     (unsigned long long)lag_bytes);
	if (state == REPLICATOR_STREAMING || state == REPLICATOR_IDLE)
		oracle_booked(e, figure_n(s, FIGURE_ACKNOWLEDGED_HEAD),
			      figure_n(s, FIGURE_ACKNOWLEDGED));
	figures_release(&f);
}

static void *watch_main(void *arg)
{
	struct home *h = home;

	(void)arg;
	while (!h->stopping && !h->stuck) {
		fiber_sleep(prng_between(&world_random, 20 * MS, 500 * MS));
		for (unsigned e = 0; e < home_knobs.n_embassies; e++)
			if (h->replicators[e])
				look_at(h, e);
	}
	return NULL;
}

/* ---- a run ---- */

/* The administrator may have changed volume.conf while nobody had it open. */
static int load_conf(struct home *h)
{
	int rc = params_load(DIR_PATH, &h->params);

	if (rc < 0 || h->params.serial >= home_knobs.serial)
		return rc;
	params_release(&h->params);
	conf_make(&h->params, home_knobs.serial, home_knobs.epochs);
	trace("home: volume.conf %llu", (unsigned long long)home_knobs.serial);
	return params_store(&h->params, DIR_PATH);
}

/*
 * The successor of a daemon that was killed gets what that one left; any other shared memory of its own.
 */
static void prepare_shm(void)
{
	void *mem;

	if (rescue || !home_knobs.supervised)
		return;
	mem = huge_alloc(log_shm_bytes(RING));
	assert(mem);
	appended = 0; /* nothing in it yet */
	shm = log_shm_init(mem, RING);
}

static int open_log(struct home *h)
{
	struct log_config cfg = {.volume_dir = DIR_PATH,
				 .params = &h->params,
				 .log_key = conf_log_key(),
				 .ring_bytes = RING};
	struct log_tail tail;
	int rc;

	prepare_shm();
	cfg.shm = shm;
	cfg.rescue = rescue;
	epoch = params_epoch(&h->params);
	cfg.writer_secret = conf_writer_secret(epoch);
	rc = log_open(&cfg, &h->log, &tail);
	if (rc < 0)
		return rc;
	rc = store_open(DIR_PATH, 0, &h->store);
	if (rc < 0) {
		(void)!log_close(h->log);
		return rc;
	}
	/* Nothing that a killed daemon had taken is lost, synced or not. */
	if (rescue)
		oracle_synced(appended);
	rescue = false;
	disk_spare(true);
	oracle_opened(h->log, h->store, &tail);
	disk_spare(false);
	appended = oracle_n_ops();
	free(tail.deltas);
	free(tail.checkpoints);
	return 0;
}

static void start_replicators(struct home *h)
{
	oracle_books_opened();
	for (unsigned e = 0; e < home_knobs.n_embassies; e++) {
		char address[32];
		struct replicator_config cfg = {.address = address,
						.params = &h->params,
						.store = h->store,
						.catalog = log_catalog(h->log),
						.newest = newest,
						.ctx = h};
		int rc;

		snprintf(address, sizeof(address), "127.0.0.1:%u", NET_PORT + e);
		rc = replicator_start(&cfg, &h->replicators[e]);
		if (rc < 0)
			fail("home: replicator: %s", err_detail(rc));
	}
}

static int close_log(struct home *h)
{
	uint64_t n_ops = oracle_n_ops();
	int rc = log_close(h->log);

	shm = NULL;
	if (rc == 0)
		oracle_synced(n_ops);
	return rc;
}

static unsigned start_work(struct fiber **out)
{
	unsigned n = 0;

	out[n++] = fiber_start(MACHINE_HOME, watch_main, NULL);
	if (home_knobs.volume) {
		for (unsigned i = 0; i < WORKERS; i++)
			out[n++] = fiber_start(MACHINE_HOME, work_main, NULL);
		out[n++] = fiber_start(MACHINE_HOME, look_main, NULL);
	} else {
		out[n++] = fiber_start(MACHINE_HOME, write_main, NULL);
		out[n++] = fiber_start(MACHINE_HOME, write_main, home);
		out[n++] = fiber_start(MACHINE_HOME, head_main, NULL);
	}
	return n;
}

static void run(struct home *h)
{
	struct fiber *fibers[WORKERS + 2];
	unsigned n;
	int rc;

	h->up = true;
	start_replicators(h);
	n = start_work(fibers);
	for (unsigned i = 0; i < n; i++)
		fiber_join(fibers[i]);
	for (unsigned e = 0; e < EMBASSIES_MAX; e++)
		replicator_stop(h->replicators[e]);
	h->up = false;
	store_close(h->store);
	rc = home_knobs.volume ? live_close() : close_log(h);
	trace("home: closed: %s", err_text(rc));
	if (rc == 0 && home_knobs.volume && (!wanted || prng_one_in(&world_random, 3)))
		live_check(DIR_PATH, &h->params);
}

static void *home_main(void *arg)
{
	(void)arg;
	while (wanted) {
		struct home *h = calloc(1, sizeof(*h));
		int rc;

		assert(h);
		pthread_mutex_init(&h->op_mu, NULL);
		home = h;
		rc = load_conf(h);
		if (rc == 0)
			rc = home_knobs.volume ? open_volume(h) : open_log(h);
		if (rc == 0) {
			run(h);
		} else {
			trace("home: cannot be opened: %s", err_detail(rc));
			if (rc != -EIO && rc != -ENOSPC)
				fail("home: cannot be opened: %s", err_detail(rc));
			fiber_sleep(SECOND);
		}
		home = NULL;
	}
	return NULL;
}

void home_start(void)
{
	wanted = true;
	home = NULL;
	memset(refused, 0, sizeof(refused));
	main_fiber = fiber_start(MACHINE_HOME, home_main, NULL);
}

void home_crash(bool power)
{
	world_crash(MACHINE_HOME);
	if (power)
		disk_crash(MACHINE_HOME);
	else
		disk_kill(MACHINE_HOME);
	live_crashed(power);
	if (power)
		shm = NULL;
	rescue = shm != NULL;
	net_crashed(MACHINE_HOME);
	home = NULL;
}

void home_stop(void)
{
	wanted = false;
	if (home)
		home->stopping = true;
	fiber_join(main_fiber);
}
