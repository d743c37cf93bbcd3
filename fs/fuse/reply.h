#ifndef REPLY_H_
#define REPLY_H_

/* What answers are made of. */

#include "mount.h"

/*
 * reply_rc(req, id, rc): answer with ${rc} (0, -errno or -ERR_X) and, where bytes of node ${id}
 * could not be had, log why.
 * reply_errno(id, rc): the errno that ${rc} is to the kernel, logged likewise.
 * reply_bytes(req, id, rc, p, len): ${len} bytes, or as reply_rc() if ${rc} is an error.
 * reply_entry(req, m, e, slot): answer with an entry; the kernel's reference to ${slot} (if >= 0)
 * was counted by place_give(), and is taken back if it does not get the answer.
 * reply_unchangeable(req): EROFS, to a change of what is past, or stored nowhere.
 */
int reply_errno(uint64_t id, int rc);
void reply_unchangeable(fuse_req_t req);
void reply_rc(fuse_req_t req, uint64_t id, int rc);
void reply_bytes(fuse_req_t req, uint64_t id, int rc, const void *p, size_t len);
void reply_entry(fuse_req_t req, struct mount *m, const struct fuse_entry_param *e, int slot);

/*
 * thread_buffer(size): this thread's page-aligned scratch memory, or NULL; the same memory at the
 * next call.
 */
void *thread_buffer(size_t size);

#endif /* !REPLY_H_ */
