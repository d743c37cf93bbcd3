#ifndef LOCKS_H_
#define LOCKS_H_

/*
 * Which lock a function wants, for clang's -Wthread-safety, which the clang build has as an error:
 *
 *	static int grow_locked(struct ring *r) REQUIRES(r->mu);
 *
 * on a prototype of its own, since clang 14 takes no attribute on a C definition.  A lock is named
 * as the caller names it, by an expression of the parameters.  Not followed: fields, locks taken
 * in one function and dropped in another, read-write locks.
 */

#include <pthread.h>

#if defined(__clang__)
#define REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define EXCLUDES(...) __attribute__((locks_excluded(__VA_ARGS__)))
#define ACQUIRES(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define RELEASES(...) __attribute__((release_capability(__VA_ARGS__)))
#define UNFOLLOWED __attribute__((no_thread_safety_analysis))

/* What the system's header does not say. */
int pthread_mutex_lock(pthread_mutex_t *mu) ACQUIRES(*mu);
int pthread_mutex_trylock(pthread_mutex_t *mu) __attribute__((try_acquire_capability(0, *mu)));
int pthread_mutex_unlock(pthread_mutex_t *mu) RELEASES(*mu);
int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mu) REQUIRES(*mu);
int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mu, const struct timespec *until)
	REQUIRES(*mu);
#else
#define REQUIRES(...)
#define EXCLUDES(...)
#define ACQUIRES(...)
#define RELEASES(...)
#define UNFOLLOWED
#endif

#endif /* !LOCKS_H_ */
