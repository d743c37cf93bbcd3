/*
 * Ordered keys and values, in memory.
 *
 * Key idea: one table is what readers see, another is what is durable; the batches in between are
 * kept in order.
 *
 * Invariant: seen is durable with all pending batches applied.
 *
 * Locks: mu is held over each call.
 */

#include "kv_memory.h"

#include "kv_ops.h"

#include "err.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* After so many batches all so far are durable, as when RocksDB writes out its memory. */
#define PENDING_MAX 32u

struct pair {
	size_t key_len, len;
	uint8_t *bytes; /* owned: key, then value */
};

struct table {
	struct pair *pairs; /* by key */
	size_t n, cap;
};

struct kv_batch {
	struct table puts; /* in the order in which they were put */
	bool no_memory;
};

struct kv_memory {
	pthread_mutex_t mu;
	struct table seen, durable;
	struct kv_batch *pending[PENDING_MAX];
	size_t n_pending;
	const struct opened *opened;
	int (*fault)(void *ctx, const char *op);
	void *ctx;
};

struct opened {
	struct kv kv; /* first */
	struct kv_memory *m;
	bool own;  /* the table is freed on close */
	bool shut; /* a write failed */
};

static struct opened *opened_of(struct kv *kv)
{
	return (struct opened *)kv;
}

/* ---- tables ---- */

static int compare(const struct pair *p, const void *key, size_t len)
{
	int rc = memcmp(p->bytes, key, p->key_len < len ? p->key_len : len);

	if (rc != 0)
		return rc;
	return p->key_len < len ? -1 : p->key_len > len;
}

/* The number of keys below ${key}. */
static size_t rank(const struct table *t, const void *key, size_t len)
{
	size_t from = 0, to = t->n;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (compare(&t->pairs[mid], key, len) < 0)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

static bool reserve(struct table *t, size_t more)
{
	size_t cap = t->cap ? t->cap : 64;
	void *p;

	while (cap < t->n + more)
		cap *= 2;
	if (cap == t->cap)
		return true;
	p = realloc(t->pairs, cap * sizeof(*t->pairs));
	if (!p)
		return false;
	t->pairs = p;
	t->cap = cap;
	return true;
}

static bool pair_new(struct pair *p, const void *key, size_t key_len, const void *value, size_t len)
{
	p->bytes = malloc(key_len + len + 1);
	if (!p->bytes)
		return false;
	memcpy(p->bytes, key, key_len);
	if (len > 0)
		memcpy(p->bytes + key_len, value, len);
	p->key_len = key_len;
	p->len = len;
	return true;
}

static void table_clear(struct table *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->pairs[i].bytes);
	free(t->pairs);
	*t = (struct table){0};
}

/* Put ${p} in its place, and take it; there is room for it. */
static void table_set(struct table *t, struct pair p)
{
	size_t i = rank(t, p.bytes, p.key_len);

	if (i < t->n && compare(&t->pairs[i], p.bytes, p.key_len) == 0) {
		free(t->pairs[i].bytes);
		t->pairs[i] = p;
		return;
	}
	assert(t->n < t->cap);
	memmove(t->pairs + i + 1, t->pairs + i, (t->n - i) * sizeof(*t->pairs));
	t->pairs[i] = p;
	t->n++;
}

/* Apply all of the batch; without memory, nothing of it. */
static bool table_apply(struct table *t, const struct kv_batch *b)
{
	struct table copy = {0};
	bool ok = reserve(t, b->puts.n) && reserve(&copy, b->puts.n);

	for (size_t i = 0; ok && i < b->puts.n; i++) {
		const struct pair *p = &b->puts.pairs[i];

		ok = pair_new(&copy.pairs[i], p->bytes, p->key_len, p->bytes + p->key_len, p->len);
		copy.n += ok;
	}
	for (size_t i = 0; ok && i < copy.n; i++)
		table_set(t, copy.pairs[i]);
	if (ok)
		copy.n = 0;
	table_clear(&copy);
	return ok;
}

/* ---- batches ---- */

static struct kv_batch *batch_new(void)
{
	return calloc(1, sizeof(struct kv_batch));
}

static void batch_free(struct kv_batch *b)
{
	if (b)
		table_clear(&b->puts);
	free(b);
}

static void batch_put(struct kv_batch *b, const void *key, size_t key_len, const void *value,
		      size_t len)
{
	if (!b)
		return;
	if (b->no_memory || !reserve(&b->puts, 1) ||
	    !pair_new(&b->puts.pairs[b->puts.n], key, key_len, value, len))
		b->no_memory = true;
	else
		b->puts.n++;
}

/* Make the first ${n} pending batches durable. */
static bool flush(struct kv_memory *m, size_t n)
{
	size_t done = 0;

	while (done < n && table_apply(&m->durable, m->pending[done]))
		batch_free(m->pending[done++]);
	m->n_pending -= done;
	memmove(m->pending, m->pending + done, m->n_pending * sizeof(m->pending[0]));
	return done == n;
}

/* ---- the table that outlives ---- */

struct kv_memory *kv_memory_new(void)
{
	struct kv_memory *m = calloc(1, sizeof(*m));

	if (m)
		pthread_mutex_init(&m->mu, NULL);
	return m;
}

static void forget_all(struct kv_memory *m)
{
	for (size_t i = 0; i < m->n_pending; i++)
		batch_free(m->pending[i]);
	m->n_pending = 0;
	table_clear(&m->seen);
	table_clear(&m->durable);
}

void kv_memory_free(struct kv_memory *m)
{
	if (!m)
		return;
	assert(!m->opened);
	forget_all(m);
	pthread_mutex_destroy(&m->mu);
	free(m);
}

void kv_memory_set_fault(struct kv_memory *m, int (*fn)(void *ctx, const char *op), void *ctx)
{
	m->fault = fn;
	m->ctx = ctx;
}

size_t kv_memory_pending(const struct kv_memory *m)
{
	return m->n_pending;
}

void kv_memory_cut(struct kv_memory *m, size_t lost)
{
	assert(lost <= m->n_pending);
	while (lost-- > 0)
		batch_free(m->pending[--m->n_pending]);
	table_clear(&m->seen);
	if (!flush(m, m->n_pending) || !reserve(&m->seen, m->durable.n))
		abort();
	for (size_t i = 0; i < m->durable.n; i++) {
		const struct pair *p = &m->durable.pairs[i];

		if (!pair_new(&m->seen.pairs[i], p->bytes, p->key_len, p->bytes + p->key_len,
			      p->len))
			abort();
		m->seen.n++;
	}
}

void kv_memory_let_go(struct kv_memory *m, bool dead)
{
	/* The thread that held the lock may be dead: make the lock anew. */
	if (dead)
		pthread_mutex_init(&m->mu, NULL);
	pthread_mutex_lock(&m->mu);
	m->opened = NULL;
	pthread_mutex_unlock(&m->mu);
}

static int fault(const struct kv_memory *m, const char *op)
{
	return m->fault ? m->fault(m->ctx, op) : 0;
}

/* ---- kv.h ---- */

static void memory_close(struct kv *kv)
{
	struct opened *o = opened_of(kv);

	if (o->m->opened == o)
		o->m->opened = NULL;
	if (o->own)
		kv_memory_free(o->m);
	free(o);
}

static int memory_refresh(struct kv *kv)
{
	(void)kv;
	return 0;
}

static int memory_reopen(struct kv *kv, bool fresh)
{
	struct opened *o = opened_of(kv);

	pthread_mutex_lock(&o->m->mu);
	if (fresh)
		forget_all(o->m);
	o->shut = false;
	pthread_mutex_unlock(&o->m->mu);
	return 0;
}

static int memory_get(struct kv *kv, const void *key, size_t key_len, void *out, size_t cap,
		      size_t *out_len)
{
	struct kv_memory *m = opened_of(kv)->m;
	const struct pair *p;
	size_t i;
	int rc = fault(m, "kv_get");

	if (rc < 0)
		return err_say(rc, "index: %s", err_text(rc));
	pthread_mutex_lock(&m->mu);
	i = rank(&m->seen, key, key_len);
	p = i < m->seen.n ? &m->seen.pairs[i] : NULL;
	if (m->opened != opened_of(kv))
		rc = -EIO;
	else if (!p || compare(p, key, key_len) != 0)
		rc = -ERR_ABSENT;
	else if (p->len > cap)
		rc = -ERR_DAMAGED;
	else
		memcpy(out, p->bytes + p->key_len, *out_len = p->len);
	pthread_mutex_unlock(&m->mu);
	return rc == -ERR_DAMAGED ? err_say(rc, "index: too long a value") : rc;
}

static int memory_last(struct kv *kv, const void *key, size_t key_len, uint8_t out[KV_KEY_MAX],
		       size_t *out_len)
{
	struct kv_memory *m = opened_of(kv)->m;
	size_t i;
	int rc = fault(m, "kv_get");

	if (rc < 0)
		return err_say(rc, "index: %s", err_text(rc));
	pthread_mutex_lock(&m->mu);
	i = rank(&m->seen, key, key_len);
	if (i < m->seen.n && compare(&m->seen.pairs[i], key, key_len) == 0)
		i++;
	if (m->opened != opened_of(kv))
		rc = -EIO;
	else if (i == 0)
		rc = -ERR_ABSENT;
	else
		memcpy(out, m->seen.pairs[i - 1].bytes, *out_len = m->seen.pairs[i - 1].key_len);
	pthread_mutex_unlock(&m->mu);
	return rc;
}

/* Takes ${*b}, unless memory runs out. */
static int apply(struct kv_memory *m, struct kv_batch **b, bool durable)
{
	if (m->n_pending == PENDING_MAX && !flush(m, m->n_pending))
		return -ENOMEM;
	if (!table_apply(&m->seen, *b))
		return -ENOMEM;
	m->pending[m->n_pending++] = *b;
	*b = NULL;
	return durable && !flush(m, m->n_pending) ? -ENOMEM : 0;
}

static int memory_write(struct kv *kv, struct kv_batch *b, bool durable)
{
	struct opened *o = opened_of(kv);
	struct kv_memory *m = o->m;
	int rc = b && !b->no_memory ? fault(m, "kv_write") : -ENOMEM;
	bool stays = rc == 0 || (rc != -ENOMEM && fault(m, "kv_stays") != 0);

	pthread_mutex_lock(&m->mu);
	if (o->shut || m->opened != o) {
		rc = -EIO;
		stays = false;
	}
	if (stays) {
		int applied = apply(m, &b, durable && rc == 0);

		rc = rc < 0 ? rc : applied;
	}
	o->shut = o->shut || rc < 0;
	pthread_mutex_unlock(&m->mu);
	batch_free(b);
	return rc < 0 ? err_say(rc, "index: %s", err_text(rc)) : 0;
}

static const struct kv_ops memory_ops = {
	.close = memory_close,
	.refresh = memory_refresh,
	.reopen = memory_reopen,
	.get = memory_get,
	.last = memory_last,
	.batch_new = batch_new,
	.batch_put = batch_put,
	.batch_write = memory_write,
};

int kv_memory_open(struct kv_memory *m, struct kv **out)
{
	struct opened *o;

	if (m && m->opened)
		return err_say(-ERR_LOCKED, "index: it is open already");
	o = calloc(1, sizeof(*o));
	if (!o)
		return -ENOMEM;
	o->kv.ops = &memory_ops;
	o->own = !m;
	o->m = m ? m : kv_memory_new();
	if (!o->m) {
		free(o);
		return -ENOMEM;
	}
	o->m->opened = o;
	*out = &o->kv;
	return 0;
}
