#ifndef WALKS_H_
#define WALKS_H_

/*
 * Which head a process sees under a name that moves with the clock, such as .embassy/ago/3s.
 *
 * A program that copies a tree looks up each file by its whole path, each at a different moment;
 * yet it should copy one state.  So a process that keeps looking a name up stays at the head at
 * which it began.  It may pause for as long as it has been at work (a second at least, a minute at
 * most).  Reading at that head does not count as a pause.
 */

#include "compiler.h"
#include "numbers.h"
#include "units.h"

#include <stdint.h>

#define WALKS_MAX 4096u /* at a time; where a set of the table is full, the one in it that paused longest ends */
#define WALKS_PAUSE_MIN_NS NS_PER_S
#define WALKS_PAUSE_MAX_NS UINT64_C(60000000000)

struct walks;

struct walks_process {
	uint64_t pid;
	uint64_t started; /* start time in kernel ticks since boot: a pid is reused */
};

/* walks_new(out): returns 0 or -ENOMEM.  walks_free(NULL) is a no-op. */
MUST_CHECK int walks_new(struct walks **out);
void walks_free(struct walks *w);

/*
 * walks_process(tid, out): find the process of thread ${tid}.  Returns 0, or -ESRCH if it is gone
 * or can't be seen from here.
 */
MUST_CHECK int walks_process(uint64_t tid, struct walks_process *out);

/*
 * walks_head(w, p, tag, now_ns): the head at which ${p} uses the name that ${tag} stands for; 0 if
 * it has no walk there.  Times come from a clock that does not jump.
 * walks_begin(w, p, tag, head, now_ns): ${p} begins a walk at ${head}.
 * walks_used(w, head, now_ns): something at ${head} was read.
 * For all: any thread.
 */
head_no walks_head(struct walks *w, const struct walks_process *p, uint64_t tag, uint64_t now_ns);
void walks_begin(struct walks *w, const struct walks_process *p, uint64_t tag, head_no head,
		 uint64_t now_ns);
void walks_used(struct walks *w, head_no head, uint64_t now_ns);

#endif /* !WALKS_H_ */
