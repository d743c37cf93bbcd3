/*
 * The page cache against a fake log: bytes that follow from their position, a log that grows,
 * failures on demand.
 */

#include "page_cache_internal.h"

#include "../sampled.h"

#include "err.h"
#include "format.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct fake {
	pthread_mutex_t mu;
	pthread_cond_t changed;
	_Atomic uint64_t end;
	atomic_uint n_fetches, n_patient;
	_Atomic uint64_t bytes;
	atomic_int rc; /* what a fetch returns */
	bool hold;     /* guarded by mu: fetches wait */
	unsigned n_held;
	atomic_uint in_flight[4096]; /* per page: how often it is being fetched */
	atomic_bool twice;
};

static uint8_t byte_at(uint64_t pos)
{
	uint64_t z = (pos / 8 + 1) * UINT64_C(0x9e3779b97f4a7c15);

	z ^= z >> 29;
	return (uint8_t)(z >> (pos % 8 * 8));
}

static int fake_fetch(void *ctx, uint64_t pos, size_t len, bool patient, void *out, size_t *out_len)
{
	struct fake *f = ctx;
	uint64_t end = atomic_load(&f->end);
	uint8_t *p = out;
	int rc;

	f->n_fetches++;
	f->n_patient += patient;
	for (uint64_t page = pos / PAGE_LEN; page * PAGE_LEN < pos + len; page++)
		if (f->in_flight[page % 4096]++)
			f->twice = true;
	pthread_mutex_lock(&f->mu);
	f->n_held++;
	pthread_cond_broadcast(&f->changed);
	while (f->hold)
		pthread_cond_wait(&f->changed, &f->mu);
	f->n_held--;
	pthread_mutex_unlock(&f->mu);
	rc = f->rc;
	if (rc == 0 && pos >= end)
		rc = -ERR_ABSENT;
	if (rc == 0) {
		*out_len = len < end - pos ? len : end - pos;
		for (size_t i = 0; i < *out_len; i++)
			p[i] = byte_at(pos + i);
		f->bytes += *out_len;
	}
	for (uint64_t page = pos / PAGE_LEN; page * PAGE_LEN < pos + len; page++)
		f->in_flight[page % 4096]--;
	return rc;
}

static struct fake *fake_new(uint64_t end)
{
	struct fake *f = calloc(1, sizeof(*f));

	pthread_mutex_init(&f->mu, NULL);
	pthread_cond_init(&f->changed, NULL);
	f->end = end;
	return f;
}

static void set_hold(struct fake *f, bool hold)
{
	pthread_mutex_lock(&f->mu);
	f->hold = hold;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->mu);
}

static struct page_cache *cache_new(struct fake *f, uint64_t bytes)
{
	struct page_cache_config cfg = {.bytes = bytes, .fetch = fake_fetch, .ctx = f};
	struct page_cache *c;

	cr_assert_eq(page_cache_new(&cfg, &c), 0);
	return c;
}

static void check_read(struct page_cache *c, uint64_t pos, size_t len)
{
	uint8_t *p = malloc(len);

	cr_assert_eq(page_cache_read(c, pos, len, p), 0);
	for (size_t i = 0; i < len; i++)
		if (p[i] != byte_at(pos + i))
			cr_assert_fail("byte %llu is wrong", (unsigned long long)(pos + i));
	free(p);
}

Test(page_cache, bytes_are_the_logs_whatever_the_ranges_and_evictions)
{
	struct fake *f = fake_new(200u << 20);
	struct page_cache *c = cache_new(f, 0); /* the smallest: 8 MiB */

	srandom(11);
	for (unsigned i = 0; i < rounds(1500); i++) {
		uint64_t segment = (uint64_t)random() % 3;
		uint64_t pos = segment * SEGMENT_SIZE +
			       (uint64_t)random() % (SEGMENT_SIZE - 700000);

		check_read(c, pos, 1 + (size_t)random() % (i % 10 ? 5000 : 700000));
	}
	page_cache_free(c);
	cr_assert(!(f->twice));
	free(f);
}

Test(page_cache, a_page_read_again_is_not_fetched_again)
{
	struct fake *f = fake_new(64u << 20);
	struct page_cache *c = cache_new(f, 32u << 20);
	unsigned n;

	check_read(c, 5u << 20, 1000);
	n = f->n_fetches;
	check_read(c, (5u << 20) + 2000, 1000);
	check_read(c, 5u << 20, 1000);
	cr_assert_eq(f->n_patient, n);
	page_cache_free(c);
	free(f);
}

struct reader_arg {
	struct page_cache *c;
	uint64_t pos;
	int rc;
	unsigned seed;
};

static void *one_read(void *arg)
{
	struct reader_arg *a = arg;
	uint8_t p[4096];

	a->rc = page_cache_read(a->c, a->pos, sizeof(p), p);
	if (a->rc == 0 && (p[0] != byte_at(a->pos) || p[4095] != byte_at(a->pos + 4095)))
		a->rc = -1;
	return NULL;
}

static void held_readers(int rc)
{
	struct fake *f = fake_new(64u << 20);
	struct page_cache *c = cache_new(f, 0);
	struct reader_arg a[8];
	pthread_t t[8];

	set_hold(f, true);
	f->rc = rc;
	for (int i = 0; i < 8; i++) {
		a[i] = (struct reader_arg){.c = c, .pos = (9u << 20) + (uint64_t)i * 4096};
		pthread_create(&t[i], NULL, one_read, &a[i]);
	}
	pthread_mutex_lock(&f->mu);
	while (f->n_held == 0)
		pthread_cond_wait(&f->changed, &f->mu);
	pthread_mutex_unlock(&f->mu);
	set_hold(f, false);
	for (int i = 0; i < 8; i++) {
		pthread_join(t[i], NULL);
		cr_assert_eq(a[i].rc, rc);
	}
	page_cache_free(c);
	cr_assert(!(f->twice));
	if (rc == 0)
		cr_assert_eq(f->n_patient, 1);
	free(f);
}

Test(page_cache, threads_that_want_one_page_fetch_it_once)
{
	held_readers(0);
}

Test(page_cache, a_failed_fetch_fails_all_that_waited_for_it, .timeout = 20)
{
	held_readers(-ERR_UNREACHABLE);
}

Test(page_cache, after_a_failure_it_fetches_again)
{
	struct fake *f = fake_new(64u << 20);
	struct page_cache *c = cache_new(f, 0);
	uint8_t p[10];

	f->rc = -ERR_UNREACHABLE;
	cr_assert_eq(page_cache_read(c, 100, 10, p), -ERR_UNREACHABLE);
	f->rc = 0;
	check_read(c, 100, 10);
	page_cache_free(c);
	free(f);
}

Test(page_cache, a_log_that_grew_is_seen)
{
	struct fake *f = fake_new(300000);
	struct page_cache *c = cache_new(f, 0);
	uint8_t p[1000];

	check_read(c, 299000, 1000);
	cr_assert_eq(page_cache_read(c, 299500, 1000, p), -ERR_ABSENT);
	cr_assert_eq(page_cache_read(c, 400000, 1000, p), -ERR_ABSENT);
	f->end = 500000;
	check_read(c, 299500, 1000);
	check_read(c, 400000, 1000);
	page_cache_free(c);
	free(f);
}

Test(page_cache, ranges_over_a_segments_end_are_refused)
{
	struct fake *f = fake_new(200u << 20);
	struct page_cache *c = cache_new(f, 0);
	uint8_t p[10];

	cr_assert_eq(page_cache_read(c, SEGMENT_SIZE - 5, 10, p), -EINVAL);
	cr_assert_eq(page_cache_read(c, UINT64_MAX - 5, 10, p), -EINVAL);
	cr_assert_eq(page_cache_read(c, 5, 0, p), 0);
	page_cache_free(c);
	free(f);
}

static void read_all_ahead(uint64_t swap, unsigned fetches_max)
{
	struct fake *f = fake_new(64u << 20);
	struct page_cache *c = cache_new(f, 32u << 20);

	for (uint64_t pos = 0; pos < 16u << 20; pos += 65536)
		check_read(c, pos ^ swap, 65536);
	/* What follows comes too, a few MiB of it, and nothing twice. */
	while (f->bytes < 19u << 20)
		sched_yield();
	page_cache_free(c);
	cr_assert(f->n_fetches < fetches_max, "%u fetches", f->n_fetches);
	cr_assert(f->n_fetches > f->n_patient);
	cr_assert(f->bytes <= 25u << 20);
	cr_assert(!(f->twice));
	free(f);
}

Test(page_cache, a_sequential_reader_is_read_ahead_for, .timeout = 60)
{
	/* Nearly all came in large fetches in the background. */
	read_all_ahead(0, 100);
}

/* As a kernel asks that reads ahead itself: on several threads, of which one is sooner. */
Test(page_cache, reads_out_of_order_are_one_readers, .timeout = 60)
{
	read_all_ahead(131072, UINT_MAX);
	read_all_ahead(1u << 20, UINT_MAX);
}

static void learn(struct page_cache *c, uint64_t took_ns)
{
	pthread_mutex_lock(&c->mu);
	page_ahead_learn_locked(c, took_ns);
	pthread_mutex_unlock(&c->mu);
}

/* The window grows on a line that answers at once, and shrinks where what was asked for queues. */
Test(page_cache, the_line_says_how_far_to_read_ahead)
{
	struct page_cache c = {.ahead_limit = PAGE_AHEAD_MAX,
			       .ahead_max = PAGE_AHEAD_FIRST,
			       .mu = PTHREAD_MUTEX_INITIALIZER};
	const uint64_t ms = 1000000;
	uint64_t before;

	for (unsigned i = 0; i < 100; i++)
		learn(&c, 40 * ms);
	cr_assert_eq(c.ahead_max, PAGE_AHEAD_MAX);
	learn(&c, 300 * ms);
	cr_assert_eq(c.ahead_max, PAGE_AHEAD_MAX, "a little of a queue is well");
	learn(&c, 500 * ms);
	before = c.ahead_max;
	cr_assert_lt(before, PAGE_AHEAD_MAX);
	for (unsigned i = 0; i < 100; i++)
		learn(&c, 900 * ms);
	cr_assert_lt(c.ahead_max, before);
	cr_assert_geq(c.ahead_max, PAGE_LEN);
	learn(&c, 100 * ms);
	cr_assert_gt(c.ahead_max, PAGE_LEN, "it grows again");

	/* A long way is no queue. */
	c.ahead_max = PAGE_AHEAD_FIRST;
	c.least_ns = 0;
	for (unsigned i = 0; i < 100; i++)
		learn(&c, 700 * ms);
	cr_assert_eq(c.ahead_max, PAGE_AHEAD_MAX);
}

Test(page_cache, a_hint_fetches_before_anyone_waits)
{
	struct fake *f = fake_new(64u << 20);
	struct page_cache *c = cache_new(f, 32u << 20);

	set_hold(f, true);
	page_cache_hint(c, 3u << 20, 100000);
	pthread_mutex_lock(&f->mu);
	while (f->n_held == 0)
		pthread_cond_wait(&f->changed, &f->mu);
	pthread_mutex_unlock(&f->mu);
	set_hold(f, false);
	check_read(c, 3u << 20, 100000);
	cr_assert_eq(f->n_patient, 0);
	page_cache_free(c);
	free(f);
}

static void *many_reads(void *arg)
{
	struct reader_arg *a = arg;
	uint8_t *p = malloc(300000);

	for (unsigned i = 0; i < rounds(400) && a->rc == 0; i++) {
		uint64_t pos = (uint64_t)rand_r(&a->seed) % ((24u << 20) - 300000);
		size_t len = 1 + (size_t)rand_r(&a->seed) % 300000;

		if (i % 7 == 0)
			page_cache_hint(a->c, pos, len);
		a->rc = page_cache_read(a->c, pos, len, p);
		for (size_t k = 0; k < len && a->rc == 0; k += 997)
			if (p[k] != byte_at(pos + k))
				a->rc = -1;
	}
	free(p);
	return NULL;
}

Test(page_cache, eight_threads_in_a_cache_too_small_for_them)
{
	struct fake *f = fake_new(24u << 20);
	struct page_cache *c = cache_new(f, 0);
	struct reader_arg a[8];
	pthread_t t[8];

	for (unsigned i = 0; i < 8; i++) {
		a[i] = (struct reader_arg){.c = c, .seed = i + 1};
		pthread_create(&t[i], NULL, many_reads, &a[i]);
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(t[i], NULL);
		cr_assert_eq(a[i].rc, 0);
	}
	page_cache_free(c);
	cr_assert(!(f->twice));
	free(f);
}
