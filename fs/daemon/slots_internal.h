#ifndef SLOTS_INTERNAL_H_
#define SLOTS_INTERNAL_H_

/* The structure of slots, shared by slots.c (the table) and slots_views.c (the open views). */

#include "slots.h"

#include "locks.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

struct slot {
	uint64_t refs : 40;	  /* 0: free */
	uint64_t generation : 24; /* of its nodes, made of the head; 0: an older program's */
	head_no head;
	uint64_t tag; /* 0: retired */
};

/* A slot's fields that die with the process. */
struct slot_note {
	uint32_t pins;
	uint32_t next; /* in its bucket, or in the free list */
	uint32_t newer, older;
	bool offered; /* slots_surplus() has returned it, and it was not used since */
};

struct open_view {
	TAILQ_ENTRY(open_view) entry;
	head_no head;
	struct view *view; /* NULL while it opens */
	size_t bytes;
	uint32_t users;
};

struct slots {
	struct slots_config cfg;
	pthread_mutex_t mu;
	pthread_cond_t opened;
	struct slot *table; /* SLOTS_MAX of them.  Guarded by mu, like all below. */
	struct slot_note *notes; /* SLOTS_MAX of them */
	uint32_t *buckets;
	uint32_t *n, own_n; /* slots ever used; n points into shared memory, or to own_n */
	uint32_t n_used, free, newest_used, oldest_used;
	TAILQ_HEAD(open_views, open_view) views; /* newest use first */
	uint32_t n_open;
	size_t bytes;
};

static inline bool slots_in_use(const struct slots *s, uint32_t i) REQUIRES(s->mu);
static inline bool slots_in_use(const struct slots *s, uint32_t i)
{
	return s->table[i].refs != 0 || s->notes[i].pins != 0;
}

/* Make slot ${i}, which is in use, the most recently used one. */
void slots_use_locked(struct slots *s, uint32_t i) REQUIRES(s->mu);

/* Free slot ${i} if it has neither references nor pins left. */
void slots_leave_if_unused_locked(struct slots *s, uint32_t i) REQUIRES(s->mu);

#endif /* !SLOTS_INTERNAL_H_ */
