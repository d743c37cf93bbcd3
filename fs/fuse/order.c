/*
 * Orders; see order.h.
 */

#include "order.h"

#include "replicator.h"
#include "request.h"
#include "supervisor.h"

#include <errno.h>
#include <string.h>

#define PREFIX "system.embassyfs."
#define VALUE_MAX 256u

bool order_allowed(fuse_req_t req, const struct mount *m)
{
	uid_t uid = fuse_req_ctx(req)->uid;

	return uid == 0 || uid == m->owner;
}

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
	char text[VALUE_MAX];

	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		if (strcmp(name, orders[i].name) != 0)
			continue;
		if (!order_allowed(req, m))
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

/*
 * This process ends before it answers the request.  The kernel gives the request to the successor,
 * which answers it: so the caller waits until the new program serves.
 */
int order_upgrade(struct mount *m, const struct request *r)
{
	struct shared_state *e = m->successor->map.state;
	struct head h;
	int rc = 0;

	if (r->steps > 0)
		return e->upgrades > e->upgrades_before ? 0 : -ECANCELED;
	if (e)
		e->upgrades_before = e->upgrades;
	/* The less is pending, the sooner the successor can serve. */
	if (m->volume)
		rc = volume_add_head(m->volume, &h);
	if (r->caller.note)
		note_mark(r->caller.note);
	return rc < 0 ? rc : successor_upgrade(m->successor);
}

/*
 * For 'embassy drain': make a head that states all changes, and ask each embassy where it stands.
 */
int order_drain(struct mount *m)
{
	struct head h;
	int rc = volume_add_head(m->volume, &h);

	for (size_t i = 0; i < m->n_replicators; i++)
		replicator_probe(m->replicators[i]);
	return rc;
}
