/*
 * Requests that were read and not yet answered.
 *
 * A table without order: a request is noted at the first free entry from the one that its number
 * says, and sought from there on.  Nearly always that is the first looked at, since numbers follow
 * each other and requests are soon answered.
 *
 * What is answered a moment before its process is killed may stay noted.  The kernel never uses a
 * number again, so it does no harm but to take up an entry, for a number of takeovers.
 */

#include "inflight.h"

#include <stddef.h>

#define STEPS_BITS 16
#define STEPS_MAX UINT64_C(0xffff)

static struct inflight *table;
static uint32_t takeovers;

/* The request that this thread handles; NULL: not noted. */
static _Thread_local struct inflight_entry *mine;
/* What was made of it before it was read. */
static _Thread_local uint32_t steps_before;

static unsigned home(uint64_t unique)
{
	/* The lowest bit is the kernel's for another use. */
	return (unsigned)(unique >> 1) & (INFLIGHT_MAX - 1);
}

static struct inflight_entry *find(uint64_t unique)
{
	for (unsigned i = 0, at = home(unique); i < INFLIGHT_MAX; i++, at++) {
		struct inflight_entry *e = &table->entry[at & (INFLIGHT_MAX - 1)];

		if (atomic_load_explicit(&e->unique, memory_order_relaxed) == unique)
			return e;
	}
	return NULL;
}

static void release(struct inflight_entry *e)
{
	/* Entries are taken by their number alone: the rest is right for the next one already. */
	atomic_store(&e->state, 0);
	atomic_store(&e->made, 0);
	atomic_store(&e->unique, 0);
}

void inflight_use(struct inflight *f, uint32_t takeover)
{
	table = f;
	takeovers = takeover;
	for (unsigned i = 0; f && i < INFLIGHT_MAX; i++)
		if (takeover - atomic_load(&f->entry[i].takeover) > INFLIGHT_AGE_MAX)
			release(&f->entry[i]);
}

static struct inflight_entry *take(uint64_t unique)
{
	for (unsigned i = 0, at = home(unique); i < INFLIGHT_MAX; i++, at++) {
		struct inflight_entry *e = &table->entry[at & (INFLIGHT_MAX - 1)];
		uint64_t none = 0;

		if (atomic_load_explicit(&e->unique, memory_order_relaxed) == 0 &&
		    atomic_compare_exchange_strong(&e->unique, &none, unique))
			return e;
	}
	return NULL;
}

void inflight_begin(uint64_t unique, bool again)
{
	mine = NULL;
	steps_before = 0;
	if (!table)
		return;
	if (again)
		mine = find(unique);
	if (mine)
		steps_before = (uint32_t)(atomic_load(&mine->state) & STEPS_MAX);
	else
		mine = take(unique);
	if (mine)
		atomic_store_explicit(&mine->takeover, takeovers, memory_order_relaxed);
}

void inflight_end(uint64_t unique)
{
	struct inflight_entry *e = mine;

	if (!table)
		return;
	if (!e || atomic_load_explicit(&e->unique, memory_order_relaxed) != unique)
		e = find(unique);
	if (e)
		release(e);
	if (e == mine)
		mine = NULL;
}

void inflight_changed(void *ctx, uint64_t number, uint64_t tag, uint64_t made)
{
	struct inflight_entry *e = mine;
	uint64_t state, steps;

	(void)ctx;
	if (!table)
		return;
	if (!e || atomic_load_explicit(&e->unique, memory_order_relaxed) != tag)
		e = find(tag);
	state = e ? atomic_load(&e->state) : 0;
	if (!e || number <= state >> STEPS_BITS)
		return;
	if (made)
		atomic_store(&e->made, made);
	/* One store, so that a change is counted once however often it is told. */
	steps = state & STEPS_MAX;
	atomic_store(&e->state, number << STEPS_BITS | (steps < STEPS_MAX ? steps + 1 : steps));
}

void inflight_mark(void)
{
	if (mine)
		atomic_fetch_add(&mine->state, 1);
}

uint32_t inflight_steps(void)
{
	return steps_before;
}

uint64_t inflight_made(void)
{
	return mine ? atomic_load(&mine->made) : 0;
}

bool inflight_has_made(uint64_t ino)
{
	for (unsigned i = 0; table && i < INFLIGHT_MAX; i++)
		if (atomic_load(&table->entry[i].unique) != 0 &&
		    atomic_load(&table->entry[i].made) == ino)
			return true;
	return false;
}

void inflight_each(void (*fn)(void *ctx, uint64_t unique), void *ctx)
{
	for (unsigned i = 0; table && i < INFLIGHT_MAX; i++) {
		uint64_t unique = atomic_load(&table->entry[i].unique);

		if (unique != 0)
			fn(ctx, unique);
	}
}

void inflight_clear(void)
{
	for (unsigned i = 0; table && i < INFLIGHT_MAX; i++)
		release(&table->entry[i]);
}
