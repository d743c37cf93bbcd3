#ifndef ORDER_H_
#define ORDER_H_

/*
 * Orders to a live mount: an attribute "system.embassyfs.ORDER" set on MOUNT/.embassy, whose value
 * says what it is about.  They are for root and who mounted it, and safe to give twice.
 *
 *	accept-loss	ADDRESS		an embassy's loss was looked into
 *	hold		NAME		a snapshot is held
 *	release		NAME		a snapshot's hold is taken off
 */

#include "mount.h"

/*
 * order_take(req, m, name, value, len): carry it out.
 * Returns 0; -EOPNOTSUPP: there is no such order; -EPERM; -EINVAL (a value that is none); -ENOENT:
 * nothing of that name; or what carrying it out returned.
 */
MUST_CHECK int order_take(fuse_req_t req, struct mount *m, const char *name, const char *value,
			  size_t len);

#endif /* !ORDER_H_ */
