#ifndef WORLD_H_
#define WORLD_H_

/*
 * One thread that plays many: the threads of several machines as fibers, and virtual time.
 *
 * A fiber runs until it waits, sleeps or may be interrupted; then the seed says which of those that
 * can run goes on.  Time passes only when none can.  So a history is a function of its seed.
 *
 * Machine 0 is nobody's: who directs the history runs there.  A crash ends the fibers of a machine
 * where they stand; what they had allocated is left, since a process plays one history.
 */

#include "compiler.h"
#include "prng.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MACHINES_MAX 8u
#define MACHINE_WORLD 0u
#define MACHINE_HOME 1u
#define MACHINE_EMBASSY 2u /* the first; the others follow */

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
#define WORLD_NEVER UINT64_MAX

struct world_config {
	uint64_t seed;
	unsigned preempt; /* one in so many places where another fiber may go on does; 0: none */
	bool verbose;	  /* print the trace to stdout */
};

extern struct prng world_random; /* every choice but the machines' own, in order */

/*
 * world_run(cfg, fn): play fn() as a fiber of MACHINE_WORLD, until it returns.  Once in a process.
 * Returns the trace's hash.
 */
uint64_t world_run(const struct world_config *cfg, void (*fn)(void));

/* world_now(): virtual nanoseconds since the beginning, which is not at 0. */
uint64_t world_now(void);

/* world_wall(m): what machine ${m}'s wall clock says.  world_jump(m, ns): it jumps. */
int64_t world_wall(unsigned machine);
void world_jump(unsigned machine, int64_t by_ns);

/* world_at(when, fn, arg): call fn(arg) at that time, outside of all fibers: it must not wait. */
void world_at(uint64_t when_ns, void (*fn)(void *arg), void *arg);

/*
 * world_crash(m): end all fibers of the machine, at once; from a fiber of another, or outside.
 * world_incarnation(m): how often it has.
 */
void world_crash(unsigned machine);
unsigned world_incarnation(unsigned machine);

/*
 * world_stop_at(m, places, fn): the fiber of machine ${m} that is the ${places}th from now to come
 * to a place where another may go on stays there for good, and before anything else runs fn() is
 * called, outside of all fibers: to crash the machine.  0 places: no more. world_stop(fn): so does
 * the calling fiber here; never returns.
 */
void world_stop_at(unsigned machine, uint64_t places, void (*fn)(void));
_Noreturn void world_stop(void (*fn)(void));

struct fiber;

/* fiber_start(machine, fn, arg): one more, never NULL. */
struct fiber *fiber_start(unsigned machine, void *(*fn)(void *arg), void *arg);
struct fiber *fiber_self(void);
unsigned fiber_machine(void);
/* fiber_join(f): wait until it has ended, or its machine has crashed. */
void fiber_join(const struct fiber *f);

/*
 * fiber_sleep(ns).  fiber_pause(): others may run here, if the history is of that kind.
 * fiber_yield(): others that can run may do so first.
 */
void fiber_sleep(uint64_t ns);
void fiber_pause(void);
void fiber_yield(void);

/*
 * fiber_wait(on, until_ns): until somebody wakes those who wait on ${on}; false if the time came
 * first.  fiber_wake(on, all): one of them, or all.  An address stands for what is waited for.
 */
bool fiber_wait(const void *on, uint64_t until_ns);
void fiber_wake(const void *on, bool all);

/* A fiber's newest detail of an error; see threads.c. */
#define FIBER_DETAIL_LEN 1024u
int *fiber_detail_rc(void);
char *fiber_detail(void);

/* trace(fmt, ...): one event; part of the hash, and printed when verbose. */
void trace(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* fail(fmt, ...): an invariant does not hold.  Says so to fail_fd; ends the process with code 1. */
extern int fail_fd;
_Noreturn void fail(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif /* !WORLD_H_ */
