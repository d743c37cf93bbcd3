/*
 * Views of the past by slot.
 *
 * A table of small records (head, tag, references), and a list of open views, newest use first.
 * The list is cut from its old end whenever its views cost more than the bound or are too many,
 * sparing those in use and the newest few.
 *
 * A slot is in use while it has references (the kernel's) or pins (requests under way).  Slots in
 * use are on a list by their last use, and those with a tag are found by it and their head through
 * a hash table; slots that are not in use are on a list of free ones.  So every step costs the same
 * however many there are.
 *
 * Invariants:
 *  - a slot in use keeps its head and its number; it is on the list by use, and with a tag in the
 *    hash table
 *  - a slot that is not in use is on the free list, or was never used
 *  - at most one view of a head is open or opening
 *  - a view is closed only when nobody uses it, and with mu released
 *
 * Where the table outlives the process, a reference is counted before the kernel has the answer
 * that gives it: after a kill in between a slot has too many, never too few, and is at worst not
 * used again.
 */

#include "slots.h"

#include "locks.h"
#include "view.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define NONE UINT32_MAX
#define BUCKETS 65536u		    /* a power of two */
#define OWN_TAG (UINT64_C(1) << 63) /* a file's own: the rest is its inode */
#define GENERATION_MAX 0xffffffu

struct slot {
	uint64_t refs : 40;	  /* 0: free */
	uint64_t generation : 24; /* of its nodes, made of its head; 0: an older program's */
	uint64_t head;
	uint64_t tag; /* 0: retired */
};

/* What this process alone knows of a slot. */
struct note {
	uint32_t pins;
	uint32_t next; /* in its bucket, or on the free list */
	uint32_t newer, older;
	bool offered; /* as one to be forgotten, and not used since */
};

struct open_view {
	TAILQ_ENTRY(open_view) entry;
	uint64_t head;
	struct view *view; /* NULL while it opens */
	size_t bytes;
	uint32_t users;
};

struct slots {
	struct slots_config cfg;
	pthread_mutex_t mu;
	pthread_cond_t opened;
	struct slot *table; /* Guarded by mu, like all below.  SLOTS_MAX. */
	struct note *notes; /* SLOTS_MAX */
	uint32_t *buckets;
	uint32_t *n, own_n; /* slots ever used; where the table is */
	uint32_t n_used, free, newest_used, oldest_used;
	TAILQ_HEAD(open_views, open_view) views; /* newest use first */
	uint32_t n_open;
	size_t bytes;
};

static void use_unlink_locked(struct slots *s, uint32_t i) REQUIRES(s->mu);
static void use_link_newest_locked(struct slots *s, uint32_t i) REQUIRES(s->mu);
static void enter_locked(struct slots *s, uint32_t i) REQUIRES(s->mu);
static void leave_bucket_locked(struct slots *s, uint32_t i) REQUIRES(s->mu);
static void push_free_locked(struct slots *s, uint32_t i) REQUIRES(s->mu);
static void leave_if_unused_locked(struct slots *s, uint32_t i) REQUIRES(s->mu);
static uint32_t new_slot_locked(struct slots *s, uint64_t head, uint64_t tag) REQUIRES(s->mu);
static struct open_view *surplus_locked(struct slots *s) REQUIRES(s->mu);
static struct open_view *find_locked(struct slots *s, uint64_t head) REQUIRES(s->mu);
static int open_locked(struct slots *s, uint64_t head, struct open_view **out) REQUIRES(s->mu);
static bool in_use(const struct slots *s, uint32_t i) REQUIRES(s->mu);

/* Before the table in memory that outlives the process. */
#define HEAD_BYTES 64u

size_t slots_bytes(void)
{
	return HEAD_BYTES + SLOTS_MAX * sizeof(struct slot);
}

static bool in_use(const struct slots *s, uint32_t i)
{
	return s->table[i].refs != 0 || s->notes[i].pins != 0;
}

static uint32_t *bucket_of(struct slots *s, uint64_t head, uint64_t tag)
{
	uint64_t h = (head ^ tag) * UINT64_C(0x9e3779b97f4a7c15);

	return &s->buckets[h >> 48 & (BUCKETS - 1)];
}

static void use_unlink_locked(struct slots *s, uint32_t i)
{
	struct note *note = &s->notes[i];

	*(note->newer != NONE ? &s->notes[note->newer].older : &s->newest_used) = note->older;
	*(note->older != NONE ? &s->notes[note->older].newer : &s->oldest_used) = note->newer;
}

static void use_link_newest_locked(struct slots *s, uint32_t i)
{
	struct note *note = &s->notes[i];

	note->newer = NONE;
	note->older = s->newest_used;
	*(s->newest_used != NONE ? &s->notes[s->newest_used].newer : &s->oldest_used) = i;
	s->newest_used = i;
	note->offered = false;
}

/* A slot whose head and tag are set comes into use. */
static void enter_locked(struct slots *s, uint32_t i)
{
	uint32_t *bucket = bucket_of(s, s->table[i].head, s->table[i].tag);

	s->notes[i].next = NONE;
	if (s->table[i].tag != 0) {
		s->notes[i].next = *bucket;
		*bucket = i;
	}
	use_link_newest_locked(s, i);
	s->n_used++;
	assert(s->n_used <= *s->n);
}

static void leave_bucket_locked(struct slots *s, uint32_t i)
{
	uint32_t *at = bucket_of(s, s->table[i].head, s->table[i].tag);

	if (s->table[i].tag == 0)
		return;
	while (*at != i) {
		assert(*at != NONE);
		at = &s->notes[*at].next;
	}
	*at = s->notes[i].next;
}

static void push_free_locked(struct slots *s, uint32_t i)
{
	s->notes[i].next = s->free;
	s->free = i;
}

/* After a reference or a pin has gone. */
static void leave_if_unused_locked(struct slots *s, uint32_t i)
{
	if (in_use(s, i))
		return;
	leave_bucket_locked(s, i);
	use_unlink_locked(s, i);
	assert(s->n_used > 0);
	s->n_used--;
	push_free_locked(s, i);
}

/* What a process before this one left in the table. */
static void adopt(struct slots *s)
{
	pthread_mutex_lock(&s->mu);
	if (*s->n > SLOTS_MAX)
		*s->n = SLOTS_MAX;
	for (uint32_t i = *s->n; i-- > 0;) {
		if (in_use(s, i))
			enter_locked(s, i);
		else
			push_free_locked(s, i);
	}
	pthread_mutex_unlock(&s->mu);
}

int slots_new(const struct slots_config *cfg, struct slots **out)
{
	struct slots *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->cfg = *cfg;
	s->n = &s->own_n;
	TAILQ_INIT(&s->views);
	s->free = s->newest_used = s->oldest_used = NONE;
	s->notes = calloc(SLOTS_MAX, sizeof(*s->notes));
	s->buckets = malloc(BUCKETS * sizeof(*s->buckets));
	if (cfg->mem) {
		s->n = cfg->mem;
		s->table = (struct slot *)((uint8_t *)cfg->mem + HEAD_BYTES);
	} else {
		s->table = calloc(SLOTS_MAX, sizeof(*s->table));
	}
	if (!s->notes || !s->buckets || !s->table)
		goto free_all;
	memset(s->buckets, 0xff, BUCKETS * sizeof(*s->buckets));
	pthread_mutex_init(&s->mu, NULL);
	pthread_cond_init(&s->opened, NULL);
	adopt(s);
	*out = s;
	return 0;

free_all:
	free(s->notes);
	free(s->buckets);
	if (!cfg->mem)
		free(s->table);
	free(s);
	return -ENOMEM;
}

void slots_free(struct slots *s)
{
	struct open_view *ov;

	if (!s)
		return;
	while ((ov = TAILQ_FIRST(&s->views)) != NULL) {
		assert(ov->users == 0);
		TAILQ_REMOVE(&s->views, ov, entry);
		s->cfg.close(ov->view);
		free(ov);
	}
	pthread_cond_destroy(&s->opened);
	pthread_mutex_destroy(&s->mu);
	free(s->notes);
	free(s->buckets);
	if (!s->cfg.mem)
		free(s->table);
	free(s);
}

/*
 * References of the kernel: a slot with one must be whole.  The process may be killed at any store, so the
 * compiler must not put what the slot is of behind this.
 */
static void add_refs(struct slot *slot, uint64_t n)
{
	atomic_signal_fence(memory_order_seq_cst);
	slot->refs += n;
}

/* A slot that is not in use, for ${head} and ${tag}; NONE: there is none. */
static uint32_t new_slot_locked(struct slots *s, uint64_t head, uint64_t tag)
{
	uint32_t i = s->free;

	if (i != NONE)
		s->free = s->notes[i].next;
	else if (*s->n < SLOTS_MAX)
		i = *s->n;
	else
		return NONE;
	s->table[i] = (struct slot){
		.generation = head % GENERATION_MAX + 1, .head = head, .tag = tag};
	if (i == *s->n)
		++*s->n;
	s->notes[i] = (struct note){.next = NONE};
	enter_locked(s, i);
	return i;
}

int slots_take(struct slots *s, uint64_t head, uint64_t tag, uint32_t *out_slot)
{
	uint32_t i;

	assert(head != 0 && tag != 0 && !(tag & OWN_TAG));
	pthread_mutex_lock(&s->mu);
	for (i = *bucket_of(s, head, tag); i != NONE; i = s->notes[i].next)
		if (s->table[i].head == head && s->table[i].tag == tag)
			break;
	if (i == NONE)
		i = new_slot_locked(s, head, tag);
	if (i != NONE) {
		add_refs(&s->table[i], 1);
		use_unlink_locked(s, i);
		use_link_newest_locked(s, i);
		*out_slot = i;
	}
	pthread_mutex_unlock(&s->mu);
	return i == NONE ? -ENFILE : 0;
}

int slots_take_own(struct slots *s, uint32_t slot, uint64_t ino, uint32_t *out_slot)
{
	uint32_t i = NONE;

	pthread_mutex_lock(&s->mu);
	assert(slot < *s->n && in_use(s, slot));
	if (s->n_used < SLOTS_MAX - SLOTS_RESERVE)
		i = new_slot_locked(s, s->table[slot].head, OWN_TAG | ino);
	if (i != NONE) {
		add_refs(&s->table[i], 1);
		*out_slot = i;
	}
	pthread_mutex_unlock(&s->mu);
	return i == NONE ? -ENFILE : 0;
}

void slots_retire(struct slots *s, uint64_t tag)
{
	assert(tag != 0);
	pthread_mutex_lock(&s->mu);
	for (uint32_t i = 0; i < *s->n; i++)
		if (in_use(s, i) && s->table[i].tag == tag) {
			leave_bucket_locked(s, i);
			s->table[i].tag = 0;
		}
	pthread_mutex_unlock(&s->mu);
}

unsigned slots_surplus(struct slots *s, uint32_t *out, unsigned max)
{
	unsigned n = 0;

	pthread_mutex_lock(&s->mu);
	for (uint32_t i = s->oldest_used; i != NONE && n < max && s->n_used - n > SLOTS_KEPT;
	     i = s->notes[i].newer) {
		if (s->notes[i].offered)
			break; /* so are all that were used since */
		if (s->notes[i].pins != 0)
			continue;
		out[n++] = i;
	}
	for (unsigned k = 0; k < n; k++) {
		/* Where it does not help the next ones are tried: behind all others from now on. */
		use_unlink_locked(s, out[k]);
		use_link_newest_locked(s, out[k]);
		s->notes[out[k]].offered = true;
	}
	pthread_mutex_unlock(&s->mu);
	return n;
}

uint64_t slots_top(struct slots *s, uint32_t slot)
{
	uint64_t tag;

	pthread_mutex_lock(&s->mu);
	assert(slot < *s->n);
	tag = s->table[slot].tag;
	pthread_mutex_unlock(&s->mu);
	return tag & OWN_TAG ? tag & ~OWN_TAG : INO_ROOT;
}

bool slots_too_many(struct slots *s)
{
	bool many;

	pthread_mutex_lock(&s->mu);
	many = s->n_used > SLOTS_KEPT;
	pthread_mutex_unlock(&s->mu);
	return many;
}

uint32_t slots_generation(struct slots *s, uint32_t slot)
{
	uint32_t g;

	pthread_mutex_lock(&s->mu);
	assert(slot < *s->n && in_use(s, slot));
	g = s->table[slot].generation;
	pthread_mutex_unlock(&s->mu);
	return g + 1;
}

bool slots_of_older(struct slots *s)
{
	bool found = false;

	pthread_mutex_lock(&s->mu);
	for (uint32_t i = 0; i < *s->n && !found; i++)
		found = in_use(s, i) && s->table[i].generation == 0;
	pthread_mutex_unlock(&s->mu);
	return found;
}

void slots_add(struct slots *s, uint32_t slot, uint64_t n)
{
	pthread_mutex_lock(&s->mu);
	assert(slot < *s->n && in_use(s, slot));
	add_refs(&s->table[slot], n);
	pthread_mutex_unlock(&s->mu);
}

void slots_drop(struct slots *s, uint32_t slot, uint64_t n)
{
	pthread_mutex_lock(&s->mu);
	if (slot < *s->n && s->table[slot].refs != 0) {
		s->table[slot].refs -= n < s->table[slot].refs ? n : s->table[slot].refs;
		leave_if_unused_locked(s, slot);
	}
	pthread_mutex_unlock(&s->mu);
}

/* The oldest view that has to go for the bound, taken out of the list, or NULL. */
static struct open_view *surplus_locked(struct slots *s)
{
	struct open_view *ov;

	if ((s->bytes <= s->cfg.bytes_max && s->n_open <= SLOTS_VIEWS_MAX) ||
	    s->n_open <= SLOTS_VIEWS_MIN)
		return NULL;
	TAILQ_FOREACH_REVERSE(ov, &s->views, open_views, entry)
		if (ov->users == 0)
			break;
	if (ov) {
		TAILQ_REMOVE(&s->views, ov, entry);
		s->n_open--;
		s->bytes -= ov->bytes;
	}
	return ov;
}

static struct open_view *find_locked(struct slots *s, uint64_t head)
{
	struct open_view *ov;

	TAILQ_FOREACH(ov, &s->views, entry)
		if (ov->head == head)
			break;
	return ov;
}

/* Open the view of ${head}, with the lock released; others see that it opens, and wait. */
static int open_locked(struct slots *s, uint64_t head, struct open_view **out)
{
	struct open_view *ov = calloc(1, sizeof(*ov));
	struct view *v = NULL;
	int rc;

	if (!ov)
		return -ENOMEM;
	ov->head = head;
	ov->users = 1;
	TAILQ_INSERT_HEAD(&s->views, ov, entry);
	s->n_open++;

	pthread_mutex_unlock(&s->mu);
	rc = s->cfg.open(s->cfg.ctx, head, &v);
	pthread_mutex_lock(&s->mu);

	ov->users--;
	pthread_cond_broadcast(&s->opened);
	if (rc < 0) {
		TAILQ_REMOVE(&s->views, ov, entry);
		s->n_open--;
		free(ov);
		return rc;
	}
	ov->view = v;
	ov->bytes = s->cfg.bytes(v);
	s->bytes += ov->bytes;
	*out = ov;
	return 0;
}

int slots_view(struct slots *s, uint32_t slot, struct view **out)
{
	struct open_view *ov = NULL, *old;
	int rc = 0;

	pthread_mutex_lock(&s->mu);
	if (slot >= *s->n || !in_use(s, slot)) {
		pthread_mutex_unlock(&s->mu);
		return -ESTALE;
	}
	/* Pinned while the lock is released: the kernel may forget the slot's last node. */
	s->notes[slot].pins++;
	/*
	 * Looked up anew after each wait: the one waited for may have failed to open, and be
	 * gone.
	 */
	while ((ov = find_locked(s, s->table[slot].head)) && !ov->view)
		pthread_cond_wait(&s->opened, &s->mu);
	if (!ov)
		rc = open_locked(s, s->table[slot].head, &ov);
	if (rc == 0) {
		ov->users++;
		TAILQ_REMOVE(&s->views, ov, entry);
		TAILQ_INSERT_HEAD(&s->views, ov, entry);
		*out = ov->view;
		use_unlink_locked(s, slot);
		use_link_newest_locked(s, slot);
	} else {
		s->notes[slot].pins--;
		leave_if_unused_locked(s, slot);
	}
	while ((old = surplus_locked(s))) {
		pthread_mutex_unlock(&s->mu);
		s->cfg.close(old->view);
		free(old);
		pthread_mutex_lock(&s->mu);
	}
	pthread_mutex_unlock(&s->mu);
	return rc;
}

void slots_view_put(struct slots *s, uint32_t slot, struct view *v)
{
	struct open_view *ov;

	pthread_mutex_lock(&s->mu);
	TAILQ_FOREACH(ov, &s->views, entry)
		if (ov->view == v)
			break;
	assert(ov && ov->users > 0 && s->notes[slot].pins > 0 && ov->head == s->table[slot].head);
	ov->users--;
	s->notes[slot].pins--;
	leave_if_unused_locked(s, slot);
	pthread_mutex_unlock(&s->mu);
}
