/*
 * A replicator's stream: what is sent on it, and what it reports.
 *
 * Key idea: while a send is under way the next pieces are read.  What the network reports goes into
 * the inbox, and is taken from there as events of the step machine.
 *
 * Invariants:
 * 1. Only bytes below the newest durable head are read or sent.
 * 2. Memory: PIECES_MAX buffers, AHEAD_MAX of them read ahead.
 */

#include "replicator_internal.h"

#include "catalog.h"
#include "clock.h"
#include "embassy.pb-c.h"
#include "err.h"
#include "msg.h"
#include "params.h"
#include "store.h"
#include "wire.h"

#include <errno.h>
#include <stdio.h>

#define AHEAD_MAX 8u
/* with a larger backlog, bytes that were sent need not stay in the page cache */
#define BACKLOG_FAR (UINT64_C(256) << 20)

/* ---- pieces ---- */

void replicator_drop_ahead(struct replicator *r)
{
	struct piece *p;

	while ((p = STAILQ_FIRST(&r->ahead)) != NULL) {
		STAILQ_REMOVE_HEAD(&r->ahead, entry);
		piece_put(p);
	}
	r->n_ahead = 0;
}

/*
 * Read one more piece.  Returns 1; 0 if there is nothing to read or no room; or the error of
 * piece_read().
 */
int replicator_read_ahead(struct replicator *r)
{
	struct piece *p;
	int rc;

	if (r->step.phase != STEP_STREAMING || !r->stream || r->n_ahead >= AHEAD_MAX ||
	    r->read_pos >= r->step.newest.end)
		return 0;
	p = piece_get(r->pool);
	if (!p)
		return 0;
	rc = piece_read(r->cfg.store, r->read_pos, r->step.newest.end, p);
	if (rc < 0) {
		piece_put(p);
		return rc;
	}
	if (r->step.newest.end - p->pos > BACKLOG_FAR)
		store_forget(r->cfg.store, p->pos, p->len);
	r->read_pos = p->pos + p->len;
	STAILQ_INSERT_TAIL(&r->ahead, p, entry);
	r->n_ahead++;
	return 1;
}

/* ---- sending ---- */

void replicator_open_stream(struct replicator *r, const struct step_action *a)
{
	Embassyfs__V1__AppendRequest request = EMBASSYFS__V1__APPEND_REQUEST__INIT;
	Embassyfs__V1__AppendOpen open = EMBASSYFS__V1__APPEND_OPEN__INIT;
	grpc_byte_buffer *bb;
	int rc;

	open.volume = (ProtobufCBinaryData){.len = VOLUME_ID_LEN,
					    .data = (uint8_t *)r->cfg.params->id};
	open.epoch = params_epoch(r->cfg.params);
	open.position = a->position;
	open.head = a->head;
	request.open = &open;
	rc = wire_pack(&request.base, &bb);
	if (rc == 0) {
		rc = client_stream_open(r->client, WIRE_SERVICE "Append", &replicator_stream_ops, r,
					&r->stream);
		if (rc < 0)
			grpc_byte_buffer_destroy(bb);
	}
	if (rc < 0) {
		replicator_fail(r, rc);
		return;
	}
	msg_event(MSG_INFO, "stream-opened", "embassy %s: is sent what follows head %llu",
		  r->address, (unsigned long long)a->head);
	r->read_pos = a->position;
	r->sending_len = 0;
	/* If the stream has ended already, its end is on the way as an event. */
	(void)!client_stream_send(r->stream, bb);
}

static void release_piece(void *arg)
{
	piece_put(arg);
}

/* Returns false if it has to wait for a buffer. */
bool replicator_send_piece(struct replicator *r)
{
	grpc_byte_buffer *bb;
	struct piece *p;
	int rc = STAILQ_EMPTY(&r->ahead) ? replicator_read_ahead(r) : 1;

	if (rc < 0) {
		replicator_set_reason(r, err_detail(rc));
		step_close(&r->step, replicator_class_of(rc));
		return true;
	}
	p = STAILQ_FIRST(&r->ahead);
	if (!p)
		return false;
	STAILQ_REMOVE_HEAD(&r->ahead, entry);
	r->n_ahead--;
	r->sending_len = p->len;
	step_sending(&r->step, clock_mono_ns(), p->pos, p->len);
	bb = wire_append_data(p->pos, p->bytes, p->len, release_piece, p);
	piece_hand_over(p);
	(void)!client_stream_send(r->stream, bb);
	return true;
}

/* ---- events ---- */

/* An acknowledgement must name one of our heads; the step machine checks that it was sent. */
static void take_ack(struct replicator *r, const struct step_head *ack, uint64_t now_ns)
{
	struct step_head before = r->step.acked;
	struct head_ref ref = {0};
	int rc = ack->number ? catalog_head(r->cfg.catalog, ack->number, &ref) : 0;

	if (r->step.phase != STEP_STREAMING ||
	    (ack->number == before.number && ack->end == before.end))
		return;
	/* A catalog that is being rebuilt lacks heads that the log contains: ask again. */
	if (rc == -ERR_ABSENT && ack->number <= r->step.newest.number) {
		replicator_set_reason(r, "the catalog does not know yet what the embassy has");
		step_close(&r->step, STEP_AWAY);
		return;
	}
	if (rc < 0 || ref.pos + ref.stored_len != ack->end) {
		replicator_set_reason(
			r, "the embassy acknowledged a head that is not one of this log");
		step_close(&r->step, STEP_REFUSED);
		return;
	}
	if (!step_acknowledged(&r->step, now_ns,
			       &(struct step_head){ref.number, ack->end, ref.time_ns})) {
		replicator_set_reason(
			r, "the embassy acknowledged what was not sent to it, or went back");
		return;
	}
	if (r->said[0])
		msg_event(MSG_INFO, "embassy-works", "embassy %s: goes on at head %llu", r->address,
			  (unsigned long long)ref.number);
	r->said[0] = '\0';
	r->was_refused = false;
	replicator_heard(r);
	r->cursor_due = true;
}

static void take_end(struct replicator *r, const struct inbox *in, uint64_t now_ns)
{
	bool ours = r->step.phase == STEP_CLOSING;
	enum step_failure why = replicator_class_of(in->end_rc);

	/*
	 * Count a first refusal as a break.  It may only mean that the embassy has gone on, with
	 * bytes of a former stream, from where it said it stood; to ask again settles that.
	 */
	if (in->end_rc == -ERR_REFUSED && !r->was_refused)
		why = STEP_AWAY;
	r->was_refused = in->end_rc == -ERR_REFUSED;

	msg_event(MSG_INFO, "stream-ended", "embassy %s: has acknowledged head %llu", r->address,
		  (unsigned long long)r->step.acked.number);
	client_stream_free(r->stream);
	r->stream = NULL;
	replicator_drop_ahead(r);
	if (!ours)
		replicator_set_reason(r, in->end_rc == 0 ? "the embassy closed the stream"
							 : in->end_detail);
	step_failed(&r->step, now_ns, why);
}

void replicator_take_events(struct replicator *r, const struct inbox *in)
{
	uint64_t now_ns = clock_mono_ns();

	if (in->woken)
		replicator_look_at_newest(r);
	if (in->probe)
		r->probe_ns = now_ns;
	if (in->has_ack)
		take_ack(r, &in->ack, now_ns);
	if (in->malformed && r->step.phase == STEP_STREAMING) {
		replicator_set_reason(r, "the embassy's acknowledgement is malformed");
		step_close(&r->step, STEP_REFUSED);
	}
	if (in->sent) {
		step_sent(&r->step, now_ns);
		pthread_mutex_lock(&r->mu);
		rate_add(&r->rate, now_ns, r->sending_len);
		figure_count(&r->sent, r->sending_len);
		pthread_mutex_unlock(&r->mu);
	}
	if (in->ended)
		take_end(r, in, now_ns);
}
