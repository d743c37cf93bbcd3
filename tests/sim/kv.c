/*
 * kv.h in memory, with its contract: a kill loses nothing, a power cut the newest batches, whole; a
 * write that failed shuts it until it is opened anew.
 *
 * A table belongs to the folder that it lies in, and goes with it.
 */

#include "kv_ops.h"

#include "disk.h"
#include "err.h"
#include "file.h"
#include "world.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define FLUSH_ONE_IN 12u /* batches after which all so far are durable */

struct pair {
	size_t key_len, len;
	uint8_t *key, *value; /* shared by batches and tables; never freed */
};

struct kv_batch {
	struct pair *pairs;
	size_t n, cap;
};

struct table {
	struct pair *pairs; /* by key */
	size_t n, cap;
	struct kv_batch **batches; /* all that were written, in order */
	size_t n_batches, cap_batches;
	size_t n_durable;
	const struct sim_kv *writer;
	unsigned writer_life; /* of the writer's machine */
};

struct sim_kv {
	struct kv kv; /* first */
	char *dir;
	bool writable;
	bool shut;
	unsigned machine;
	struct table *table;
};

/* ---- tables ---- */

static int compare(const struct pair *p, const void *key, size_t len)
{
	int rc = memcmp(p->key, key, p->key_len < len ? p->key_len : len);

	if (rc != 0)
		return rc;
	return p->key_len < len ? -1 : p->key_len > len;
}

/* How many keys are below ${key}. */
static size_t rank(const struct table *t, const void *key, size_t len)
{
	size_t a = 0, b = t->n;

	while (a < b) {
		size_t m = (a + b) / 2;

		if (compare(&t->pairs[m], key, len) < 0)
			a = m + 1;
		else
			b = m;
	}
	return a;
}

static void put(struct table *t, const struct pair *p)
{
	size_t i = rank(t, p->key, p->key_len);

	if (i < t->n && compare(&t->pairs[i], p->key, p->key_len) == 0) {
		t->pairs[i] = *p;
		return;
	}
	if (t->n == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 64;
		t->pairs = realloc(t->pairs, t->cap * sizeof(*t->pairs));
		assert(t->pairs);
	}
	memmove(t->pairs + i + 1, t->pairs + i, (t->n - i) * sizeof(*t->pairs));
	t->pairs[i] = *p;
	t->n++;
}

static void apply_batch(struct table *t, struct kv_batch *b)
{
	if (t->n_batches == t->cap_batches) {
		t->cap_batches = t->cap_batches ? 2 * t->cap_batches : 64;
		t->batches = realloc(t->batches, t->cap_batches * sizeof(struct kv_batch *));
		assert(t->batches);
	}
	t->batches[t->n_batches++] = b;
	for (size_t i = 0; i < b->n; i++)
		put(t, &b->pairs[i]);
}

static struct table *table_new(void)
{
	struct table *t = calloc(1, sizeof(*t));

	assert(t);
	return t;
}

/* Only the first ${n} batches were ever written. */
static void cut_back(struct table *t, size_t n)
{
	t->n_batches = t->n = 0;
	for (size_t i = 0; i < n; i++)
		apply_batch(t, t->batches[i]);
	t->n_durable = n;
}

void table_crash(struct table *t)
{
	size_t lost = t->n_batches - t->n_durable;

	t->writer = NULL;
	if (lost > 0 && !prng_one_in(&world_random, 8))
		lost = (size_t)prng_below(&world_random, lost + 1);
	cut_back(t, t->n_batches - lost);
}

struct table *table_copy(const struct table *from)
{
	struct table *t = table_new();

	for (size_t i = 0; i < from->n_batches; i++)
		apply_batch(t, from->batches[i]);
	t->n_durable = t->n_batches;
	return t;
}

/* ---- kv.h ---- */

static int open_table(struct sim_kv *kv)
{
	struct inode *in;
	struct table **t;
	int rc = disk_fault(kv->machine);

	if (rc == 0 && kv->writable && disk_faults(kv->machine)->full)
		rc = -ENOSPC;
	if (rc < 0)
		return err_say(rc, "%s: %s", kv->dir, err_text(rc));
	in = kv->writable ? inode_make_dir(AT_FDCWD, kv->dir) : inode_at(AT_FDCWD, kv->dir);
	if (!in)
		return kv->writable ? -ENOENT : -ERR_ABSENT;
	t = inode_table(in);
	if (!*t) {
		if (!kv->writable)
			return -ERR_ABSENT;
		*t = table_new();
	}
	if (kv->writable) {
		if ((*t)->writer && (*t)->writer_life == world_incarnation(kv->machine))
			return err_say(-ERR_LOCKED, "%s: locked", kv->dir);
		(*t)->writer = kv;
		(*t)->writer_life = world_incarnation(kv->machine);
	}
	kv->table = *t;
	kv->shut = false;
	return 0;
}

static const struct kv_ops sim_ops;

int kv_open(const char *dir, bool writable, struct kv **out)
{
	struct sim_kv *kv = calloc(1, sizeof(*kv));
	int rc;

	assert(kv);
	kv->kv.ops = &sim_ops;
	kv->dir = strdup(dir);
	kv->writable = writable;
	kv->machine = fiber_machine();
	rc = open_table(kv);
	if (rc < 0) {
		free(kv->dir);
		free(kv);
		return rc;
	}
	*out = &kv->kv;
	return 0;
}

static void let_go(struct sim_kv *kv)
{
	if (kv->table && kv->table->writer == kv)
		kv->table->writer = NULL;
	kv->table = NULL;
}

static void sim_close(struct kv *base)
{
	struct sim_kv *kv = (struct sim_kv *)base;

	let_go(kv);
	free(kv->dir);
	free(kv);
}

static int sim_refresh(struct kv *base)
{
	(void)base;
	return 0;
}

int kv_remove(const char *dir)
{
	return file_remove_tree(AT_FDCWD, dir);
}

static int sim_reopen(struct kv *base, bool fresh)
{
	struct sim_kv *kv = (struct sim_kv *)base;
	int rc = 0;

	assert(kv->writable);
	let_go(kv);
	if (fresh)
		rc = kv_remove(kv->dir);
	return rc == 0 ? open_table(kv) : rc;
}

static int ready(const struct sim_kv *kv)
{
	int rc = disk_fault(kv->machine);

	if (rc == 0 && !kv->table)
		rc = -EIO;
	return rc < 0 ? err_say(rc, "%s: %s", kv->dir, err_text(rc)) : 0;
}

static int sim_get(struct kv *base, const void *key, size_t key_len, void *out, size_t cap,
		   size_t *out_len)
{
	struct sim_kv *kv = (struct sim_kv *)base;
	const struct pair *p;
	int rc = ready(kv);
	size_t i;

	if (rc < 0)
		return rc;
	i = rank(kv->table, key, key_len);
	p = &kv->table->pairs[i];
	if (i == kv->table->n || compare(p, key, key_len) != 0)
		return -ERR_ABSENT;
	if (p->len > cap)
		return err_say(-ERR_DAMAGED, "%s: too long a value", kv->dir);
	if (p->len > 0)
		memcpy(out, p->value, p->len);
	*out_len = p->len;
	return 0;
}

static int sim_last(struct kv *base, const void *key, size_t key_len, uint8_t out[KV_KEY_MAX],
		    size_t *out_len)
{
	struct sim_kv *kv = (struct sim_kv *)base;
	const struct table *t = kv->table;
	int rc = ready(kv);
	size_t i;

	if (rc < 0)
		return rc;
	i = rank(t, key, key_len);
	if (i == t->n || compare(&t->pairs[i], key, key_len) != 0) {
		if (i == 0)
			return -ERR_ABSENT;
		i--;
	}
	memcpy(out, t->pairs[i].key, t->pairs[i].key_len);
	*out_len = t->pairs[i].key_len;
	return 0;
}

static struct kv_batch *sim_batch_new(void)
{
	struct kv_batch *b = calloc(1, sizeof(*b));

	assert(b);
	return b;
}

static uint8_t *bytes_copy(const void *p, size_t len)
{
	uint8_t *c = malloc(len + 1);

	assert(c);
	if (len > 0)
		memcpy(c, p, len);
	return c;
}

static void sim_batch_put(struct kv_batch *b, const void *key, size_t key_len, const void *value,
			  size_t len)
{
	if (b->n == b->cap) {
		b->cap = b->cap ? 2 * b->cap : 8;
		b->pairs = realloc(b->pairs, b->cap * sizeof(*b->pairs));
		assert(b->pairs);
	}
	b->pairs[b->n++] = (struct pair){key_len, len, bytes_copy(key, key_len),
					 bytes_copy(value, len)};
}

static int write_batch(struct sim_kv *kv, struct kv_batch *b)
{
	int rc = ready(kv);

	assert(kv->writable);
	if (rc == 0 && disk_faults(kv->machine)->full)
		rc = err_say(-ENOSPC, "%s: no room", kv->dir);
	if (kv->shut)
		return err_say(-EIO, "%s: shut by an earlier error", kv->dir);
	if (rc < 0) {
		kv->shut = true;
		/* It may be there all the same. */
		if (kv->table && prng_one_in(&world_random, 2))
			apply_batch(kv->table, b);
		return rc;
	}
	disk_stop(kv->machine);
	apply_batch(kv->table, b);
	if (prng_one_in(&world_random, FLUSH_ONE_IN))
		kv->table->n_durable = kv->table->n_batches;
	disk_stop(kv->machine);
	return 0;
}

static int sim_batch_write(struct kv *base, struct kv_batch *b, bool durable)
{
	struct sim_kv *kv = (struct sim_kv *)base;
	int rc = write_batch(kv, b);

	if (rc < 0 || !durable)
		return rc;
	fiber_sleep(prng_log(&world_random, 3 * MS));
	kv->table->n_durable = kv->table->n_batches;
	disk_stop(kv->machine);
	return 0;
}

static const struct kv_ops sim_ops = {
	.close = sim_close,
	.refresh = sim_refresh,
	.reopen = sim_reopen,
	.get = sim_get,
	.last = sim_last,
	.batch_new = sim_batch_new,
	.batch_put = sim_batch_put,
	.batch_write = sim_batch_write,
};
