#ifndef MOUNTPOINT_H_
#define MOUNTPOINT_H_

/* May a folder be mounted on? */

#include "compiler.h"

struct options;

/*
 * mountpoint_check(o): check the mount point before anything is opened or asked for.  Returns 0;
 * -ENOTDIR; -ENOTCONN (a dead mount is there); -EBUSY (a mount of embassyfs is there, or this one
 * would hide the volume's own folder or the certificates); -ENOTEMPTY; -errno; each with a detail
 * that says what to do.
 */
MUST_CHECK int mountpoint_check(const struct options *o);

#endif /* !MOUNTPOINT_H_ */
