#ifndef REPLY_H_
#define REPLY_H_

/* How results become answers to the kernel. */

#include "mount.h"

/*
 * reply_rc(req, id, rc): answer with ${rc} (0, -errno or -ERR_X).  If bytes of node ${id} could not
 * be had, log why.
 * reply_errno(id, rc): the errno for the kernel that corresponds to ${rc}; logs likewise.
 * reply_bytes(req, id, rc, p, len): answer with ${len} bytes, or as reply_rc() if ${rc} is an
 * error.
 * reply_entry(req, m, e, slot): answer with an entry.  The kernel's reference to ${slot} (if >= 0)
 * was counted by place_give(); it is taken back if the kernel does not get the answer.
 * reply_unchangeable(req): answer EROFS to a change of a past or virtual node.
 */
int reply_errno(uint64_t id, int rc);
void reply_unchangeable(fuse_req_t req);
void reply_rc(fuse_req_t req, uint64_t id, int rc);
void reply_bytes(fuse_req_t req, uint64_t id, int rc, const void *p, size_t len);
void reply_entry(fuse_req_t req, struct mount *m, const struct fuse_entry_param *e, int slot);

/*
 * thread_buffer(size): this thread's page-aligned scratch memory, or NULL.  The next call in the
 * same thread returns the same memory.
 */
void *thread_buffer(size_t size);

#endif /* !REPLY_H_ */
