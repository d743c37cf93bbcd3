#ifndef WIRE_H_
#define WIRE_H_

/*
 * Between libfuse and the kernel: the things of the kernel's protocol that this libfuse does not
 * know.
 *  - FUSE_HANDLE_KILLPRIV_V2: we take setuid bits off when a file is written, and the kernel
 *    need not ask for security.capability before every write
 *  - the bit of a write request that says so
 *  - FUSE_TMPFILE
 *  - FUSE_STATX, for birth times
 *  - FUSE_NOTIFY_RESEND: a session goes on in another process (shared_state.h)
 *  - FUSE_NOTIFY_INC_EPOCH, FUSE_NOTIFY_PRUNE: the kernel asks again, or forgets
 */

#include "mount.h"

/*
 * wire_attach(m, fd): look at all that m->session reads and writes from here on, which is ${fd},
 * the session's from now on.  Before the first request is read. Calls m->ready() once the first
 * answer is written.  Returns 0 or -errno.
 */
MUST_CHECK int wire_attach(struct mount *m, int fd);

/*
 * wire_adopt(m): the session was begun by a process that was killed: tell libfuse what the kernel
 * said first, and nothing to the kernel.  After wire_attach().  Returns 0, or -ERR_VERSION with a
 * detail: this program would have answered otherwise, or nothing was said yet.
 */
MUST_CHECK int wire_adopt(struct mount *m);

/*
 * wire_resend(m): have the kernel give us again what it gave to the process before and got no
 * answer to; where it can't, these requests fail with EIO.  Once, before the first is read.
 */
void wire_resend(struct mount *m);

/*
 * wire_new_epoch(m): the kernel asks again for each name that it was told so far, when it next
 * needs it.  Returns false: this kernel (before 6.16) can't.
 * wire_prune(m, nodes, n): the kernel is to forget these ${n} (at most WIRE_PRUNE_MAX) nodes,
 * those of them that nobody uses.  A kernel before 6.18 does nothing.
 * Both: any thread; neither waits for anybody.
 */
#define WIRE_PRUNE_MAX 64u
bool wire_new_epoch(struct mount *m);
void wire_prune(struct mount *m, const uint64_t *nodes, unsigned n);

/*
 * wire_answer_statx(m, asked, written): a FUSE_STATX that ask_when_written() put off; frees
 * ${asked}.  ${written}: the kernel holds nothing of the file that we don't.  Any thread.
 */
struct wire_statx;
void wire_answer_statx(struct mount *m, struct wire_statx *asked, bool written);

#endif /* !WIRE_H_ */
