#ifndef LOCKS_H_
#define LOCKS_H_

/*
 * Which lock a function wants, for clang's -Wthread-safety, which the clang build has as an error:
 *
 *	static int grow_locked(struct ring *r) REQUIRES(r->mu);
 *
 * on a prototype of its own, since clang 14 takes no attribute on a C definition.  A lock is named
 * as the caller names it, by an expression of the parameters.  A function that takes a lock
 * and leaves it to its caller says ACQUIRES(), its counterpart RELEASES(); x_SHARED are a read-write
 * lock's for reading.  Not followed: fields, and functions that are called through a pointer.
 */

#include <pthread.h>

#if defined(__clang__)
#define REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define REQUIRES_SHARED(...) __attribute__((requires_shared_capability(__VA_ARGS__)))
#define EXCLUDES(...) __attribute__((locks_excluded(__VA_ARGS__)))
#define ACQUIRES(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define ACQUIRES_SHARED(...) __attribute__((acquire_shared_capability(__VA_ARGS__)))
#define RELEASES(...) __attribute__((release_capability(__VA_ARGS__)))
#define RELEASES_EITHER(...) __attribute__((release_generic_capability(__VA_ARGS__)))
#define UNFOLLOWED __attribute__((no_thread_safety_analysis))

/* What the system's header does not say. */
int pthread_mutex_lock(pthread_mutex_t *mu) ACQUIRES(*mu);
int pthread_mutex_trylock(pthread_mutex_t *mu) __attribute__((try_acquire_capability(0, *mu)));
int pthread_mutex_unlock(pthread_mutex_t *mu) RELEASES(*mu);
int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mu) REQUIRES(*mu);
int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mu, const struct timespec *until)
	REQUIRES(*mu);
int pthread_rwlock_rdlock(pthread_rwlock_t *rw) ACQUIRES_SHARED(*rw);
int pthread_rwlock_wrlock(pthread_rwlock_t *rw) ACQUIRES(*rw);
int pthread_rwlock_unlock(pthread_rwlock_t *rw) RELEASES_EITHER(*rw);
#else
#define REQUIRES(...)
#define REQUIRES_SHARED(...)
#define EXCLUDES(...)
#define ACQUIRES(...)
#define ACQUIRES_SHARED(...)
#define RELEASES(...)
#define RELEASES_EITHER(...)
#define UNFOLLOWED
#endif

#endif /* !LOCKS_H_ */
