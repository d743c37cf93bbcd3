#ifndef MOUNTED_H_
#define MOUNTED_H_

/*
 * A mounted filesystem, found by its device number.  The path of the mount may soon lead elsewhere:
 * a folder above it is renamed, the mount is moved, another filesystem is mounted over it, or only
 * a bind mount or an open file is left.  The number stays.
 *
 * For a process with one thread that may wait for the filesystem.
 */

#include "compiler.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct mounted {
	dev_t dev;
	char path[PATH_MAX]; /* where it was last seen; only a hint */
};

/* How far a search goes. */
enum mounted_search {
	MOUNTED_CHEAPLY, /* what is visible in this process' namespace */
	MOUNTED_ANYHOW,	 /* also under other mounts, in other namespaces, through open files */
};

/*
 * mounted_find(path, out): the embassyfs mount that ${path} leads to.  Sends no request to its
 * daemon.
 * Returns 0; -ENOENT if it leads to none (it was unmounted or moved); -ENAMETOOLONG; or -errno.
 */
MUST_CHECK int mounted_find(const char *path, struct mounted *out);

/* mounted_is_ours(path): is a mount of embassyfs mounted on ${path} itself? */
bool mounted_is_ours(const char *path);

/*
 * mounted_open(m, how, may_hold): a descriptor of a file or folder of it, to sync it or to open
 * files by their handles.  In a privileged process, the descriptor does not prevent an unmount.
 * Without privilege it would, so it is opened only if ${may_hold}.
 * Returns the descriptor, which the caller closes; -ENOENT if the filesystem is not found; -EPERM
 * if it can be opened only with ${may_hold}.
 */
MUST_CHECK int mounted_open(struct mounted *m, enum mounted_search how, bool may_hold);

/*
 * mounted_umount(m, lazily): unmount it everywhere in this process' namespace.  Leaves a mount that
 * another one covers, because the user who made the covering mount did not ask for this.  Returns
 * how many of its mounts are left there.
 */
MUST_CHECK int mounted_umount(const struct mounted *m, bool lazily);

#endif /* !MOUNTED_H_ */
