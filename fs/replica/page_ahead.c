/*
 * Reading ahead for sequential readers of the page cache.
 *
 * Key idea: a reader is known by where its next read begins.  Its window doubles with each read
 * that fits, and half a window at a time is put into a short queue, which a few threads work off.
 *
 * Invariants: PAGE_QUEUE_MAX runs wait at most, and what finds no room is simply not read ahead;
 * nobody waits for these fetches but who wants one of their pages.
 */

#include "page_cache_internal.h"

#include <stdlib.h>

static void enqueue_locked(struct page_cache *c, uint64_t from, uint64_t to)
{
	while (from < to && c->queue_n < PAGE_QUEUE_MAX && !c->stopping) {
		uint64_t border = (from / RUN_LEN + 1) * RUN_LEN;
		uint64_t end = border < to ? border : to;
		struct run r = {.page = from / PAGE_LEN};

		r.n = (uint32_t)((end - r.page * PAGE_LEN + PAGE_LEN - 1) / PAGE_LEN);
		c->queue[(c->queue_first + c->queue_n++) % PAGE_QUEUE_MAX] = r;
		pthread_cond_signal(&c->work);
		from = border;
	}
}

static struct reading *reading_of_locked(struct page_cache *c, uint64_t pos)
{
	struct reading *oldest = &c->readings[0];

	for (unsigned i = 0; i < PAGE_READERS; i++) {
		struct reading *r = &c->readings[i];

		/* A little forward is still sequential: other files' blocks lie between. */
		if (r->used && pos >= r->next && pos <= r->next + PAGE_AHEAD_MIN)
			return r;
		if (r->used < oldest->used)
			oldest = r;
	}
	*oldest = (struct reading){.next = pos};
	return oldest;
}

void page_read_ahead_locked(struct page_cache *c, uint64_t pos, size_t len)
{
	struct reading *r = reading_of_locked(c, pos);
	uint64_t end = pos + len;

	if (r->used) {
		r->window = r->window ? r->window * 2 : PAGE_AHEAD_MIN;
		if (r->window > PAGE_AHEAD_MAX)
			r->window = PAGE_AHEAD_MAX;
	}
	r->used = ++c->clock;
	r->next = end;
	if (r->ahead < end)
		r->ahead = end;
	/* Half a window at a time, so that fetches are large and never run dry. */
	if (r->window && r->ahead - end <= r->window / 2) {
		enqueue_locked(c, r->ahead, end + r->window);
		r->ahead = end + r->window;
	}
}

void page_cache_hint(struct page_cache *c, uint64_t pos, size_t len)
{
	if (len == 0 || pos > UINT64_MAX - PAGE_AHEAD_MAX - RUN_LEN)
		return;
	if (len > PAGE_AHEAD_MAX)
		len = PAGE_AHEAD_MAX;
	pthread_mutex_lock(&c->mu);
	enqueue_locked(c, pos, pos + len);
	pthread_mutex_unlock(&c->mu);
}

static void fetch_ahead_locked(struct page_cache *c, struct run r)
{
	while (r.n > 0 && !c->stopping) {
		struct fetch f;
		uint32_t n;
		int rc;

		if (page_find_locked(c, r.page)) {
			r.page++;
			r.n--;
			continue;
		}
		if (page_claim_locked(c, r.page, r.n, false, &f) < 0)
			return;
		n = f.n;
		pthread_mutex_unlock(&c->mu);
		rc = page_fetch_run(c, &f);
		free(f.bytes);
		pthread_mutex_lock(&c->mu);
		/* Nobody waits for this: what fails is left to who needs it. */
		if (rc < 0) {
			c->queue_n = 0;
			return;
		}
		r.page += n;
		r.n -= n;
	}
}

void *page_ahead_thread(void *arg)
{
	struct page_cache *c = arg;

	pthread_mutex_lock(&c->mu);
	while (!c->stopping) {
		struct run r;

		if (c->queue_n == 0) {
			pthread_cond_wait(&c->work, &c->mu);
			continue;
		}
		r = c->queue[c->queue_first];
		c->queue_first = (c->queue_first + 1) % PAGE_QUEUE_MAX;
		c->queue_n--;
		fetch_ahead_locked(c, r);
	}
	pthread_mutex_unlock(&c->mu);
	return NULL;
}
