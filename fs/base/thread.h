#ifndef THREAD_H_
#define THREAD_H_

/* Threads that leave all signals to the program's main thread, and read-write locks. */

#include "compiler.h"

#include <pthread.h>
#include <signal.h>

/*
 * thread_start(t, fn, arg): as pthread_create(), with every signal blocked in the new thread.
 * Returns 0 or -errno.
 */
MUST_CHECK static inline int thread_start(pthread_t *t, void *(*fn)(void *), void *arg)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(t, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

/*
 * rwlock_init(l): initialise a lock that lets writers through no matter how many readers come.
 * With glibc's default, an unbroken stream of readers makes a writer wait for ever.  A thread must
 * not take it for reading twice.
 */
static inline void rwlock_init(pthread_rwlock_t *l)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(l, &attr);
	pthread_rwlockattr_destroy(&attr);
}

#endif /* !THREAD_H_ */
