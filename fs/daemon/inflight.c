/*
 * Requests that were read and not yet answered.
 *
 * An unordered table.  A request's number gives the first entry to try; it is noted at the first
 * free entry from there on, and looked up from there on.  That is nearly always the first one
 * tried, since numbers are consecutive and requests are soon answered.
 *
 * A request that was answered a moment before the process was killed may stay noted.  The kernel
 * never uses a number again, so such a note is harmless; it takes up an entry for a number of
 * takeovers.
 */

#include "inflight.h"

#include <stddef.h>

static struct inflight *table;
static uint32_t takeovers;

static unsigned home(uint64_t unique)
{
	/* The lowest bit has another meaning to the kernel. */
	return (unsigned)(unique >> 1) & (INFLIGHT_MAX - 1);
}

static struct inflight_entry *find(uint64_t unique)
{
	for (unsigned i = 0, at = home(unique); i < INFLIGHT_MAX; i++, at++) {
		struct inflight_entry *e = &table->entry[at & (INFLIGHT_MAX - 1)];

		if (atomic_load_explicit(&e->note.tag, memory_order_relaxed) == unique)
			return e;
	}
	return NULL;
}

static void release(struct inflight_entry *e)
{
	/* An entry is free once its number is 0, so the other fields must be reset before that. */
	atomic_store(&e->note.state, 0);
	atomic_store(&e->note.made, 0);
	atomic_store(&e->note.tag, 0);
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

		if (atomic_load_explicit(&e->note.tag, memory_order_relaxed) == 0 &&
		    atomic_compare_exchange_strong(&e->note.tag, &none, unique))
			return e;
	}
	return NULL;
}

void inflight_begin(uint64_t unique, bool again, struct inflight_request *out)
{
	struct inflight_entry *e = NULL;

	*out = (struct inflight_request){.note = NULL};
	if (!table)
		return;
	if (again)
		e = find(unique);
	if (e) {
		out->steps = note_steps(&e->note);
		out->made = atomic_load(&e->note.made);
	} else {
		e = take(unique);
	}
	if (!e)
		return;
	out->note = &e->note;
	atomic_store_explicit(&e->takeover, takeovers, memory_order_relaxed);
}

void inflight_end(uint64_t unique)
{
	struct inflight_entry *e = table ? find(unique) : NULL;

	if (e)
		release(e);
}

struct change_note *inflight_note_of(void *ctx, uint64_t unique)
{
	struct inflight_entry *e = table ? find(unique) : NULL;

	(void)ctx;
	return e ? &e->note : NULL;
}

bool inflight_has_made(inode_no ino)
{
	for (unsigned i = 0; table && i < INFLIGHT_MAX; i++)
		if (atomic_load(&table->entry[i].note.tag) != 0 &&
		    atomic_load(&table->entry[i].note.made) == ino)
			return true;
	return false;
}

void inflight_each(void (*fn)(void *ctx, uint64_t unique), void *ctx)
{
	for (unsigned i = 0; table && i < INFLIGHT_MAX; i++) {
		uint64_t unique = atomic_load(&table->entry[i].note.tag);

		if (unique != 0)
			fn(ctx, unique);
	}
}

void inflight_clear(void)
{
	for (unsigned i = 0; table && i < INFLIGHT_MAX; i++)
		release(&table->entry[i]);
}
