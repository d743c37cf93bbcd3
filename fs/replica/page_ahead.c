/*
 * Reading ahead for sequential readers of the page cache.
 *
 * Key idea: a reader is recognised by its position, near its earlier reads.  The reads need not be
 * in exact order: the kernel's own read-ahead asks on several threads, and other files' blocks are
 * in between.  The range that is fetched ahead for a reader is its window, at most twice as large
 * as what it has read so far.  Fetches for the window go into a short queue, which a few threads
 * work off.
 *
 * The line decides how large windows may become.  On a fast line with a long round trip, large
 * windows keep the line busy.  On a thin line, read-ahead must not delay a page that somebody waits
 * for.  So the maximum grows while fetches take hardly longer than the quickest one did, and
 * shrinks once they queue.
 *
 * Invariants: at most PAGE_QUEUE_MAX runs wait in the queue; a run that finds no room is simply not
 * read ahead.  Only a reader that wants one of their pages waits for these fetches.
 */

#include "page_cache_internal.h"

#include "clock.h"
#include "units.h"

#include <stdlib.h>

#define QUEUED_FEW_NS (150 * NS_PER_MS)
#define QUEUED_MANY_NS (400 * NS_PER_MS)

static void enqueue_locked(struct page_cache *c, log_pos from, log_pos to) REQUIRES(c->mu);
static struct reading *reading_of_locked(struct page_cache *c, log_pos pos) REQUIRES(c->mu);
static void fetch_ahead_locked(struct page_cache *c, struct run r) REQUIRES(c->mu);

void page_ahead_learn_locked(struct page_cache *c, uint64_t took_ns)
{
	if (c->least_ns == 0 || took_ns < c->least_ns)
		c->least_ns = took_ns;
	if (took_ns - c->least_ns < QUEUED_FEW_NS && c->ahead_max + RUN_LEN <= c->ahead_limit)
		c->ahead_max += RUN_LEN;
	else if (took_ns - c->least_ns > QUEUED_MANY_NS && c->ahead_max > RUN_LEN)
		c->ahead_max -= RUN_LEN;
}

static void enqueue_locked(struct page_cache *c, log_pos from, log_pos to)
{
	while (from < to && c->queue_n < PAGE_QUEUE_MAX && !c->stopping) {
		log_pos border = (from / RUN_LEN + 1) * RUN_LEN;
		log_pos end = border < to ? border : to;
		struct run r = {.page = from / PAGE_LEN};

		r.n = (uint32_t)((end - r.page * PAGE_LEN + PAGE_LEN - 1) / PAGE_LEN);
		c->queue[(c->queue_first + c->queue_n++) % PAGE_QUEUE_MAX] = r;
		pthread_cond_signal(&c->work);
		from = border;
	}
}

/* Find the reader that this read belongs to, or put a new one in place of the oldest. */
static struct reading *reading_of_locked(struct page_cache *c, log_pos pos)
{
	struct reading *oldest = &c->readings[0];

	for (unsigned i = 0; i < PAGE_READERS; i++) {
		struct reading *r = &c->readings[i];

		if (r->used && pos + PAGE_AHEAD_SLACK >= r->next &&
		    pos <= r->ahead + PAGE_AHEAD_SLACK)
			return r;
		if (r->used < oldest->used)
			oldest = r;
	}
	*oldest = (struct reading){.next = pos, .ahead = pos};
	return oldest;
}

void page_read_ahead_locked(struct page_cache *c, log_pos pos, size_t len)
{
	struct reading *r = reading_of_locked(c, pos);
	log_pos end = pos + len;
	uint64_t window, want;

	if (r->used)
		r->bytes += len;
	r->used = ++c->clock;
	if (r->next < end)
		r->next = end;
	if (r->ahead < r->next)
		r->ahead = r->next;
	window = 2 * r->bytes < c->ahead_max ? 2 * r->bytes : c->ahead_max;
	want = r->next + window;
	/*
	 * Ask in large fetches that follow each other without a break: whole runs, if the window
	 * has room for some.
	 */
	if (window >= 2 * RUN_LEN)
		want -= want % RUN_LEN;
	else if (r->ahead - r->next > window / 2)
		return;
	if (want > r->ahead) {
		enqueue_locked(c, r->ahead, want);
		r->ahead = want;
	}
}

void page_cache_hint(struct page_cache *c, log_pos pos, size_t len)
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
		uint64_t began_ns;
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
		began_ns = clock_mono_ns();
		rc = page_fetch_run(c, &f);
		free(f.bytes);
		pthread_mutex_lock(&c->mu);
		/*
		 * Nobody waits for this fetch, so drop its error: a reader that needs the page
		 * fetches it again.
		 */
		if (rc < 0) {
			c->queue_n = 0;
			return;
		}
		page_ahead_learn_locked(c, clock_mono_ns() - began_ns);
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
