/*
 * Threads, locks and conditions of the code under test, as fibers; linked in their place by
 * --wrap, so that the libraries keep theirs.
 *
 * A lock's memory holds who has it; who waits for it waits on its address.  Where another thread
 * could run, at a lock, another fiber may (fiber_pause()).  Conditions wake for no reason now and
 * then, as they are allowed to.
 */

#include "clock.h"
#include "err.h"
#include "locks.h"
#include "world.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct lock {
	struct fiber *owner; /* for writing */
	unsigned readers;
	unsigned waiting; /* at least: who was ended here is still counted */
};

_Static_assert(sizeof(struct lock) <= sizeof(pthread_mutex_t), "a lock fits a mutex");
_Static_assert(sizeof(struct lock) <= sizeof(pthread_rwlock_t), "a lock fits a rwlock");

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
int __wrap_pthread_join(pthread_t t, void **out);
int __wrap_pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *attr);
int __wrap_pthread_mutex_destroy(pthread_mutex_t *m);
int __wrap_pthread_mutex_lock(pthread_mutex_t *m);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *m);
int __wrap_pthread_rwlock_init(pthread_rwlock_t *l, const pthread_rwlockattr_t *attr);
int __wrap_pthread_rwlock_destroy(pthread_rwlock_t *l);
int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *l);
int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *l);
int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *l);
int __wrap_pthread_cond_init(pthread_cond_t *c, const pthread_condattr_t *attr);
int __wrap_pthread_cond_destroy(pthread_cond_t *c);
int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m) REQUIRES(*m);
int __wrap_pthread_cond_signal(pthread_cond_t *c);
int __wrap_pthread_cond_broadcast(pthread_cond_t *c);
int64_t __wrap_clock_wall_ns(void);
uint64_t __wrap_clock_mono_ns(void);
struct timespec __wrap_clock_stamp(void);
void __wrap_clock_cond_init(pthread_cond_t *cond);
int __wrap_clock_wait(pthread_cond_t *cond, pthread_mutex_t *mu, uint64_t until_ns);
int __wrap_usleep(useconds_t us);
int __wrap_sched_yield(void);
int __wrap_err_say(int rc, const char *fmt, ...) PRINTF_LIKE(2, 3);
const char *__wrap_err_detail(int rc);

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	(void)attr;
	*t = (pthread_t)(uintptr_t)fiber_start(fiber_machine(), fn, arg);
	return 0;
}

int __wrap_pthread_join(pthread_t t, void **out)
{
	const struct fiber *f = (const struct fiber *)(uintptr_t)t;

	assert(!out);
	fiber_join(f);
	return 0;
}

/* ---- locks ---- */

int __wrap_pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *attr)
{
	(void)attr;
	memset(m, 0, sizeof(*m));
	return 0;
}

int __wrap_pthread_mutex_destroy(pthread_mutex_t *m)
{
	assert(!((struct lock *)m)->owner);
	return 0;
}

static void wait_for(struct lock *l)
{
	l->waiting++;
	(void)fiber_wait(l, WORLD_NEVER);
	l->waiting--;
}

static void lock_write(struct lock *l)
{
	fiber_pause();
	assert(l->owner != fiber_self());
	while (l->owner || l->readers > 0)
		wait_for(l);
	l->owner = fiber_self();
}

static void unlock(struct lock *l)
{
	if (l->owner) {
		assert(l->owner == fiber_self());
		l->owner = NULL;
	} else {
		assert(l->readers > 0);
		l->readers--;
	}
	if (l->waiting > 0)
		fiber_wake(l, true);
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *m)
{
	lock_write((struct lock *)m);
	return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *m)
{
	unlock((struct lock *)m);
	return 0;
}

int __wrap_pthread_rwlock_init(pthread_rwlock_t *l, const pthread_rwlockattr_t *attr)
{
	(void)attr;
	memset(l, 0, sizeof(*l));
	return 0;
}

int __wrap_pthread_rwlock_destroy(pthread_rwlock_t *l)
{
	assert(!((struct lock *)l)->owner && ((struct lock *)l)->readers == 0);
	return 0;
}

int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *l)
{
	struct lock *k = (struct lock *)l;

	fiber_pause();
	while (k->owner)
		wait_for(k);
	k->readers++;
	return 0;
}

int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *l)
{
	lock_write((struct lock *)l);
	return 0;
}

int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *l)
{
	unlock((struct lock *)l);
	return 0;
}

/* ---- conditions ---- */

int __wrap_pthread_cond_init(pthread_cond_t *c, const pthread_condattr_t *attr)
{
	(void)attr;
	memset(c, 0, sizeof(*c));
	return 0;
}

int __wrap_pthread_cond_destroy(pthread_cond_t *c)
{
	(void)c;
	return 0;
}

int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
	(void)!clock_wait(c, m, WORLD_NEVER);
	return 0;
}

int __wrap_pthread_cond_signal(pthread_cond_t *c)
{
	fiber_wake(c, false);
	return 0;
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *c)
{
	fiber_wake(c, true);
	return 0;
}

/* ---- clock.h ---- */

int64_t __wrap_clock_wall_ns(void)
{
	return world_wall(fiber_machine());
}

uint64_t __wrap_clock_mono_ns(void)
{
	return world_now();
}

/* As coarse as a kernel's tick. */
struct timespec __wrap_clock_stamp(void)
{
	int64_t ns = world_wall(fiber_machine()) / (int64_t)(4 * MS) * (int64_t)(4 * MS);

	return (struct timespec){.tv_sec = ns / (int64_t)SECOND, .tv_nsec = ns % (int64_t)SECOND};
}

int __wrap_usleep(useconds_t us)
{
	fiber_sleep(us * (MS / 1000));
	return 0;
}

int __wrap_sched_yield(void)
{
	fiber_yield();
	return 0;
}

void __wrap_clock_cond_init(pthread_cond_t *cond)
{
	memset(cond, 0, sizeof(*cond));
}

int __wrap_clock_wait(pthread_cond_t *cond, pthread_mutex_t *mu, uint64_t until_ns)
{
	bool woken = true;

	unlock((struct lock *)mu);
	/* Nobody else runs before this fiber waits, so no signal is missed. */
	if (!prng_one_in(&world_random, 64))
		woken = fiber_wait(cond, until_ns);
	lock_write((struct lock *)mu);
	return woken ? 0 : -ETIMEDOUT;
}

/* ---- err.h: the detail is a thread's own ---- */

int __wrap_err_say(int rc, const char *fmt, ...)
{
	char text[FIBER_DETAIL_LEN];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	memcpy(fiber_detail(), text, strlen(text) + 1);
	*fiber_detail_rc() = rc;
	return rc;
}

const char *__wrap_err_detail(int rc)
{
	return rc < 0 && rc == *fiber_detail_rc() ? fiber_detail() : err_text(rc);
}
