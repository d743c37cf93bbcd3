#ifndef ATTRIBUTES_H_
#define ATTRIBUTES_H_

/*
 * The attributes of a node as the kernel is told them, and how long the kernel may keep them.
 *
 * The kernel may hold contents of a file of which nothing is stored yet.  Then it is told that the
 * file has one block, and, if the file has a size, that it must ask again.  A caller that needs the
 * exact number has the file written back first.
 */

#include "node.h"

/*
 * Blocks of 512 bytes that are reported at least for a file of which the kernel may hold contents.
 */
#define BLOCKS_UNWRITTEN 8

/* stat_of(a, head, out): attributes as the kernel is told them; ${head} as in struct place. */
void stat_of(const struct attr *a, head_no head, struct stat *out);

/*
 * stat_for(m, a, head, out): the same, with the permissions that past.h leaves for a file of a view
 * in .embassy.  Returns how long the kernel may keep them, in seconds.
 * Where the kernel may hold the contents of a file of which nothing is stored, ${out} says that the
 * file has a block; if the file has a size, returns 0.
 * stat_written(m, a, out): of a file at the root that was just written back: with the exact number.
 */
double stat_for(struct mount *m, const struct attr *a, head_no head, struct stat *out);
double stat_written(struct mount *m, const struct attr *a, struct stat *out);

/* entry_of(m, n, a, out): the same for a node ${a} in n's view, with its node id and timeouts. */
void entry_of(struct mount *m, const struct place *n, const struct attr *a,
	      struct fuse_entry_param *out);

/*
 * ask_when_written(m, a, head, asks, req): if the kernel may hold contents of the file ${a}, have
 * it written back, and then have answer_attributes() or wire_answer_statx() (as ${asks} says)
 * called with ${req}.
 * Returns false if ${a} is no such file or can't be written back; then the caller answers.
 */
enum { ASKS_SEEK, ASKS_ATTRIBUTES, ASKS_STATX };
MUST_CHECK bool ask_when_written(struct mount *m, const struct attr *a, head_no head, uint32_t asks,
				 void *req);
void answer_attributes(struct mount *m, fuse_req_t req, inode_no ino, bool written);

/*
 * kernel_writes(m, ino): an application is about to write into the kernel's cache, to a file that
 * is empty as far as we know.
 */
void kernel_writes(struct mount *m, inode_no ino);

#endif /* !ATTRIBUTES_H_ */
