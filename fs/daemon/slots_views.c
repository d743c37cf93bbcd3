/*
 * The open views of slots.
 *
 * A list of open views, most recently used first.  When they cost more than the bound, or are too
 * many, views are closed from the old end.  Views in use and the newest few are spared.
 *
 * Invariants:
 *  - at most one view of a head is open or opening
 *  - a view is closed only while nobody uses it, and with mu released
 */

#include "slots_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static struct open_view *surplus_locked(struct slots *s) REQUIRES(s->mu);
static struct open_view *find_locked(struct slots *s, head_no head) REQUIRES(s->mu);
static int open_locked(struct slots *s, head_no head, struct open_view **out) REQUIRES(s->mu);

/* Unlink and return the oldest unused view if the bounds are exceeded; else NULL. */
static struct open_view *surplus_locked(struct slots *s)
{
	struct open_view *ov;

	if ((s->bytes <= s->cfg.bytes_max && s->n_open <= SLOTS_VIEWS_MAX) ||
	    s->n_open <= SLOTS_VIEWS_MIN)
		return NULL;
	TAILQ_FOREACH_REVERSE(ov, &s->views, open_views, entry)
		if (ov->users == 0)
			break;
	if (ov) {
		TAILQ_REMOVE(&s->views, ov, entry);
		s->n_open--;
		s->bytes -= ov->bytes;
	}
	return ov;
}

static struct open_view *find_locked(struct slots *s, head_no head)
{
	struct open_view *ov;

	TAILQ_FOREACH(ov, &s->views, entry)
		if (ov->head == head)
			break;
	return ov;
}

/*
 * Open the view of ${head} with mu released.  Its entry, linked before, makes other threads wait.
 */
static int open_locked(struct slots *s, head_no head, struct open_view **out)
{
	struct open_view *ov = calloc(1, sizeof(*ov));
	struct view *v = NULL;
	int rc;

	if (!ov)
		return -ENOMEM;
	ov->head = head;
	ov->users = 1;
	TAILQ_INSERT_HEAD(&s->views, ov, entry);
	s->n_open++;

	pthread_mutex_unlock(&s->mu);
	rc = s->cfg.open(s->cfg.ctx, head, &v);
	pthread_mutex_lock(&s->mu);

	ov->users--;
	pthread_cond_broadcast(&s->opened);
	if (rc < 0) {
		TAILQ_REMOVE(&s->views, ov, entry);
		s->n_open--;
		free(ov);
		return rc;
	}
	ov->view = v;
	ov->bytes = s->cfg.bytes(v);
	s->bytes += ov->bytes;
	*out = ov;
	return 0;
}

int slots_view(struct slots *s, uint32_t slot, struct view **out)
{
	struct open_view *ov = NULL, *old;
	int rc = 0;

	pthread_mutex_lock(&s->mu);
	if (slot >= *s->n || !slots_in_use(s, slot)) {
		pthread_mutex_unlock(&s->mu);
		return -ESTALE;
	}
	/* Pin it: with mu released, the kernel may forget the slot's last node. */
	s->notes[slot].pins++;
	/* Look it up after each wait: the view waited for may have failed to open and be freed. */
	while ((ov = find_locked(s, s->table[slot].head)) && !ov->view)
		pthread_cond_wait(&s->opened, &s->mu);
	if (!ov)
		rc = open_locked(s, s->table[slot].head, &ov);
	if (rc == 0) {
		ov->users++;
		TAILQ_REMOVE(&s->views, ov, entry);
		TAILQ_INSERT_HEAD(&s->views, ov, entry);
		*out = ov->view;
		slots_use_locked(s, slot);
	} else {
		s->notes[slot].pins--;
		slots_leave_if_unused_locked(s, slot);
	}
	while ((old = surplus_locked(s))) {
		pthread_mutex_unlock(&s->mu);
		s->cfg.close(old->view);
		free(old);
		pthread_mutex_lock(&s->mu);
	}
	pthread_mutex_unlock(&s->mu);
	return rc;
}

void slots_view_put(struct slots *s, uint32_t slot, struct view *v)
{
	struct open_view *ov;

	pthread_mutex_lock(&s->mu);
	TAILQ_FOREACH(ov, &s->views, entry)
		if (ov->view == v)
			break;
	assert(ov && ov->users > 0 && s->notes[slot].pins > 0 && ov->head == s->table[slot].head);
	ov->users--;
	s->notes[slot].pins--;
	slots_leave_if_unused_locked(s, slot);
	pthread_mutex_unlock(&s->mu);
}
