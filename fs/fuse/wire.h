#ifndef WIRE_H_
#define WIRE_H_

/*
 * The layer between libfuse and the kernel: parts of the kernel's protocol that this libfuse does
 * not know.
 * - FUSE_HANDLE_KILLPRIV_V2: we clear setuid bits when a file is written, and the kernel
 *   need not ask for security.capability before every write
 * - the bit of a write request that asks for that
 * - FUSE_TMPFILE
 * - FUSE_STATX, for birth times
 * - FUSE_NOTIFY_RESEND: a session continues in another process (shared_state.h)
 * - FUSE_NOTIFY_INC_EPOCH: the kernel looks names up again; FUSE_NOTIFY_PRUNE: it forgets nodes
 */

#include "mount.h"

/*
 * wire_attach(m, fd): from here on, ${fd} is the descriptor of m->session, and everything that the
 * session reads from it or writes to it passes through here.  Call it before the first request is
 * read.  Calls m->ready() once the first answer is written.  Returns 0 or -errno.
 */
MUST_CHECK int wire_attach(struct mount *m, int fd);

/*
 * wire_adopt(m): continue a session that a killed process began: replay the kernel's first request
 * to libfuse, and send nothing to the kernel.  Call it after wire_attach().  Returns 0, or
 * -ERR_VERSION with a detail if this program would have answered that request differently, or if it
 * was never answered.
 */
MUST_CHECK int wire_adopt(struct mount *m);

/*
 * wire_resend(m): have the kernel give us again the requests that the process before had read but
 * not answered.  If the kernel can't, these requests fail with EIO.  Call it once, before the first
 * request is read.
 */
void wire_resend(struct mount *m);

/*
 * wire_new_epoch(m): have the kernel look each name that it knows up again before it uses it next.
 * Returns false if this kernel (before 6.16) can't.
 * wire_prune(m, nodes, n): have the kernel forget those of these ${n} (at most WIRE_PRUNE_MAX)
 * nodes that nobody uses.  A kernel before 6.18 does nothing.
 * Both: any thread; neither waits for anybody.
 */
#define WIRE_PRUNE_MAX 64u
bool wire_new_epoch(struct mount *m);
void wire_prune(struct mount *m, const uint64_t *nodes, unsigned n);

/*
 * wire_answer_statx(m, asked, written): answer a FUSE_STATX that ask_when_written() put off; frees
 * ${asked}.  ${written}: the kernel holds nothing of the file that we do not have.  Any thread.
 */
struct wire_statx;
void wire_answer_statx(struct mount *m, struct wire_statx *asked, bool written);

#endif /* !WIRE_H_ */
