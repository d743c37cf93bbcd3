#ifndef UNNAMED_H_
#define UNNAMED_H_

/*
 * Inodes that lost their last name while the kernel may still use them, such as an open file that
 * was unlinked.  Once the kernel has forgotten such an inode, its contents may be dropped.  One
 * FORGET does not prove that: it may be about an older reference, and a newer lookup may have
 * overtaken it.  So a separate thread asks the kernel whether it still knows the inode.  A worker
 * must not ask: the question may wait for requests that the workers serve.
 */

#include "compiler.h"
#include "numbers.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Inodes that may wait at a time.  Contents of any others are dropped at the volume's next opening.
 */
#define UNNAMED_MAX (1u << 20)

struct unnamed;

struct unnamed_config {
	/*
	 * held(ctx, ino): does the kernel still know the inode?  If so, another unnamed_forget()
	 * will follow.
	 */
	bool (*held)(void *ctx, inode_no ino);
	/* gone(ctx, ino): nobody can use it any more. */
	void (*gone)(void *ctx, inode_no ino);
	void *ctx;
};

/*
 * unnamed_new(cfg, out): starts the thread, which calls both functions.  Returns 0, -ENOMEM or
 * -EAGAIN.
 */
MUST_CHECK int unnamed_new(const struct unnamed_config *cfg, struct unnamed **out);

/*
 * unnamed_stop(u): end the thread; inodes that it did not get to stay as they are.  A second call
 * does nothing.
 * unnamed_free(u): the same, and free it.  NULL is a no-op for both.
 */
void unnamed_stop(struct unnamed *u);
void unnamed_free(struct unnamed *u);

/*
 * unnamed_add(u, ino): it has no name any more.  Call it before the kernel is told so.  Any thread.
 */
void unnamed_add(struct unnamed *u, inode_no ino);

/*
 * unnamed_forget(u, ino): the kernel dropped a reference.  Any thread; cheap, above all while no
 * inode is without a name.
 */
void unnamed_forget(struct unnamed *u, inode_no ino);

#endif /* !UNNAMED_H_ */
