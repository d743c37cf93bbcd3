#ifndef STORES_H_
#define STORES_H_

/*
 * Kills between any two stores: a process is stepped, instruction by instruction, through a call, and
 * killed when it has changed watched shared memory for the nth time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * stores_kill_at(fn, arg, mem, len, nth): fork; the child calls fn(arg) and is killed right after the
 * ${nth} instruction of it that changed the ${len} bytes of shared memory ${mem}.  What it wrote stays.
 * Returns 1; 0 if fn() returned before that, or left the process; -1 where a process can't be traced, or TSan is at work.
 */
int stores_kill_at(void (*fn)(void *arg), void *arg, const void *mem, size_t len, unsigned nth);

#endif /* !STORES_H_ */
