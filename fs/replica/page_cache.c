/*
 * Pages of a distant log in a local file.
 *
 * Key idea: a slot is a place in the file with an entry in the index.  A page is fetched in a
 * flight: up to PAGE_RUN_MAX adjacent missing pages.  A thread claims them under the lock and then
 * fetches them without it.  A thread that wants a page in flight waits for that flight.  Eviction
 * is CLOCK over the slots.
 *
 *  slot state  page in index  flight  pins  bytes in file
 *  ----------  -------------  ------  ----  -------------
 *  EMPTY       no             NULL    0     meaningless
 *  FLYING      yes            set     0     being written, by one thread
 *  READY       yes            NULL    >= 0  the first len bytes of the page
 *
 * Invariants (check_slot):
 * 1. A page is in the index at most once; every slot that is not EMPTY is in the index.
 * 2. Only READY slots without pins are evicted, so the bytes under a reader never change.
 * 3. Memory: one slot's entry per page of the file, one run per thread inside, PAGE_QUEUE_MAX
 *    queued runs.
 *
 * A page at the log's end may be short.  A reader that wants more of it drops the page and fetches
 * it again, since the log grows.
 */

#include "page_cache_internal.h"

#include "err.h"
#include "file.h"
#include "format.h"
#include "thread.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static uint32_t *chain_of(struct page_cache *c, uint64_t page) REQUIRES(c->mu);
static void empty_locked(struct page_cache *c, struct slot *s) REQUIRES(c->mu);
static struct slot *claim_locked(struct page_cache *c, uint64_t page, struct flight *f)
	REQUIRES(c->mu);
static int copy_ready_locked(struct page_cache *c, struct slot *s, uint32_t off, uint32_t len,
			     void *out) REQUIRES(c->mu);
static int await_flight_locked(struct page_cache *c, struct flight *f) REQUIRES(c->mu);
static int fetch_missing_locked(struct page_cache *c, log_pos pos, log_pos end, uint8_t *out,
				size_t *out_n) REQUIRES(c->mu);
static int read_some_locked(struct page_cache *c, log_pos pos, log_pos end, uint8_t *out,
			    size_t *out_n) REQUIRES(c->mu);

static void check_slot(const struct slot *s)
{
	assert((s->state == SLOT_FLYING) == (s->flight != NULL));
	assert(s->pins == 0 || s->state == SLOT_READY);
	assert(s->len <= PAGE_LEN);
}

/* ---- the index ---- */

static uint32_t *chain_of(struct page_cache *c, uint64_t page)
{
	uint64_t h = page * UINT64_C(0x9e3779b97f4a7c15);

	return &c->chains[(h >> 32) & (c->n_chains - 1)];
}

struct slot *page_find_locked(struct page_cache *c, uint64_t page)
{
	for (uint32_t i = *chain_of(c, page); i != NO_SLOT; i = c->slots[i].next) {
		check_slot(&c->slots[i]);
		if (c->slots[i].page == page)
			return &c->slots[i];
	}
	return NULL;
}

static void empty_locked(struct page_cache *c, struct slot *s)
{
	uint32_t *at = chain_of(c, s->page);
	uint32_t i = (uint32_t)(s - c->slots);

	assert(s->state != SLOT_EMPTY && s->pins == 0);
	while (*at != i)
		at = &c->slots[*at].next;
	*at = s->next;
	*s = (struct slot){.state = SLOT_EMPTY, .next = NO_SLOT};
	pthread_cond_broadcast(&c->landed);
}

/* Claim a slot for ${page} and the flight ${f}.  NULL if every slot is pinned or in flight. */
static struct slot *claim_locked(struct page_cache *c, uint64_t page, struct flight *f)
{
	struct slot *s = NULL;
	uint32_t *chain;

	/* Up to two rounds: the first may only clear the used marks. */
	for (uint32_t n = 0; n < 2 * c->n_slots && !s; n++) {
		struct slot *at = &c->slots[c->hand];

		c->hand = c->hand + 1 == c->n_slots ? 0 : c->hand + 1;
		if (at->state == SLOT_FLYING || at->pins > 0)
			continue;
		if (at->state == SLOT_READY && at->used)
			at->used = false;
		else
			s = at;
	}
	if (!s)
		return NULL;
	if (s->state == SLOT_READY)
		empty_locked(c, s);
	chain = chain_of(c, page);
	*s = (struct slot){.page = page, .flight = f, .state = SLOT_FLYING, .next = *chain};
	*chain = (uint32_t)(s - c->slots);
	check_slot(s);
	return s;
}

static void flight_put_locked(struct flight *f)
{
	if (--f->refs == 0)
		free(f);
}

/* ---- fetching ---- */

int page_claim_locked(struct page_cache *c, uint64_t page, uint32_t n, bool patient,
		      struct fetch *f)
{
	*f = (struct fetch){.page = page};
	f->flight = calloc(1, sizeof(*f->flight));
	f->bytes = malloc(RUN_LEN);
	if (!f->flight || !f->bytes) {
		free(f->flight);
		free(f->bytes);
		return -ENOMEM;
	}
	f->flight->refs = 1;
	f->flight->patient = patient;
	while (f->n < n && !page_find_locked(c, page + f->n)) {
		f->slots[f->n] = claim_locked(c, page + f->n, f->flight);
		if (!f->slots[f->n])
			break;
		f->n++;
	}
	if (f->n > 0)
		return 0;
	free(f->flight);
	free(f->bytes);
	return -EBUSY;
}

static uint32_t bytes_of_page(const struct fetch *f, uint32_t i)
{
	size_t begin = (size_t)i * PAGE_LEN;

	if (f->len <= begin)
		return 0;
	return f->len - begin < PAGE_LEN ? (uint32_t)(f->len - begin) : PAGE_LEN;
}

int page_fetch_run(struct page_cache *c, struct fetch *f)
{
	bool kept[PAGE_RUN_MAX] = {false};
	int rc;

	rc = c->cfg.fetch(c->cfg.ctx, f->page * PAGE_LEN, (size_t)f->n * PAGE_LEN,
			  f->flight->patient, f->bytes, &f->len);
	if (rc < 0)
		f->len = 0;
	assert(f->len <= (size_t)f->n * PAGE_LEN);
	/* If the disk is full, the read still succeeds; only the pages are not kept. */
	for (uint32_t i = 0; i < f->n && bytes_of_page(f, i) > 0; i++)
		kept[i] = file_write_at(c->fd, f->bytes + (size_t)i * PAGE_LEN, bytes_of_page(f, i),
					(uint64_t)(f->slots[i] - c->slots) * PAGE_LEN) == 0;

	pthread_mutex_lock(&c->mu);
	for (uint32_t i = 0; i < f->n; i++) {
		f->slots[i]->flight = NULL;
		f->slots[i]->state = SLOT_READY;
		f->slots[i]->len = bytes_of_page(f, i);
		f->slots[i]->used = true;
		if (!kept[i])
			empty_locked(c, f->slots[i]);
	}
	f->flight->rc = rc;
	f->flight->done = true;
	flight_put_locked(f->flight);
	pthread_cond_broadcast(&c->landed);
	pthread_mutex_unlock(&c->mu);
	return rc;
}

/* ---- reading ---- */

/*
 * Copy from a READY slot; the lock is released meanwhile.  Returns 0, or -EAGAIN: the page is gone,
 * look again.
 */
static int copy_ready_locked(struct page_cache *c, struct slot *s, uint32_t off, uint32_t len,
			     void *out)
{
	ssize_t got;

	s->pins++;
	s->used = true;
	pthread_mutex_unlock(&c->mu);
	got = file_read_at(c->fd, out, len, (uint64_t)(s - c->slots) * PAGE_LEN + off);
	pthread_mutex_lock(&c->mu);
	s->pins--;
	if (got == (ssize_t)len) {
		pthread_cond_broadcast(&c->landed);
		return 0;
	}
	/* The local disk lost the page: drop it once no other thread is reading it. */
	if (s->pins == 0)
		empty_locked(c, s);
	else
		s->len = 0;
	return -EAGAIN;
}

/* Wait for another thread's fetch.  Returns 0: look again; or the error of that fetch. */
static int await_flight_locked(struct page_cache *c, struct flight *f)
{
	int rc;

	f->refs++;
	while (!f->done)
		pthread_cond_wait(&c->landed, &c->mu);
	/*
	 * An impatient fetch gives up at once.  Its error does not count for a reader that would
	 * wait longer.
	 */
	rc = f->patient ? f->rc : 0;
	flight_put_locked(f);
	return rc;
}

/*
 * Read a piece of one page, of which the caller knows that it is missing or too short here: fetch
 * from that page on, up to ${end}.
 */
static int fetch_missing_locked(struct page_cache *c, log_pos pos, log_pos end, uint8_t *out,
				size_t *out_n)
{
	uint64_t page = pos / PAGE_LEN;
	log_pos border = (pos / RUN_LEN + 1) * RUN_LEN;
	log_pos last = (end < border ? end : border) - 1;
	struct fetch f;
	size_t off, n;
	int rc;

	rc = page_claim_locked(c, page, (uint32_t)(last / PAGE_LEN - page + 1), true, &f);
	if (rc == -EBUSY) {
		pthread_cond_wait(&c->landed, &c->mu);
		return 0;
	}
	if (rc < 0)
		return rc;
	pthread_mutex_unlock(&c->mu);
	rc = page_fetch_run(c, &f);
	off = (size_t)(pos - page * PAGE_LEN);
	n = (size_t)f.n * PAGE_LEN - off;
	if (n > end - pos)
		n = (size_t)(end - pos);
	if (rc == 0 && f.len < off + n)
		rc = -ERR_ABSENT;
	if (rc == 0) {
		memcpy(out, f.bytes + off, n);
		*out_n = n;
	}
	free(f.bytes);
	pthread_mutex_lock(&c->mu);
	return rc;
}

/* Read some bytes from ${pos} on.  ${*out_n} says how many; 0 means look again. */
static int read_some_locked(struct page_cache *c, log_pos pos, log_pos end, uint8_t *out,
			    size_t *out_n)
{
	struct slot *s = page_find_locked(c, pos / PAGE_LEN);
	uint32_t off = (uint32_t)(pos % PAGE_LEN);
	uint32_t len = PAGE_LEN - off;
	int rc;

	*out_n = 0;
	if (len > end - pos)
		len = (uint32_t)(end - pos);
	if (!s)
		return fetch_missing_locked(c, pos, end, out, out_n);
	if (s->state == SLOT_FLYING)
		return await_flight_locked(c, s->flight);
	if (off + len > s->len) {
		if (s->pins > 0)
			pthread_cond_wait(&c->landed, &c->mu);
		else
			empty_locked(c, s);
		return 0;
	}
	rc = copy_ready_locked(c, s, off, len, out);
	if (rc == 0)
		*out_n = len;
	return rc == -EAGAIN ? 0 : rc;
}

int page_cache_read(struct page_cache *c, log_pos pos, size_t len, void *out)
{
	log_pos at = pos, end = pos + len;
	uint8_t *p = out;
	int rc = 0;

	if (len == 0)
		return 0;
	if (end < pos || segment_of(pos) != segment_of(end - 1))
		return -EINVAL;
	pthread_mutex_lock(&c->mu);
	page_read_ahead_locked(c, pos, len);
	while (at < end) {
		size_t n;

		rc = read_some_locked(c, at, end, p, &n);
		if (rc < 0)
			break;
		p += n;
		at += n;
	}
	pthread_mutex_unlock(&c->mu);
	return rc < 0 ? rc : 0;
}

/* ---- life ---- */

static int open_unlinked(void)
{
	const char *folders[] = {getenv("TMPDIR"), "/tmp", "/var/tmp"};
	int fd = -ENOENT;

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		if (!folders[i] || !folders[i][0])
			continue;
		fd = file_open(AT_FDCWD, folders[i], O_RDWR | O_TMPFILE, 0600);
		if (fd >= 0)
			break;
	}
	return fd;
}

static void init_index(struct page_cache *c)
{
	for (uint32_t i = 0; i < c->n_chains; i++)
		c->chains[i] = NO_SLOT;
}

static int start_threads(struct page_cache *c)
{
	for (; c->n_threads < PAGE_THREADS; c->n_threads++) {
		int rc = thread_start(&c->threads[c->n_threads], page_ahead_thread, c);

		if (rc < 0)
			return rc;
	}
	return 0;
}

int page_cache_new(const struct page_cache_config *cfg, struct page_cache **out)
{
	uint64_t n = cfg->bytes / PAGE_LEN;
	struct page_cache *c;
	int rc;

	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->cfg = *cfg;
	pthread_mutex_init(&c->mu, NULL);
	pthread_cond_init(&c->landed, NULL);
	pthread_cond_init(&c->work, NULL);
	c->n_slots = n < PAGE_SLOTS_MIN	  ? PAGE_SLOTS_MIN
		     : n > PAGE_SLOTS_MAX ? PAGE_SLOTS_MAX
					  : (uint32_t)n;
	c->ahead_limit = (uint64_t)c->n_slots * PAGE_LEN / 4;
	if (c->ahead_limit > PAGE_AHEAD_MAX)
		c->ahead_limit = PAGE_AHEAD_MAX;
	c->ahead_max = c->ahead_limit < PAGE_AHEAD_FIRST ? c->ahead_limit : PAGE_AHEAD_FIRST;
	for (c->n_chains = 1; c->n_chains < c->n_slots;)
		c->n_chains *= 2;
	/* Entries are not touched now: with overcommit they cost memory only once they are used. */
	c->slots = calloc(c->n_slots, sizeof(*c->slots));
	c->chains = malloc(c->n_chains * sizeof(*c->chains));
	c->fd = open_unlinked();
	rc = !c->slots || !c->chains ? -ENOMEM : c->fd < 0 ? c->fd : 0;
	if (rc == 0) {
		init_index(c);
		rc = start_threads(c);
	}
	if (rc < 0) {
		page_cache_free(c);
		return rc;
	}
	*out = c;
	return 0;
}

void page_cache_stop(struct page_cache *c)
{
	pthread_mutex_lock(&c->mu);
	c->stopping = true;
	pthread_cond_broadcast(&c->work);
	pthread_mutex_unlock(&c->mu);
}

void page_cache_free(struct page_cache *c)
{
	if (!c)
		return;
	page_cache_stop(c);
	for (unsigned i = 0; i < c->n_threads; i++)
		pthread_join(c->threads[i], NULL);
	if (c->fd >= 0)
		file_close(c->fd);
	free(c->slots);
	free(c->chains);
	pthread_cond_destroy(&c->work);
	pthread_cond_destroy(&c->landed);
	pthread_mutex_destroy(&c->mu);
	free(c);
}
