/*
 * Private memory gets huge pages on request (madvise) under the kernel's usual setting.  Shared
 * memory does not (shmem_enabled is "never" unless somebody changed it), but it can be collapsed
 * into huge pages at any time: madvise(2), MADV_COLLAPSE, Linux 6.1.
 */

#include "huge.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

void *huge_alloc(size_t len)
{
	void *p = aligned_alloc(HUGE_PAGE, huge_up(len));

	if (p)
		(void)madvise(p, huge_up(len), MADV_HUGEPAGE);
	return p;
}

void huge_shared(void *mem, size_t len)
{
	assert((uintptr_t)mem % HUGE_PAGE == 0 && len % HUGE_PAGE == 0);
	(void)madvise(mem, len, MADV_COLLAPSE);
}
