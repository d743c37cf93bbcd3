#ifndef RELINKED_H_
#define RELINKED_H_

/*
 * Inodes that lost one of several names a moment ago.
 *
 * The kernel counts an inode's names down when unlink is answered.  If an answer with the new number
 * comes between the change and that, it counts down from there: one too few, which it would keep for
 * good, and refuse to link a file of which it believes that it has no name.  It does not say when it has
 * counted; so for a while the number is told, but not to be kept.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stdint.h>

#define RELINKED_NS UINT64_C(10000000000) /* much longer than a system call takes to end */
#define RELINKED_MAX 4096u		  /* at a time; a newer one takes an older one's place */

struct relinked;

/*
 * relinked_new(all_until_ns, out): until ${all_until_ns} any inode may be one, since another process
 * served the mount before; 0: none did.  Returns 0 or -ENOMEM.  relinked_free(NULL) is a no-op.
 */
MUST_CHECK int relinked_new(uint64_t all_until_ns, struct relinked **out);
void relinked_free(struct relinked *r);

/*
 * Both: any thread; time by a clock that does not jump.
 * relinked_add(r, ino, now_ns): ${ino} is about to lose a name, or has lost it just now.
 * relinked_is(r, ino, now_ns): whether it did in the last RELINKED_NS.
 */
void relinked_add(struct relinked *r, uint64_t ino, uint64_t now_ns);
bool relinked_is(struct relinked *r, uint64_t ino, uint64_t now_ns);

#endif /* !RELINKED_H_ */
