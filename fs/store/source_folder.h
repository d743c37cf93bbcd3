#ifndef SOURCE_FOLDER_H_
#define SOURCE_FOLDER_H_

/* A reader's source over a volume's folder. */

#include "compiler.h"

struct source;

/*
 * source_open_folder(volume_dir, out): a folder, read-only, no lock taken; may be live beside a
 * writer.  If the catalog is missing or damaged, one is built in a private temporary folder.
 * source->params holds volume.conf.
 * Returns 0; -ERR_NO_VOLUME; -ERR_DAMAGED (also if what lies behind the newest whole head is
 * damage, or a head that the catalog knows is gone: see tail.h); -ERR_TAMPERED; -errno.
 *
 * source_open_folder_partial(volume_dir, out): the same, but damage at the end only ends it: the
 * newest head is the newest that is whole.  For who has told of the damage, or is to repair it.
 */
MUST_CHECK int source_open_folder(const char *volume_dir, struct source **out);
MUST_CHECK int source_open_folder_partial(const char *volume_dir, struct source **out);

#endif /* !SOURCE_FOLDER_H_ */
