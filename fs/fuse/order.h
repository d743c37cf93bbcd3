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

struct request;

/*
 * order_take(req, m, name, value, len): carry it out.
 * Returns 0; -EOPNOTSUPP: there is no such order; -EPERM; -EINVAL (a value that is none); -ENOENT:
 * nothing of that name; or what carrying it out returned.
 */
MUST_CHECK int order_take(fuse_req_t req, struct mount *m, const char *name, const char *value,
			  size_t len);

/* order_allowed(req, m): whether who asks is root or who mounted it. */
bool order_allowed(fuse_req_t req, const struct mount *m);

/*
 * Orders that are given by fsync of a folder in .embassy; who asks is allowed to.
 *
 * order_upgrade(m, r): have the program executed anew.  Does not return to who asked before the new
 * one serves.  Returns 0; -ECANCELED: none was begun; or as volume_add_head() and successor_upgrade().
 * order_drain(m): for 'embassy drain': a head that states all, and asking each embassy where it
 * stands.  Returns as volume_add_head().
 */
MUST_CHECK int order_upgrade(struct mount *m, const struct request *r);
MUST_CHECK int order_drain(struct mount *m);

#endif /* !ORDER_H_ */
