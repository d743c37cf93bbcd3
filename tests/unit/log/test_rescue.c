/*
 * A log whose process is killed at any moment leaves all that its appends returned to the process
 * that comes after it, on disk or not.
 */

#include "blocks.h"
#include "err.h"
#include "frame.h"
#include "huge.h"
#include "keep.h"
#include "log.h"
#include "log_fixture.h"
#include "log_internal.h"

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
#define KILLS 40u
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
static struct log_keep *keep;
static struct notes *notes; /* one for each thread */
static uint64_t seed;

static void *shared(size_t len)
{
	uint8_t *p = mmap(NULL, len + HUGE_PAGE, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

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
		.keep = keep,
		.rescue = rescue,
	};

	return log_open(&cfg, out, tail);
}

static void setup(void)
{
	log_fixture_init(&f, NULL);
	keep = log_keep_init(shared(log_keep_bytes(RING)), RING);
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
static void append_noted(struct log *log, struct notes *to, uint64_t s)
{
	uint32_t n = atomic_load(&to->n);
	uint8_t *p = malloc(128 << 10);

	if (n == NOTES_MAX)
		_exit(0);
	to->note[n].seed = s;
	to->note[n].kind = mix(s + 3) % 9 == 0 ? BLOCK_DELTA : BLOCK_DATA;
	log_fixture_pattern(s, p, len_of(s), mix(s + 4) % 4 != 0);
	if (log_append(log, to->note[n].kind, p, len_of(s), 1, &to->note[n].ptr) < 0)
		_exit(3);
	atomic_store(&to->n, n + 1);
	free(p);
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
		unsaved += atomic_load(&keep->filled) - atomic_load(&keep->written);

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

Test(rescue, foreign_layouts_are_refused)
{
	struct log_tail tail;
	struct log *log;

	keep->version++;
	cr_assert_eq(open_with(true, &log, &tail), -ERR_VERSION);
	keep->version--;
	/* A slot where none can be: nothing is written. */
	keep->slots[0] = (struct keep_slot){.pos = 77, .len = 400, .done = 1};
	keep->pushed = 1;
	cr_assert_eq(open_with(true, &log, &tail), -ERR_DAMAGED);
}
