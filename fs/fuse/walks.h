#ifndef WALKS_H_
#define WALKS_H_

/*
 * Which state a process sees by a name that moves with the clock, such as .embassy/ago/3s.
 *
 * A program that copies a tree looks each file up by its whole path, at its own moment; it is to
 * copy one state.  So a process that goes on looking a name up stays at the head that it began
 * with.  It may pause for as long as it has been at it (a second at least, a minute at most), and
 * reading what is at that head is no pause.
 */

#include "compiler.h"
#include "units.h"

#include <stdint.h>

#define WALKS_MAX 4096u /* at a time; beyond, one that paused for long begins anew */
#define WALKS_PAUSE_MIN_NS NS_PER_S
#define WALKS_PAUSE_MAX_NS UINT64_C(60000000000)

struct walks;

struct walks_process {
	uint64_t pid;
	uint64_t started; /* in the kernel's ticks since it booted: a number is used again */
};

/* walks_new(out): returns 0 or -ENOMEM.  walks_free(w): NULL is a no-op. */
MUST_CHECK int walks_new(struct walks **out);
void walks_free(struct walks *w);

/*
 * walks_process(tid, out): the process of thread ${tid}.  Returns 0, or -ESRCH: it is gone, or
 * can't be seen from here.
 */
MUST_CHECK int walks_process(uint64_t tid, struct walks_process *out);

/*
 * walks_head(w, p, tag, now_ns): the head at which ${p} is by the name that ${tag} stands for; 0:
 * it begins.  Time by a clock that does not jump.
 * walks_begin(w, p, tag, head, now_ns): it begins at ${head}.
 * walks_used(w, head, now_ns): something at ${head} was read.
 * All: any thread.
 */
uint64_t walks_head(struct walks *w, const struct walks_process *p, uint64_t tag, uint64_t now_ns);
void walks_begin(struct walks *w, const struct walks_process *p, uint64_t tag, uint64_t head,
		 uint64_t now_ns);
void walks_used(struct walks *w, uint64_t head, uint64_t now_ns);

#endif /* !WALKS_H_ */
