/* Inodes without a name: a fake kernel says what it holds. */

#include "unnamed.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static bool held_now[2048];
static unsigned gone_count[2048];
static sem_t asked, went;
static atomic_bool pause_asking;
static sem_t go_on;

static bool held(void *ctx, uint64_t ino)
{
	bool h;

	(void)ctx;
	pthread_mutex_lock(&mu);
	h = held_now[ino];
	pthread_mutex_unlock(&mu);
	sem_post(&asked);
	if (atomic_load(&pause_asking))
		sem_wait(&go_on);
	return h;
}

static void gone(void *ctx, uint64_t ino)
{
	(void)ctx;
	pthread_mutex_lock(&mu);
	gone_count[ino]++;
	pthread_mutex_unlock(&mu);
	sem_post(&went);
}

static void set_held(uint64_t ino, bool h)
{
	pthread_mutex_lock(&mu);
	held_now[ino] = h;
	pthread_mutex_unlock(&mu);
}

static unsigned count(uint64_t ino)
{
	unsigned n;

	pthread_mutex_lock(&mu);
	n = gone_count[ino];
	pthread_mutex_unlock(&mu);
	return n;
}

static struct unnamed *make(void)
{
	struct unnamed_config cfg = {held, gone, NULL};
	struct unnamed *u;

	sem_init(&asked, 0, 0);
	sem_init(&went, 0, 0);
	sem_init(&go_on, 0, 0);
	cr_assert_eq(unnamed_new(&cfg, &u), 0);
	return u;
}

Test(unnamed, goes_when_forgotten)
{
	struct unnamed *u = make();

	unnamed_add(u, 5);
	unnamed_forget(u, 5);
	sem_wait(&went);
	cr_assert_eq(count(5), 1);
	unnamed_free(u);
}

Test(unnamed, named_inodes_are_nobodys_business)
{
	struct unnamed *u = make();

	unnamed_forget(u, 6);
	unnamed_add(u, 5);
	unnamed_forget(u, 6);
	unnamed_forget(u, 5);
	sem_wait(&went);
	unnamed_free(u);
	cr_assert_eq(count(6), 0);
}

Test(unnamed, an_overtaken_forget_does_no_harm)
{
	struct unnamed *u = make();

	set_held(5, true);
	unnamed_add(u, 5);
	unnamed_forget(u, 5); /* of an older reference */
	sem_wait(&asked);
	cr_assert_eq(count(5), 0);
	set_held(5, false);
	unnamed_forget(u, 5); /* of the newer one */
	sem_wait(&went);
	cr_assert_eq(count(5), 1);
	unnamed_free(u);
}

Test(unnamed, forgotten_again_while_asking)
{
	struct unnamed *u = make();

	atomic_store(&pause_asking, true);
	set_held(5, true);
	unnamed_add(u, 5);
	unnamed_forget(u, 5);
	sem_wait(&asked); /* it heard "held" */
	set_held(5, false);
	unnamed_forget(u, 5);
	atomic_store(&pause_asking, false);
	sem_post(&go_on);
	sem_wait(&went);
	cr_assert_eq(count(5), 1);
	unnamed_free(u);
}

Test(unnamed, many_each_once)
{
	struct unnamed *u = make();

	for (uint64_t i = 1; i < 2000; i++)
		unnamed_add(u, i);
	for (uint64_t i = 1; i < 2000; i++) {
		unnamed_forget(u, i);
		unnamed_forget(u, i);
	}
	for (uint64_t i = 1; i < 2000; i++)
		sem_wait(&went);
	unnamed_free(u);
	for (uint64_t i = 1; i < 2000; i++)
		cr_assert_eq(count(i), 1);
}

Test(unnamed, what_was_not_forgotten_stays)
{
	struct unnamed *u = make();

	unnamed_add(u, 5);
	unnamed_free(u);
	cr_assert_eq(count(5), 0);
}
