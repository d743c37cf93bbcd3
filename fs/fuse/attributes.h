#ifndef ATTRIBUTES_H_
#define ATTRIBUTES_H_

/*
 * What the kernel is told of a node's attributes, and for how long it may keep them.
 *
 * It may hold contents of a file of which nothing is stored yet: then it is told that the file has a
 * block, and to ask again; who wants to know for certain has the file written back first.
 */

#include "node.h"

/* What a file has at least that the kernel may hold contents of, in units of 512 bytes. */
#define BLOCKS_UNWRITTEN 8

/* stat_of(a, head, out): attributes as the kernel is told them; ${head} as in struct place. */
void stat_of(const struct attr *a, uint64_t head, struct stat *out);

/*
 * stat_for(m, a, head, out): the same, of a view in .embassy with what past.h leaves, and for how
 * long the kernel may keep them, in seconds.
 * Where the kernel may hold the contents of a file of which nothing is stored: 0, and ${out} says
 * that it has a block.
 */
double stat_for(struct mount *m, const struct attr *a, uint64_t head, struct stat *out);

/* entry_of(m, n, a, out): the same of a member of n's view, with its node and for how long. */
void entry_of(struct mount *m, const struct place *n, const struct attr *a,
	      struct fuse_entry_param *out);

/*
 * ask_when_written(m, a, head, asks, req): for such a file, have answer_attributes() or
 * wire_answer_statx() (as ${asks} says) called with ${req} once the kernel has written it back.
 * Returns false: it is none, or nobody can have it written back; the caller answers.
 */
enum { ASKS_SEEK, ASKS_ATTRIBUTES, ASKS_STATX };
MUST_CHECK bool ask_when_written(struct mount *m, const struct attr *a, uint64_t head,
				 uint32_t asks, void *req);
void answer_attributes(struct mount *m, fuse_req_t req, uint64_t ino, bool written);

/*
 * kernel_writes(m, ino): an application is about to write into the kernel's cache, to a file that is
 * empty as far as we know.
 */
void kernel_writes(struct mount *m, uint64_t ino);

#endif /* !ATTRIBUTES_H_ */
