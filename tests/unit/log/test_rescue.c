/*
 * A log whose process is killed at any moment leaves all that its appends returned to the process
 * that comes after it, on disk or not.
 */

#include "../sampled.h"
#include "../stores.h"
#include "blocks.h"
#include "err.h"
#include "file.h"
#include "frame.h"
#include "huge.h"
#include "log.h"
#include "log_fixture.h"
#include "log_internal.h"
#include "log_shm.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RING ((size_t)4 << 20)
#define THREADS 3u
#define NOTES_MAX 60000u
#define KILLS rounds(40)
#define APPENDED_MAX (UINT64_C(190) << 20) /* so that segments roll over */

/* What the child says it was told; a note counts once n is past it. */
struct notes {
	_Atomic uint32_t n;
	struct note {
		struct block_ptr ptr;
		uint64_t seed;
		enum block_kind kind;
	} note[NOTES_MAX];
};

static struct log_fixture f;
static struct log_shm *shm;
static struct notes *notes; /* one for each thread */
static uint64_t seed;

static void *shared(size_t len)
{
	uint8_t *p = mmap(NULL, len + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			  -1, 0);

	cr_assert_neq((void *)p, MAP_FAILED);
	return (void *)huge_up((uintptr_t)p);
}

static int open_with(bool rescue, struct log **out, struct log_tail *tail)
{
	struct log_config cfg = {
		.volume_dir = f.dir,
		.params = &f.params,
		.log_key = f.log_key,
		.writer_secret = f.writer_secret,
		.ring_bytes = RING,
		.shm = shm,
		.rescue = rescue,
	};

	return log_open(&cfg, out, tail);
}

static void setup(void)
{
	log_fixture_init(&f, NULL);
	shm = log_shm_init(shared(log_shm_bytes(RING)), RING);
	notes = shared(THREADS * sizeof(*notes));
	seed = (uint64_t)time(NULL) ^ (uint64_t)getpid() << 20;
	fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
}

static void teardown(void)
{
	log_fixture_release(&f);
}

TestSuite(rescue, .init = setup, .fini = teardown, .timeout = 300);

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= UINT64_C(0x9e3779b97f4a7c15);
	return x ^ x >> 29;
}

static size_t len_of(uint64_t s)
{
	return mix(s) % 5 == 0 ? 1 + mix(s + 1) % 300 : 1 + mix(s + 2) % (128 << 10);
}

/* Append and note what was appended. */
static void append_at_level(struct log *log, struct notes *to, uint64_t s, int level)
{
	uint32_t n = atomic_load(&to->n);
	uint8_t *p = malloc(128 << 10);

	if (n == NOTES_MAX)
		_exit(0);
	to->note[n].seed = s;
	to->note[n].kind = mix(s + 3) % 9 == 0 ? BLOCK_DELTA : BLOCK_DATA;
	log_fixture_pattern(s, p, len_of(s), mix(s + 4) % 4 != 0);
	if (log_append(log, to->note[n].kind, p, len_of(s), level, &to->note[n].ptr) < 0)
		_exit(3);
	atomic_store(&to->n, n + 1);
	free(p);
}

static void append_noted(struct log *log, struct notes *to, uint64_t s)
{
	append_at_level(log, to, s, 1);
}

struct writer {
	struct log *log;
	struct notes *notes;
	uint64_t seed;
};

static void *write_on(void *arg)
{
	struct writer *w = arg;

	while (log_end(w->log) < APPENDED_MAX) {
		append_noted(w->log, w->notes, w->seed++);
		if (mix(w->seed) % 50 == 0 && log_sync(w->log, UINT64_MAX) < 0)
			_exit(4);
	}
	for (;;)
		pause();
}

/* The process that is killed: appends by several threads, syncs, now and then a head. */
static void be_victim(uint64_t s)
{
	struct writer w[THREADS];
	struct log_tail tail;
	struct log *log;
	pthread_t t;

	if (open_with(false, &log, &tail) < 0)
		_exit(2);
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct writer){.log = log, .notes = &notes[i], .seed = s + i * 1000003};
		pthread_create(&t, NULL, write_on, &w[i]);
	}
	for (;;) {
		struct head h = {0};

		usleep(1000 + (useconds_t)(mix(s++) % 30000));
		h.time_ns = (int64_t)s;
		if (log_add_head(log, &h) < 0)
			_exit(5);
	}
}

static void check_notes(struct log *log)
{
	uint8_t *got = malloc(128 << 10), *want = malloc(128 << 10);

	for (unsigned t = 0; t < THREADS; t++)
		for (uint32_t i = 0; i < notes[t].n; i++) {
			const struct note *n = &notes[t].note[i];
			int rc = blocks_read(log_blocks(log), &n->ptr, n->kind, got);

			log_fixture_pattern(n->seed, want, len_of(n->seed), mix(n->seed + 4) % 4);
			cr_assert_eq(rc, 0, "thread %u, block %u of %u: %s", t, i, notes[t].n,
				     err_detail(rc));
			cr_assert_eq(n->ptr.plain_len, len_of(n->seed));
			cr_assert_arr_eq(got, want, n->ptr.plain_len);
		}
	free(got);
	free(want);
}

Test(rescue, killed_at_any_moment)
{
	struct log_tail tail;
	uint64_t unsaved = 0;
	struct log *log;
	int status, rc;
	pid_t pid;

	for (unsigned i = 0; i < KILLS; i++) {
		for (unsigned t = 0; t < THREADS; t++)
			atomic_store(&notes[t].n, 0);
		pid = fork();
		cr_assert_geq(pid, 0);
		if (pid == 0)
			be_victim(mix(seed + i));
		usleep(8000 + (useconds_t)(mix(seed + 77 * i) % (i % 4 == 0 ? 400000 : 60000)));
		kill(pid, SIGKILL);
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		cr_assert(WIFSIGNALED(status), "the victim ended by itself: %d", status);
		unsaved += atomic_load(&shm->filled) - atomic_load(&shm->written);

		rc = open_with(true, &log, &tail);
		cr_assert_eq(rc, 0, "kill %u: %s", i, err_detail(rc));
		free(tail.deltas);
		free(tail.checkpoints);
		check_notes(log);
		cr_assert_eq(log_close(log), 0);
	}
	/* Else nothing was shown. */
	cr_assert_gt(unsaved, 0);
}

/* Threads that had a place and were killed while they sealed. */
Test(rescue, unfinished_places_hide_nothing)
{
	const uint32_t holes[] = {FRAME_LEN + 17, 4000, 131072, BLOCK_STORED_MAX - 5000};
	struct log_tail tail;
	struct log *log;
	int status, rc;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		if (open_with(false, &log, &tail) < 0)
			_exit(2);
		for (unsigned i = 0; i < 4; i++) {
			append_noted(log, &notes[0], seed + i);
			pthread_mutex_lock(&log->mu);
			if (log_reserve_locked(log, BLOCK_DATA, holes[i]) < 0)
				_exit(3);
			(void)log_push_slot_locked(
				log,
				sealed_len(opened_len(holes[i] - FRAME_LEN, 0), 0) + FRAME_LEN);
			pthread_mutex_unlock(&log->mu);
		}
		append_noted(log, &notes[0], seed + 9);
		pthread_mutex_lock(&log->mu);
		(void)log_push_slot_locked(log, 5000); /* nothing relies on what lies behind */
		pthread_mutex_unlock(&log->mu);
		kill(getpid(), SIGKILL);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status), "the victim ended by itself: %d", status);
	rc = open_with(true, &log, &tail);
	cr_assert_eq(rc, 0, "%s", err_detail(rc));
	free(tail.deltas);
	free(tail.checkpoints);
	cr_assert_eq(notes[0].n, 5);
	check_notes(log);
	cr_assert_eq(log_close(log), 0);
}

/* A rescue that is killed itself, and an empty keep. */
Test(rescue, again_and_again)
{
	struct log_tail tail;
	struct log *log;
	int status, rc;
	pid_t pid = fork();

	if (pid == 0)
		be_victim(seed);
	usleep(60000);
	kill(pid, SIGKILL);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	for (unsigned i = 0; i < 30; i++) {
		pid = fork();
		if (pid == 0) {
			if (open_with(true, &log, &tail) < 0)
				_exit(2);
			_exit(0);
		}
		usleep((useconds_t)(mix(seed + i) % 8000));
		kill(pid, SIGKILL);
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		cr_assert(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
	}
	for (unsigned i = 0; i < 2; i++) {
		rc = open_with(true, &log, &tail);
		cr_assert_eq(rc, 0, "%s", err_detail(rc));
		free(tail.deltas);
		free(tail.checkpoints);
		check_notes(log);
		cr_assert_eq(log_close(log), 0);
	}
}

static void reset(void *arg)
{
	(void)arg;
	log_shm_reset(shm);
}

static void open_check_close(unsigned nth)
{
	struct log_tail tail;
	struct log *log;
	int rc = open_with(true, &log, &tail);

	cr_assert_eq(rc, 0, "after store %u: %s", nth, err_detail(rc));
	free(tail.deltas);
	free(tail.checkpoints);
	check_notes(log);
	cr_assert_eq(log_close(log), 0);
}

/* More blocks than there are slots, so that counts and slots do not look alike. */
static void leave_many(void)
{
	int status;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		struct log_tail tail;
		struct log *log;
		char small[300];

		memset(small, 7, sizeof(small));
		if (open_with(true, &log, &tail) < 0)
			_exit(2);
		for (unsigned i = 0; i < 3 * LOG_SLOTS; i++) {
			struct block_ptr ptr;

			if (log_append(log, BLOCK_DELTA, small, sizeof(small), 0, &ptr) < 0)
				_exit(3);
		}
		append_noted(log, &notes[0], seed);
		kill(getpid(), SIGKILL);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status), "the victim ended by itself: %d", status);
}

/* A successor that is killed while it gives the ring free leaves what the next one takes. */
Test(rescue, killed_at_each_store_of_a_reset)
{
	struct log_shm *left = malloc(sizeof(*left));
	unsigned nth = 0;
	int rc;

	cr_assert_not_null(left);
	leave_many();
	memcpy(left, shm, sizeof(*left));
	do {
		open_check_close(nth);
		memcpy(shm, left, sizeof(*left));
		rc = stores_kill_at(reset, NULL, shm, sizeof(*shm), ++nth);
		if (rc < 0)
			cr_skip_test("processes can't be traced here");
	} while (rc > 0);
	open_check_close(nth);
	cr_expect_gt(nth, 2, "stores were counted");
	free(left);
}

/* ---- each store of a life that rolls over ---- */

static struct log *living;
static uint8_t *filling;

/*
 * A seed whose block is short, since each of its instructions is stepped through, and yet too long for
 * what fill() leaves.
 */
static uint64_t short_seed(uint64_t s)
{
	while (len_of(s) < 200 || len_of(s) > 300)
		s++;
	return s;
}

static void live_on(void *arg)
{
	uint64_t s = seed;

	(void)arg;
	for (unsigned i = 0; i < 3; i++) {
		s = short_seed(s + 1);
		append_at_level(living, &notes[0], s, 0);
		if (log_sync(living, UINT64_MAX) < 0)
			_exit(4);
	}
	_exit(0);
}

static void fill(uint64_t upto, size_t len)
{
	struct block_ptr ptr;

	while (log_end(living) % SEGMENT_SIZE < upto)
		if (log_append(living, BLOCK_NODE, filling, len, 0, &ptr) < 0)
			_exit(3);
}

/* Fill a segment but for its last bytes, and be killed at the ${nth} store after that. */
static void live_until(unsigned nth)
{
	struct log_tail tail;
	int rc;

	if (open_with(false, &living, &tail) < 0)
		_exit(2);
	fill(1, 1);
	fill(SEGMENT_SIZE - 2 * BLOCK_STORED_MAX, BLOCK_PLAIN_MAX);
	fill(SEGMENT_SIZE - 200, 100);
	if (log_end(living) % SEGMENT_SIZE > SEGMENT_SIZE - FRAME_LEN)
		_exit(3);
	rc = stores_kill_at(live_on, NULL, shm, sizeof(*shm), nth);
	_exit(rc < 0 ? 10 : rc > 0 ? 11 : 12);
}

static int fail_sync_data(void *ctx, const char *op)
{
	(void)ctx;
	return strcmp(op, "sync_data") == 0 ? -EIO : 0;
}

static int count_writes(void *ctx, const char *op)
{
	*(unsigned *)ctx += strcmp(op, "write") == 0;
	return 0;
}

/*
 * The sync of a full segment fails, so what readers see of it may be on no disk, and a later sync may
 * say that all is well.  A successor writes all of it again before it gives the next segment its name,
 * after which nothing doubts the old one.
 */
Test(rescue, a_segment_whose_last_sync_failed_is_written_again)
{
	struct log_tail tail;
	struct log *log;
	unsigned writes = 0;
	int status, rc;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	filling = calloc(1, BLOCK_PLAIN_MAX);
	cr_assert_not_null(filling);
	if (pid == 0) {
		if (open_with(false, &living, &tail) < 0)
			_exit(2);
		fill(1, 1);
		fill(SEGMENT_SIZE - 2 * BLOCK_STORED_MAX, BLOCK_PLAIN_MAX);
		fill(SEGMENT_SIZE - 200, 100);
		if (log_sync(living, UINT64_MAX) < 0)
			_exit(3);
		file_set_fault(fail_sync_data, NULL);
		append_at_level(living, &notes[0], short_seed(seed), 0);
		if (log_sync(living, UINT64_MAX) == 0)
			_exit(4);
		kill(getpid(), SIGKILL);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status), "the victim ended by itself: %d", status);
	file_set_fault(count_writes, &writes);
	rc = open_with(true, &log, &tail);
	file_set_fault(NULL, NULL);
	cr_assert_eq(rc, 0, "%s", err_detail(rc));
	cr_expect_geq(writes, SEGMENT_SIZE / 4096, "only %u pages were written", writes);
	free(tail.deltas);
	free(tail.checkpoints);
	check_notes(log);
	cr_assert_eq(log_close(log), 0);
	free(filling);
}

Test(rescue, killed_at_each_store_of_a_roll)
{
	int status = 0;

	filling = calloc(1, BLOCK_PLAIN_MAX);
	cr_assert_not_null(filling);
	for (unsigned nth = 1; nth < 200; nth += sampled(5)) {
		pid_t pid = fork();

		cr_assert_geq(pid, 0);
		if (pid == 0)
			live_until(nth);
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		cr_assert(WIFEXITED(status));
		if (WEXITSTATUS(status) == 10)
			cr_skip_test("processes can't be traced here");
		open_check_close(nth);
		if (WEXITSTATUS(status) == 12)
			break;
		cr_assert_eq(WEXITSTATUS(status), 11);
		teardown();
		setup();
	}
	cr_expect_eq(WEXITSTATUS(status), 12, "the life was lived to its end");
	free(filling);
}

Test(rescue, foreign_layouts_are_refused)
{
	struct log_tail tail;
	struct log *log;

	shm->version++;
	cr_assert_eq(open_with(true, &log, &tail), -ERR_VERSION);
	shm->version--;
	/* A slot where none can be: nothing is written. */
	shm->slots[0] = (struct shm_slot){.pos = 77, .len = 400, .done = 1};
	shm->pushed = 1;
	cr_assert_eq(open_with(true, &log, &tail), -ERR_DAMAGED);
}
