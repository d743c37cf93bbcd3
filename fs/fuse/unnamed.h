#ifndef UNNAMED_H_
#define UNNAMED_H_

/*
 * Inodes that lost their last name while the kernel may still use them (an open file that was
 * unlinked).  When the kernel forgets one, its contents may go; but not on the word of one
 * FORGET, which may be about an older reference and have been overtaken by a newer lookup.  So
 * the kernel is asked whether it still knows the inode, by a thread of its own: the question may
 * wait for requests that the workers serve.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stdint.h>

/* Inodes waited for at a time.  What is beyond goes when the volume is next opened. */
#define UNNAMED_MAX (1u << 20)

struct unnamed;

struct unnamed_config {
	/*
	 * held(ctx, ino): whether the kernel still knows the inode; then another unnamed_forget()
	 * will follow.
	 */
	bool (*held)(void *ctx, uint64_t ino);
	/* gone(ctx, ino): nobody can use it any more. */
	void (*gone)(void *ctx, uint64_t ino);
	void *ctx;
};

/*
 * unnamed_new(cfg, out): starts the thread, which calls both functions.  Returns 0, -ENOMEM or
 * -EAGAIN.
 */
MUST_CHECK int unnamed_new(const struct unnamed_config *cfg, struct unnamed **out);

/*
 * unnamed_stop(u): ends the thread; what it has not got to stays as it is.  Again: nothing.
 * unnamed_free(u): the same, and frees it.  NULL is a no-op for both.
 */
void unnamed_stop(struct unnamed *u);
void unnamed_free(struct unnamed *u);

/* unnamed_add(u, ino): it has no name any more.  Before the kernel is told so.  Any thread. */
void unnamed_add(struct unnamed *u, uint64_t ino);

/*
 * unnamed_forget(u, ino): the kernel let go of a reference.  Any thread; cheap, above all while
 * there is no such inode.
 */
void unnamed_forget(struct unnamed *u, uint64_t ino);

#endif /* !UNNAMED_H_ */
