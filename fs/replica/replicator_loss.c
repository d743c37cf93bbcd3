/*
 * An embassy that holds less than it had acknowledged.
 *
 * It gets again what it lost, since this home has everything.  But durable bytes do not vanish by
 * themselves.  A disk, a restored backup or a person removed them, and may do so again when the
 * home is lost.  So the loss stays recorded in the catalog, and the status shows it, until a person
 * answers.
 */

#include "replicator_internal.h"

#include "clock.h"
#include "err.h"
#include "msg.h"
#include "record.h"

void replicator_note_loss(struct replicator *r, head_no held)
{
	char text[LOSS_TEXT_LEN];
	struct loss l;
	int rc;

	pthread_mutex_lock(&r->mu);
	l = r->loss;
	/* Until a person answers, the greatest loss counts. */
	if (l.acknowledged == 0 || held < l.held)
		l.held = held;
	if (r->acked.number > l.acknowledged)
		l.acknowledged = r->acked.number;
	l.time_ns = clock_wall_ns();
	r->loss = l;
	pthread_mutex_unlock(&r->mu);
	loss_text(&l, text);
	msg_event(MSG_ERROR, "embassy-loss", "embassy %s: %s", r->address, text);
	rc = record_put_loss(r->cfg.catalog, r->address, &l);
	if (rc < 0)
		msg_event(MSG_WARN, "embassy-loss", "embassy %s: its loss can't be noted: %s",
			  r->address, err_detail(rc));
}

int replicator_accept_loss(struct replicator *r)
{
	const struct loss none = {0};
	int rc = record_put_loss(r->cfg.catalog, r->address, &none);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&r->mu);
	r->loss = none;
	pthread_mutex_unlock(&r->mu);
	msg_event(MSG_NOTICE, "embassy-loss", "embassy %s: its loss was accepted", r->address);
	return 0;
}
