/*
 * Random operations on a volume, and the same on a model in memory: equal after each reopening, at every head that was
 * noted, and, after the process was killed, equal to some prefix of the operations that holds all that was synced.
 */

#include "fixture.h"

#include "model.h"

#include "err.h"
#include "log.h"
#include "source.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t rng;

static bool equal(struct view *view, const struct model *m)
{
	int rc;
	bool same = model_equal(view, m, &rc);

	cr_assert_eq(rc, 0, "can't be read: %s", err_detail(rc));
	return same;
}

#define HEADS_NOTED 12u

Test(model, reopen_and_views, .timeout = 300)
{
	uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : (uint64_t)getpid();
	struct model model, noted[HEADS_NOTED];
	struct head heads[HEADS_NOTED];
	unsigned n_heads = 0;
	struct volume *v;
	struct fixture f;
	struct view *past;

	fprintf(stderr, "SEED=%lu\n", (unsigned long)seed);
	rng = seed;
	fixture_make(&f);
	v = fixture_open(&f);
	model_init(&model);
	for (unsigned i = 0; i < HEADS_NOTED; i++)
		model_init(&noted[i]);

	for (unsigned i = 0; i < 3000; i++) {
		struct op op = op_random(&rng);
		int rc = model_apply(&model, v, &op);

		cr_assert_eq(rc, 0, "operation %u, kind %u: %d %s", i, op.kind, rc, err_detail(rc));
		if (i % 97 == 0)
			cr_assert_eq(volume_sync(v), 0);
		if (i % 250 == 249 && n_heads < HEADS_NOTED) {
			model_copy(&noted[n_heads], &model);
			cr_assert_eq(volume_add_head(v, &heads[n_heads++]), 0);
		}
		if (i % 400 == 399)
			cr_assert_eq(volume_checkpoint(v), 0);
		if (i % 700 == 699) {
			cr_assert_eq(volume_close(v), 0);
			v = fixture_open(&f);
			cr_assert(equal(volume_view(v), &model), "after reopening at %u", i);
		}
	}
	cr_assert(equal(volume_view(v), &model));
	for (unsigned i = 0; i < n_heads; i++) {
		cr_assert_eq(view_open(volume_view_config(v), &heads[i], &past), 0);
		cr_assert(equal(past, &noted[i]), "head %u", i);
		view_close(past);
	}
	cr_assert_eq(volume_close(v), 0);
	for (unsigned i = 0; i < HEADS_NOTED; i++)
		model_release(&noted[i]);
	model_release(&model);
	fixture_remove(&f);
}

/* What the child that is killed tells its parent. */
struct progress {
	volatile unsigned done, synced;
};

static void run_until_killed(struct fixture *f, struct progress *p, unsigned first, struct model *m)
{
	struct volume *v = fixture_open(f);

	for (unsigned i = first;; i++) {
		struct op op = op_random(&rng);

		int rc = model_apply(m, v, &op);

		if (rc != 0) {
			fprintf(stderr, "operation %u, kind %u: %d %s\n", i, op.kind, rc, err_detail(rc));
			_exit(1);
		}
		p->done = i + 1;
		if (op.fill % 16 == 0) {
			if (volume_sync(v) != 0)
				_exit(2);
			p->synced = i + 1;
		}
		if (op.fill == 1 && volume_checkpoint(v) != 0)
			_exit(3);
	}
}

/* Advance ${m} from the state that all synced operations gave to the one found; false if no prefix gives it. */
static bool find_prefix(struct view *view, struct model *m, unsigned synced, unsigned done,
			unsigned *out_at)
{
	for (unsigned i = synced;; i++) {
		struct op op;

		if (equal(view, m)) {
			*out_at = i;
			return true;
		}
		if (i > done)
			return false;
		op = op_random(&rng);
		cr_assert_eq(model_apply(m, NULL, &op), 0);
	}
}

Test(model, killed_at_random, .timeout = 300)
{
	uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : (uint64_t)getpid();
	struct progress *p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct model model;
	unsigned at = 0;
	struct fixture f;

	fprintf(stderr, "SEED=%lu\n", (unsigned long)seed);
	srand((unsigned)seed);
	fixture_make(&f);
	model_init(&model);
	rng = seed;
	for (unsigned round = 0; round < 20; round++) {
		uint64_t rng_before = rng;
		struct volume *v;
		int status;
		pid_t pid;

		p->done = p->synced = at;
		pid = fork();
		if (pid == 0)
			run_until_killed(&f, p, at, &model);
		while (p->done < at + (unsigned)rand() % 300 && waitpid(pid, &status, WNOHANG) == 0)
			usleep(500);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		cr_assert(WIFSIGNALED(status), "the child ended by itself: %d", WEXITSTATUS(status));

		rng = rng_before;
		for (unsigned i = at; i < p->synced; i++) {
			struct op op = op_random(&rng);

			cr_assert_eq(model_apply(&model, NULL, &op), 0);
		}
		v = fixture_open(&f);
		cr_assert(find_prefix(volume_view(v), &model, p->synced, p->done, &at),
			  "round %u: no prefix of the operations after %u of %u", round, p->synced, p->done);
		cr_assert_eq(volume_close(v), 0);
	}
	model_release(&model);
	fixture_remove(&f);
	munmap(p, sizeof(*p));
}
