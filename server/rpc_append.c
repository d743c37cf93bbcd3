/*
 * Append: the stream by which a home extends its copy here.
 *
 * Key idea: network threads put messages into a short queue; a thread of the stream's own takes
 * them out, judges and writes them, and acknowledges.  The next message is requested from gRPC only
 * while the queue has room; there is no other back pressure.  While messages wait, heads gather and
 * share one sync; when none waits, the heads that verified are committed at once.  Only one reply
 * is under way at a time; a newer acknowledgement takes the place of one that waits.
 *
 *   state     a message                     the end, or a lie          replaced by a newer stream
 *   opening   appender_begin, -> appending  -> finished                -
 *   appending judge, write, commit          commit what verified, -> finished
 *
 * Invariants:
 *  1. n <= QUEUE_MAX; a receive is under way only if the queue has room for what it brings.  Before
 *     the stream is let in, the queue has room for one message, so that strangers get no more
 *     memory than that.
 *  2. What is acknowledged was published by appender_commit() before.
 *  3. The appender is ended before the status is sent, so a client that comes back finds its place
 *     free.
 *
 * Lock order: copy.mu (in stream_cancel), stream.mu.  No call into gRPC or the appender is made
 * under stream.mu.
 */

#include "rpc_internal.h"

#include "appender.h"
#include "clock.h"
#include "copy.h"
#include "embassy.pb-c.h"
#include "err.h"
#include "locks.h"
#include "msg.h"
#include "params.h"
#include "units.h"
#include "vault.h"

#include <grpc/byte_buffer.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_MAX 4u /* messages that wait; with one that is judged, 20 MiB at most */
#define LINGER_NS (5 * NS_PER_S) /* how long the last reply may take */
#define DETAIL_MAX 1024u

struct stream {
	struct call *call;
	/* The stream's thread only. */
	struct copy *copy; /* counted; NULL: not found yet */
	struct appender *appender;
	char volume[VOLUME_ID_TEXT_LEN]; /* "": no opening came */

	pthread_mutex_t mu;
	pthread_cond_t change;
	/* Guarded by mu. */
	grpc_byte_buffer *queue[QUEUE_MAX];
	unsigned first, n;
	bool receiving;
	bool let_in;   /* its opening was accepted */
	bool ended;    /* no more messages come */
	bool replaced; /* a newer stream took over: messages that wait do not count */
	bool sending;
	bool has_next; /* an acknowledgement waits for the one that is being sent */
	struct copy_committed next;
};

static bool want_message_locked(struct stream *s) REQUIRES(s->mu);

/* Whether to ask gRPC for a message; if so, it is noted as asked for. */
static bool want_message_locked(struct stream *s)
{
	if (s->receiving || s->ended || s->n >= (s->let_in ? QUEUE_MAX : 1))
		return false;
	s->receiving = true;
	return true;
}

static void received(struct call *call, grpc_byte_buffer *bb)
{
	struct stream *s = call->state;
	bool more;

	pthread_mutex_lock(&s->mu);
	s->receiving = false;
	if (!bb)
		s->ended = true;
	else
		s->queue[(s->first + s->n++) % QUEUE_MAX] = bb;
	more = want_message_locked(s);
	pthread_cond_broadcast(&s->change);
	pthread_mutex_unlock(&s->mu);
	if (more)
		call_receive(call);
}

/*
 * The next message, owned; NULL if the queue is empty and ${wait} is false, or if the stream has
 * ended.
 */
static grpc_byte_buffer *next_message(struct stream *s, bool wait)
{
	grpc_byte_buffer *bb = NULL;
	bool more;

	pthread_mutex_lock(&s->mu);
	while (wait && s->n == 0 && !s->ended) {
		/*
		 * Ask before the wait, not after it: this is where the first message is asked for.
		 */
		if (want_message_locked(s)) {
			pthread_mutex_unlock(&s->mu);
			call_receive(s->call);
			pthread_mutex_lock(&s->mu);
		} else {
			pthread_cond_wait(&s->change, &s->mu);
		}
	}
	if (s->n > 0 && !s->replaced) {
		bb = s->queue[s->first];
		s->first = (s->first + 1) % QUEUE_MAX;
		s->n--;
	}
	more = want_message_locked(s);
	pthread_mutex_unlock(&s->mu);
	if (more)
		call_receive(s->call);
	return bb;
}

/* A newer stream wants this one's place.  Called with a lock of the copy held. */
static void stream_cancel(void *ctx)
{
	struct stream *s = ctx;

	pthread_mutex_lock(&s->mu);
	s->ended = s->replaced = true;
	pthread_cond_broadcast(&s->change);
	pthread_mutex_unlock(&s->mu);
}

static void send_committed(struct stream *s, const struct copy_committed *committed)
{
	Embassyfs__V1__AppendReply reply = EMBASSYFS__V1__APPEND_REPLY__INIT;
	grpc_byte_buffer *bb;

	reply.end = committed->end;
	reply.head = committed->head;
	reply.head_time_ns = committed->time_ns;
	/*
	 * No memory for 30 bytes: end the call.  The next stream begins with where the copy stands.
	 */
	if (wire_pack(&reply.base, &bb) < 0) {
		call_cancel(s->call);
		pthread_mutex_lock(&s->mu);
		s->sending = false;
		pthread_cond_broadcast(&s->change);
		pthread_mutex_unlock(&s->mu);
		return;
	}
	call_send(s->call, bb);
}

static void acknowledge(struct stream *s, const struct copy_committed *committed)
{
	bool now;

	pthread_mutex_lock(&s->mu);
	now = !s->sending;
	s->sending = true;
	if (!now) {
		s->has_next = true;
		s->next = *committed;
	}
	pthread_mutex_unlock(&s->mu);
	if (now)
		send_committed(s, committed);
}

static void sent(struct call *call, bool ok)
{
	struct stream *s = call->state;
	struct copy_committed next;
	bool more;

	pthread_mutex_lock(&s->mu);
	more = ok && s->has_next;
	next = s->next;
	s->has_next = false;
	s->sending = more;
	pthread_cond_broadcast(&s->change);
	pthread_mutex_unlock(&s->mu);
	if (more)
		send_committed(s, &next);
}

/* Wait until no reply is under way.  Cut off a client that does not take its replies. */
static void drain_replies(struct stream *s)
{
	uint64_t until_ns = clock_mono_ns() + LINGER_NS;
	bool cut = false;

	pthread_mutex_lock(&s->mu);
	while (s->sending) {
		if (cut) {
			pthread_cond_wait(&s->change, &s->mu);
		} else if (clock_wait(&s->change, &s->mu, until_ns) < 0) {
			cut = true;
			pthread_mutex_unlock(&s->mu);
			call_cancel(s->call);
			pthread_mutex_lock(&s->mu);
		}
	}
	pthread_mutex_unlock(&s->mu);
}

static int begin_appending(struct stream *s, const struct wire_append *m)
{
	struct appender_opening o = {
		.epoch = m->open.epoch,
		.position = m->open.position,
		.head = m->open.head,
		.cancel = stream_cancel,
		.ctx = s,
	};
	struct copy_committed committed;
	int rc;

	if (!m->has_open || m->has_data)
		return err_say(-ERR_FORMAT,
			       "an append stream: its first message must be an opening alone");
	volume_id_format(m->open.volume, s->volume);
	rc = vault_find(call_vault(s->call), m->open.volume, &s->copy);
	if (rc < 0)
		return rc;
	rc = appender_begin(s->copy, s->call->who, &o, &s->appender);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&s->mu);
	s->let_in = true;
	pthread_mutex_unlock(&s->mu);
	msg_event(MSG_INFO, "stream-opened", "%s: appends to volume %s from head %llu on",
		  s->call->who, s->volume, (unsigned long long)m->open.head);
	/* This reply tells the client that it was let in. */
	copy_get_committed(s->copy, &committed);
	acknowledge(s, &committed);
	return 0;
}

static int take_data(struct stream *s, const struct wire_append *m)
{
	uint8_t *room;
	int rc;

	if (m->has_open || !m->has_data)
		return err_say(-ERR_FORMAT,
			       "an append stream: each message after the first must be data "
			       "alone");
	rc = appender_room(s->appender, m->position, m->data.len, &room);
	if (rc < 0)
		return rc;
	wire_bytes_copy(&m->data, 0, m->data.len, room);
	return appender_take(s->appender);
}

static int take_message(struct stream *s, grpc_byte_buffer *bb)
{
	struct wire_append m;
	int rc;

	rc = wire_append_decode(bb, &m);
	if (rc == 0)
		rc = s->appender ? take_data(s, &m) : begin_appending(s, &m);
	grpc_byte_buffer_destroy(bb);
	return rc;
}

static int commit(struct stream *s)
{
	struct copy_committed committed;
	int rc = appender_commit(s->appender, &committed);

	if (rc == 0)
		acknowledge(s, &committed);
	return rc;
}

static bool has_heads(const struct stream *s)
{
	return s->appender && appender_has_heads(s->appender);
}

/*
 * Take messages until the client has no more, or something is wrong.  Only in the latter case are
 * verified heads left uncommitted.
 */
static int append_all(struct stream *s)
{
	int rc = 0;

	while (rc == 0) {
		grpc_byte_buffer *bb = next_message(s, !has_heads(s));

		if (bb) {
			rc = take_message(s, bb);
			if (rc == 0 && s->appender && appender_is_due(s->appender))
				rc = commit(s);
		} else if (has_heads(s)) {
			rc = commit(s);
		} else {
			break;
		}
	}
	return rc;
}

static int judge_end(struct stream *s)
{
	bool replaced;

	pthread_mutex_lock(&s->mu);
	replaced = s->replaced;
	pthread_mutex_unlock(&s->mu);
	if (replaced)
		return err_say(-ERR_LOCKED,
			       "a newer stream of this owner appends to this volume now, or its "
			       "copy was removed");
	if (!s->appender)
		return err_say(-ERR_FORMAT, "an append stream: it ended before its opening");
	return 0;
}

/* Log how the stream ended; ${rc} 0: in order. */
static void tell_end(const struct stream *s, int rc, const char *detail)
{
	const char *volume = s->volume[0] ? s->volume : "unknown";
	struct copy_committed committed;

	if (!s->appender) {
		msg_event(MSG_WARN, "stream-refused", "%s: volume %s: %s", s->call->who, volume,
			  detail);
		return;
	}
	copy_get_committed(s->copy, &committed);
	/* -ERR_LOCKED: a newer stream took its place, of a home that came back. */
	if (rc == 0 || rc == -ERR_LOCKED)
		msg_event(MSG_INFO, "stream-ended", "%s: volume %s stands at head %llu%s%s",
			  s->call->who, volume, (unsigned long long)committed.head, rc ? "; " : "",
			  detail);
	else
		msg_event(MSG_WARN, "stream-failed", "%s: volume %s stands at head %llu: %s",
			  s->call->who, volume, (unsigned long long)committed.head, detail);
}

static void *append_main(void *arg)
{
	struct stream *s = arg;
	struct call *call = s->call;
	char detail[DETAIL_MAX];
	int rc;

	rc = append_all(s);
	if (rc == 0)
		rc = judge_end(s);
	snprintf(detail, sizeof(detail), "%s", rc < 0 ? err_detail(rc) : "");
	/*
	 * What came before the lie or the break is still good, so commit it.  If that fails, the
	 * first error remains the reason for the end.
	 */
	if (rc < 0 && has_heads(s) && commit(s) < 0)
		msg_event(MSG_WARN, "heads-dropped",
			  "volume %s: heads that verified could not be kept; the home sends them "
			  "again",
			  s->volume);
	call->told = true;
	tell_end(s, rc, detail);
	appender_end(s->appender);
	s->appender = NULL;
	copy_unref(s->copy);
	s->copy = NULL;
	drain_replies(s);
	call_finish_with(call, wire_status(rc), detail);
	call_give(call, QUOTA_APPENDERS);
	call_unref(call);
	return NULL;
}

static struct stream *stream_new(struct call *call)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (s) {
		s->call = call;
		pthread_mutex_init(&s->mu, NULL);
		clock_cond_init(&s->change);
	}
	return s;
}

static int start_thread(struct stream *s)
{
	pthread_attr_t attr;
	pthread_t thread;
	int rc;

	rc = pthread_attr_init(&attr);
	if (rc != 0)
		return -rc;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	/* A count for the thread: rpc_stop() waits for the call, and so for the thread. */
	call_ref(s->call);
	rc = pthread_create(&thread, &attr, append_main, s);
	if (rc != 0)
		call_unref(s->call);
	pthread_attr_destroy(&attr);
	return -rc;
}

static void start(struct call *call)
{
	struct stream *s;
	int rc;

	rc = call_take(call, QUOTA_APPENDERS);
	if (rc < 0) {
		call_finish(call, rc);
		return;
	}
	call->state = s = stream_new(call);
	rc = s ? start_thread(s) : -ENOMEM;
	if (rc < 0) {
		call_give(call, QUOTA_APPENDERS);
		call_finish(call, rc);
	}
}

static void release(struct call *call)
{
	struct stream *s = call->state;

	if (!s)
		return;
	for (; s->n > 0; s->n--, s->first = (s->first + 1) % QUEUE_MAX)
		grpc_byte_buffer_destroy(s->queue[s->first]);
	pthread_cond_destroy(&s->change);
	pthread_mutex_destroy(&s->mu);
	free(s);
}

const struct method append_method = {
	.name = WIRE_SERVICE "Append",
	.request_max = WIRE_REQUEST_MAX,
	.message_max = WIRE_REQUEST_MAX + WIRE_DATA_MAX,
	.start = start,
	.received = received,
	.sent = sent,
	.release = release,
};
