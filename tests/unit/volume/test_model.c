/*
 * Random operations on a volume, and the same on a model in memory: equal after each reopening, at
 * every head that was noted, and, after the process was killed, equal to some prefix of the
 * operations that holds all that was synced. Where the process that comes after takes over the
 * memory of the dead one, the prefix is all of them, but for the one that was under way, which is
 * there or not.
 */

#include "fixture.h"

#include "model.h"

#include "err.h"
#include "huge.h"
#include "log.h"
#include "source.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct caller root_user = {0};

static uint64_t rng;

/* The thread sanitizer makes each some ten times as long. */
#ifdef __SANITIZE_THREAD__
#define KILLS 5u
#define TAKEOVERS 8u
#else
#define KILLS 20u
#define TAKEOVERS 40u
#endif

/* In a process that a test has forked: what goes wrong is said, and ends it. */
static bool forked;

static void need_ok(int rc, const char *what)
{
	if (rc == 0)
		return;
	if (!forked)
		cr_assert_fail("%s: %s", what, err_detail(rc));
	fprintf(stderr, "%s: %s\n", what, err_detail(rc));
	_exit(10);
}

/* fork(), where the child does not answer to Criterion. */
static pid_t fork_quietly(void)
{
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	forked = pid == 0;
	return pid;
}

static bool equal(struct view *view, const struct model *m)
{
	int rc;
	bool same = model_equal(view, m, &rc);

	need_ok(rc, "can't be read");
	return same;
}

static struct volume *open_kept(struct fixture *f, struct volume_shm *shm)
{
	struct volume_config cfg = {
		.dir = f->dir, .params = &f->params, .keys = &f->keys, .shm = shm};
	struct volume *v = NULL;

	need_ok(volume_open(&cfg, &v), "volume_open");
	return v;
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
	volatile unsigned found; /* what a look at it found: the state after so many */
	volatile bool opened;
};

static void run_until_killed(struct volume *v, struct progress *p, unsigned first, struct model *m,
			     unsigned sync_every)
{
	p->opened = true;
	for (unsigned i = first;; i++) {
		struct op op = op_random(&rng);

		int rc = model_apply(m, v, &op);

		if (rc != 0) {
			fprintf(stderr, "operation %u, kind %u: %d %s\n", i, op.kind, rc,
				err_detail(rc));
			_exit(1);
		}
		p->done = i + 1;
		if (op.fill % sync_every == 0) {
			if (volume_sync(v) != 0)
				_exit(2);
			p->synced = i + 1;
		}
		if (op.fill == 1 && volume_checkpoint(v) != 0)
			_exit(3);
	}
}

/*
 * Advance ${m} from the state that all synced operations gave to the one found; false if no prefix
 * gives it.
 */
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

/*
 * Open the volume in a process of its own, since this one forks, and close it.  ${model}, after p->synced
 * operations, is compared; p->found: after how many it is as the volume.
 */
static bool look_apart(struct fixture *f, struct model *model, struct progress *p)
{
	int status;
	pid_t pid = fork_quietly();

	if (pid == 0) {
		struct volume *v = open_kept(f, NULL);
		unsigned at;

		if (!find_prefix(volume_view(v), model, p->synced, p->done, &at))
			_exit(1);
		p->found = at;
		_exit(volume_close(v) == 0 ? 0 : 2);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

Test(model, killed_at_random, .timeout = 300)
{
	uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : (uint64_t)getpid();
	struct progress *p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct model model;
	unsigned at = 0;
	struct fixture f;

	fprintf(stderr, "SEED=%lu\n", (unsigned long)seed);
	srand((unsigned)seed);
	fixture_make(&f);
	model_init(&model);
	rng = seed;
	for (unsigned round = 0; round < KILLS; round++) {
		uint64_t rng_before = rng;
		int status;
		pid_t pid;

		p->done = p->synced = at;
		pid = fork_quietly();
		if (pid == 0)
			run_until_killed(open_kept(&f, NULL), p, at, &model, 16);
		while (p->done < at + (unsigned)rand() % 300 && waitpid(pid, &status, WNOHANG) == 0)
			usleep(500);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		cr_assert(WIFSIGNALED(status), "the child ended by itself: %d",
			  WEXITSTATUS(status));

		rng = rng_before;
		for (unsigned i = at; i < p->synced; i++) {
			struct op op = op_random(&rng);

			cr_assert_eq(model_apply(&model, NULL, &op), 0);
		}
		rng_before = rng;
		cr_assert(look_apart(&f, &model, p),
			  "round %u: no prefix of the operations after %u of %u", round, p->synced,
			  p->done);
		rng = rng_before;
		for (at = p->synced; at < p->found; at++) {
			struct op op = op_random(&rng);

			cr_assert_eq(model_apply(&model, NULL, &op), 0);
		}
	}
	model_release(&model);
	fixture_remove(&f);
	munmap(p, sizeof(*p));
}

/* What the changes under one tag were, as the callback tells. */
static struct change_note *note_of(void *ctx, uint64_t tag)
{
	struct change_note *n = ctx;

	return tag == n->tag ? n : NULL;
}

static void *shm_memory(void)
{
	uint8_t *p = mmap(NULL, volume_shm_bytes() + HUGE_PAGE, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq((void *)p, MAP_FAILED);
	return (void *)huge_up((uintptr_t)p);
}

struct nameless {
	uint64_t ino[64];
	unsigned n;
};

static void note_nameless(void *ctx, uint64_t ino)
{
	struct nameless *l = ctx;

	need_ok(l->n < 64 ? 0 : -ENOSPC, "more nameless files than there can be");
	l->ino[l->n++] = ino;
}

/* As a daemon does with what nobody holds open. */
static void forget_nameless(struct volume *v)
{
	struct nameless l = {.n = 0};

	if (volume_orphans(v, note_nameless, &l) < 0)
		abort();
	for (unsigned i = 0; i < l.n; i++)
		volume_forget(v, l.ino[i]);
}

Test(model, taken_over_when_killed, .timeout = 300)
{
	uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : (uint64_t)getpid();
	struct progress *p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct volume_shm shm = {.mem = shm_memory(), .lock_fd = -1};
	unsigned at = 0, unsynced = 0;
	struct model model;
	struct fixture f;
	struct volume *v;

	fprintf(stderr, "SEED=%lu\n", (unsigned long)seed);
	srand((unsigned)seed);
	fixture_make(&f);
	model_init(&model);
	rng = seed;
	for (unsigned round = 0; round < TAKEOVERS; round++) {
		uint64_t rng_before = rng;
		int status;
		pid_t pid;

		p->done = p->synced = at;
		pid = fork_quietly();
		if (pid == 0) {
			v = open_kept(&f, &shm);
			forget_nameless(v);
			/* The one before was killed at any moment; now all it did must be there. */
			if (round > 0 && !equal(volume_view(v), &model))
				_exit(9);
			run_until_killed(v, p, at, &model, 128);
		}
		/* Only what was once open can be taken over. */
		while ((!p->opened || p->done < at + (unsigned)rand() % 300) &&
		       waitpid(pid, &status, WNOHANG) == 0)
			usleep(200);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		cr_assert(WIFSIGNALED(status), "round %u: the child ended by itself: %d", round,
			  WEXITSTATUS(status));
		unsynced += p->done - p->synced;

		rng = rng_before;
		for (unsigned i = at; i < p->done; i++) {
			struct op op = op_random(&rng);

			cr_assert_eq(model_apply(&model, NULL, &op), 0);
		}
		shm.take_over = true;
		/* A look by a process that dies without a trace leaves the next one the same. */
		pid = fork_quietly();
		if (pid == 0) {
			v = open_kept(&f, &shm);
			forget_nameless(v);
			_exit(find_prefix(volume_view(v), &model, p->done, p->done, &at)
				      ? at == p->done ? 0 : 1
				      : 9);
		}
		waitpid(pid, &status, 0);
		cr_assert(WIFEXITED(status) && WEXITSTATUS(status) <= 1,
			  "round %u: not what the first %u operations gave", round, p->done);
		at = p->done;
		if (WEXITSTATUS(status) == 1) {
			struct op op = op_random(&rng);

			cr_assert_eq(model_apply(&model, NULL, &op), 0);
			at++;
		}
	}
	cr_assert_gt(unsynced, 0, "else nothing was shown");
	v = open_kept(&f, &shm);
	forget_nameless(v);
	cr_assert(equal(volume_view(v), &model));
	cr_assert_eq(volume_close(v), 0);
	v = fixture_open(&f);
	cr_assert(equal(volume_view(v), &model));
	cr_assert_eq(volume_close(v), 0);
	model_release(&model);
	fixture_remove(&f);
	munmap(p, sizeof(*p));
}

/*
 * More changes than the journal has room for, all of one key: the delta would be small, the entries
 * are not.
 */
Test(model, journal_never_runs_over)
{
	struct volume_shm shm = {.mem = shm_memory(), .lock_fd = -1};
	struct attr a, want = {0};
	struct fixture f;
	struct volume *v;
	int status;
	pid_t pid;

	fixture_make(&f);
	pid = fork_quietly();
	if (pid == 0) {
		v = open_kept(&f, &shm);
		if (volume_make_node(v, &root_user, INO_ROOT, "file", S_IFREG | 0600, 0, NULL,
				     &a) != 0)
			_exit(1);
		for (unsigned i = 1; i <= 60000; i++) {
			want.uid = i;
			if (volume_setattr(v, NULL, a.ino, SET_UID, &want, &a) != 0)
				_exit(2);
		}
		kill(getpid(), SIGKILL);
	}
	waitpid(pid, &status, 0);
	cr_assert(WIFSIGNALED(status), "the child ended by itself: %d", status);
	shm.take_over = true;
	v = open_kept(&f, &shm);
	cr_assert_eq(view_lookup(volume_view(v), INO_ROOT, "file", &a), 0);
	cr_assert_eq(a.uid, 60000);
	cr_assert_eq(volume_close(v), 0);
	fixture_remove(&f);
}

/* Whether a change was made is noted, before and after a kill, once for each. */
Test(model, changes_are_noted_by_tag)
{
	struct change_note *note = mmap(NULL, sizeof(*note), PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct volume_shm shm = {
		.mem = shm_memory(), .lock_fd = -1, .note_of = note_of, .ctx = note};
	struct attr a = {0};
	struct fixture f;
	struct volume *v;
	int status;
	pid_t pid;

	fixture_make(&f);
	note->tag = 7;
	pid = fork_quietly();
	if (pid == 0) {
		v = open_kept(&f, &shm);
		for (uint64_t tag = 6; tag <= 8; tag++) {
			/* Of all three: what is noted for another is not counted. */
			const struct caller c = {.tag = tag, .note = note};
			char name[16];

			snprintf(name, sizeof(name), "file-%u", (unsigned)tag);
			if (volume_make_node(v, &c, INO_ROOT, name, S_IFREG, 0, NULL, &a) != 0 ||
			    volume_setxattr(v, &c, a.ino, "user.x", "y", 1, 0) != 0)
				_exit(1);
			/* What fails changes nothing. */
			if (volume_make_node(v, &c, INO_ROOT, name, S_IFREG, 0, NULL, &a) !=
			    -EEXIST)
				_exit(2);
		}
		/* As if killed between the journal and the note. */
		if (note_steps(note) != 2)
			_exit(3);
		note->state = ((note->state >> 16) - 1) << 16 | 1;
		kill(getpid(), SIGKILL);
	}
	waitpid(pid, &status, 0);
	cr_assert(WIFSIGNALED(status), "the child ended by itself: %d", status);
	shm.take_over = true;
	v = open_kept(&f, &shm);
	cr_assert_eq(note_steps(note), 2);
	cr_assert_eq(view_lookup(volume_view(v), INO_ROOT, "file-7", &a), 0);
	cr_assert_eq(note->made, a.ino);
	cr_assert_eq(volume_close(v), 0);
	fixture_remove(&f);
	munmap(note, sizeof(*note));
}
