/*
 * The server on gRPC's C core, and the life of a call.
 *
 * Key idea: one completion queue, a few threads that turn it; each tag is an op with a function.  A
 * call is a counted object: a count until its status is sent, and one for each step under way.
 * Disk work happens on the pool's threads and on appenders' own; the threads here only move
 * messages.
 *
 *   requested -> [matched] -> open -> steps of the method ... -> call_finish() -> [status sent,
 *   close seen] -> freed
 *
 * Invariants:
 *  1. While the server runs, REQUESTS calls wait to be matched; a matched one is replaced before it
 *     is looked at.
 *  2. Steps of one call are started under its mu, which whoever sees their end takes first.
 *  3. n_calls counts calls, those that wait included, until they are freed; it is 0 before the
 *     server, the queue and the pool go.
 *  4. A call in the list of those that wait for their first message holds the count that it began
 *     with: send_status(), which gives that up, takes it off the list first.
 *
 * Lock order: call.mu; rpc.mu; the quota's lock.  No call into gRPC is made under rpc.mu.
 */

#include "rpc_internal.h"

#include "clock.h"
#include "err.h"
#include "listen.h"
#include "locks.h"
#include "msg.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS 4u /* calls that wait to be matched */
#define NETWORK_THREADS 2u
#define DISK_THREADS 4u
#define NS_PER_MS UINT64_C(1000000)

struct rpc {
	struct vault *vault;
	bool tls;
	int port;
	grpc_server *server;
	grpc_completion_queue *cq;
	struct pool *pool;
	unsigned n_threads;
	pthread_t threads[NETWORK_THREADS];
	struct op on_shutdown;
	struct wire_tls_source *tls_source; /* NULL: plain */
	struct quota *quota;
	uint64_t first_message_ns;
	pthread_t timer;
	bool has_timer;

	pthread_mutex_t mu;
	pthread_cond_t fewer;	 /* calls, to who stops the server */
	pthread_cond_t to_timer; /* the list is no longer empty, or the server stops */
	/* Guarded by mu. */
	unsigned n_calls;
	bool stopped;		    /* gRPC has no connection left */
	bool stopping;		    /* the timer is to end */
	TAILQ_HEAD(, call) waiting; /* for their first message; the oldest first */
};

static struct call *next_late_locked(struct rpc *r) REQUIRES(r->mu);

static const struct method *const methods[] = {
	&append_method,	      &read_method,	    &heads_method,
	&get_volume_method,   &put_volume_method,   &mend_method,
	&list_volumes_method, &health_check_method, &health_watch_method,
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

/* The last part of the method's name. */
static const char *method_name(const struct call *call)
{
	const char *name = call->method ? strrchr(call->method->name, '/') : NULL;

	return name ? name + 1 : "unknown method";
}

/* A refusal or failure gives a line.  What a home asks in the course of things gives a quiet one. */
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
		  method_name(call), text);
}

/* ---- waiting for the first message ---- */

static void wait_for_first(struct call *call)
{
	struct rpc *r = call->rpc;

	pthread_mutex_lock(&r->mu);
	call->until_ns = clock_mono_ns() + r->first_message_ns;
	call->waits = true;
	if (TAILQ_EMPTY(&r->waiting))
		pthread_cond_signal(&r->to_timer);
	TAILQ_INSERT_TAIL(&r->waiting, call, link);
	pthread_mutex_unlock(&r->mu);
}

/* Whether it still waited. */
static bool wait_no_more(struct call *call)
{
	struct rpc *r = call->rpc;
	bool waited;

	pthread_mutex_lock(&r->mu);
	waited = call->waits;
	if (waited)
		TAILQ_REMOVE(&r->waiting, call, link);
	call->waits = false;
	pthread_mutex_unlock(&r->mu);
	return waited;
}

/* The call that waits for longest if its time is over, no longer in the list, with a count. */
static struct call *next_late_locked(struct rpc *r)
{
	struct call *call = TAILQ_FIRST(&r->waiting);

	if (!call || clock_mono_ns() < call->until_ns)
		return NULL;
	TAILQ_REMOVE(&r->waiting, call, link);
	call->waits = false;
	call->told = true;
	call_ref(call);
	return call;
}

/* Ends calls whose first message does not come: each holds a place that others could use. */
static void *time_calls(void *arg)
{
	struct rpc *r = arg;
	struct call *call;

	pthread_mutex_lock(&r->mu);
	while (!r->stopping) {
		call = next_late_locked(r);
		if (call) {
			pthread_mutex_unlock(&r->mu);
			msg_event(MSG_WARN, "call-stalled", "%s: %s: no message came in time",
				  call->who, method_name(call));
			grpc_call_cancel_with_status(call->core, GRPC_STATUS_DEADLINE_EXCEEDED,
						     "no message came with this call in time",
						     NULL);
			call_unref(call);
			pthread_mutex_lock(&r->mu);
		} else if (TAILQ_EMPTY(&r->waiting)) {
			pthread_cond_wait(&r->to_timer, &r->mu);
		} else {
			(void)!clock_wait(&r->to_timer, &r->mu, TAILQ_FIRST(&r->waiting)->until_ns);
		}
	}
	pthread_mutex_unlock(&r->mu);
	return NULL;
}

static void stop_timer(struct rpc *r)
{
	if (!r->has_timer)
		return;
	pthread_mutex_lock(&r->mu);
	r->stopping = true;
	pthread_cond_signal(&r->to_timer);
	pthread_mutex_unlock(&r->mu);
	pthread_join(r->timer, NULL);
}

/* ---- steps ---- */

/* A step of one or two operations, with a count of its own. */
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
	start(call, &op, 1, &call->on_send);
	grpc_byte_buffer_destroy(bb);
}

static void send_status(struct call *call, grpc_byte_buffer *reply, grpc_status_code status,
			const char *text)
{
	grpc_op ops[2] = {{.op = GRPC_OP_SEND_STATUS_FROM_SERVER}, {.op = GRPC_OP_SEND_MESSAGE}};

	wait_no_more(call);
	tell_end(call, status, text);
	call->status_text = grpc_slice_from_copied_string(text);
	ops[0].data.send_status_from_server.status = status;
	ops[0].data.send_status_from_server.status_details = text[0] ? &call->status_text : NULL;
	ops[1].data.send_message.send_message = reply;
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

/* A first message that no request of the method's can be; not kept while it waits its turn. */
static bool is_too_long(const struct call *call, const grpc_byte_buffer *bb)
{
	return grpc_byte_buffer_length((grpc_byte_buffer *)bb) > call->method->request_max;
}

static void received(struct op *op, bool ok)
{
	struct call *call = op->call;
	grpc_byte_buffer *bb = call->incoming;
	bool first = wait_no_more(call);

	call->incoming = NULL;
	if (bb && (!ok || (first && is_too_long(call, bb)))) {
		grpc_byte_buffer_destroy(bb);
		bb = NULL;
		if (ok)
			tell_end(call, GRPC_STATUS_INVALID_ARGUMENT, "the request is too long");
		call->told = true;
		if (ok)
			grpc_call_cancel_with_status(call->core, GRPC_STATUS_INVALID_ARGUMENT,
						     "the request is longer than any of this "
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

static void matched(struct op *op, bool ok);

/* Let the next call come. */
static int request_call(struct rpc *r)
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
	call->on_open = call->on_finish = (struct op){step_over, call};
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

/* Let the peer's cancelling be seen, and open our direction; both must not wait for each other. */
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
	/* Before the close can be seen, so that the method hears of it. */
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
	wait_for_first(call);
	if (method->start)
		method->start(call);
	else
		call_receive(call);
}

static void matched(struct op *op, bool ok)
{
	struct call *call = op->call;

	if (!ok) {
		/* The server stops; this one was never a call. */
		call_unref(call);
		return;
	}
	if (request_call(call->rpc) < 0)
		msg_event(MSG_ERROR, "memory-short",
			  "out of memory: fewer calls are taken from now on");
	begin(call);
}

/*
 * What the thread that started a step wrote before is seen by the thread that ends it: said by a
 * lock of ours, so that it does not hang on what gRPC's own queue orders.
 */
static void see_starter(struct rpc *r, const struct op *op)
{
	struct call *call;

	pthread_mutex_lock(&r->mu);
	call = op->call;
	pthread_mutex_unlock(&r->mu);
	if (call) {
		pthread_mutex_lock(&call->mu);
		pthread_mutex_unlock(&call->mu);
	}
}

/* Take one event off the queue; false once it is shut down and empty. */
static bool turn_once(struct rpc *r)
{
	grpc_event ev = grpc_completion_queue_next(r->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
	struct op *op = ev.tag;

	if (ev.type == GRPC_OP_COMPLETE) {
		see_starter(r, op);
		op->done(op, ev.success);
	}
	return ev.type != GRPC_QUEUE_SHUTDOWN;
}

static void *turn_queue(void *arg)
{
	while (turn_once(arg))
		;
	return NULL;
}

static void shut_down(struct op *op, bool ok)
{
	struct rpc *r = (struct rpc *)((char *)op - offsetof(struct rpc, on_shutdown));

	(void)ok;
	pthread_mutex_lock(&r->mu);
	r->stopped = true;
	pthread_cond_broadcast(&r->fewer);
	pthread_mutex_unlock(&r->mu);
}

static int listen_on(struct rpc *r, const struct rpc_config *cfg)
{
	grpc_server_credentials *creds;
	int rc = 0;

	if (cfg->tls_dir)
		rc = wire_tls_source_new(cfg->tls_dir, &r->tls_source);
	if (rc == 0 && cfg->tls_dir)
		rc = wire_server_tls(r->tls_source, &creds);
	else if (rc == 0)
		creds = grpc_insecure_server_credentials_create();
	if (rc < 0)
		return rc;
	r->port = grpc_server_add_http2_port(r->server, cfg->listen, creds);
	grpc_server_credentials_release(creds);
	if (r->port > 0)
		return 0;
	return listen_explain(cfg->listen);
}

static int start_threads(struct rpc *r)
{
	int rc = pool_new(DISK_THREADS, &r->pool);

	if (rc == 0)
		rc = -pthread_create(&r->timer, NULL, time_calls, r);
	r->has_timer = rc == 0;
	for (; rc == 0 && r->n_threads < NETWORK_THREADS; r->n_threads++) {
		rc = -pthread_create(&r->threads[r->n_threads], NULL, turn_queue, r);
		if (rc < 0)
			break;
	}
	return rc;
}

/* From a server that may not have been started, and has no calls, to nothing. */
static void tear_down(struct rpc *r)
{
	grpc_server_destroy(r->server);
	grpc_completion_queue_shutdown(r->cq);
	turn_queue(r);
	for (unsigned i = 0; i < r->n_threads; i++)
		pthread_join(r->threads[i], NULL);
	grpc_completion_queue_destroy(r->cq);
	pool_free(r->pool);
	quota_free(r->quota);
	wire_tls_source_free(r->tls_source);
	pthread_cond_destroy(&r->to_timer);
	pthread_cond_destroy(&r->fewer);
	pthread_mutex_destroy(&r->mu);
	free(r);
}

/*
 * Until gRPC has let go of every call, and so have we.  Without threads, this one turns the queue.
 */
static void wait_until_idle(struct rpc *r)
{
	pthread_mutex_lock(&r->mu);
	while (!r->stopped || r->n_calls > 0) {
		if (r->n_threads > 0) {
			pthread_cond_wait(&r->fewer, &r->mu);
			continue;
		}
		pthread_mutex_unlock(&r->mu);
		turn_once(r);
		pthread_mutex_lock(&r->mu);
	}
	pthread_mutex_unlock(&r->mu);
}

int rpc_start(const struct rpc_config *cfg, struct rpc **out)
{
	struct rpc *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return -ENOMEM;
	rc = quota_new(&r->quota);
	if (rc < 0) {
		free(r);
		return rc;
	}
	r->vault = cfg->vault;
	r->tls = cfg->tls_dir != NULL;
	r->first_message_ns = NS_PER_MS * (cfg->first_message_ms ? cfg->first_message_ms
								 : RPC_FIRST_MESSAGE_MS);
	r->on_shutdown.done = shut_down;
	pthread_mutex_init(&r->mu, NULL);
	pthread_cond_init(&r->fewer, NULL);
	clock_cond_init(&r->to_timer);
	TAILQ_INIT(&r->waiting);
	r->cq = grpc_completion_queue_create_for_next(NULL);
	r->server = grpc_server_create(wire_server_args(), NULL);
	grpc_server_register_completion_queue(r->server, r->cq, NULL);
	rc = listen_on(r, cfg);
	if (rc < 0) {
		rpc_stop(r);
		return rc;
	}
	grpc_server_start(r->server);
	for (unsigned i = 0; i < REQUESTS && rc == 0; i++)
		rc = request_call(r);
	if (rc == 0)
		rc = start_threads(r);
	if (rc < 0) {
		rpc_stop(r);
		return rc;
	}
	*out = r;
	return 0;
}

int rpc_port(const struct rpc *r)
{
	return r->port;
}

void rpc_stop(struct rpc *r)
{
	if (!r)
		return;
	grpc_server_shutdown_and_notify(r->server, r->cq, &r->on_shutdown);
	grpc_server_cancel_all_calls(r->server);
	wait_until_idle(r);
	stop_timer(r);
	tear_down(r);
}
