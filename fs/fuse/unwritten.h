#ifndef UNWRITTEN_H_
#define UNWRITTEN_H_

/*
 * Files that are empty as far as we know, and of which the kernel may hold contents that it has not
 * written back.  To say that such a file has no blocks would be to say that it is one hole, and
 * programs believe that: GNU tar -S then archives zeros without a look.  A file with a size of which
 * nothing is stored is always asked about first (mount.c).
 *
 *	created		its maker was told that it has a block: nothing was said that is wrong
 *	begun		an application began to write
 *	neither		nobody writes, and the kernel may have been told of no blocks
 */

#include "compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct unwritten;

#define UNWRITTEN_MAX (1u << 20) /* begun; with more, any file may be */
#define UNWRITTEN_CREATED 8192u	 /* remembered; one that is not costs a message more */

/*
 * What is dirty when a daemon takes over from a dead one is not known.  It has been written back
 * after this time, which is more than the kernel's own bound.
 */
#define UNWRITTEN_TAKE_OVER_NS UINT64_C(60000000000)

/*
 * unwritten_new(take_over, out): ${take_over}: another process served this mount before.  Returns
 * 0 or -ENOMEM.  unwritten_free(NULL) is a no-op.
 */
MUST_CHECK int unwritten_new(bool take_over, struct unwritten **out);
void unwritten_free(struct unwritten *u);

/*
 * All: any thread.
 * unwritten_created(u, ino): a new file; the kernel is told that it has a block.
 * unwritten_begun(u, ino): an application begins to write to it.  Returns whether the kernel may
 * believe that it has no blocks, and has to be told.
 * unwritten_ended(u, ino): contents were written back, or the kernel has forgotten it.
 * unwritten_is(u, ino): whether the kernel may hold contents of it.  If not, the kernel is about
 * to be told that it has no blocks.
 */
void unwritten_created(struct unwritten *u, uint64_t ino);
bool unwritten_begun(struct unwritten *u, uint64_t ino);
void unwritten_ended(struct unwritten *u, uint64_t ino);
bool unwritten_is(struct unwritten *u, uint64_t ino);

#endif /* !UNWRITTEN_H_ */
