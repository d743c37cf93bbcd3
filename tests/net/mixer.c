/*
 * A hostile block server, made of two honest ones: passes each call on to one or the other, by its method.
 *
 * usage: mixer HEADS READ SEGMENTS
 *
 * HEADS, READ and SEGMENTS are addresses of block servers: what answers Heads and GetVolume, what answers
 * Read, and what answers Segments; "none" for one that does not know Segments.  Prints "listening on
 * 127.0.0.1:PORT" and serves until it is killed.
 *
 * Key idea: a thread and a completion queue per call, as in tests/unit/replica/fake_server.c; messages
 * are passed on as they are.
 */

#include "client.h"
#include "err.h"
#include "wire.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADS, READ, SEGMENTS, N_UPSTREAM };

static grpc_server *server;
static grpc_completion_queue *calls;
static struct client *upstream[N_UPSTREAM]; /* NULL: none */

/* What came from upstream and was not passed on yet. */
struct answer {
	grpc_byte_buffer *message;
	struct answer *next;
};

struct served {
	grpc_call *call;
	grpc_completion_queue *cq;
	grpc_call_details details;
	grpc_metadata_array metadata;
	pthread_mutex_t mu;
	pthread_cond_t more;
	/* Guarded by mu. */
	struct answer *first, **last;
	bool ended;
	int rc;
};

static bool run(struct served *s, const grpc_op *op)
{
	grpc_event ev;

	if (grpc_call_start_batch(s->call, op, 1, s, NULL) != GRPC_CALL_OK)
		return false;
	ev = grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
	return ev.type == GRPC_OP_COMPLETE && ev.success;
}

/* ---- from upstream, on its queue's thread ---- */

static void on_message(void *ctx, grpc_byte_buffer *bb)
{
	struct served *s = ctx;
	struct answer *a = calloc(1, sizeof(*a));

	if (!a)
		abort();
	a->message = grpc_byte_buffer_copy(bb);
	pthread_mutex_lock(&s->mu);
	*s->last = a;
	s->last = &a->next;
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->mu);
}

static void on_sent(void *ctx)
{
	(void)ctx;
}

static void on_end(void *ctx, int rc, const char *detail)
{
	struct served *s = ctx;

	(void)detail;
	pthread_mutex_lock(&s->mu);
	s->ended = true;
	s->rc = rc;
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->mu);
}

static const struct client_stream_ops ops = {on_message, on_sent, on_end};

/* ---- to the caller ---- */

static struct answer *next_answer(struct served *s)
{
	struct answer *a;

	pthread_mutex_lock(&s->mu);
	while (!s->first && !s->ended)
		pthread_cond_wait(&s->more, &s->mu);
	a = s->first;
	if (a && !(s->first = a->next))
		s->last = &s->first;
	pthread_mutex_unlock(&s->mu);
	return a;
}

/* Takes ${request}. */
static grpc_status_code pass_on(struct served *s, struct client *to, const char *method,
				grpc_byte_buffer *request)
{
	struct client_stream *stream;
	struct answer *a;

	if (!to || client_stream_open(to, method, &ops, s, &stream) < 0) {
		grpc_byte_buffer_destroy(request);
		return GRPC_STATUS_UNIMPLEMENTED;
	}
	(void)!client_stream_send(stream, request); /* its end tells */
	while ((a = next_answer(s))) {
		grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};

		op.data.send_message.send_message = a->message;
		(void)run(s, &op);
		grpc_byte_buffer_destroy(a->message);
		free(a);
	}
	client_stream_free(stream);
	return s->rc == 0 ? GRPC_STATUS_OK : wire_status(s->rc);
}

static struct client *upstream_of(const char *method)
{
	if (strstr(method, "/Segments"))
		return upstream[SEGMENTS];
	return upstream[strstr(method, "/Read") ? READ : HEADS];
}

static void *serve(void *arg)
{
	struct served *s = arg;
	size_t len = GRPC_SLICE_LENGTH(s->details.method);
	grpc_op begin = {.op = GRPC_OP_SEND_INITIAL_METADATA}, take = {.op = GRPC_OP_RECV_MESSAGE},
		end = {.op = GRPC_OP_SEND_STATUS_FROM_SERVER};
	grpc_status_code status = GRPC_STATUS_INVALID_ARGUMENT;
	grpc_byte_buffer *request = NULL;
	char method[100] = "";

	memcpy(method, GRPC_SLICE_START_PTR(s->details.method), len < 99 ? len : 99);
	(void)run(s, &begin);
	take.data.recv_message.recv_message = &request;
	if (run(s, &take) && request)
		status = pass_on(s, upstream_of(method), method, request);
	end.data.send_status_from_server.status = status;
	(void)run(s, &end);
	grpc_call_unref(s->call);
	grpc_completion_queue_shutdown(s->cq);
	while (grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
	       GRPC_QUEUE_SHUTDOWN)
		;
	grpc_completion_queue_destroy(s->cq);
	grpc_call_details_destroy(&s->details);
	grpc_metadata_array_destroy(&s->metadata);
	pthread_cond_destroy(&s->more);
	pthread_mutex_destroy(&s->mu);
	free(s);
	return NULL;
}

static void accept_calls(void)
{
	for (;;) {
		struct served *s = calloc(1, sizeof(*s));
		pthread_t t;

		if (!s)
			abort();
		s->last = &s->first;
		pthread_mutex_init(&s->mu, NULL);
		pthread_cond_init(&s->more, NULL);
		s->cq = grpc_completion_queue_create_for_next(NULL);
		grpc_call_details_init(&s->details);
		grpc_metadata_array_init(&s->metadata);
		if (grpc_server_request_call(server, &s->call, &s->details, &s->metadata, s->cq,
					     calls, s) != GRPC_CALL_OK)
			abort();
		grpc_completion_queue_next(calls, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
		if (pthread_create(&t, NULL, serve, s) != 0)
			abort();
		pthread_detach(t);
	}
}

int main(int argc, char **argv)
{
	grpc_server_credentials *creds;
	int port;

	if (argc != 1 + N_UPSTREAM) {
		fprintf(stderr, "usage: mixer HEADS READ SEGMENTS\n");
		return 2;
	}
	wire_setup();
	grpc_init();
	for (int i = 0; i < N_UPSTREAM; i++) {
		struct client_config cfg = {.address = argv[1 + i]};
		int rc = strcmp(argv[1 + i], "none") == 0 ? 0 : client_new(&cfg, &upstream[i]);

		if (rc < 0) {
			fprintf(stderr, "mixer: %s\n", err_detail(rc));
			return 1;
		}
	}
	calls = grpc_completion_queue_create_for_next(NULL);
	server = grpc_server_create(wire_server_args(), NULL);
	grpc_server_register_completion_queue(server, calls, NULL);
	creds = grpc_insecure_server_credentials_create();
	port = grpc_server_add_http2_port(server, "127.0.0.1:0", creds);
	grpc_server_credentials_release(creds);
	if (port <= 0)
		return 1;
	grpc_server_start(server);
	printf("listening on 127.0.0.1:%d\n", port);
	fflush(stdout);
	accept_calls();
}
