#ifndef ORDER_H_
#define ORDER_H_

/*
 * Orders to a live mount.  An order is given by setting the attribute "system.embassyfs.ORDER" on
 * MOUNT/.embassy; the value is its argument.  Root and the user who mounted it may give orders.  An
 * order may be given twice without harm.
 *
 *	accept-loss	ADDRESS		a person has looked into an embassy's loss
 *	hold		NAME		hold a snapshot
 *	release		NAME		take a snapshot's hold off
 */

#include "mount.h"

struct request;

/*
 * order_take(req, m, name, value, len): carry out the order.
 * Returns 0; -EOPNOTSUPP if there is no such order; -EPERM; -EINVAL if the value is malformed;
 * -ENOENT if nothing has that name; or the error of carrying it out.
 */
MUST_CHECK int order_take(fuse_req_t req, struct mount *m, const char *name, const char *value,
			  size_t len);

/* order_allowed(req, m): is the caller root, or the user who mounted it? */
bool order_allowed(fuse_req_t req, const struct mount *m);

/*
 * Orders that are given by fsync of a folder in .embassy.  The caller has checked order_allowed().
 *
 * order_upgrade(m, r): execute the program anew.  The request is not answered before the new
 * program serves.  Returns 0; -ECANCELED if no upgrade was begun; or as volume_add_head() and
 * successor_upgrade().
 * order_drain(m): for 'embassy drain': make a head that states all changes, and ask each embassy
 * where it stands.  Returns as volume_add_head().
 */
MUST_CHECK int order_upgrade(struct mount *m, const struct request *r);
MUST_CHECK int order_drain(struct mount *m);

#endif /* !ORDER_H_ */
