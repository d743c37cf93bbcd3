/*
 * Views of the past by slot.
 *
 * A table of small records (head, tag, references), grown as needed, and a list of open views,
 * newest use first.  The list is cut from its old end whenever its views cost more than the
 * bound, sparing those in use and the newest few.
 *
 * Invariants:
 *  - a slot with references keeps its head and its number; one without is free
 *  - at most one view of a head is open or opening
 *  - a view is closed only when nobody uses it, and with mu released
 *
 * Where the table outlives the process, a reference is counted before the kernel has the answer
 * that gives it: after a kill in between a slot has too many, never too few, and is at worst not
 * used again.
 */

#include "slots.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define NONE UINT32_MAX
#define TABLE_MIN 16u

struct slot {
	uint64_t refs; /* 0: free */
	uint64_t head;
	uint64_t tag; /* 0: retired */
};

struct open_view {
	struct open_view *newer, *older;
	uint64_t head;
	struct view *view; /* NULL while it opens */
	size_t bytes;
	uint32_t users;
};

struct slots {
	struct slots_config cfg;
	pthread_mutex_t mu;
	pthread_cond_t opened;
	struct slot *table; /* Guarded by mu, like all below. */
	uint32_t cap;
	uint32_t *n, own_n; /* slots ever used; where the table is */
	struct open_view *newest, *oldest;
	uint32_t n_open;
	size_t bytes;
};

/* Before the table in memory that outlives the process. */
#define HEAD_BYTES 64u

size_t slots_bytes(void)
{
	return HEAD_BYTES + SLOTS_MAX * sizeof(struct slot);
}

int slots_new(const struct slots_config *cfg, struct slots **out)
{
	struct slots *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->cfg = *cfg;
	s->n = &s->own_n;
	if (cfg->mem) {
		s->n = cfg->mem;
		s->table = (struct slot *)((uint8_t *)cfg->mem + HEAD_BYTES);
		s->cap = SLOTS_MAX;
		if (*s->n > SLOTS_MAX)
			*s->n = SLOTS_MAX;
	}
	pthread_mutex_init(&s->mu, NULL);
	pthread_cond_init(&s->opened, NULL);
	*out = s;
	return 0;
}

static void unlink_locked(struct slots *s, struct open_view *ov)
{
	*(ov->newer ? &ov->newer->older : &s->newest) = ov->older;
	*(ov->older ? &ov->older->newer : &s->oldest) = ov->newer;
}

static void link_newest_locked(struct slots *s, struct open_view *ov)
{
	ov->newer = NULL;
	ov->older = s->newest;
	*(s->newest ? &s->newest->newer : &s->oldest) = ov;
	s->newest = ov;
}

void slots_free(struct slots *s)
{
	struct open_view *ov;

	if (!s)
		return;
	while ((ov = s->newest)) {
		assert(ov->users == 0);
		unlink_locked(s, ov);
		s->cfg.close(ov->view);
		free(ov);
	}
	pthread_cond_destroy(&s->opened);
	pthread_mutex_destroy(&s->mu);
	if (!s->cfg.mem)
		free(s->table);
	free(s);
}

static int grow_locked(struct slots *s)
{
	uint32_t cap = s->cap ? s->cap * 2 : TABLE_MIN;
	struct slot *table;

	if (*s->n == SLOTS_MAX)
		return -ENFILE;
	if (cap > SLOTS_MAX)
		cap = SLOTS_MAX;
	table = realloc(s->table, cap * sizeof(*table));
	if (!table)
		return -ENOMEM;
	s->table = table;
	s->cap = cap;
	return 0;
}

int slots_take(struct slots *s, uint64_t head, uint64_t tag, uint32_t *out_slot)
{
	uint32_t i, unused = NONE;
	int rc = 0;

	assert(head != 0 && tag != 0);
	pthread_mutex_lock(&s->mu);
	for (i = 0; i < *s->n; i++) {
		const struct slot *sl = &s->table[i];

		if (sl->refs != 0 && sl->head == head && sl->tag == tag)
			break;
		if (sl->refs == 0 && unused == NONE)
			unused = i;
	}
	if (i == *s->n) {
		i = unused;
		if (i == NONE && *s->n == s->cap)
			rc = grow_locked(s);
		if (rc == 0 && i == NONE)
			i = *s->n;
		if (rc == 0)
			s->table[i] = (struct slot){.head = head, .tag = tag};
		if (rc == 0 && i == *s->n)
			++*s->n;
	}
	if (rc == 0) {
		s->table[i].refs++;
		*out_slot = i;
	}
	pthread_mutex_unlock(&s->mu);
	return rc;
}

void slots_retire(struct slots *s, uint64_t tag)
{
	pthread_mutex_lock(&s->mu);
	for (uint32_t i = 0; i < *s->n; i++)
		if (s->table[i].tag == tag)
			s->table[i].tag = 0;
	pthread_mutex_unlock(&s->mu);
}

void slots_add(struct slots *s, uint32_t slot, uint64_t n)
{
	pthread_mutex_lock(&s->mu);
	assert(slot < *s->n && s->table[slot].refs > 0);
	s->table[slot].refs += n;
	pthread_mutex_unlock(&s->mu);
}

void slots_drop(struct slots *s, uint32_t slot, uint64_t n)
{
	pthread_mutex_lock(&s->mu);
	if (slot < *s->n)
		s->table[slot].refs -= n < s->table[slot].refs ? n : s->table[slot].refs;
	pthread_mutex_unlock(&s->mu);
}

/* The oldest view that has to go for the bound, taken out of the list, or NULL. */
static struct open_view *surplus_locked(struct slots *s)
{
	struct open_view *ov;

	if (s->bytes <= s->cfg.bytes_max || s->n_open <= SLOTS_VIEWS_MIN)
		return NULL;
	for (ov = s->oldest; ov && ov->users != 0; ov = ov->newer)
		;
	if (ov) {
		unlink_locked(s, ov);
		s->n_open--;
		s->bytes -= ov->bytes;
	}
	return ov;
}

static struct open_view *find_locked(struct slots *s, uint64_t head)
{
	struct open_view *ov;

	for (ov = s->newest; ov && ov->head != head; ov = ov->older)
		;
	return ov;
}

/*
 * Open the view of ${head}; others see that it opens, and wait.  REQUIRES(s->mu), released
 * meanwhile.
 */
static int open_locked(struct slots *s, uint64_t head, struct open_view **out)
{
	struct open_view *ov = calloc(1, sizeof(*ov));
	struct view *v = NULL;
	int rc;

	if (!ov)
		return -ENOMEM;
	ov->head = head;
	ov->users = 1;
	link_newest_locked(s, ov);
	s->n_open++;

	pthread_mutex_unlock(&s->mu);
	rc = s->cfg.open(s->cfg.ctx, head, &v);
	pthread_mutex_lock(&s->mu);

	ov->users--;
	pthread_cond_broadcast(&s->opened);
	if (rc < 0) {
		unlink_locked(s, ov);
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
	if (slot >= *s->n || s->table[slot].refs == 0) {
		pthread_mutex_unlock(&s->mu);
		return -ESTALE;
	}
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
		unlink_locked(s, ov);
		link_newest_locked(s, ov);
		*out = ov->view;
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

void slots_view_put(struct slots *s, struct view *v)
{
	struct open_view *ov;

	pthread_mutex_lock(&s->mu);
	for (ov = s->newest; ov && ov->view != v; ov = ov->older)
		;
	assert(ov && ov->users > 0);
	ov->users--;
	pthread_mutex_unlock(&s->mu);
}
