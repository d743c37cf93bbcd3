#ifndef RELINKED_H_
#define RELINKED_H_

/*
 * Inodes that lost one of several names a moment ago.
 *
 * The kernel decrements an inode's link count itself when unlink is answered.  If an answer with
 * the new count reaches it between the change and that decrement, it decrements the new count: one
 * too few.  It would keep that count, and refuse to link a file that it believes has no name.  The
 * kernel does not say when it has decremented.  So for a while the count is reported, but must not
 * be cached.
 */

#include "compiler.h"
#include "numbers.h"

#include <stdbool.h>
#include <stdint.h>

#define RELINKED_NS UINT64_C(10000000000) /* much longer than a system call takes to end */
#define RELINKED_MAX 4096u		  /* table size; a newer inode takes an older one's place */

struct relinked;

/*
 * relinked_new(all_until_ns, out): until ${all_until_ns}, treat every inode as one of them, because
 * another process served the mount before; 0 if none did.  Returns 0 or -ENOMEM.
 * relinked_free(NULL) is a no-op.
 */
MUST_CHECK int relinked_new(uint64_t all_until_ns, struct relinked **out);
void relinked_free(struct relinked *r);

/*
 * For both: any thread; the time comes from a clock that does not jump.
 * relinked_add(r, ino, now_ns): ${ino} is about to lose a name, or has just lost it.
 * relinked_is(r, ino, now_ns): did it lose one in the last RELINKED_NS?
 */
void relinked_add(struct relinked *r, inode_no ino, uint64_t now_ns);
bool relinked_is(struct relinked *r, inode_no ino, uint64_t now_ns);

#endif /* !RELINKED_H_ */
