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
struct successor;
struct options;
struct replicator;
struct view;
struct view_config;
struct volume;

#define CONTENT_CLOSE_MS 2000u
#define CONTENT_MEMORY_DEFAULT ((size_t)256 << 20)

/*
 * content_choose(o): if the target is the folder of an embassy's copy, make ${o} the options of a
 * read-only mount and warn on standard error: a copy that is written to would become another volume
 * with the same name and epoch.  The caller calls it once, before it uses ${o}.
 * Returns 0; -ERR_FORBIDDEN with a detail if ${o} asks for a writable mount, or for replication to
 * an embassy, of such a folder or of what a block server serves; -EINVAL with a detail if an option
 * is of no use for the target.
 */
MUST_CHECK int content_choose(struct options *o);

/*
 * content_open(o, successor, out): find the volume, get its passphrase or key file, and open it as the
 * options say.  If ${successor} says that an earlier process had it open and was killed, continue where
 * that process stood.  For a view, prints on standard error the head that its time resolved to.
 * Returns 0, or an error with a detail that names the thing and the reason.
 */
MUST_CHECK int content_open(const struct options *o, struct successor *successor,
			    struct content **out);

/*
 * content_close(c): make everything durable and close everything.  Waits at most CONTENT_CLOSE_MS
 * for embassies.  The process must be about to end: a thread that still waits for an embassy may be
 * left behind.  Frees ${c} whatever it returns: 0 or the first error.  NULL is a no-op.
 */
MUST_CHECK int content_close(struct content *c);

/* The parts of it, borrowed.  content_volume(): NULL for a view. */
struct volume *content_volume(struct content *c);
struct view *content_view(struct content *c);
const struct view_config *content_view_config(struct content *c);
const uint8_t *content_volume_id(const struct content *c);
struct replicator **content_replicators(struct content *c, size_t *out_n);
int content_is_remote(const struct content *c);

/* content_memory(o): how much memory the options allow. */
size_t content_memory(const struct options *o);

#endif /* !CONTENT_H_ */
