#ifndef HUGE_H_
#define HUGE_H_

/*
 * Memory in huge pages, for what is written past the page cache: a disk takes one piece of memory
 * in one go, and each scattered page of 4 KiB by itself.  Where the kernel has no huge page to
 * give, the memory is as good, and slower to write from.
 */

#include <stddef.h>

#define HUGE_PAGE ((size_t)2 << 20)

/* huge_up(len): rounded up to whole huge pages. */
static inline size_t huge_up(size_t len)
{
	return (len + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
}

/* huge_alloc(len): aligned to a huge page; to be given to free().  NULL: no memory.  Any thread. */
void *huge_alloc(size_t len);

/*
 * huge_shared(mem, len): put what lies from ${mem} on, a whole number of huge pages of a shared
 * mapping, into huge pages, and so make all of it present.  Where it can't, nothing happens.
 */
void huge_shared(void *mem, size_t len);

#endif /* !HUGE_H_ */
