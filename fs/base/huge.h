#ifndef HUGE_H_
#define HUGE_H_

/*
 * Memory in huge pages, for data that is written with direct I/O: a disk takes one contiguous piece
 * of memory in one go, but scattered pages of 4 KiB one by one.  If the kernel has no huge page to
 * give, the memory is just as usable, and slower to write from.
 */

#include <stddef.h>

#define HUGE_PAGE ((size_t)2 << 20)

/* huge_up(len): ${len} rounded up to whole huge pages. */
static inline size_t huge_up(size_t len)
{
	return (len + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
}

/*
 * huge_alloc(len): memory aligned to a huge page, for free().  NULL if out of memory.  Any thread.
 */
void *huge_alloc(size_t len);

/*
 * huge_shared(mem, len): put the memory at ${mem}, a whole number of huge pages of a shared
 * mapping, into huge pages; this also makes all of it present.  Does nothing where the kernel
 * can't.
 */
void huge_shared(void *mem, size_t len);

#endif /* !HUGE_H_ */
