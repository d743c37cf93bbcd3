/*
 * Slots of views of the past.
 *
 * A table of small records: head, tag, references.
 *
 * A slot is in use while it has references (the kernel's) or pins (requests under way).  Slots in
 * use are on a list ordered by last use.  Those with a tag are found, by tag and head, through a
 * hash table.  Slots not in use are on a free list.  So every step costs the same, however many
 * slots there are.
 *
 * Invariants:
 *  - a slot in use keeps its head and its number; it is on the list of slots in use and, if it has
 *    a tag, in the hash table
 *  - a slot not in use is on the free list, or was never used
 *
 * In a table that outlives the process, a reference is counted before the kernel gets the answer
 * that hands it out.  A process killed in between leaves a slot with too many references, never too
 * few; at worst that slot is not used again.
 */

#include "slots_internal.h"

#include "view.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define BUCKETS 65536u		    /* a power of two */
#define OWN_TAG (UINT64_C(1) << 63) /* a slot of one file; the other bits are its inode */
#define GENERATION_MAX 0xffffffu

static void use_unlink_locked(struct slots *s, uint32_t i) REQUIRES(s->mu);
static void use_link_newest_locked(struct slots *s, uint32_t i) REQUIRES(s->mu);
static void enter_locked(struct slots *s, uint32_t i) REQUIRES(s->mu);
static void leave_bucket_locked(struct slots *s, uint32_t i) REQUIRES(s->mu);
static void push_free_locked(struct slots *s, uint32_t i) REQUIRES(s->mu);
static uint32_t new_slot_locked(struct slots *s, head_no head, uint64_t tag) REQUIRES(s->mu);

/* The bytes in front of a table that outlives the process. */
#define HEAD_BYTES 64u

size_t slots_bytes(void)
{
	return HEAD_BYTES + SLOTS_MAX * sizeof(struct slot);
}

static uint32_t *bucket_of(struct slots *s, head_no head, uint64_t tag)
{
	uint64_t h = (head ^ tag) * UINT64_C(0x9e3779b97f4a7c15);

	return &s->buckets[h >> 48 & (BUCKETS - 1)];
}

static void use_unlink_locked(struct slots *s, uint32_t i)
{
	struct slot_note *note = &s->notes[i];

	*(note->newer != NONE ? &s->notes[note->newer].older : &s->newest_used) = note->older;
	*(note->older != NONE ? &s->notes[note->older].newer : &s->oldest_used) = note->newer;
}

static void use_link_newest_locked(struct slots *s, uint32_t i)
{
	struct slot_note *note = &s->notes[i];

	note->newer = NONE;
	note->older = s->newest_used;
	*(s->newest_used != NONE ? &s->notes[s->newest_used].newer : &s->oldest_used) = i;
	s->newest_used = i;
	note->offered = false;
}

void slots_use_locked(struct slots *s, uint32_t i)
{
	use_unlink_locked(s, i);
	use_link_newest_locked(s, i);
}

/* A slot, with head and tag set, comes into use. */
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

void slots_leave_if_unused_locked(struct slots *s, uint32_t i)
{
	if (slots_in_use(s, i))
		return;
	leave_bucket_locked(s, i);
	use_unlink_locked(s, i);
	assert(s->n_used > 0);
	s->n_used--;
	push_free_locked(s, i);
}

/* Take over the table that an earlier process left. */
static void adopt(struct slots *s)
{
	pthread_mutex_lock(&s->mu);
	if (*s->n > SLOTS_MAX)
		*s->n = SLOTS_MAX;
	for (uint32_t i = *s->n; i-- > 0;) {
		if (slots_in_use(s, i))
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
	while ((ov = TAILQ_FIRST(&s->views))) {
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
 * Add references of the kernel.  A killed process may leave the table between any two stores, and a
 * slot with references must be complete.  So the compiler must not move earlier stores behind this.
 */
static void add_refs(struct slot *slot, uint64_t n)
{
	atomic_signal_fence(memory_order_seq_cst);
	slot->refs += n;
}

/* A free slot, for ${head} and ${tag}; NONE if all are in use. */
static uint32_t new_slot_locked(struct slots *s, head_no head, uint64_t tag)
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
	s->notes[i] = (struct slot_note){.next = NONE};
	enter_locked(s, i);
	return i;
}

int slots_take(struct slots *s, head_no head, uint64_t tag, uint32_t *out_slot)
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
		slots_use_locked(s, i);
		*out_slot = i;
	}
	pthread_mutex_unlock(&s->mu);
	return i == NONE ? -ENFILE : 0;
}

int slots_take_own(struct slots *s, uint32_t slot, inode_no ino, uint32_t *out_slot)
{
	uint32_t i = NONE;

	pthread_mutex_lock(&s->mu);
	assert(slot < *s->n && slots_in_use(s, slot));
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
		if (slots_in_use(s, i) && s->table[i].tag == tag) {
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
			break; /* so were all those used later */
		if (s->notes[i].pins != 0)
			continue;
		out[n++] = i;
	}
	for (unsigned k = 0; k < n; k++) {
		/* Move it to the end: if the kernel keeps it, the next call offers others. */
		slots_use_locked(s, out[k]);
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
	assert(slot < *s->n && slots_in_use(s, slot));
	g = s->table[slot].generation;
	pthread_mutex_unlock(&s->mu);
	return g + 1;
}

bool slots_of_older(struct slots *s)
{
	bool found = false;

	pthread_mutex_lock(&s->mu);
	for (uint32_t i = 0; i < *s->n && !found; i++)
		found = slots_in_use(s, i) && s->table[i].generation == 0;
	pthread_mutex_unlock(&s->mu);
	return found;
}

void slots_add(struct slots *s, uint32_t slot, uint64_t n)
{
	pthread_mutex_lock(&s->mu);
	assert(slot < *s->n && slots_in_use(s, slot));
	add_refs(&s->table[slot], n);
	pthread_mutex_unlock(&s->mu);
}

void slots_drop(struct slots *s, uint32_t slot, uint64_t n)
{
	pthread_mutex_lock(&s->mu);
	if (slot < *s->n && s->table[slot].refs != 0) {
		s->table[slot].refs -= n < s->table[slot].refs ? n : s->table[slot].refs;
		slots_leave_if_unused_locked(s, slot);
	}
	pthread_mutex_unlock(&s->mu);
}
