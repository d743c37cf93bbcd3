/* Requests under way: what a process that takes over is told of them. */

#include "inflight.h"

#include "../stores.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

static struct inflight f;
static _Thread_local struct inflight_request known; /* of the request that was read last */

static void begin(uint64_t unique, bool again)
{
	inflight_begin(unique, again, &known);
}

/* As the volume does, with what a request was given when it was read. */
static void changed(uint64_t number, uint64_t tag, uint64_t made)
{
	struct change_note *n = inflight_note_of(NULL, tag);

	if (n)
		note_change(n, tag, number, made);
}

static void setup(void)
{
	memset(&f, 0, sizeof(f));
	inflight_use(&f, 0);
}

TestSuite(inflight, .init = setup);

static void count(void *ctx, uint64_t unique)
{
	(void)unique;
	++*(unsigned *)ctx;
}

static unsigned under_way(void)
{
	unsigned n = 0;

	inflight_each(count, &n);
	return n;
}

Test(inflight, an_answered_one_is_forgotten)
{
	begin(10, false);
	cr_assert_eq(under_way(), 1);
	changed(1, 10, 77);
	cr_assert(inflight_has_made(77));
	inflight_end(10);
	cr_assert_eq(under_way(), 0);
	cr_assert_not(inflight_has_made(77));
	/* The entry is as new for the next. */
	begin(10 + 2 * INFLIGHT_MAX, true);
	cr_assert_eq(known.steps, 0);
	cr_assert_eq(known.made, 0);
}

Test(inflight, the_successor_knows_the_changes)
{
	begin(10, false);
	cr_assert_eq(known.steps, 0);
	changed(5, 10, 77);
	changed(6, 10, 0);
	/* What this process itself does is not what one before it did. */
	cr_assert_eq(known.steps, 0);

	inflight_use(&f, 1);
	begin(10, true);
	cr_assert_eq(known.steps, 2);
	cr_assert_eq(known.made, 77);
	inflight_end(10);
	begin(12, true);
	cr_assert_eq(known.steps, 0);
	cr_assert_eq(known.made, 0);
}

Test(inflight, a_change_told_twice_counts_once)
{
	begin(10, false);
	changed(5, 10, 77);
	inflight_use(&f, 1);
	/* The journal's entries, told when they are replayed: one known, one not. */
	changed(5, 10, 77);
	changed(6, 10, 0);
	changed(7, 99, 0); /* answered long ago */
	begin(10, true);
	cr_assert_eq(known.steps, 2);
}

Test(inflight, a_mark_is_seen_by_the_successor)
{
	begin(10, false);
	note_mark(known.note);
	inflight_use(&f, 1);
	begin(10, true);
	cr_assert_eq(known.steps, 1);
}

Test(inflight, a_full_table_does_no_harm)
{
	/* Numbers that all have the same place, more than there are. */
	for (uint64_t i = 0; i < INFLIGHT_MAX + 10; i++)
		begin(2 + i * 2 * INFLIGHT_MAX, false);
	cr_assert_eq(under_way(), INFLIGHT_MAX);
	changed(1, 2 + (INFLIGHT_MAX + 9) * 2 * INFLIGHT_MAX, 0);
	for (uint64_t i = 0; i < INFLIGHT_MAX + 10; i++)
		inflight_end(2 + i * 2 * INFLIGHT_MAX);
	cr_assert_eq(under_way(), 0);
}

Test(inflight, what_is_never_asked_again_is_dropped_in_time)
{
	begin(10, false);
	inflight_use(&f, INFLIGHT_AGE_MAX);
	cr_assert_eq(under_way(), 1);
	inflight_use(&f, INFLIGHT_AGE_MAX + 1);
	cr_assert_eq(under_way(), 0);
}

Test(inflight, without_a_table_nothing_is_noted)
{
	inflight_use(NULL, 0);
	begin(10, true);
	changed(1, 10, 5);
	cr_assert_eq(known.steps, 0);
	inflight_end(10);
	cr_assert_eq(under_way(), 0);
}

static void *be_worker(void *arg)
{
	uint64_t first = (uint64_t)(uintptr_t)arg;

	for (uint64_t i = 0; i < 100000; i++) {
		uint64_t unique = first + i * 16;

		begin(unique, false);
		changed(unique, unique, 0);
		inflight_end(unique);
	}
	return NULL;
}

Test(inflight, threads_do_not_lose_entries)
{
	pthread_t t[4];

	for (uintptr_t i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&t[i], NULL, be_worker, (void *)(2 * i + 2)), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	cr_assert_eq(under_way(), 0);
}

/* ---- killed at each store ---- */

#define FIRST_REQUEST 10u
#define OTHER_REQUEST 12u

/*
 * What the process that is killed had done, in memory that is not watched.  The journal is older than
 * the note: a change is in it before note_change() is called.
 */
struct done {
	unsigned journaled;
	bool read[2], answered[2];
};

static struct inflight *shared;
static struct done *done;

/* In the journal: the request, and the inode that was made or 0; numbered from 1. */
static const struct {
	uint64_t tag, made;
} changes[] = {
	{FIRST_REQUEST, 77}, {OTHER_REQUEST, 0}, {FIRST_REQUEST, 0},
	{OTHER_REQUEST, 88}, {FIRST_REQUEST, 0},
};
#define N_CHANGES (sizeof(changes) / sizeof(changes[0]))

static void change(unsigned number)
{
	done->journaled = number;
	changed(number, changes[number - 1].tag, changes[number - 1].made);
}

static void live(void *arg)
{
	(void)arg;
	begin(OTHER_REQUEST, false);
	done->read[1] = true;
	begin(FIRST_REQUEST, false);
	done->read[0] = true;
	for (unsigned i = 1; i <= N_CHANGES; i++)
		change(i);
	done->answered[0] = true;
	inflight_end(FIRST_REQUEST);
	done->answered[1] = true;
	inflight_end(OTHER_REQUEST);
}

/* The kernel gives it again: what was made of it is known, once each. */
static void check_request(uint64_t unique)
{
	uint64_t made = 0;
	unsigned steps = 0;

	for (unsigned i = 0; i < done->journaled; i++) {
		if (changes[i].tag != unique)
			continue;
		steps++;
		if (changes[i].made)
			made = changes[i].made;
	}
	begin(unique, true);
	cr_assert_eq(known.steps, steps, "%u of %u changes", known.steps, steps);
	cr_assert_eq(known.made, made);
	inflight_end(unique);
}

static void succeed(void)
{
	inflight_use(shared, 2);
	for (unsigned i = 1; i <= done->journaled; i++)
		changed(i, changes[i - 1].tag, changes[i - 1].made);
	if (!done->answered[0] && done->read[0])
		check_request(FIRST_REQUEST);
	if (!done->answered[1] && done->read[1])
		check_request(OTHER_REQUEST);
	/* What was answered, or was not said to be read, may be noted: no more than that. */
	cr_assert_leq(under_way(), 2);
}

Test(inflight, killed_at_each_store, .timeout = 120)
{
	unsigned nth = 0;
	int rc;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	done = mmap(NULL, sizeof(*done), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert(shared != MAP_FAILED && done != MAP_FAILED);
	do {
		memset(shared, 0, sizeof(*shared));
		memset(done, 0, sizeof(*done));
		inflight_use(shared, 1);
		rc = stores_kill_at(live, NULL, shared, sizeof(*shared), ++nth);
		if (rc < 0)
			cr_skip_test("processes can't be traced here");
		succeed();
	} while (rc > 0);
	cr_expect_gt(nth, 12, "stores were counted");
}
