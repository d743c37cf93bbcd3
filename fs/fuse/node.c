/*
 * Nodes in views.
 *
 * A view of the past must not be closed while a request uses it.  So a handler holds the view from
 * place_get() to place_put().  It releases the view before it replies, where it can: the kernel may
 * wait for that reply before it forgets the node.  References that a reply will give are counted
 * before, while the view is still held: otherwise the kernel could forget a node meanwhile that it
 * has looked up by id alone.
 */

#include "node.h"

#include "slots.h"

#include <errno.h>

int place_get(struct mount *m, uint64_t id, struct place *out)
{
	uint64_t top = id >> NODE_SHIFT;
	int rc = 0;

	*out = place_of_root(m, id & (INO_MAX - 1));
	if (top == 0)
		return 0;
	out->view = NULL;
	if (!m->slots || top == NODE_VIRTUAL)
		return -ESTALE;
	rc = slots_view(m->slots, (uint32_t)(top - 1), &out->view);
	if (rc == 0) {
		out->slot = (int)(top - 1);
		out->head = view_head(out->view)->number;
	}
	return rc;
}

void place_put(struct mount *m, struct place *n)
{
	if (n->slot >= 0 && n->view)
		slots_view_put(m->slots, (uint32_t)n->slot, n->view);
	n->view = NULL;
}

void place_give(struct mount *m, const struct place *n, uint64_t count)
{
	if (n->slot >= 0 && count > 0)
		slots_add(m->slots, (uint32_t)n->slot, count);
}
