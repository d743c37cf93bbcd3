/* Walks through the past: one goes on at its head, and ends by a pause. */

#include "walks.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#define S UINT64_C(1000000000)
#define TAG 77

static const struct walks_process a = {.pid = 100, .started = 5};

static struct walks *make(void)
{
	struct walks *w;

	cr_assert_eq(walks_new(&w), 0);
	return w;
}

Test(walks, each_process_and_name_begins_anew)
{
	struct walks *w = make();
	struct walks_process b = {.pid = 101, .started = 5}, later = {.pid = 100, .started = 6};

	cr_assert_eq(walks_head(w, &a, TAG, 10 * S), 0);
	walks_begin(w, &a, TAG, 3, 10 * S);
	cr_assert_eq(walks_head(w, &a, TAG, 10 * S), 3);
	cr_assert_eq(walks_head(w, &b, TAG, 10 * S), 0);
	cr_assert_eq(walks_head(w, &later, TAG, 10 * S), 0);
	cr_assert_eq(walks_head(w, &a, TAG + 1, 10 * S), 0);
	walks_free(w);
}

Test(walks, one_look_lasts_a_second)
{
	struct walks *w = make();

	walks_begin(w, &a, TAG, 3, 10 * S);
	cr_assert_eq(walks_head(w, &a, TAG, 11 * S + 1), 0);
	walks_begin(w, &a, TAG, 4, 11 * S + 1);
	cr_assert_eq(walks_head(w, &a, TAG, 12 * S), 4);
	walks_free(w);
}

Test(walks, a_pause_may_be_as_long_as_the_walk_was)
{
	struct walks *w = make();

	walks_begin(w, &a, TAG, 3, 10 * S);
	for (unsigned i = 0; i <= 20; i++)
		cr_assert_eq(walks_head(w, &a, TAG, 10 * S + i * S), 3);
	cr_assert_eq(walks_head(w, &a, TAG, 49 * S), 3);
	/* It has lasted 39 s. */
	cr_assert_eq(walks_head(w, &a, TAG, 88 * S + 1), 0);
	walks_free(w);
}

Test(walks, no_pause_is_longer_than_a_minute)
{
	struct walks *w = make();

	walks_begin(w, &a, TAG, 3, 10 * S);
	for (unsigned i = 0; i <= 1000; i++)
		cr_assert_eq(walks_head(w, &a, TAG, 10 * S + i * S), 3);
	cr_assert_eq(walks_head(w, &a, TAG, 1070 * S + 1), 0);
	walks_free(w);
}

Test(walks, reading_is_no_pause)
{
	struct walks *w = make();

	walks_begin(w, &a, TAG, 3, 10 * S);
	walks_used(w, 3, 500 * S);
	walks_used(w, 4, 600 * S);
	cr_assert_eq(walks_head(w, &a, TAG, 560 * S), 3);
	walks_free(w);
}

Test(walks, too_many_take_the_place_of_those_that_paused)
{
	struct walks *w = make();
	struct walks_process p = {.started = 1};

	for (p.pid = 1; p.pid <= 3 * WALKS_MAX; p.pid++) {
		walks_begin(w, &p, TAG, p.pid, 10 * S + p.pid);
		cr_assert_eq(walks_head(w, &p, TAG, 10 * S + p.pid), p.pid);
	}
	walks_free(w);
}

static void *in_thread(void *arg)
{
	cr_assert_eq(walks_process((uint64_t)syscall(SYS_gettid), arg), 0);
	return NULL;
}

Test(walks, threads_are_of_one_process)
{
	struct walks_process self, of_thread;
	pthread_t t;

	cr_assert_eq(walks_process((uint64_t)getpid(), &self), 0);
	cr_assert_eq(self.pid, (uint64_t)getpid());
	cr_assert_gt(self.started, 0);
	pthread_create(&t, NULL, in_thread, &of_thread);
	pthread_join(t, NULL);
	cr_assert_eq(of_thread.pid, self.pid);
	cr_assert_eq(of_thread.started, self.started);
	cr_assert_lt(walks_process(0, &of_thread), 0);
}
