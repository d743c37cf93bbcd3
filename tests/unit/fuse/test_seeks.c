/* Questions about holes: a fake kernel writes back when the test lets it. */

#include "seeks.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>

static sem_t asked, go_on, answered;
static atomic_bool held; /* flush() waits for go_on */
static atomic_bool cancelled;
static uint64_t flushed[8];
static unsigned n_flushed;
static uint64_t offs[SEEKS_WAITING_MAX + 8];
static int rcs[SEEKS_WAITING_MAX + 8];
static unsigned n_answers;

static int flush(void *ctx, uint64_t ino)
{
	(void)ctx;
	if (n_flushed < 8)
		flushed[n_flushed++] = ino;
	sem_post(&asked);
	if (atomic_load(&held))
		sem_wait(&go_on);
	if (atomic_load(&cancelled))
		return -EINTR;
	return ino == 13 ? -ENOSYS : 0;
}

static void answer(void *ctx, const struct seek *s, int rc)
{
	(void)ctx;
	offs[n_answers] = s->off;
	rcs[n_answers++] = rc;
	sem_post(&answered);
}

static void cancel(void *ctx)
{
	(void)ctx;
	atomic_store(&cancelled, true);
	sem_post(&go_on);
}

static struct seeks *make(bool hold)
{
	struct seeks_config cfg = {flush, answer, cancel, NULL};
	struct seeks *q;

	sem_init(&asked, 0, 0);
	sem_init(&go_on, 0, 0);
	sem_init(&answered, 0, 0);
	atomic_store(&held, hold);
	cr_assert_eq(seeks_new(&cfg, &q), 0);
	return q;
}

static int ask(struct seeks *q, uint64_t ino, uint64_t off)
{
	struct seek s = {.ino = ino, .off = off};

	return seeks_ask(q, &s);
}

Test(seeks, each_is_answered_after_its_flush)
{
	struct seeks *q = make(false);

	cr_assert_eq(ask(q, 7, 100), 0);
	cr_assert_eq(ask(q, 13, 200), 0);
	sem_wait(&answered);
	sem_wait(&answered);
	seeks_free(q);
	cr_assert_eq(n_flushed, 2);
	cr_assert_eq(flushed[0], 7);
	cr_assert_eq(flushed[1], 13);
	cr_assert_eq(offs[0], 100);
	cr_assert_eq(rcs[0], 0);
	cr_assert_eq(offs[1], 200);
	cr_assert_eq(rcs[1], -ENOSYS);
}

Test(seeks, what_waits_is_bounded_and_answered_at_the_end)
{
	struct seeks *q = make(true);

	cr_assert_eq(ask(q, 1, 0), 0);
	sem_wait(&asked); /* it is out of the queue */
	for (unsigned i = 0; i < SEEKS_WAITING_MAX; i++)
		cr_assert_eq(ask(q, 1, i + 1), 0);
	cr_assert_eq(ask(q, 1, 0), -ENOMEM);
	seeks_free(q);
	cr_assert_eq(n_answers, SEEKS_WAITING_MAX + 1);
	cr_assert_eq(n_flushed, 1);
	for (unsigned i = 0; i < n_answers; i++) {
		cr_assert_eq(offs[i], i);
		cr_assert_eq(rcs[i], -EINTR);
	}
}

Test(seeks, nothing_is_asked_once_it_has_stopped)
{
	struct seeks *q = make(false);

	cr_assert_eq(ask(q, 7, 100), 0);
	sem_wait(&answered);
	seeks_stop(q);
	seeks_stop(q);
	cr_assert_eq(ask(q, 13, 200), -EINTR);
	seeks_free(q);
	cr_assert_eq(n_answers, 1);
}

Test(seeks, nothing_to_free)
{
	seeks_stop(NULL);
	seeks_free(NULL);
}
