/*
 * The client's calls: questions, reads and streams.
 *
 * Key idea: every call, with one answer or many, is one struct call with at most four operations
 * under way: the start, a receive, a send, and the status.  Each operation is the tag of its own
 * batch.  The completion queue's thread runs an operation's function.  When the status has arrived
 * and no operation is under way any more, the call ends, once.
 *
 * Invariants:
 *  1. Batches of one call are started under its mutex, since gRPC wants them serialized.
 *  2. call->n_under_way counts operations from their start to the end of their function; after the
 *     status, a call ends when this reaches 0.
 *  3. Callbacks run on the queue's thread without a lock; ended is the last one of a call.
 *  4. A call is in its client's list from its start until it is released, so client_abort() reaches
 *     every call.
 *
 * Lock order: client->mu before call->mu; neither is held in a callback.
 */

#include "client_internal.h"

#include "embassy.pb-c.h"
#include "err.h"
#include "format.h"
#include "locks.h"
#include "wire.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DETAIL_LEN 512

struct call {
	struct client *client;
	LIST_ENTRY(call) entry; /* guarded by client->mu */
	const struct client_stream_ops *ops;
	void *ctx;
	grpc_call *call;
	struct op start, receive, send, status;
	/* Written by gRPC; read after the operation that fills it has completed. */
	grpc_metadata_array initial, trailing;
	grpc_byte_buffer *received;
	grpc_status_code code;
	grpc_slice details;
	pthread_mutex_t mu;
	pthread_cond_t over;
	/* Guarded by mu. */
	unsigned n_under_way;
	bool has_status;
	bool ended; /* ops->ended has returned */
};

struct client_stream {
	struct call call;
};

static void op_finish(struct call *k) EXCLUDES(k->mu);
static bool op_start(struct call *k, struct op *op, const grpc_op *ops, size_t n) EXCLUDES(k->mu);
static void call_unlink(struct call *k) EXCLUDES(k->mu, k->client->mu);
static void call_wait(struct call *k) EXCLUDES(k->mu);

/* ---- status ---- */

static int rc_of_status(const struct call *k, grpc_status_code code)
{
	switch (code) {
	case GRPC_STATUS_CANCELLED:
		/* A server that shuts down answers with this code too. */
		return atomic_load(&k->client->stop) ? -ECANCELED : -ERR_UNREACHABLE;
	case GRPC_STATUS_PERMISSION_DENIED:
	case GRPC_STATUS_UNAUTHENTICATED:
		return -ERR_FORBIDDEN;
	case GRPC_STATUS_UNIMPLEMENTED:
		return -ERR_VERSION;
	case GRPC_STATUS_ABORTED:
		return -EAGAIN;
	default:
		return wire_error(code);
	}
}

/* Put the server's words into a message: printable, on one line. */
static void describe(const struct call *k, int rc, char out[DETAIL_LEN])
{
	const uint8_t *p = GRPC_SLICE_START_PTR(k->details);
	size_t len = GRPC_SLICE_LENGTH(k->details);
	int n;

	n = snprintf(out, DETAIL_LEN, "%.200s: ", k->client->address);
	if (len == 0) {
		snprintf(out + n, DETAIL_LEN - (size_t)n, "%s", err_text(rc));
		return;
	}
	for (size_t i = 0; i < len && n < DETAIL_LEN - 1; i++)
		out[n++] = p[i] < ' ' || p[i] == 0x7f ? ' ' : (char)p[i];
	out[n] = '\0';
}

/* ---- calls ---- */

/* An operation's function has returned.  Ends the call if it was the last one. */
static void op_finish(struct call *k)
{
	char detail[DETAIL_LEN];
	bool last;
	int rc;

	pthread_mutex_lock(&k->mu);
	assert(k->n_under_way > 0);
	last = --k->n_under_way == 0 && k->has_status;
	pthread_mutex_unlock(&k->mu);
	if (!last)
		return;
	rc = rc_of_status(k, k->code);
	describe(k, rc, detail);
	k->ops->ended(k->ctx, rc, detail);
	pthread_mutex_lock(&k->mu);
	k->ended = true;
	pthread_cond_signal(&k->over);
	/*
	 * A waiting thread frees the call as soon as it gets the mutex, so nothing of the call is
	 * touched after the unlock.
	 */
	pthread_mutex_unlock(&k->mu);
}

/*
 * Start a batch whose tag is ${op}.  Returns false if gRPC refuses it or the call has ended; the
 * operation's function then never runs.
 */
static bool op_start(struct call *k, struct op *op, const grpc_op *ops, size_t n)
{
	bool ok;

	pthread_mutex_lock(&k->mu);
	atomic_fetch_add_explicit(&k->client->n_handed, 1, memory_order_release);
	ok = !(k->has_status && k->n_under_way == 0) &&
	     grpc_call_start_batch(k->call, ops, n, op, NULL) == GRPC_CALL_OK;
	if (ok)
		k->n_under_way++;
	pthread_mutex_unlock(&k->mu);
	return ok;
}

static void start_done(struct op *op, bool ok)
{
	(void)ok; /* failure shows in the status */
	op_finish(op->call);
}

static void receive_start(struct call *k)
{
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

	op.data.recv_message.recv_message = &k->received;
	(void)op_start(k, &k->receive, &op, 1);
}

static void receive_done(struct op *op, bool ok)
{
	struct call *k = op->call;
	grpc_byte_buffer *bb = k->received;

	k->received = NULL;
	if (ok && bb) {
		k->ops->message(k->ctx, bb);
		grpc_byte_buffer_destroy(bb);
		receive_start(k);
	}
	op_finish(k);
}

static void send_done(struct op *op, bool ok)
{
	if (ok)
		op->call->ops->sent(op->call->ctx);
	op_finish(op->call);
}

static void status_done(struct op *op, bool ok)
{
	struct call *k = op->call;

	assert(ok); /* gRPC promises this for the status operation */
	pthread_mutex_lock(&k->mu);
	k->has_status = true;
	pthread_mutex_unlock(&k->mu);
	op_finish(k);
}

static void call_unlink(struct call *k)
{
	pthread_mutex_lock(&k->client->mu);
	LIST_REMOVE(k, entry);
	pthread_mutex_unlock(&k->client->mu);
}

static void call_release(struct call *k)
{
	call_unlink(k);
	grpc_call_unref(k->call);
	grpc_metadata_array_destroy(&k->initial);
	grpc_metadata_array_destroy(&k->trailing);
	grpc_slice_unref(k->details);
	pthread_cond_destroy(&k->over);
	pthread_mutex_destroy(&k->mu);
}

/* Create the call and put it into the client's list.  Returns 0 or -ECANCELED. */
static int call_init(struct call *k, struct client *c, int channel, const char *method,
		     gpr_timespec deadline, const struct client_stream_ops *ops, void *ctx)
{
	*k = (struct call){.client = c, .ops = ops, .ctx = ctx};
	k->start = (struct op){.done = start_done, .call = k};
	k->receive = (struct op){.done = receive_done, .call = k};
	k->send = (struct op){.done = send_done, .call = k};
	k->status = (struct op){.done = status_done, .call = k};
	pthread_mutex_lock(&c->mu);
	if (c->aborted) {
		pthread_mutex_unlock(&c->mu);
		return err_say(-ECANCELED, "%s: stopped", c->address);
	}
	k->call = grpc_channel_create_call(c->channels[channel], NULL, GRPC_PROPAGATE_DEFAULTS,
					   c->cq, grpc_slice_from_static_string(method), NULL,
					   deadline, NULL);
	pthread_mutex_init(&k->mu, NULL);
	pthread_cond_init(&k->over, NULL);
	grpc_metadata_array_init(&k->initial);
	grpc_metadata_array_init(&k->trailing);
	k->details = grpc_empty_slice();
	LIST_INSERT_HEAD(&c->calls, k, entry);
	pthread_mutex_unlock(&c->mu);
	return 0;
}

/*
 * Start the call's operations, the status first, so that the call ends whatever else fails.
 * ${request} is NULL for a stream.
 */
static void call_begin(struct call *k, grpc_byte_buffer *request)
{
	grpc_op status = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
	grpc_op start[4] = {
		{.op = GRPC_OP_SEND_INITIAL_METADATA},
		{.op = GRPC_OP_RECV_INITIAL_METADATA},
		{.op = GRPC_OP_SEND_MESSAGE},
		{.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
	};

	status.data.recv_status_on_client.trailing_metadata = &k->trailing;
	status.data.recv_status_on_client.status = &k->code;
	status.data.recv_status_on_client.status_details = &k->details;
	start[1].data.recv_initial_metadata.recv_initial_metadata = &k->initial;
	start[2].data.send_message.send_message = request;

	/*
	 * Count one operation more than are started, so that the call cannot end before all of
	 * them have been started.
	 */
	k->n_under_way = 1;
	if (!op_start(k, &k->status, &status, 1))
		abort(); /* gRPC refuses a first batch only for a mistake of ours */
	(void)op_start(k, &k->start, start, request ? 4 : 2);
	receive_start(k);
	op_finish(k);
}

static void call_wait(struct call *k)
{
	pthread_mutex_lock(&k->mu);
	while (!k->ended)
		pthread_cond_wait(&k->over, &k->mu);
	pthread_mutex_unlock(&k->mu);
}

static gpr_timespec deadline_in(int timeout_ms)
{
	return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
			    gpr_time_from_millis(timeout_ms, GPR_TIMESPAN));
}

/* The answer, as a waiting caller collects it. */
struct gathering {
	struct call *call;
	int rc;
	bool bad; /* the server broke the protocol; the call was cancelled for it */
	char detail[DETAIL_LEN];
	/* Used by client_call(). */
	const ProtobufCMessageDescriptor *type;
	ProtobufCMessage *message;
	/* Used by client_read(). */
	uint8_t *out;
	size_t len, got;
};

static void gather_none(void *ctx)
{
	(void)ctx;
}

static void gather_end(void *ctx, int rc, const char *detail)
{
	struct gathering *g = ctx;

	g->rc = rc;
	snprintf(g->detail, sizeof(g->detail), "%s", detail);
}

/* Cancel: an answer from a server that breaks the protocol might never end. */
static void gather_bad(struct gathering *g)
{
	if (!g->bad)
		grpc_call_cancel(g->call->call, NULL);
	g->bad = true;
}

/* Send the question, wait for the call's end, and return its result. */
static int ask(struct client *c, int channel, const char *method, const ProtobufCMessage *request,
	       int timeout_ms, const struct client_stream_ops *ops, struct gathering *g)
{
	grpc_byte_buffer *bb;
	struct call k;
	int rc;

	rc = wire_pack(request, &bb);
	if (rc < 0)
		return rc;
	rc = call_init(&k, c, channel, method, deadline_in(timeout_ms), ops, g);
	if (rc == 0) {
		g->call = &k;
		call_begin(&k, bb);
		call_wait(&k);
		call_release(&k);
	}
	grpc_byte_buffer_destroy(bb);
	if (rc < 0)
		return rc;
	if (g->bad && !atomic_load(&c->stop))
		return err_say(-EPROTO, "%s: the answer to %s is malformed", c->address, method);
	return g->rc < 0 ? err_say(g->rc, "%s", g->detail) : 0;
}

static void call_message(void *ctx, grpc_byte_buffer *bb)
{
	struct gathering *g = ctx;

	if (g->message || wire_unpack(g->type, bb, &g->message) < 0)
		gather_bad(g);
}

int client_call(struct client *c, const char *method, const ProtobufCMessage *request,
		const ProtobufCMessageDescriptor *type, int timeout_ms, ProtobufCMessage **out)
{
	static const struct client_stream_ops ops = {call_message, gather_none, gather_end};
	struct gathering g = {.type = type};
	int rc;

	rc = ask(c, CHANNEL_QUESTIONS, method, request, timeout_ms, &ops, &g);
	if (rc == 0 && !g.message)
		rc = err_say(-EPROTO, "%s: no answer to %s", c->address, method);
	if (rc < 0) {
		if (g.message)
			protobuf_c_message_free_unpacked(g.message, NULL);
		return rc;
	}
	*out = g.message;
	return 0;
}

/* Copy straight from the transport's memory to the caller's. */
static void read_message(void *ctx, grpc_byte_buffer *bb)
{
	struct gathering *g = ctx;
	struct wire_bytes bytes;

	if (g->bad || wire_read_decode(bb, &bytes) < 0 || bytes.len > g->len - g->got) {
		gather_bad(g);
		return;
	}
	wire_bytes_copy(&bytes, 0, bytes.len, g->out + g->got);
	g->got += bytes.len;
}

int client_read(struct client *c, const uint8_t *volume, log_pos pos, size_t len, int timeout_ms,
		void *out, size_t *out_len)
{
	static const struct client_stream_ops ops = {read_message, gather_none, gather_end};
	Embassyfs__V1__ReadRequest request = EMBASSYFS__V1__READ_REQUEST__INIT;
	struct gathering g = {.out = out, .len = len};
	int rc;

	request.volume = (ProtobufCBinaryData){.len = VOLUME_ID_LEN, .data = (uint8_t *)volume};
	request.position = pos;
	request.length = len;
	rc = ask(c, CHANNEL_BULK, WIRE_SERVICE "Read", &request.base, timeout_ms, &ops, &g);
	if (rc == 0)
		*out_len = g.got;
	return rc;
}

/* ---- streams ---- */

int client_stream_open(struct client *c, const char *method, const struct client_stream_ops *ops,
		       void *ctx, struct client_stream **out)
{
	struct client_stream *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return -ENOMEM;
	rc = call_init(&s->call, c, CHANNEL_BULK, method, gpr_inf_future(GPR_CLOCK_MONOTONIC), ops,
		       ctx);
	if (rc < 0) {
		free(s);
		return rc;
	}
	/* Set before call_begin(): the first callback may use it. */
	*out = s;
	call_begin(&s->call, NULL);
	return 0;
}

int client_stream_send(struct client_stream *s, grpc_byte_buffer *bb)
{
	grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
	bool ok;

	op.data.send_message.send_message = bb;
	ok = op_start(&s->call, &s->call.send, &op, 1);
	grpc_byte_buffer_destroy(bb);
	return ok ? 0 : -EPIPE;
}

void client_stream_cancel(struct client_stream *s)
{
	grpc_call_cancel(s->call.call, NULL);
}

void client_stream_free(struct client_stream *s)
{
	if (!s)
		return;
	call_wait(&s->call);
	call_release(&s->call);
	free(s);
}

void client_abort(struct client *c)
{
	pthread_mutex_lock(&c->mu);
	c->aborted = true;
	atomic_store(&c->stop, true);
	struct call *k;

	LIST_FOREACH(k, &c->calls, entry)
		grpc_call_cancel(k->call, NULL);
	pthread_mutex_unlock(&c->mu);
}
