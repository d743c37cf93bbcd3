/*
 * The life of a call.
 *
 * Key idea: a call is reference-counted: one count until its status is sent, and one for each step
 * under way.  Disk work happens on the pool's threads and on appenders' own; the network threads
 * only move messages.
 *
 *   requested -> [matched] -> open -> steps of the method ... -> call_finish() -> [status sent,
 *   close seen] -> freed
 *
 * Invariants:
 *  1. While the server runs, as many calls wait to be matched as rpc_start() asked for; a matched
 *     one is replaced before it is looked at.
 *  2. A step of a call is started under the call's mu; the thread that sees it end takes mu first.
 */

#include "rpc_internal.h"

#include "err.h"
#include "msg.h"

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct method *const methods[] = {
	&append_method,	      &read_method,	    &heads_method,
	&segments_method,     &get_volume_method,   &put_volume_method,
	&mend_method,	      &list_volumes_method, &health_check_method,
	&health_watch_method,
};

void call_ref(struct call *call)
{
	atomic_fetch_add(&call->refs, 1);
}

static void call_free(struct call *call)
{
	struct rpc *r = call->rpc;

	if (call->method && call->method->release)
		call->method->release(call);
	if (call->request)
		grpc_byte_buffer_destroy(call->request);
	grpc_call_details_destroy(&call->details);
	grpc_metadata_array_destroy(&call->metadata);
	if (call->core)
		grpc_call_unref(call->core);
	grpc_slice_unref(call->status_text);
	pthread_mutex_destroy(&call->mu);
	if (call->counted)
		quota_give(r->quota, call->who, QUOTA_CALLS);
	free(call);

	pthread_mutex_lock(&r->mu);
	r->n_calls--;
	pthread_cond_broadcast(&r->fewer);
	pthread_mutex_unlock(&r->mu);
}

void call_unref(struct call *call)
{
	if (atomic_fetch_sub(&call->refs, 1) == 1)
		call_free(call);
}

struct vault *call_vault(const struct call *call)
{
	return call->rpc->vault;
}

int call_take(struct call *call, enum quota_kind kind)
{
	return quota_take(call->rpc->quota, call->who, kind);
}

void call_give(struct call *call, enum quota_kind kind)
{
	quota_give(call->rpc->quota, call->who, kind);
}

/* ---- the log ---- */

const char *call_method_name(const struct call *call)
{
	const char *name = call->method ? strrchr(call->method->name, '/') : NULL;

	return name ? name + 1 : "unknown method";
}

/*
 * Log the end of a call: a refusal or failure gets a line; what a home asks in the course of things
 * gets a quiet one.
 */
static void tell_end(const struct call *call, grpc_status_code status, const char *text)
{
	enum msg_level level = MSG_WARN;
	const char *id = "call-refused";

	if (call->told || status == GRPC_STATUS_OK || status == GRPC_STATUS_CANCELLED)
		return;
	if (status == GRPC_STATUS_NOT_FOUND || status == GRPC_STATUS_OUT_OF_RANGE) {
		level = MSG_INFO;
	} else if (status == GRPC_STATUS_DATA_LOSS || status == GRPC_STATUS_INTERNAL ||
		   status == GRPC_STATUS_UNAVAILABLE || status == GRPC_STATUS_UNKNOWN) {
		level = MSG_ERROR;
		id = "call-failed";
	}
	msg_event(level, id, "%s: %s: %s", call->who[0] ? call->who : "unknown caller",
		  call_method_name(call), text);
}

/* ---- steps ---- */

/* Start a step of one or two gRPC operations, which holds a count of its own. */
static void start(struct call *call, const grpc_op *ops, size_t n_ops, struct op *op)
{
	grpc_call_error rc;

	call_ref(call);
	pthread_mutex_lock(&call->mu);
	rc = grpc_call_start_batch(call->core, ops, n_ops, op, NULL);
	pthread_mutex_unlock(&call->mu);
	assert(rc == GRPC_CALL_OK);
}

void call_receive(struct call *call)
{
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

	op.data.recv_message.recv_message = &call->incoming;
	start(call, &op, 1, &call->on_receive);
}

void call_send(struct call *call, grpc_byte_buffer *bb)
{
	grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};

	op.data.send_message.send_message = bb;
	call_wait(call, WAIT_TAKEN);
	start(call, &op, 1, &call->on_send);
	grpc_byte_buffer_destroy(bb);
}

static void send_status(struct call *call, grpc_byte_buffer *reply, grpc_status_code status,
			const char *text)
{
	grpc_op ops[2] = {{.op = GRPC_OP_SEND_STATUS_FROM_SERVER}, {.op = GRPC_OP_SEND_MESSAGE}};

	(void)call_waits_no_more(call, WAIT_FIRST);
	tell_end(call, status, text);
	call->status_text = grpc_slice_from_copied_string(text);
	ops[0].data.send_status_from_server.status = status;
	ops[0].data.send_status_from_server.status_details = text[0] ? &call->status_text : NULL;
	ops[1].data.send_message.send_message = reply;
	if (reply)
		call_wait(call, WAIT_TAKEN);
	start(call, ops, reply ? 2 : 1, &call->on_finish);
	if (reply)
		grpc_byte_buffer_destroy(reply);
	call_unref(call); /* the count that every call begins with */
}

void call_finish_with(struct call *call, grpc_status_code status, const char *text)
{
	send_status(call, NULL, status, text);
}

void call_finish(struct call *call, int rc)
{
	send_status(call, NULL, wire_status(rc), rc < 0 ? err_detail(rc) : "");
}

void call_cancel(struct call *call)
{
	grpc_call_cancel(call->core, NULL);
}

static void run_job(struct job *job)
{
	struct call *call = (struct call *)((char *)job - offsetof(struct call, job));
	grpc_byte_buffer *reply = NULL;
	int rc;

	/* Error details of the call that this thread served before are not for this caller. */
	err_forget(0);
	if (!call->method->answer) {
		call->method->run(call);
	} else {
		rc = call->method->answer(call, call->request, &reply);
		send_status(call, reply, wire_status(rc), rc < 0 ? err_detail(rc) : "");
	}
	call_unref(call);
}

void call_work(struct call *call)
{
	call_ref(call);
	call->job.run = run_job;
	pool_add(call->rpc->pool, &call->job);
}

/* Whether a message is longer than any of the method's: it is not kept while it waits its turn. */
static bool is_too_long(const struct call *call, const grpc_byte_buffer *bb, bool first)
{
	size_t max = first ? call->method->request_max : call->method->message_max;

	return grpc_byte_buffer_length((grpc_byte_buffer *)bb) > max;
}

static void received(struct op *op, bool ok)
{
	struct call *call = op->call;
	grpc_byte_buffer *bb = call->incoming;
	bool first = call_waits_no_more(call, WAIT_FIRST);

	call->incoming = NULL;
	if (bb && (!ok || is_too_long(call, bb, first))) {
		grpc_byte_buffer_destroy(bb);
		bb = NULL;
		if (ok)
			tell_end(call, GRPC_STATUS_INVALID_ARGUMENT, "a message is too long");
		call->told = true;
		if (ok)
			grpc_call_cancel_with_status(call->core, GRPC_STATUS_INVALID_ARGUMENT,
						     "the message is longer than any of this "
						     "method can be",
						     NULL);
	}
	if (!call->method->answer) {
		call->method->received(call, bb);
	} else if (bb) {
		call->request = bb;
		call_work(call);
	} else {
		call_finish_with(call, GRPC_STATUS_INVALID_ARGUMENT,
				 "no request came with this call");
	}
	call_unref(call);
}

static void sent(struct op *op, bool ok)
{
	(void)call_waits_no_more(op->call, WAIT_TAKEN);
	op->call->method->sent(op->call, ok);
	call_unref(op->call);
}

static void closed(struct op *op, bool ok)
{
	struct call *call = op->call;

	(void)ok;
	if (call->method && call->method->closed)
		call->method->closed(call);
	call_unref(call);
}

static void step_over(struct op *op, bool ok)
{
	(void)ok;
	call_unref(op->call);
}

static void finished(struct op *op, bool ok)
{
	(void)ok;
	(void)call_waits_no_more(op->call, WAIT_TAKEN);
	call_unref(op->call);
}

static void matched(struct op *op, bool ok);

/* Ask gRPC for one more call. */
int rpc_request_call(struct rpc *r)
{
	struct call *call;
	grpc_call_error rc;

	call = calloc(1, sizeof(*call));
	if (!call)
		return -ENOMEM;
	call->rpc = r;
	atomic_init(&call->refs, 1);
	pthread_mutex_init(&call->mu, NULL);
	call->status_text = grpc_empty_slice();
	grpc_call_details_init(&call->details);
	grpc_metadata_array_init(&call->metadata);
	call->on_new = (struct op){matched, call};
	call->on_close = (struct op){closed, call};
	call->on_open = (struct op){step_over, call};
	call->on_finish = (struct op){finished, call};
	call->on_receive = (struct op){received, call};
	call->on_send = (struct op){sent, call};
	/* After the fields above: turn_once() takes the same lock before it looks at them. */
	pthread_mutex_lock(&r->mu);
	r->n_calls++;
	pthread_mutex_unlock(&r->mu);
	pthread_mutex_lock(&call->mu);
	rc = grpc_server_request_call(r->server, &call->core, &call->details, &call->metadata,
				      r->cq, r->cq, &call->on_new);
	pthread_mutex_unlock(&call->mu);
	assert(rc == GRPC_CALL_OK);
	return 0;
}

static const struct method *find_method(const grpc_slice *name)
{
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		if (grpc_slice_str_cmp(*name, methods[i]->name) == 0)
			return methods[i];
	}
	return NULL;
}

/*
 * Ask to be told when the peer cancels, and send the initial metadata: in two steps, since neither
 * may wait for the other.
 */
static void open_call(struct call *call)
{
	grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};

	op.data.recv_close_on_server.cancelled = &call->cancelled;
	start(call, &op, 1, &call->on_close);
	op = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
	start(call, &op, 1, &call->on_open);
}

static void begin(struct call *call)
{
	const struct method *method = find_method(&call->details.method);
	int rc;

	rc = auth_call(call->core, call->rpc->tls, call->who);
	if (rc == 0)
		rc = quota_take(call->rpc->quota, call->who, QUOTA_CALLS);
	call->counted = rc == 0;
	/* Set before the close can be seen, so that the method is told of it. */
	if (rc == 0)
		call->method = method;
	open_call(call);
	if (rc < 0) {
		call_finish(call, rc);
		return;
	}
	if (!method) {
		call_finish_with(call, GRPC_STATUS_UNIMPLEMENTED, "this server has no such method");
		return;
	}
	call_wait(call, WAIT_FIRST);
	if (method->start)
		method->start(call);
	else
		call_receive(call);
}

static void matched(struct op *op, bool ok)
{
	struct call *call = op->call;

	if (!ok) {
		/* The server stops; gRPC never matched this call. */
		call_unref(call);
		return;
	}
	if (rpc_request_call(call->rpc) < 0)
		msg_event(MSG_ERROR, "memory-short",
			  "out of memory: fewer calls are taken from now on");
	begin(call);
}
