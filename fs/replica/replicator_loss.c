/*
 * An embassy that holds less than it had acknowledged.
 *
 * It gets again what it lost, since this home has it all.  But durable bytes do not vanish by
 * themselves: a disk, a restored backup or a person was at work there, and may be again when the
 * home is lost.  So what was found stays in the catalog, and the status shows it, until a person
 * answers.
 */

#include "replicator_internal.h"

#include "bytes.h"
#include "catalog.h"
#include "clock.h"
#include "err.h"
#include "msg.h"
#include "when.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LOSS_LEN 24u /* held, acknowledged, when; 8 bytes each; zeros: none */

static void name_of(const struct replicator *r, char out[300])
{
	snprintf(out, 300, "lost:%.250s", r->address);
}

static int put(struct replicator *r, const struct loss *l)
{
	uint8_t value[LOSS_LEN];
	char name[300];

	put_le64(value, l->held);
	put_le64(value + 8, l->acknowledged);
	put_le64(value + 16, (uint64_t)l->time_ns);
	name_of(r, name);
	return catalog_put_cursor(r->cfg.catalog, name, value, sizeof(value));
}

void replicator_get_loss(struct replicator *r)
{
	uint8_t value[LOSS_LEN];
	size_t len = sizeof(value);
	char name[300];

	name_of(r, name);
	if (catalog_get_cursor(r->cfg.catalog, name, value, &len) < 0 || len != sizeof(value))
		return;
	pthread_mutex_lock(&r->mu);
	r->loss = (struct loss){.held = get_le64(value),
				.acknowledged = get_le64(value + 8),
				.time_ns = (int64_t)get_le64(value + 16)};
	pthread_mutex_unlock(&r->mu);
}

void replicator_loss_text(const struct loss *l, char *out, size_t size)
{
	char when[WHEN_TEXT_LEN];

	out[0] = '\0';
	if (l->acknowledged == 0)
		return;
	when_format_seconds(l->time_ns, when);
	snprintf(out, size,
		 "on %s it held only head %" PRIu64 ", though it had acknowledged head %" PRIu64
		 "; what it lost is sent again. Find out why it was lost, then answer with "
		 "'embassy drain MOUNT --accept-loss ADDRESS'",
		 when, l->held, l->acknowledged);
}

void replicator_note_loss(struct replicator *r, uint64_t held)
{
	char text[sizeof(r->reason)];
	struct loss l;
	int rc;

	pthread_mutex_lock(&r->mu);
	l = r->loss;
	/* Until it is answered, the greatest loss counts. */
	if (l.acknowledged == 0 || held < l.held)
		l.held = held;
	if (r->acked.number > l.acknowledged)
		l.acknowledged = r->acked.number;
	l.time_ns = clock_wall_ns();
	r->loss = l;
	pthread_mutex_unlock(&r->mu);
	replicator_loss_text(&l, text, sizeof(text));
	msg_event(MSG_ERROR, "embassy-loss", "embassy %s: %s", r->address, text);
	rc = put(r, &l);
	if (rc < 0)
		msg_event(MSG_WARN, "embassy-loss", "embassy %s: its loss can't be noted: %s",
			  r->address, err_detail(rc));
}

int replicator_accept_loss(struct replicator *r)
{
	const struct loss none = {0};
	int rc = put(r, &none);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&r->mu);
	r->loss = none;
	pthread_mutex_unlock(&r->mu);
	msg_event(MSG_NOTICE, "embassy-loss", "embassy %s: its loss was accepted", r->address);
	return 0;
}
