#ifndef STORAGE_FOLDER_H_
#define STORAGE_FOLDER_H_

/*
 * storage.h by files: a pool is a folder that one process has locked, a volume a folder in it, named
 * by its id, as proto/FORMAT.md has it, so that it can be mounted without a server:
 *
 *   DIR/lock                        held while the pool is open
 *   DIR/<id>/volume.conf, owner
 *   DIR/<id>/log/<number>.seg       segments (store.h), <number>.leaves
 *   DIR/<id>/catalog/               the index (kv.h)
 *   DIR/.new-<id>/                  a creation that was interrupted; replaced by the next one
 *
 * The lock is the lease: the kernel holds it as long as the process lives, so no epoch is needed, and
 * nothing is renewed.  No commit is kept apart: a head that follows in the segments, and the index,
 * tell where a copy stands.
 */

#include "storage.h"

/*
 * storage_folder_open(dir, out): open the pool, making the folder where missing, durably, and lock it.
 * Returns 0; -ERR_LOCKED, with a detail, if another process has it; -EINVAL, with a detail, if it is a
 * volume's folder; -ENOMEM; -errno with a detail.
 */
MUST_CHECK int storage_folder_open(const char *dir, struct storage_pool **out);

#endif /* !STORAGE_FOLDER_H_ */
