#ifndef WIRE_H_
#define WIRE_H_

/*
 * Between libfuse and the kernel: the four things of the kernel's protocol that this libfuse
 * does not know.
 *  - FUSE_HANDLE_KILLPRIV_V2: we take setuid bits off when a file is written, and the kernel
 *    need not ask for security.capability before every write
 *  - the bit of a write request that says so
 *  - FUSE_TMPFILE
 *  - FUSE_STATX, for birth times
 */

#include "mount.h"

/*
 * wire_attach(m): look at all that m->session reads and writes from here on.  After
 * fuse_session_mount(), before the first request is read. Calls m->ready() once the first answer
 * is written.  Returns 0 or -errno.
 */
MUST_CHECK int wire_attach(struct mount *m);

/* wire_write_kills_priv(): of the write request that this thread handles. */
bool wire_write_kills_priv(void);

#endif /* !WIRE_H_ */
