/*
 * Orders by name; see order.h.
 */

#include "order.h"

#include "replicator.h"
#include "request.h"

#include <errno.h>
#include <string.h>

#define PREFIX "system.embassyfs."
#define VALUE_MAX 256u

static int accept_loss(struct mount *m, const struct caller *c, const char *address)
{
	(void)c;
	for (size_t i = 0; i < m->n_replicators; i++)
		if (strcmp(replicator_address(m->replicators[i]), address) == 0)
			return replicator_accept_loss(m->replicators[i]);
	return -ENOENT;
}

static int release(struct mount *m, const struct caller *c, const char *name)
{
	return volume_snapshot_release(m->volume, c, name);
}

static int hold(struct mount *m, const struct caller *c, const char *name)
{
	return volume_snapshot_hold(m->volume, c, name);
}

static const struct {
	const char *name;
	int (*carry_out)(struct mount *m, const struct caller *c, const char *value);
} orders[] = {
	{PREFIX "accept-loss", accept_loss},
	{PREFIX "hold", hold},
	{PREFIX "release", release},
};

int order_take(fuse_req_t req, struct mount *m, const char *name, const char *value, size_t len)
{
	uid_t uid = fuse_req_ctx(req)->uid;
	char text[VALUE_MAX];

	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		if (strcmp(name, orders[i].name) != 0)
			continue;
		if (uid != 0 && uid != m->owner)
			return -EPERM;
		if (!m->volume)
			return -EROFS;
		if (len == 0 || len >= sizeof(text) || memchr(value, 0, len))
			return -EINVAL;
		memcpy(text, value, len);
		text[len] = '\0';
		return orders[i].carry_out(m, &request_of(req)->caller, text);
	}
	return -EOPNOTSUPP;
}
