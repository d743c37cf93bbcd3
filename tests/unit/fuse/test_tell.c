/* What the kernel is told of its own accord, with a list in the kernel's place. */

#include "tell.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t told = PTHREAD_COND_INITIALIZER;
static uint64_t list[2 * TELL_TABLE];
static unsigned n, n_views;

static void attributes(void *ctx, uint64_t ino)
{
	(void)ctx;
	pthread_mutex_lock(&mu);
	list[n++] = ino;
	pthread_cond_broadcast(&told);
	pthread_mutex_unlock(&mu);
}

static void views(void *ctx)
{
	(void)ctx;
	pthread_mutex_lock(&mu);
	n_views++;
	pthread_cond_broadcast(&told);
	pthread_mutex_unlock(&mu);
}

static struct tell *make(void)
{
	struct tell_config cfg = {.attributes = attributes, .views = views};
	struct tell *t;

	cr_assert_eq(tell_new(&cfg, &t), 0);
	return t;
}

static void wait_until_told(unsigned wanted)
{
	pthread_mutex_lock(&mu);
	while (n < wanted)
		pthread_cond_wait(&told, &mu);
	pthread_mutex_unlock(&mu);
}

static unsigned times(uint64_t ino)
{
	unsigned found = 0;

	pthread_mutex_lock(&mu);
	for (unsigned i = 0; i < n; i++)
		found += list[i] == ino;
	pthread_mutex_unlock(&mu);
	return found;
}

Test(tell, once_for_many_writes, .timeout = 30)
{
	struct tell *t = make();

	for (unsigned i = 0; i < 100; i++)
		tell_written(t, 7);
	tell_written(t, 8);
	wait_until_told(2);
	cr_assert(times(7) == 1 && times(8) == 1);
	tell_written(t, 7); /* and again after that */
	wait_until_told(3);
	cr_assert_eq(times(7), 2);
	tell_free(t);
}

Test(tell, a_sync_tells_at_once_but_not_each)
{
	struct tell *t = make();

	tell_synced(t, 7); /* nothing was written */
	cr_assert_eq(times(7), 0);
	tell_written(t, 7);
	tell_synced(t, 7);
	cr_assert_eq(times(7), 1);
	tell_written(t, 7);
	tell_synced(t, 7);
	cr_assert_eq(times(7), 1);
	tell_free(t);
}

/* More files than there are places: none is left out. */
Test(tell, each_of_many, .timeout = 30)
{
	struct tell *t = make();

	for (uint64_t ino = 1; ino <= 2 * TELL_TABLE; ino++)
		tell_written(t, ino);
	wait_until_told(2 * TELL_TABLE);
	for (uint64_t ino = 1; ino <= 2 * TELL_TABLE; ino += 97)
		cr_assert_eq(times(ino), 1);
	tell_free(t);
}

Test(tell, views_do_not_wait_for_writes, .timeout = 30)
{
	struct tell *t = make();

	tell_views(t);
	pthread_mutex_lock(&mu);
	while (n_views == 0)
		pthread_cond_wait(&told, &mu);
	pthread_mutex_unlock(&mu);
	tell_written(t, 7);
	tell_free(t);
}
