/* Slots of views of the past, over fake views that count. */

#include "slots.h"

#include "../stores.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct view {
	uint64_t head;
};

static atomic_int opens, closes;
static atomic_int fail_rc;
static pthread_barrier_t *hold; /* open() waits at it, if set */

static int open_fake(void *ctx, uint64_t head, struct view **out)
{
	(void)ctx;
	atomic_fetch_add(&opens, 1);
	if (hold)
		pthread_barrier_wait(hold);
	if (atomic_load(&fail_rc))
		return atomic_load(&fail_rc);
	*out = malloc(sizeof(**out));
	(*out)->head = head;
	return 0;
}

static void close_fake(struct view *v)
{
	atomic_fetch_add(&closes, 1);
	free(v);
}

static size_t bytes_fake(const struct view *v)
{
	(void)v;
	return 100;
}

static void *memory; /* of a table that outlives its process; NULL: none */

static struct slots *make(size_t bytes_max)
{
	struct slots_config cfg = {.open = open_fake,
				   .close = close_fake,
				   .bytes = bytes_fake,
				   .bytes_max = bytes_max,
				   .mem = memory};
	struct slots *s;

	cr_assert_eq(slots_new(&cfg, &s), 0);
	return s;
}

static uint32_t take(struct slots *s, uint64_t head, uint64_t tag)
{
	uint32_t slot = UINT32_MAX;

	cr_assert_eq(slots_take(s, head, tag, &slot), 0);
	return slot;
}

static void use(struct slots *s, uint32_t slot, uint64_t head)
{
	struct view *v;

	cr_assert_eq(slots_view(s, slot, &v), 0);
	cr_assert_eq(v->head, head);
	slots_view_put(s, slot, v);
}

Test(slots, one_slot_for_a_head_and_name)
{
	struct slots *s = make(1000);
	uint32_t a = take(s, 7, 1);

	cr_assert_eq(take(s, 7, 1), a);
	cr_assert_neq(take(s, 7, 2), a);
	cr_assert_neq(take(s, 8, 1), a);
	slots_free(s);
}

Test(slots, reused_only_at_zero)
{
	struct slots *s = make(1000);
	uint32_t a = take(s, 7, 1);
	struct view *v;

	slots_add(s, a, 3);
	slots_drop(s, a, 3);
	cr_assert_neq(take(s, 9, 1), a);
	use(s, a, 7);
	slots_drop(s, a, 1);
	cr_assert_eq(slots_view(s, a, &v), -ESTALE);
	cr_assert_eq(take(s, 10, 1), a);
	use(s, a, 10);
	slots_free(s);
}

Test(slots, dropping_too_much_is_harmless)
{
	struct slots *s = make(1000);
	uint32_t a = take(s, 7, 1);

	slots_drop(s, a, 100);
	slots_drop(s, 12345, 1);
	cr_assert_eq(take(s, 8, 1), a);
	slots_free(s);
}

Test(slots, retired_is_not_found_but_lives)
{
	struct slots *s = make(1000);
	uint32_t a = take(s, 7, 1);

	slots_retire(s, 1);
	cr_assert_neq(take(s, 7, 1), a);
	use(s, a, 7);
	slots_free(s);
}

Test(slots, own_ones_are_shared_with_nobody)
{
	struct slots *s = make(1000);
	uint32_t a = take(s, 7, 1), own[2];
	struct view *v;

	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(slots_take_own(s, a, 99, &own[i]), 0);
	cr_assert_neq(own[0], own[1]);
	cr_assert_eq(take(s, 7, 1), a);
	slots_drop(s, a, 2);
	use(s, own[0], 7);
	cr_assert_eq(slots_top(s, a), 1);
	cr_assert_eq(slots_top(s, own[0]), 99);
	/* From one that is in use without references. */
	cr_assert_eq(slots_view(s, own[0], &v), 0);
	slots_drop(s, own[0], 1);
	cr_assert_eq(slots_take_own(s, own[0], 99, &a), 0);
	slots_view_put(s, own[0], v);
	cr_assert_eq(slots_view(s, own[0], &v), -ESTALE);
	use(s, a, 7);
	slots_free(s);
}

Test(slots, files_leave_some_to_names)
{
	struct slots *s = make(1000);
	uint32_t a = take(s, 7, 1), own, n = 0;

	while (slots_take_own(s, a, 99, &own) == 0)
		n++;
	cr_assert_eq(n, SLOTS_MAX - SLOTS_RESERVE - 1);
	slots_drop(s, take(s, 7, 2), 1);
	cr_assert_eq(slots_take_own(s, a, 99, &own), -ENFILE);
	slots_drop(s, own, 1);
	cr_assert_eq(slots_take_own(s, a, 99, &own), 0);
	slots_free(s);
}

Test(slots, a_head_has_its_generation)
{
	struct slots *s = make(1000);
	uint32_t a = take(s, 7, 1), of_7 = slots_generation(s, a), own;

	cr_assert_eq(slots_take_own(s, a, 99, &own), 0);
	cr_assert_eq(slots_generation(s, own), of_7);
	slots_drop(s, a, 1);
	cr_assert_eq(take(s, 8, 1), a);
	cr_assert_neq(slots_generation(s, a), of_7);
	slots_free(s);
}

/* What a program before generations left: references, and zeros above. */
Test(slots, an_older_table_keeps_the_generation_of_old)
{
	uint64_t *slot;
	struct slots *s;

	memory = calloc(1, slots_bytes());
	*(uint32_t *)memory = 1;
	slot = (uint64_t *)((uint8_t *)memory + 64);
	slot[0] = 3, slot[1] = 7, slot[2] = 1;
	s = make(1000);
	cr_assert_eq(take(s, 7, 1), 0);
	cr_assert_eq(slots_generation(s, 0), 1);
	cr_assert(slots_of_older(s));
	slots_drop(s, 0, 4);
	cr_assert_not(slots_of_older(s));
	cr_assert_eq(take(s, 7, 1), 0);
	cr_assert_neq(slots_generation(s, 0), 1);
	cr_assert_not(slots_of_older(s));
	slots_free(s);
	free(memory);
}

Test(slots, one_view_for_all_names_of_a_head)
{
	struct slots *s = make(1000);

	use(s, take(s, 7, 1), 7);
	use(s, take(s, 7, 2), 7);
	cr_assert_eq(opens, 1);
	slots_free(s);
	cr_assert_eq(closes, 1);
}

Test(slots, oldest_unused_view_goes_first)
{
	struct slots *s = make(300); /* three views */
	uint32_t slot[4];
	struct view *pinned;

	for (unsigned i = 0; i < 4; i++)
		slot[i] = take(s, 10 + i, 1);
	cr_assert_eq(slots_view(s, slot[0], &pinned), 0);
	use(s, slot[1], 11);
	use(s, slot[2], 12);
	cr_assert_eq(closes, 0);
	use(s, slot[3], 13); /* one too many: not the pinned one, so 11 */
	cr_assert_eq(closes, 1);
	cr_assert_eq(pinned->head, 10);
	use(s, slot[2], 12);
	cr_assert_eq(opens, 4);
	use(s, slot[1], 11);
	cr_assert_eq(opens, 5);
	slots_view_put(s, slot[0], pinned);
	slots_free(s);
	cr_assert_eq(opens, closes);
}

Test(slots, a_few_stay_whatever_they_cost)
{
	struct slots *s = make(0);
	uint32_t a = take(s, 1, 1), b = take(s, 2, 1);

	use(s, a, 1);
	use(s, b, 2);
	use(s, a, 1);
	cr_assert_eq(opens, SLOTS_VIEWS_MIN);
	slots_free(s);
}

Test(slots, failure_to_open_is_passed_on_and_forgotten)
{
	struct slots *s = make(1000);
	uint32_t a = take(s, 7, 1);
	struct view *v;

	fail_rc = -EIO;
	cr_assert_eq(slots_view(s, a, &v), -EIO);
	fail_rc = 0;
	use(s, a, 7);
	slots_free(s);
}

struct caller {
	struct slots *s;
	uint32_t slot;
	int rc;
};

static void *call(void *arg)
{
	struct caller *c = arg;
	struct view *v;

	c->rc = slots_view(c->s, c->slot, &v);
	if (c->rc == 0)
		slots_view_put(c->s, c->slot, v);
	return NULL;
}

Test(slots, many_threads_open_once)
{
	struct slots *s = make(1000);
	uint32_t slot = take(s, 7, 1);
	struct caller callers[8];
	pthread_barrier_t barrier;
	pthread_t threads[8];

	pthread_barrier_init(&barrier, NULL, 2);
	hold = &barrier;
	for (unsigned i = 0; i < 8; i++) {
		callers[i] = (struct caller){.s = s, .slot = slot};
		pthread_create(&threads[i], NULL, call, &callers[i]);
	}
	pthread_barrier_wait(&barrier); /* one is inside open(); others wait for it or come later */
	for (unsigned i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		cr_assert_eq(callers[i].rc, 0);
	}
	cr_assert_eq(opens, 1);
	hold = NULL;
	slots_free(s);
	pthread_barrier_destroy(&barrier);
}

Test(slots, forgotten_while_it_opens)
{
	struct slots *s = make(1000);
	struct caller c = {.s = s, .slot = take(s, 7, 1)};
	pthread_barrier_t barrier;
	pthread_t thread;

	pthread_barrier_init(&barrier, NULL, 2);
	hold = &barrier;
	pthread_create(&thread, NULL, call, &c);
	while (atomic_load(&opens) == 0)
		sched_yield();
	slots_drop(s, c.slot, 1);
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	cr_assert_eq(c.rc, 0);
	hold = NULL;
	cr_assert_eq(take(s, 8, 1), c.slot);
	slots_free(s);
	pthread_barrier_destroy(&barrier);
}

/* LOOKUP of a node by its id alone: the kernel may forget the slot's last node before the answer. */
Test(slots, forgotten_while_a_request_uses_it)
{
	struct slots *s = make(1000);
	uint32_t a = take(s, 7, 1);
	struct view *v;

	cr_assert_eq(slots_view(s, a, &v), 0);
	slots_drop(s, a, 1);
	cr_assert_neq(take(s, 8, 1), a);
	cr_assert_eq(take(s, 7, 1), a);
	slots_drop(s, a, 1);
	slots_add(s, a, 2);
	slots_view_put(s, a, v);
	use(s, a, 7);
	slots_drop(s, a, 2);
	cr_assert_eq(slots_view(s, a, &v), -ESTALE);
	slots_free(s);
}

Test(slots, the_table_has_an_end)
{
	struct slots *s = make(0);
	uint32_t slot;

	/* names, not heads, so that nothing is opened */
	for (uint64_t i = 1; i <= SLOTS_MAX; i++)
		(void)take(s, 1, i);
	cr_assert_eq(slots_take(s, 1, SLOTS_MAX + 1, &slot), -ENFILE);
	slots_drop(s, 4321, 1);
	cr_assert_eq(take(s, 1, SLOTS_MAX + 1), 4321);
	cr_assert_eq(take(s, 1, 4321), 4320);
	slots_free(s);
}

/* With too many in use those used least recently are offered, each once. */
Test(slots, surplus)
{
	struct slots *s = make(1000);
	uint32_t out[8];
	struct view *v;

	for (uint32_t i = 0; i < SLOTS_KEPT; i++)
		cr_assert_eq(take(s, 1, i + 1), i);
	cr_assert_not(slots_too_many(s));
	cr_assert_eq(slots_surplus(s, out, 8), 0);

	for (uint32_t i = SLOTS_KEPT; i < SLOTS_KEPT + 3; i++)
		cr_assert_eq(take(s, 1, i + 1), i);
	cr_assert(slots_too_many(s));
	(void)take(s, 1, 1);		       /* slot 0 is used again */
	cr_assert_eq(slots_view(s, 2, &v), 0); /* slot 2 is in use now */
	cr_assert_eq(slots_surplus(s, out, 2), 2);
	cr_assert(out[0] == 1 && out[1] == 3);
	cr_assert_eq(slots_surplus(s, out, 8), 3);
	cr_assert(out[0] == 4 && out[1] == 5 && out[2] == 6);
	slots_drop(s, 1, 1);
	slots_drop(s, 3, 1);
	cr_assert_eq(slots_surplus(s, out, 8), 1);
	slots_drop(s, 4, 1);
	cr_assert_not(slots_too_many(s));
	cr_assert_eq(slots_surplus(s, out, 8), 0);
	slots_view_put(s, 2, v);
	slots_free(s);
}

Test(slots, surplus_has_an_end)
{
	struct slots *s = make(1000);
	uint32_t out[8];
	unsigned n, sum = 0;

	for (uint32_t i = 0; i < SLOTS_KEPT + 100; i++)
		(void)take(s, 1, i + 1);
	while ((n = slots_surplus(s, out, 8)) > 0)
		sum += n;
	cr_assert_eq(sum, SLOTS_KEPT + 100);
	slots_free(s);
}

/* A process that takes over finds every slot that the kernel has nodes of. */
Test(slots, a_table_that_outlives_its_process)
{
	struct slots *s, *after;
	struct view *v;
	uint32_t a, b;

	memory = calloc(1, slots_bytes());
	s = make(1000);
	a = take(s, 7, 1);
	b = take(s, 8, 2);
	slots_add(s, a, 2);
	slots_drop(s, b, 1);
	use(s, a, 7);

	after = make(1000);
	use(after, a, 7);
	cr_assert_eq(slots_view(after, b, &v), -ESTALE);
	cr_assert_eq(take(after, 7, 1), a);
	cr_assert_eq(take(after, 9, 3), b);
	slots_drop(after, a, 3);
	use(after, a, 7);
	slots_drop(after, a, 1);
	cr_assert_eq(slots_view(after, a, &v), -ESTALE);
	slots_free(after);
	slots_free(s);
	free(memory);
	memory = NULL;
}

/* ---- killed at each store ---- */

#define WATCHED 512u /* the count, and the first slots */

static struct slots *living;
static unsigned *step; /* how far it came, in memory that is not watched */

/* Slots that were of other heads and names before: what is left of those must not be seen. */
static void live(void *arg)
{
	uint32_t named, own;

	(void)arg;
	named = take(living, 21, 5);
	*step = 1;
	if (slots_take_own(living, named, 500, &own) < 0)
		_exit(3);
	*step = 2;
	slots_add(living, named, 3);
	*step = 3;
	slots_drop(living, own, 1);
	*step = 4;
	slots_retire(living, 5);
	*step = 5;
	slots_drop(living, named, 4);
	*step = 6;
}

/* Whether it is in use; if so it is of head 21 and of the name or file that it was taken for. */
static bool is_whole(struct slots *s, uint32_t slot, uint64_t top)
{
	struct view *v;

	if (slots_view(s, slot, &v) < 0)
		return false;
	cr_assert_eq(v->head, 21, "slot %u is of head %ju", slot, (uintmax_t)v->head);
	cr_assert_eq(slots_top(s, slot), top, "slot %u", slot);
	cr_assert_eq(slots_generation(s, slot), 21 % 0xffffff + 2);
	slots_view_put(s, slot, v);
	return true;
}

static void succeed(uint32_t named, uint32_t own)
{
	struct slots *s = make(1000);
	bool has_named = is_whole(s, named, 1), has_own = is_whole(s, own, 500);

	/* A reference is counted before the kernel can have it, and dropped after it has gone. */
	if (*step >= 1 && *step < 5)
		cr_assert(has_named, "step %u", *step);
	if (*step >= 2 && *step < 3)
		cr_assert(has_own, "step %u", *step);
	if (*step == 0)
		cr_assert_not(has_own);
	if (*step == 6)
		cr_assert(!has_named && !has_own);
	/* All references that the kernel can have are counted. */
	if (*step == 3) {
		slots_drop(s, named, 3);
		cr_assert(is_whole(s, named, 1));
	}
	use(s, take(s, 30, 9), 30);
	slots_free(s);
}

Test(slots, killed_at_each_store, .timeout = 120)
{
	uint32_t first, second;
	unsigned nth = 0;
	int rc;

	memory = mmap(NULL, slots_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	step = mmap(NULL, sizeof(*step), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert(memory != MAP_FAILED && step != MAP_FAILED);
	do {
		memset(memory, 0, slots_bytes());
		*step = 0;
		living = make(1000);
		/* The two that are used next. */
		second = take(living, 3, 7);
		first = take(living, 4, 8);
		slots_drop(living, second, 1);
		slots_drop(living, first, 1);
		rc = stores_kill_at(live, NULL, memory, WATCHED, ++nth);
		if (rc < 0)
			cr_skip_test("processes can't be traced here");
		slots_free(living);
		succeed(first, second);
	} while (rc > 0);
	cr_expect_gt(nth, 10, "stores were counted");
}
