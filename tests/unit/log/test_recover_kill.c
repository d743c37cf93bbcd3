/* Recovery after a kill at any moment: what was synced is there. */

#include "recover_fixture.h"

#include "blocks.h"
#include "catalog.h"
#include "err.h"
#include "file.h"
#include "frame.h"
#include "log.h"
#include "log_fixture.h"
#include "newest.h"
#include "store.h"

#include "../sampled.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Shared with the process that is going to die. */
#define SYNCED_MAX 20000u
struct diary {
	atomic_uint n;
	struct entry {
		struct block_ptr ptr;
		uint32_t kind;
		uint64_t seed;
		_Atomic bool synced;
	} entry[SYNCED_MAX];
	_Atomic uint64_t head; /* newest that log_add_head() returned */
	atomic_uint events;
};

struct victim {
	struct log *log;
	struct diary *diary;
	unsigned die_at, seed;
	bool heads;
};

static void event(struct victim *v)
{
	if (atomic_fetch_add(&v->diary->events, 1) + 1 == v->die_at)
		_exit(42);
}

static void *live(void *arg)
{
	struct victim *v = arg;
	uint8_t *p = malloc(EXTENT_MAX);
	unsigned rnd = v->seed;
	struct head h = {0};

	for (;;) {
		enum block_kind kind = BLOCK_DATA + rand_r(&rnd) % 4;
		unsigned n = atomic_fetch_add(&v->diary->n, 1);
		struct entry *e = &v->diary->entry[n];
		size_t len = 1 + (unsigned)rand_r(&rnd) % (rand_r(&rnd) % 8 ? 3000 : EXTENT_MAX);

		if (n >= SYNCED_MAX)
			_exit(43);
		e->kind = kind;
		e->seed = (uint64_t)rand_r(&rnd);
		log_fixture_pattern(e->seed, p, len, e->seed & 1);
		event(v);
		if (log_append(v->log, kind, p, len, 1, &e->ptr) != 0)
			_exit(44);
		event(v);
		if (rand_r(&rnd) % 4 == 0) {
			if (log_sync(v->log, e->ptr.pos + e->ptr.stored_len) != 0)
				_exit(45);
			e->synced = true;
			event(v);
		}
		if (v->heads && rand_r(&rnd) % 8 == 0) {
			if (log_add_head(v->log, &h) != 0)
				_exit(46);
			v->diary->head = h.number;
			event(v);
		}
	}
}

static void crash_once(struct log_fixture *f, struct diary *d, unsigned seed)
{
	struct victim v[4];
	struct log_tail tail;
	pthread_t t;
	struct log *log;
	pid_t pid;
	int status;

	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		if (log_fixture_open(f, &log, &tail) != 0)
			_exit(47);
		for (unsigned i = 0; i < 4; i++)
			v[i] = (struct victim){.log = log,
					       .diary = d,
					       .die_at = d->events + 1 + seed * 37 % 400,
					       .seed = seed * 4 + i,
					       .heads = i == 0};
		for (unsigned i = 1; i < 4; i++) {
			if (pthread_create(&t, NULL, live, &v[i]) != 0)
				_exit(48);
		}
		live(&v[0]);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 42, "seed %u: status %x", seed,
		  (unsigned)status);
}

static void check_diary(struct log_fixture *f, struct diary *d, unsigned seed)
{
	struct log_tail tail;
	struct log *log = recover_open(f, &tail);

	cr_assert_geq(tail.head.number, d->head, "seed %u: a head is lost", seed);
	d->head = tail.head.number;
	for (unsigned i = 0; i < d->n && i < SYNCED_MAX; i++) {
		if (d->entry[i].synced)
			cr_assert(recover_holds(log, d->entry[i].kind, &d->entry[i].ptr,
						d->entry[i].seed),
				  "seed %u: block %u at %llu", seed, i,
				  (unsigned long long)d->entry[i].ptr.pos);
	}
	for (size_t i = 0; i < tail.n_deltas; i++)
		cr_assert_gt(tail.deltas[i].pos, tail.head.pos);
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
}

/*
 * One salt, one writing of each position: what a dead mount left in a segment is at most cut, never
 * continued, by the next.
 */
static void check_salts(struct log_fixture *f, uint64_t number, const struct recover_bytes *before)
{
	struct recover_bytes after = {0};
	char path[320];

	recover_segment_path(f, number, path);
	if (access(path, F_OK) < 0)
		return;
	after = recover_load(f, number);
	if (memcmp(after.p, before->p, SEGMENT_BLOCK_LEN) == 0) {
		cr_assert_leq(after.len, before->len);
		cr_assert_eq(memcmp(after.p, before->p, after.len), 0);
	}
	free(after.p);
}

Test(recover_kill, killed_at_any_moment, .timeout = 300)
{
	struct diary *d = mmap(NULL, sizeof(*d), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			       -1, 0);
	struct log_fixture f;
	struct recover_bytes before;
	uint64_t last;

	cr_assert_neq(d, MAP_FAILED);
	log_fixture_init(&f, NULL);
	f.ring_bytes = RECOVER_RING;
	for (unsigned seed = 1; seed <= 25; seed += sampled(4)) {
		crash_once(&f, d, seed);
		last = recover_last_segment(&f);
		before = recover_load(&f, last);
		check_diary(&f, d, seed);
		check_salts(&f, last, &before);
		free(before.p);
	}
	log_fixture_release(&f);
	munmap(d, sizeof(*d));
}
