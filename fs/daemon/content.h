#ifndef CONTENT_H_
#define CONTENT_H_

/*
 * What is mounted: a live volume with its replicators, or a view of one from a folder or a block
 * server.  Knows nothing of FUSE.
 */

#include "compiler.h"

#include <stddef.h>
#include <stdint.h>

struct content;
struct heir;
struct options;
struct replicator;
struct view;
struct view_config;
struct volume;

#define CONTENT_CLOSE_MS 2000u
#define CONTENT_MEMORY_DEFAULT ((size_t)256 << 20)

/*
 * content_settle(o): make ${o} the options of a read-only mount, with a warning on standard error,
 * where its target is the folder of an embassy's copy: written to, it would be another volume with
 * the same name and epoch.  To be called once, before anything is made of ${o}.
 * Returns 0, or -ERR_FORBIDDEN with a detail if it was asked to be writable, or to be sent to an
 * embassy.
 */
MUST_CHECK int content_settle(struct options *o);

/*
 * content_open(o, heir, out): find the volume, get its passphrase or key file, and open it as the
 * options say; if another process had it open and was killed, as ${heir} says, go on where it
 * stood.  A view says on standard error what its time resolved to.
 * Returns 0, or an error with a detail that names the thing and the reason.
 */
MUST_CHECK int content_open(const struct options *o, struct heir *heir, struct content **out);

/*
 * content_close(c): everything durable, all closed.  Waits at most CONTENT_CLOSE_MS for embassies; for
 * a process that is about to end, since a thread that waits for one may be left.  Frees ${c} whatever
 * it returns: 0 or the first error.  NULL is a no-op.
 */
MUST_CHECK int content_close(struct content *c);

/* Its parts, borrowed.  content_volume(): NULL for a view. */
struct volume *content_volume(struct content *c);
struct view *content_view(struct content *c);
const struct view_config *content_view_config(struct content *c);
const uint8_t *content_volume_id(const struct content *c);
struct replicator **content_replicators(struct content *c, size_t *out_n);
int content_is_remote(const struct content *c);

/* content_memory(o): how much memory the options allow. */
size_t content_memory(const struct options *o);

#endif /* !CONTENT_H_ */
