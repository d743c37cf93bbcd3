/*
 * The driver of replicator_step.h: one thread that asks, reads the log, and sends.
 *
 * Key idea: the thread owns the step machine and the pieces; what the network reports
 * (acknowledgement, send taken, end) lands in an inbox, which the thread empties before each step.
 * While a send is under way it reads the next pieces.
 *
 * Invariants:
 *  1. Only bytes below the newest durable head are read or sent.
 *  2. Memory: PIECES_MAX buffers, AHEAD_MAX of them read ahead; the inbox holds the newest
 *     acknowledgement only.
 *  3. Nothing here is waited for by writers: replicator_wake() sets a flag.
 *
 * Lock order: the pool's mutex before r->mu, which is a leaf.
 */

#include "replicator_internal.h"

#include "agree.h"
#include "buf.h"
#include "catalog.h"
#include "clock.h"
#include "embassy.pb-c.h"
#include "err.h"
#include "msg.h"
#include "params.h"
#include "store.h"
#include "wire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define AHEAD_MAX 8u
#define ASK_TIMEOUT_MS 10000
/* from here on, what was sent need not stay in the page cache */
#define BACKLOG_FAR (UINT64_C(256) << 20)
#define SECOND_NS UINT64_C(1000000000)
#define TLS_LOOK_NS (60 * SECOND_NS)
#define CONF_LOOK_NS (2 * SECOND_NS) /* how often to look for key changes */
#define NICE 5 /* a third of a thread of an application, if there is no core for both */

/* ---- state ---- */

static void publish(struct replicator *r)
{
	const struct step *s = &r->step;

	/* Only this thread changes r->acked. */
	if (s->phase == STEP_STREAMING &&
	    (s->acked.number != r->acked.number || s->acked.end != r->acked.end))
		replicator_set_acked(r, &s->acked);
	pthread_mutex_lock(&r->mu);
	if (s->phase == STEP_STREAMING) {
		r->state = s->acked.end == s->newest.end ? REPLICATOR_IDLE : REPLICATOR_STREAMING;
		r->reason[0] = '\0';
	} else if (s->refused || (s->phase == STEP_CLOSING && s->why == STEP_REFUSED)) {
		r->state = REPLICATOR_REFUSED;
	} else {
		r->state = REPLICATOR_CONNECTING;
	}
	pthread_mutex_unlock(&r->mu);
}

void replicator_set_reason(struct replicator *r, const char *reason)
{
	size_t len = strlen(r->address);
	bool news;

	pthread_mutex_lock(&r->mu);
	snprintf(r->reason, sizeof(r->reason), "%s", reason);
	news = strcmp(r->said, r->reason) != 0;
	memcpy(r->said, r->reason, sizeof(r->said));
	pthread_mutex_unlock(&r->mu);
	if (!news)
		return;
	if (strncmp(reason, r->address, len) == 0 && strncmp(reason + len, ": ", 2) == 0)
		reason += len + 2;
	msg_event(MSG_WARN, "embassy-trouble", "embassy %s: %s", r->address, reason);
}

static enum step_failure class_of(int rc)
{
	switch (-rc) {
	case ERR_REFUSED:
	case ERR_FORBIDDEN:
	case ERR_DAMAGED:
	case ERR_ABSENT:
	case ERR_VERSION:
	case ERR_TAMPERED:
	case ERR_FORKED:
	case ERR_ROLLED_BACK:
		return STEP_REFUSED;
	default:
		return STEP_AWAY;
	}
}

static void fail(struct replicator *r, int rc)
{
	if (rc != -ECANCELED)
		replicator_set_reason(r, err_detail(rc));
	step_failed(&r->step, clock_mono_ns(), class_of(rc));
}

/*
 * Remember across restarts what the embassy last acknowledged; at most once a second, and never
 * relied on.
 */
static void put_cursor(struct replicator *r, uint64_t now_ns, bool last)
{
	int rc;

	if (!r->cursor_due || (!last && now_ns < r->cursor_ns + SECOND_NS))
		return;
	rc = record_put_acked(r->cfg.catalog, r->address, &r->step.acked);
	if (rc < 0)
		msg_event(MSG_WARN, "embassy-cursor", "embassy %s: the cursor: %s", r->address,
			  err_detail(rc));
	r->cursor_ns = now_ns;
	r->cursor_due = false;
}

static void look_at_newest(struct replicator *r)
{
	struct head h;
	struct step_head sh;

	r->cfg.newest(r->cfg.ctx, &h);
	sh = (struct step_head){.number = h.number, .end = head_end(&h), .time_ns = h.time_ns};
	if (h.number > 0)
		step_newest(&r->step, clock_mono_ns(), &sh);
}

/* ---- pieces ---- */

static void drop_ahead(struct replicator *r)
{
	struct piece *p;

	while ((p = STAILQ_FIRST(&r->ahead)) != NULL) {
		STAILQ_REMOVE_HEAD(&r->ahead, entry);
		piece_put(p);
	}
	r->n_ahead = 0;
}

/*
 * Read one piece more.  Returns 1; 0 if there is nothing to read or no room; or piece_read's
 * error.
 */
static int read_ahead(struct replicator *r)
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

/* ---- actions ---- */

static ProtobufCBinaryData volume_of(const struct replicator *r)
{
	return (ProtobufCBinaryData){.len = VOLUME_ID_LEN, .data = (uint8_t *)r->cfg.params->id};
}

/*
 * Say once what a person has to look at: the embassy holds key slots that are not ours.  Bytes are
 * sent all the same, since their loss would be worse.
 */
static void look_at_other_conf(struct replicator *r, const Embassyfs__V1__Volume *v)
{
	uint64_t ours = own_conf_params(r->conf)->serial;
	uint64_t theirs = agree_other_conf(own_conf_params(r->conf), v);
	char text[sizeof(r->conf_warning)] = "";
	int rc;

	if (theirs != 0)
		snprintf(text, sizeof(text),
			 "it holds another volume.conf (serial %" PRIu64 ", here %" PRIu64
			 "), and opens with what that one lists: key changes made here have not "
			 "reached it. Look at 'embassy keys VOLUME list', and make the newest "
			 "change once more: it then takes the place of what is there",
			 theirs, ours);
	pthread_mutex_lock(&r->mu);
	memcpy(r->conf_warning, text, sizeof(r->conf_warning));
	pthread_mutex_unlock(&r->mu);
	if (theirs == r->other_conf)
		return;
	r->other_conf = theirs;
	if (theirs == 0)
		return;
	msg_event(MSG_WARN, "embassy-conf", "embassy %s: %s", r->address, text);
	rc = own_conf_note(r->conf, theirs);
	if (rc < 0)
		msg_event(MSG_WARN, "embassy-conf", "embassy %s: %s", r->address, err_detail(rc));
}

static void judge(struct replicator *r, const Embassyfs__V1__Volume *v, bool was_put)
{
	struct step_head h;
	int rc;

	rc = agree_check(own_conf_params(r->conf), r->cfg.store, r->cfg.catalog, v, &h);
	if (rc == AGREE_LACKING && !was_put) {
		step_lacking(&r->step);
		return;
	}
	if (rc == AGREE_LACKING)
		rc = err_say(-ERR_REFUSED, "the embassy keeps an older volume.conf");
	/*
	 * The catalog may know a head a moment before it is the newest: that is news, no trouble.
	 */
	look_at_newest(r);
	if (rc == 0 && h.number > r->step.newest.number)
		rc = err_say(-EAGAIN, "a head is being made durable");
	if (rc < 0) {
		fail(r, rc);
		return;
	}
	look_at_other_conf(r, v);
	if (h.number < r->acked.number) /* which only this thread changes */
		replicator_note_loss(r, h.number);
	step_agreed(&r->step, clock_mono_ns(), &h);
	replicator_heard(r);
	r->cursor_due = true;
}

static void ask_volume(struct replicator *r)
{
	Embassyfs__V1__GetVolumeRequest request = EMBASSYFS__V1__GET_VOLUME_REQUEST__INIT;
	ProtobufCMessage *m;
	int rc;

	request.volume = volume_of(r);
	rc = client_reconnect(r->client);
	r->tls_due_ns = 0; /* it may have taken another certificate */
	if (rc == 0)
		rc = client_call(r->client, WIRE_SERVICE "GetVolume", &request.base,
				 &embassyfs__v1__volume__descriptor, ASK_TIMEOUT_MS, &m);
	if (rc == -ERR_NO_VOLUME) {
		step_lacking(&r->step);
		return;
	}
	if (rc < 0) {
		fail(r, client_explain(r->client, rc));
		return;
	}
	judge(r, (const Embassyfs__V1__Volume *)m, false);
	protobuf_c_message_free_unpacked(m, NULL);
}

static void put_volume(struct replicator *r)
{
	Embassyfs__V1__PutVolumeRequest request = EMBASSYFS__V1__PUT_VOLUME_REQUEST__INIT;
	struct buf text = {0};
	ProtobufCMessage *m;
	int rc;

	rc = params_encode(own_conf_params(r->conf), &text);
	if (rc == 0) {
		request.params = (ProtobufCBinaryData){.len = text.len, .data = text.p};
		rc = client_call(r->client, WIRE_SERVICE "PutVolume", &request.base,
				 &embassyfs__v1__volume__descriptor, ASK_TIMEOUT_MS, &m);
	}
	buf_release(&text);
	if (rc < 0) {
		fail(r, rc);
		return;
	}
	judge(r, (const Embassyfs__V1__Volume *)m, true);
	protobuf_c_message_free_unpacked(m, NULL);
}

static void open_stream(struct replicator *r, const struct step_action *a)
{
	Embassyfs__V1__AppendRequest request = EMBASSYFS__V1__APPEND_REQUEST__INIT;
	Embassyfs__V1__AppendOpen open = EMBASSYFS__V1__APPEND_OPEN__INIT;
	grpc_byte_buffer *bb;
	int rc;

	open.volume = volume_of(r);
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
		fail(r, rc);
		return;
	}
	msg_event(MSG_INFO, "stream-opened", "embassy %s: is sent what follows head %llu",
		  r->address, (unsigned long long)a->head);
	r->read_pos = a->position;
	r->sending_len = 0;
	/* If it is over already, its end is on the way. */
	(void)!client_stream_send(r->stream, bb);
}

static void release_piece(void *arg)
{
	piece_put(arg);
}

/* Returns false if it has to wait for a buffer. */
static bool send_piece(struct replicator *r)
{
	grpc_byte_buffer *bb;
	struct piece *p;
	int rc = STAILQ_EMPTY(&r->ahead) ? read_ahead(r) : 1;

	if (rc < 0) {
		replicator_set_reason(r, err_detail(rc));
		step_close(&r->step, class_of(rc));
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
	/* A catalog that is being made anew lacks heads that are there: ask again. */
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
	enum step_failure why = class_of(in->end_rc);

	/*
	 * A first refusal may only mean that the embassy went on from where it said it stood, with
	 * what a former stream had brought: asking again settles that.
	 */
	if (in->end_rc == -ERR_REFUSED && !r->was_refused)
		why = STEP_AWAY;
	r->was_refused = in->end_rc == -ERR_REFUSED;

	msg_event(MSG_INFO, "stream-ended", "embassy %s: has acknowledged head %llu", r->address,
		  (unsigned long long)r->step.acked.number);
	client_stream_free(r->stream);
	r->stream = NULL;
	drop_ahead(r);
	if (!ours)
		replicator_set_reason(r, in->end_rc == 0 ? "the embassy closed the stream"
							 : in->end_detail);
	step_failed(&r->step, now_ns, why);
}

static void take_events(struct replicator *r, const struct inbox *in)
{
	uint64_t now_ns = clock_mono_ns();

	if (in->woken)
		look_at_newest(r);
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
		pthread_mutex_unlock(&r->mu);
	}
	if (in->ended)
		take_end(r, in, now_ns);
}

/* Empty the inbox, after waiting for news until ${until_ns}.  Returns false to stop. */
static bool wait_for_news(struct replicator *r, uint64_t until_ns, struct inbox *out)
{
	const struct inbox *in = &r->inbox;
	int rc = 0;

	pthread_mutex_lock(&r->mu);
	while (rc == 0 && !in->stop && !in->woken && !in->probe && !in->sent && !in->has_ack &&
	       !in->malformed && !in->ended)
		rc = clock_wait(&r->news, &r->mu, until_ns);
	*out = r->inbox;
	r->inbox = (struct inbox){.stop = in->stop};
	pthread_mutex_unlock(&r->mu);
	return !out->stop;
}

/* A key change that was made meanwhile goes to the embassy too. */
static void look_at_own_conf(struct replicator *r, uint64_t now_ns)
{
	int rc;

	if (!r->cfg.volume_dir || now_ns < r->conf_due_ns)
		return;
	r->conf_due_ns = now_ns + CONF_LOOK_NS;
	rc = own_conf_look(r->conf);
	/* What cannot be read is the mount's trouble; the embassy keeps what it has. */
	if (rc <= 0)
		return;
	msg_event(MSG_NOTICE, "embassy-conf",
		  "embassy %s: volume.conf changed (serial %" PRIu64 "); it is sent there",
		  r->address, own_conf_params(r->conf)->serial);
	step_renew(&r->step, now_ns);
}

void replicator_look_at_certificate(struct replicator *r, uint64_t now_ns)
{
	char text[sizeof(r->tls_warning)];
	bool news;

	if (!r->tls_dir || now_ns < r->tls_due_ns)
		return;
	r->tls_due_ns = now_ns + TLS_LOOK_NS;
	(void)wire_tls_warning(r->tls_dir, clock_wall_ns() / (int64_t)SECOND_NS, text,
			       sizeof(text));
	pthread_mutex_lock(&r->mu);
	news = strcmp(text, r->tls_warning) != 0;
	memcpy(r->tls_warning, text, sizeof(r->tls_warning));
	pthread_mutex_unlock(&r->mu);
	if (news && text[0])
		msg_event(MSG_WARN, "certificate-expires", "embassy %s: %s", r->address, text);
}

/* One step.  Returns until when to wait for news; 0: not at all. */
static uint64_t take_step(struct replicator *r)
{
	uint64_t now_ns = clock_mono_ns(), probe_ns;
	struct step_action a;

	look_at_own_conf(r, now_ns);
	replicator_look_at_certificate(r, now_ns);
	if (step_silent(&r->step, now_ns))
		replicator_set_reason(r, "it stopped answering while data was under way");
	step_next(&r->step, now_ns, &a);
	switch (a.kind) {
	case STEP_DO_ASK:
		ask_volume(r);
		return 0;
	case STEP_DO_PUT:
		put_volume(r);
		return 0;
	case STEP_DO_OPEN:
		open_stream(r, &a);
		return 0;
	case STEP_DO_CLOSE:
		client_stream_cancel(r->stream);
		return 0;
	case STEP_DO_SEND:
		if (send_piece(r))
			return 0;
		return now_ns + SECOND_NS; /* a buffer coming back is news */
	case STEP_DO_WAIT:
		break;
	}
	/* What cannot be read now is met again, and told, when it is its turn. */
	if (read_ahead(r) > 0)
		return 0;
	probe_ns = replicator_probe_due(r);
	if (now_ns >= probe_ns) {
		replicator_probe_now(r);
		return 0;
	}
	if (a.until_ns > probe_ns)
		a.until_ns = probe_ns;
	if (a.until_ns == STEP_NEVER || a.until_ns > now_ns + 3600 * SECOND_NS)
		a.until_ns = now_ns + 3600 * SECOND_NS;
	if (r->cfg.volume_dir && a.until_ns > r->conf_due_ns)
		a.until_ns = r->conf_due_ns;
	if (r->tls_dir && a.until_ns > r->tls_due_ns)
		a.until_ns = r->tls_due_ns;
	if (r->cursor_due && a.until_ns > r->cursor_ns + SECOND_NS)
		a.until_ns = r->cursor_ns + SECOND_NS;
	return a.until_ns;
}

static void say_end(struct replicator *r, bool *what)
{
	pthread_mutex_lock(&r->mu);
	*what = true;
	pthread_cond_signal(&r->news);
	pthread_mutex_unlock(&r->mu);
}

void *replicator_thread(void *arg)
{
	struct replicator *r = arg;
	struct inbox in;
	uint64_t until_ns;

	/* Where all cores are busy, what applications do goes first. */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	look_at_newest(r);
	do {
		until_ns = take_step(r);
		put_cursor(r, clock_mono_ns(), false);
		publish(r);
		if (!wait_for_news(r, until_ns, &in))
			break;
		take_events(r, &in);
	} while (true);

	drop_ahead(r);
	put_cursor(r, clock_mono_ns(), true);
	say_end(r, &r->done);
	/* An embassy that reads nothing may make this last for minutes. */
	if (r->stream) {
		client_stream_cancel(r->stream);
		client_stream_free(r->stream);
	}
	say_end(r, &r->ended);
	return NULL;
}
