#ifndef THREAD_H_
#define THREAD_H_

/* Threads, whose signals belong to the program's main thread, and locks that readers share. */

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
 * rwlock_init(l): a lock whose writers get their turn, however many readers come: by default, where
 * readers come in an unbroken stream, glibc's has a writer wait for ever.  No thread takes it for
 * reading twice.
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
