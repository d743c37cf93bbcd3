#ifndef PAGE_CACHE_INTERNAL_H_
#define PAGE_CACHE_INTERNAL_H_

/* Shared by page_cache.c (slots, fetching, reading) and page_ahead.c (reading ahead). */

#include "page_cache.h"

#include "format.h"
#include "locks.h"

#include <pthread.h>

#define RUN_LEN (PAGE_RUN_MAX * PAGE_LEN)
#define NO_SLOT UINT32_MAX

_Static_assert(SEGMENT_SIZE % RUN_LEN == 0, "a run aligned to its size lies in one segment");

enum slot_state { SLOT_EMPTY, SLOT_FLYING, SLOT_READY };

struct flight {
	unsigned refs; /* the fetching thread and each waiter */
	bool done;
	bool patient;
	int rc;
};

struct slot {
	uint64_t page; /* position / PAGE_LEN */
	struct flight *flight;
	uint32_t next; /* in its hash chain */
	uint32_t len;
	uint32_t pins;
	uint8_t state; /* enum slot_state */
	bool used;     /* used since the hand of CLOCK last passed */
};

struct run {
	uint64_t page;
	uint32_t n;
};

/* One sequential reader, recognised by where it reads. */
struct reading {
	log_pos next;	/* position after its furthest read */
	log_pos ahead;	/* asked for up to here; at least next */
	uint64_t bytes; /* bytes that it has read in all */
	uint64_t used;	/* finds the oldest to replace; 0: no reader */
};

struct page_cache {
	struct page_cache_config cfg;
	int fd;
	uint64_t ahead_limit; /* of ahead_max */
	uint32_t n_slots;
	uint32_t n_chains; /* a power of two */
	pthread_t threads[PAGE_THREADS];
	unsigned n_threads;
	/* A leaf: no other lock is taken, and nothing is fetched or read, while it is held. */
	pthread_mutex_t mu;
	pthread_cond_t landed; /* a flight ended or a slot became free */
	pthread_cond_t work;   /* the queue is not empty, or stopping */
	/* Guarded by mu. */
	struct slot *slots;
	uint32_t *chains;
	uint32_t hand;
	bool stopping;
	struct run queue[PAGE_QUEUE_MAX];
	unsigned queue_first, queue_n;
	struct reading readings[PAGE_READERS];
	uint64_t clock;
	uint64_t ahead_max; /* largest window, for the line as it is now */
	uint64_t least_ns;  /* shortest time that a fetch took; 0: none yet */
};

/* A run of pages on the way: slots are claimed, bytes are not there yet. */
struct fetch {
	struct flight *flight;
	struct slot *slots[PAGE_RUN_MAX];
	uint64_t page;
	uint32_t n;
	uint8_t *bytes; /* RUN_LEN */
	size_t len;	/* bytes that arrived */
};

/* The slot of a page that is READY or FLYING, or NULL. */
struct slot *page_find_locked(struct page_cache *c, uint64_t page) REQUIRES(c->mu);

/*
 * Claim missing pages from ${page} on: at most ${n}, and none after the first that is there
 * already.
 * Returns 0 with f->n >= 1; -EBUSY if no slot is free; -ENOMEM.
 */
MUST_CHECK int page_claim_locked(struct page_cache *c, uint64_t page, uint32_t n, bool patient,
				 struct fetch *f) REQUIRES(c->mu);

/*
 * Fetch a claimed run, write it to the file, and end its flight.  f->flight is gone then; the
 * caller frees f->bytes.  Returns the result of the fetch.
 */
MUST_CHECK int page_fetch_run(struct page_cache *c, struct fetch *f) EXCLUDES(c->mu);

/* Record a read; if the reader is sequential, ask for the pages that follow. */
void page_read_ahead_locked(struct page_cache *c, log_pos pos, size_t len) REQUIRES(c->mu);

/*
 * Adjust the largest window to the time that a fetch took, with other fetches under way beside it.
 */
void page_ahead_learn_locked(struct page_cache *c, uint64_t took_ns) REQUIRES(c->mu);

/* The main function of a background thread; its argument is the cache. */
void *page_ahead_thread(void *arg);

#endif /* !PAGE_CACHE_INTERNAL_H_ */
