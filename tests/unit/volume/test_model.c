/*
 * Random operations on a volume, and the same on a model in memory: equal after each reopening, at every head that was
 * noted, and, after the process was killed, equal to some prefix of the operations that holds all that was synced.
 * Where the process that comes after takes over the memory of the dead one, the prefix is all of them, but for the one
 * that was under way, which is there or not.
 */

#include "fixture.h"

#include "err.h"
#include "log.h"
#include "source.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_NAMES 6u
#define SIZE_MAX_BYTES (400u << 10)

static const struct caller root_user = {0, 0};

static uint64_t rng;

static uint64_t next_random(void)
{
	rng = rng * 6364136223846793005u + 1442695040888963407u;
	return rng >> 33;
}

/* A file of the model; ino 0: no such name. */
struct model_file {
	uint64_t ino;
	size_t size;
	uint8_t *data;
};

struct model {
	struct model_file file[N_NAMES];
	uint64_t next_ino;
};

static void model_init(struct model *m)
{
	memset(m, 0, sizeof(*m));
	for (unsigned i = 0; i < N_NAMES; i++)
		m->file[i].data = calloc(1, SIZE_MAX_BYTES);
	m->next_ino = 2;
}

static void model_free(struct model *m)
{
	for (unsigned i = 0; i < N_NAMES; i++)
		free(m->file[i].data);
}

static void model_copy(struct model *to, const struct model *from)
{
	to->next_ino = from->next_ino;
	for (unsigned i = 0; i < N_NAMES; i++) {
		to->file[i].ino = from->file[i].ino;
		to->file[i].size = from->file[i].size;
		memcpy(to->file[i].data, from->file[i].data, SIZE_MAX_BYTES);
	}
}

static void name_of(unsigned i, char out[16])
{
	snprintf(out, 16, "file-%u", i);
}

/* One random operation, chosen by the generator alone, so that the same seed gives the same sequence whatever it is applied to. */
struct op {
	unsigned kind, a, b;
	uint64_t off, off2;
	size_t len;
	uint8_t fill;
	bool noise; /* data that does not compress */
};

static struct op random_op(void)
{
	struct op op = {
		.kind = (unsigned)(next_random() % 10),
		.a = (unsigned)(next_random() % N_NAMES),
		.b = (unsigned)(next_random() % N_NAMES),
		.fill = (uint8_t)next_random(),
		.noise = next_random() % 2,
	};

	op.off = next_random() % (SIZE_MAX_BYTES - 1);
	if (next_random() % 2)
		op.off &= ~UINT64_C(4095);
	op.len = next_random() % 3 ? next_random() % 9000 + 1 : next_random() % 300000 + 1;
	if (op.off + op.len > SIZE_MAX_BYTES)
		op.len = SIZE_MAX_BYTES - op.off;
	op.off2 = next_random() % (SIZE_MAX_BYTES - op.len + 1);
	return op;
}

static void fill_data(const struct op *op, uint8_t *out)
{
	uint64_t x = op->fill + 1;

	for (size_t i = 0; i < op->len; i++) {
		x = x * 6364136223846793005u + 1;
		out[i] = op->noise ? (uint8_t)(x >> 56) : (uint8_t)(op->fill + i / 1000);
	}
}

/* Apply to the model; a NULL volume: to the model only. */
static int apply_create(struct model *m, struct volume *v, const struct op *op)
{
	struct model_file *f = &m->file[op->a];
	struct attr a;
	char name[16];
	int rc = 0;

	name_of(op->a, name);
	if (v != NULL)
		rc = volume_make_node(v, INO_ROOT, name, S_IFREG | 0600, 0, NULL, &root_user, &a);
	if (f->ino != 0)
		return v == NULL || rc == -EEXIST ? 0 : rc ? rc : -1;
	f->ino = m->next_ino++;
	f->size = 0;
	memset(f->data, 0, SIZE_MAX_BYTES);
	return rc < 0 ? rc : v == NULL || a.ino == f->ino ? 0 : -1;
}

static int apply_write(struct model *m, struct volume *v, const struct op *op)
{
	static uint8_t data[SIZE_MAX_BYTES];
	struct model_file *f = &m->file[op->a];

	if (f->ino == 0)
		return 0;
	fill_data(op, data);
	memcpy(f->data + op->off, data, op->len);
	if (op->off + op->len > f->size)
		f->size = op->off + op->len;
	return v ? volume_write(v, f->ino, op->off, op->len, data, false) : 0;
}

static int apply_truncate(struct model *m, struct volume *v, const struct op *op)
{
	struct model_file *f = &m->file[op->a];
	struct attr want = {.size = op->off}, got;

	if (f->ino == 0)
		return 0;
	if (op->off < f->size)
		memset(f->data + op->off, 0, f->size - op->off);
	f->size = op->off;
	return v ? volume_setattr(v, f->ino, SET_SIZE, &want, &got) : 0;
}

static int apply_punch(struct model *m, struct volume *v, const struct op *op)
{
	struct model_file *f = &m->file[op->a];
	int mode = op->noise ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	if (f->ino == 0)
		return 0;
	memset(f->data + op->off, 0, op->len);
	if (op->noise && op->off + op->len > f->size)
		f->size = op->off + op->len;
	return v ? volume_allocate(v, f->ino, mode, op->off, op->len) : 0;
}

static int apply_copy(struct model *m, struct volume *v, const struct op *op)
{
	struct model_file *f = &m->file[op->a], *t = &m->file[op->b];
	size_t len = op->len;
	uint64_t copied = 0;
	int rc = 0;

	if (f->ino == 0 || t->ino == 0 || op->a == op->b || op->off >= f->size)
		return 0;
	if (len > f->size - op->off)
		len = f->size - op->off;
	memcpy(t->data + op->off2, f->data + op->off, len);
	if (op->off2 + len > t->size)
		t->size = op->off2 + len;
	if (v != NULL)
		rc = volume_copy_range(v, f->ino, op->off, t->ino, op->off2, len, &copied);
	return rc < 0 ? rc : v == NULL || copied == len ? 0 : -1;
}

static int apply_rename(struct model *m, struct volume *v, const struct op *op)
{
	struct model_file *f = &m->file[op->a], *t = &m->file[op->b], swap;
	unsigned flags = op->noise && t->ino != 0 ? RENAME_EXCHANGE : 0;
	char from[16], to[16];
	int rc = 0;

	name_of(op->a, from);
	name_of(op->b, to);
	if (f->ino == 0 || op->a == op->b)
		return 0;
	if (v != NULL) {
		rc = volume_rename(v, INO_ROOT, from, INO_ROOT, to, flags, &root_user);
		if (rc == 0 && flags == 0 && t->ino != 0)
			volume_forget(v, t->ino);
	}
	swap = *t;
	*t = *f;
	*f = swap;
	if (flags == 0)
		f->ino = 0;
	return rc;
}

static int apply_unlink(struct model *m, struct volume *v, const struct op *op)
{
	struct model_file *f = &m->file[op->a];
	char name[16];
	int rc = 0;

	name_of(op->a, name);
	if (v != NULL)
		rc = volume_unlink(v, INO_ROOT, name);
	if (f->ino == 0)
		return v == NULL || rc == -ENOENT ? 0 : -1;
	if (v != NULL)
		volume_forget(v, f->ino);
	f->ino = 0;
	return rc;
}

static int apply(struct model *m, struct volume *v, const struct op *op)
{
	switch (op->kind) {
	case 0:
	case 1:
		return apply_create(m, v, op);
	case 2:
	case 3:
	case 4:
		return apply_write(m, v, op);
	case 5:
		return apply_truncate(m, v, op);
	case 6:
		return apply_punch(m, v, op);
	case 7:
		return apply_copy(m, v, op);
	case 8:
		return apply_rename(m, v, op);
	default:
		return apply_unlink(m, v, op);
	}
}

static uint64_t covered(struct view *view, uint64_t ino, uint64_t size)
{
	uint64_t at = 0, hole = 0, sum = 0;

	while (at < size && view_seek(view, ino, at, false, &at) == 0) {
		cr_assert_eq(view_seek(view, ino, at, true, &hole), 0);
		sum += hole - at;
		at = hole;
	}
	return sum;
}

static bool file_equal(struct view *view, const struct model_file *f, const char *name)
{
	static uint8_t data[SIZE_MAX_BYTES + 1];
	struct attr a;
	size_t len;
	int rc = view_lookup(view, INO_ROOT, name, &a);

	if (f->ino == 0)
		return rc == -ENOENT;
	if (rc < 0 || a.ino != f->ino || a.size != f->size)
		return false;
	rc = view_read(view, a.ino, 0, sizeof(data), data, &len);
	cr_assert_eq(rc, 0, "read: %s", err_detail(rc));
	cr_assert_eq(a.bytes, covered(view, a.ino, a.size), "covered bytes of %s", name);
	return len == f->size && memcmp(data, f->data, len) == 0;
}

static int count_entry(void *ctx, const struct view_entry *e)
{
	(void)e;
	(*(unsigned *)ctx)++;
	return 0;
}

static bool equal(struct view *view, const struct model *m)
{
	unsigned listed = 0, there = 0;
	struct view_usage usage;
	char name[16];

	for (unsigned i = 0; i < N_NAMES; i++) {
		name_of(i, name);
		if (!file_equal(view, &m->file[i], name))
			return false;
		there += m->file[i].ino != 0;
	}
	cr_assert_eq(view_readdir(view, INO_ROOT, 0, true, count_entry, &listed), 0);
	view_usage(view, &usage);
	return listed == there + 2 && usage.inodes == there + 1;
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
		struct op op = random_op();
		int rc = apply(&model, v, &op);

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
		model_free(&noted[i]);
	model_free(&model);
	fixture_remove(&f);
}

/* What the child that is killed tells its parent. */
struct progress {
	volatile unsigned done, synced;
};

static void run_until_killed(struct volume *v, struct progress *p, unsigned first, struct model *m, unsigned sync_every)
{
	for (unsigned i = first;; i++) {
		struct op op = random_op();

		if (apply(m, v, &op) != 0)
			_exit(1);
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
		op = random_op();
		cr_assert_eq(apply(m, NULL, &op), 0);
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
			run_until_killed(fixture_open(&f), p, at, &model, 16);
		while (p->done < at + (unsigned)rand() % 300 && waitpid(pid, &status, WNOHANG) == 0)
			usleep(500);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		cr_assert(WIFSIGNALED(status), "the child ended by itself: %d", WEXITSTATUS(status));

		rng = rng_before;
		for (unsigned i = at; i < p->synced; i++) {
			struct op op = random_op();

			cr_assert_eq(apply(&model, NULL, &op), 0);
		}
		v = fixture_open(&f);
		cr_assert(find_prefix(volume_view(v), &model, p->synced, p->done, &at),
			  "round %u: no prefix of the operations after %u of %u", round, p->synced, p->done);
		cr_assert_eq(volume_close(v), 0);
	}
	model_free(&model);
	fixture_remove(&f);
	munmap(p, sizeof(*p));
}

#define KEEP_ALIGN ((size_t)2 << 20)
#define TAKEOVERS 40u

/* What the changes under one tag were, as the callback tells. */
struct told {
	uint64_t number, n, made;
};

static void hear(void *ctx, uint64_t number, uint64_t tag, uint64_t made)
{
	struct told *t = ctx;

	/* A number that was told is told again after a takeover only. */
	if (tag != 7 || number <= t->number)
		return;
	t->number = number;
	t->n++;
	t->made = made ? made : t->made;
}

static struct volume *open_kept(struct fixture *f, struct volume_keep *keep)
{
	struct volume_config cfg = {
		.dir = f->dir, .params = &f->params, .keys = &f->keys, .keep = keep};
	struct volume *v;
	int rc = volume_open(&cfg, &v);

	cr_assert_eq(rc, 0, "volume_open: %s", err_detail(rc));
	return v;
}

static void *keep_memory(void)
{
	uint8_t *p = mmap(NULL, volume_keep_bytes() + KEEP_ALIGN, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq((void *)p, MAP_FAILED);
	return (void *)(((uintptr_t)p + KEEP_ALIGN - 1) & ~(KEEP_ALIGN - 1));
}

struct nameless {
	uint64_t ino[64];
	unsigned n;
};

static void note_nameless(void *ctx, uint64_t ino)
{
	struct nameless *l = ctx;

	cr_assert_lt(l->n, 64);
	l->ino[l->n++] = ino;
}

/* As a daemon does with what nobody holds open. */
static void forget_nameless(struct volume *v)
{
	struct nameless l = {.n = 0};

	volume_orphans(v, note_nameless, &l);
	for (unsigned i = 0; i < l.n; i++)
		volume_forget(v, l.ino[i]);
}

Test(model, taken_over_when_killed, .timeout = 300)
{
	uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : (uint64_t)getpid();
	struct progress *p = mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct volume_keep keep = {.mem = keep_memory(), .lock_fd = -1};
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
		pid = fork();
		if (pid == 0) {
			v = open_kept(&f, &keep);
			forget_nameless(v);
			/* The one before was killed at any moment; now all it did must be there. */
			if (round > 0 && !equal(volume_view(v), &model))
				_exit(9);
			run_until_killed(v, p, at, &model, 128);
		}
		while (p->done < at + (unsigned)rand() % 300 && waitpid(pid, &status, WNOHANG) == 0)
			usleep(200);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		cr_assert(WIFSIGNALED(status), "round %u: the child ended by itself: %d", round,
			  WEXITSTATUS(status));
		unsynced += p->done - p->synced;

		rng = rng_before;
		for (unsigned i = at; i < p->done; i++) {
			struct op op = random_op();

			cr_assert_eq(apply(&model, NULL, &op), 0);
		}
		keep.take_over = true;
		/* A look by a process that dies without a trace leaves the next one the same. */
		pid = fork();
		if (pid == 0) {
			v = open_kept(&f, &keep);
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
			struct op op = random_op();

			cr_assert_eq(apply(&model, NULL, &op), 0);
			at++;
		}
	}
	cr_assert_gt(unsynced, 0, "else nothing was shown");
	v = open_kept(&f, &keep);
	forget_nameless(v);
	cr_assert(equal(volume_view(v), &model));
	cr_assert_eq(volume_close(v), 0);
	v = fixture_open(&f);
	cr_assert(equal(volume_view(v), &model));
	cr_assert_eq(volume_close(v), 0);
	model_free(&model);
	fixture_remove(&f);
	munmap(p, sizeof(*p));
}

/* More changes than the journal has room for, all of one key: the delta would be small, the entries are not. */
Test(model, journal_never_runs_over)
{
	struct volume_keep keep = {.mem = keep_memory(), .lock_fd = -1};
	struct attr a, want = {0};
	struct fixture f;
	struct volume *v;
	int status;
	pid_t pid;

	fixture_make(&f);
	pid = fork();
	if (pid == 0) {
		v = open_kept(&f, &keep);
		if (volume_make_node(v, INO_ROOT, "file", S_IFREG | 0600, 0, NULL, &root_user, &a) != 0)
			_exit(1);
		for (unsigned i = 1; i <= 60000; i++) {
			want.uid = i;
			if (volume_setattr(v, a.ino, SET_UID, &want, &a) != 0)
				_exit(2);
		}
		kill(getpid(), SIGKILL);
	}
	waitpid(pid, &status, 0);
	cr_assert(WIFSIGNALED(status), "the child ended by itself: %d", status);
	keep.take_over = true;
	v = open_kept(&f, &keep);
	cr_assert_eq(view_lookup(volume_view(v), INO_ROOT, "file", &a), 0);
	cr_assert_eq(a.uid, 60000);
	cr_assert_eq(volume_close(v), 0);
	fixture_remove(&f);
}

/* Whoever asks whether a change was made is told, before and after a kill, once for each. */
Test(model, changes_are_told_by_tag)
{
	struct told *told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct volume_keep keep = {
		.mem = keep_memory(), .lock_fd = -1, .changed = hear, .ctx = told};
	struct told before;
	struct attr a = {0};
	struct fixture f;
	struct volume *v;
	int status;
	pid_t pid;

	fixture_make(&f);
	pid = fork();
	if (pid == 0) {
		v = open_kept(&f, &keep);
		for (uint64_t tag = 6; tag <= 8; tag++) {
			char name[16];

			name_of((unsigned)tag, name);
			volume_tag(tag);
			if (volume_make_node(v, INO_ROOT, name, S_IFREG, 0, NULL, &root_user, &a) != 0 ||
			    volume_setxattr(v, a.ino, "user.x", "y", 1, 0) != 0)
				_exit(1);
			/* What fails changes nothing. */
			if (volume_make_node(v, INO_ROOT, name, S_IFREG, 0, NULL, &root_user, &a) != -EEXIST)
				_exit(2);
		}
		/* As if killed between the journal and the callback. */
		before = *told;
		*told = (struct told){.number = before.number - 1, .n = 1, .made = before.made};
		kill(getpid(), SIGKILL);
	}
	waitpid(pid, &status, 0);
	cr_assert(WIFSIGNALED(status), "the child ended by itself: %d", status);
	keep.take_over = true;
	v = open_kept(&f, &keep);
	cr_assert_eq(told->n, 2);
	cr_assert_eq(view_lookup(volume_view(v), INO_ROOT, "file-7", &a), 0);
	cr_assert_eq(told->made, a.ino);
	cr_assert_eq(volume_close(v), 0);
	fixture_remove(&f);
	munmap(told, sizeof(*told));
}
