/*
 * A record of which changes of a request were made.
 */

#include "note.h"

#define STEPS_BITS 16
#define STEPS_MAX UINT64_C(0xffff)

void note_change(struct change_note *n, uint64_t tag, uint64_t number, inode_no made)
{
	uint64_t state, steps;

	if (atomic_load_explicit(&n->tag, memory_order_relaxed) != tag)
		return;
	state = atomic_load(&n->state);
	if (number <= state >> STEPS_BITS)
		return;
	if (made)
		atomic_store(&n->made, made);
	/*
	 * Number and count change in one store, so that a change is counted once however often it
	 * is noted.
	 */
	steps = state & STEPS_MAX;
	atomic_store(&n->state, number << STEPS_BITS | (steps < STEPS_MAX ? steps + 1 : steps));
}

void note_mark(struct change_note *n)
{
	atomic_fetch_add(&n->state, 1);
}

uint32_t note_steps(const struct change_note *n)
{
	return (uint32_t)(atomic_load(&n->state) & STEPS_MAX);
}
