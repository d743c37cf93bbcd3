#ifndef UNWRITTEN_H_
#define UNWRITTEN_H_

/*
 * Files that are empty as far as we know, and of which the kernel may hold contents that it has not
 * written back yet.  If we reported no blocks for such a file, programs would take it for one hole:
 * GNU tar -S then archives zeros without reading it.  (For a file that has a size but no stored
 * bytes, the kernel is always made to write back first: attributes.c.)
 *
 *	created		its maker was told that it has one block, so it is not taken for a hole
 *	begun		an application began to write
 *	neither		nobody writes, and the kernel may have been told of no blocks
 */

#include "compiler.h"
#include "numbers.h"

#include <stdbool.h>
#include <stdint.h>

struct unwritten;

#define UNWRITTEN_MAX (1u << 20) /* files in "begun"; with more, any file may be */
#define UNWRITTEN_CREATED 8192u	 /* files in "created"; a forgotten one costs one more message */

/*
 * A daemon that takes over from a dead one does not know which files are dirty.  After this time
 * they have been written back: it is longer than the kernel's own limit.
 */
#define UNWRITTEN_TAKE_OVER_NS UINT64_C(60000000000)

/*
 * unwritten_new(take_over, out): ${take_over}: another process served this mount before.  Returns 0
 * or -ENOMEM.  unwritten_free(NULL) is a no-op.
 */
MUST_CHECK int unwritten_new(bool take_over, struct unwritten **out);
void unwritten_free(struct unwritten *u);

/*
 * For all: any thread.
 * unwritten_created(u, ino): a new file; the kernel is told that it has one block.
 * unwritten_begun(u, ino): an application begins to write to it.  Returns whether the kernel may
 * believe that the file has no blocks, and has to be told.
 * unwritten_ended(u, ino): the contents were written back, or the kernel has forgotten the file.
 * unwritten_is(u, ino): may the kernel hold contents of it?  If not, the caller is about to tell
 * the kernel that it has no blocks, and this is recorded.
 */
void unwritten_created(struct unwritten *u, inode_no ino);
bool unwritten_begun(struct unwritten *u, inode_no ino);
void unwritten_ended(struct unwritten *u, inode_no ino);
bool unwritten_is(struct unwritten *u, inode_no ino);

#endif /* !UNWRITTEN_H_ */
