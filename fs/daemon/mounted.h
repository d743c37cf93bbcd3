#ifndef MOUNTED_H_
#define MOUNTED_H_

/*
 * A mounted filesystem that is found by its device number.  The path that it was mounted on may lead
 * elsewhere a moment later: a folder above it is renamed, the mount is moved, only a bind mount of
 * it or an open file is left, another filesystem is mounted over it.  The number stays.
 *
 * For a process that may wait for the filesystem, and that has one thread.
 */

#include "compiler.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct mounted {
	dev_t dev;
	char path[PATH_MAX]; /* where it was last seen; a hint */
};

/* How far a search goes. */
enum mounted_search {
	MOUNTED_CHEAPLY, /* what can be seen of it in this process' namespace */
	MOUNTED_ANYHOW,	 /* also under other mounts, in other namespaces, by files that are open */
};

/*
 * mounted_find(path, out): which mount of embassyfs ${path} leads to.  Asks nothing of whoever serves
 * it.  Returns 0; -ENOENT: to none, since it was unmounted or moved; -ENAMETOOLONG; or -errno.
 */
MUST_CHECK int mounted_find(const char *path, struct mounted *out);

/* mounted_is_ours(path): whether a mount of embassyfs is what is mounted on ${path} itself. */
bool mounted_is_ours(const char *path);

/*
 * mounted_open(m, how, may_hold): a descriptor of a file or folder of it, to sync it or to open files
 * by their handles.  It does not keep a mount from being unmounted, where this process is
 * privileged; ${may_hold}: it may do so, for as long as it is open, where there is no other way.
 * Returns the descriptor, the caller's; -ENOENT: it is not found; -EPERM: only with ${may_hold}.
 */
MUST_CHECK int mounted_open(struct mounted *m, enum mounted_search how, bool may_hold);

/*
 * mounted_umount(m, lazily): unmount it wherever it is seen in this process' namespace.  A mount
 * with another one on top is left as it is, since whoever made that did not ask for it.  Returns how
 * many mounts of it are left there.
 */
MUST_CHECK int mounted_umount(const struct mounted *m, bool lazily);

#endif /* !MOUNTED_H_ */
