#ifndef THREAD_H_
#define THREAD_H_

/* Threads of this folder: signals belong to the program's main thread. */

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

#endif /* !THREAD_H_ */
