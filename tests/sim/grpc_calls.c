/*
 * gRPC's channels, calls and servers, as far as the code under test uses them; over net.c.
 *
 * Nothing here waits.
 */

#include "net_internal.h"

#include "embassy.pb-c.h"

#include <grpc/grpc_security.h>

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_NS (5 * SECOND) /* how long connecting through a cut link takes to fail */

/* ---- channels and calls ---- */

grpc_channel *grpc_channel_create(const char *target, grpc_channel_credentials *creds,
				  const grpc_channel_args *args)
{
	grpc_channel *ch = calloc(1, sizeof(*ch));
	const char *port = strrchr(target, ':');

	(void)creds;
	(void)args;
	assert(ch && port);
	ch->embassy = (unsigned)(atoi(port + 1) - NET_PORT);
	assert(ch->embassy < EMBASSIES_MAX);
	return ch;
}

void grpc_channel_destroy(grpc_channel *channel)
{
	free(channel);
}

/* A connection here needs no time of its own: it is made by what is first sent over it. */
grpc_connectivity_state grpc_channel_check_connectivity_state(grpc_channel *channel,
							      int try_to_connect)
{
	(void)channel;
	(void)try_to_connect;
	return GRPC_CHANNEL_IDLE;
}

static void deadline_came(void *arg)
{
	struct grpc_call *c = arg;

	if (c->stream->home_life != world_incarnation(MACHINE_HOME) || c->over)
		return;
	end_client_over(c, GRPC_STATUS_DEADLINE_EXCEEDED, "too late", false);
	net_send_break(c->stream, true);
}

grpc_call *grpc_channel_create_call(grpc_channel *channel, grpc_call *parent, uint32_t mask,
				    grpc_completion_queue *cq, grpc_slice method,
				    const grpc_slice *host, gpr_timespec deadline, void *reserved)
{
	struct stream *s = calloc(1, sizeof(*s));
	grpc_call *c = calloc(1, sizeof(*c));

	(void)parent;
	(void)mask;
	(void)host;
	(void)reserved;
	assert(s && c && GRPC_SLICE_LENGTH(method) < sizeof(s->method));
	memcpy(s->method, GRPC_SLICE_START_PTR(method), GRPC_SLICE_LENGTH(method));
	s->embassy = channel->embassy;
	s->home_life = world_incarnation(MACHINE_HOME);
	s->bulk = strstr(s->method, "/Append") != NULL;
	s->up = (struct way){.stream = s, .up = true};
	s->down = (struct way){.stream = s};
	s->client = c;
	s->next = net_streams;
	net_streams = s;
	c->stream = s;
	c->cq = cq;
	if (deadline.tv_sec != INT64_MAX)
		world_at((uint64_t)deadline.tv_sec * SECOND + (uint64_t)deadline.tv_nsec,
			 deadline_came, c);
	return c;
}

static void start_stream(struct stream *s)
{
	struct item *it = calloc(1, sizeof(*it));

	assert(it);
	it->kind = ITEM_OPEN;
	net_send(&s->up, it);
	if (net_links[s->embassy].cut)
		net_break_later(s, true, CONNECT_NS, true);
}

static struct item *message_item(grpc_byte_buffer *bb)
{
	struct item *it = calloc(1, sizeof(*it));
	const grpc_slice_buffer *sb = &bb->data.raw.slice_buffer;

	assert(it);
	it->kind = ITEM_MESSAGE;
	it->held = grpc_byte_buffer_copy(bb);
	it->bytes = malloc(sb->length + 1);
	assert(it->bytes);
	for (size_t i = 0; i < sb->count; i++) {
		memcpy(it->bytes + it->len, GRPC_SLICE_START_PTR(sb->slices[i]),
		       GRPC_SLICE_LENGTH(sb->slices[i]));
		it->len += GRPC_SLICE_LENGTH(sb->slices[i]);
	}
	return it;
}

static void note_acknowledgement(struct stream *s, const struct item *it)
{
	Embassyfs__V1__AppendReply *m;

	m = embassyfs__v1__append_reply__unpack(NULL, it->len, it->bytes);
	assert(m);
	if (net_acknowledged)
		net_acknowledged(s->embassy, m->head, m->end);
	embassyfs__v1__append_reply__free_unpacked(m, NULL);
	if (!s->old) {
		s->old = malloc(it->len + 1);
		assert(s->old);
		memcpy(s->old, it->bytes, it->len);
		s->old_len = it->len;
	}
}

static void taken(void *arg)
{
	struct stream *s = arg;

	if (s->home_life == world_incarnation(MACHINE_HOME))
		end_check_window(s);
}

static void send_message(struct grpc_call *c, grpc_byte_buffer *bb, struct batch *b)
{
	struct stream *s = c->stream;
	struct item *it;

	if (c->closed && (!c->is_server || c->status != GRPC_STATUS_OK)) {
		op_batch_over(b, false);
		return;
	}
	it = message_item(bb);
	if (c->is_server) {
		if (s->bulk)
			note_acknowledgement(s, it);
		net_send(&s->down, it);
		op_batch_over(b, true);
		return;
	}
	assert(!c->send);
	c->send = b;
	s->in_flight += it->len;
	net_send(&s->up, it);
	world_at(world_now() + prng_log(&world_random, MS), taken, s);
}

static void stop_if_idle(struct grpc_server *srv);

static void send_status(struct grpc_call *c, const grpc_op *op)
{
	struct stream *s = c->stream;
	struct item *it = calloc(1, sizeof(*it));
	const grpc_slice *text = op->data.send_status_from_server.status_details;

	assert(it);
	it->kind = ITEM_STATUS;
	it->status = op->data.send_status_from_server.status;
	if (text)
		snprintf(it->text, sizeof(it->text), "%.*s", (int)GRPC_SLICE_LENGTH(*text),
			 (const char *)GRPC_SLICE_START_PTR(*text));
	if (!c->closed || c->status == GRPC_STATUS_OK)
		net_send(&s->down, it);
	else
		free(it);
	c->over = c->closed = true;
	net_drop(s, true, &c->inbox);
	s->in_flight = 0;
	op_over(&c->last, true); /* recv_close: not cancelled, or told already */
	end_serve(c);
	if (net_server_is_up(s->embassy) || net_servers[s->embassy]->stopping)
		stop_if_idle(net_servers[s->embassy]);
}

static void begin_op(struct grpc_call *c, const grpc_op *op, struct batch *b)
{
	struct item *it;

	switch (op->op) {
	case GRPC_OP_SEND_INITIAL_METADATA:
		if (!c->is_server && !c->over)
			start_stream(c->stream);
		op_batch_over(b, !c->over || c->is_server);
		break;
	case GRPC_OP_SEND_MESSAGE:
		send_message(c, op->data.send_message.send_message, b);
		break;
	case GRPC_OP_SEND_CLOSE_FROM_CLIENT:
		it = calloc(1, sizeof(*it));
		assert(it);
		it->kind = ITEM_CLOSE;
		if (!c->over)
			net_send(&c->stream->up, it);
		op_batch_over(b, !c->over);
		break;
	case GRPC_OP_SEND_STATUS_FROM_SERVER:
		send_status(c, op);
		op_batch_over(b, true);
		break;
	case GRPC_OP_RECV_INITIAL_METADATA:
		/* Nobody here looks at it, so it need not come by itself. */
		op_batch_over(b, true);
		break;
	case GRPC_OP_RECV_MESSAGE:
		assert(!c->receive);
		c->receive = b;
		c->receive_out = op->data.recv_message.recv_message;
		break;
	case GRPC_OP_RECV_STATUS_ON_CLIENT:
		c->last = b;
		c->status_out = op->data.recv_status_on_client.status;
		c->text_out = op->data.recv_status_on_client.status_details;
		break;
	case GRPC_OP_RECV_CLOSE_ON_SERVER:
		c->cancelled_out = op->data.recv_close_on_server.cancelled;
		*c->cancelled_out = c->closed && c->status != GRPC_STATUS_OK;
		if (c->closed && c->status != GRPC_STATUS_OK)
			op_batch_over(b, true);
		else
			c->last = b;
		break;
	}
}

/*
 * A server's last two operations come in one batch, the status first; the message goes before
 * it.
 */
grpc_call_error grpc_call_start_batch(grpc_call *c, const grpc_op *ops, size_t nops, void *tag,
				      void *reserved)
{
	struct batch *b = malloc(sizeof(*b));

	(void)reserved;
	assert(b);
	*b = (struct batch){.tag = tag, .cq = c->cq, .left = (unsigned)nops + 1, .ok = true};
	for (size_t i = nops; c->is_server && i-- > 0;)
		begin_op(c, &ops[i], b);
	for (size_t i = 0; !c->is_server && i < nops; i++)
		begin_op(c, &ops[i], b);
	op_batch_over(b, true);
	end_serve(c);
	return GRPC_CALL_OK;
}

grpc_call_error grpc_call_cancel(grpc_call *c, void *reserved)
{
	(void)reserved;
	if (c->is_server) {
		if (!c->closed)
			net_send_break(c->stream, false);
		end_server_broken(c);
	} else if (!c->over) {
		end_client_over(c, GRPC_STATUS_CANCELLED, "", false);
		net_send_break(c->stream, true);
	}
	return GRPC_CALL_OK;
}

/* The other end learns that the call is broken; what status it would be told is not played. */
grpc_call_error grpc_call_cancel_with_status(grpc_call *c, grpc_status_code status,
					     const char *description, void *reserved)
{
	(void)status;
	(void)description;
	return grpc_call_cancel(c, reserved);
}

void grpc_call_unref(grpc_call *c)
{
	(void)c; /* its stream is in the list, and looks at it */
}

/* ---- servers, as rpc.c uses them ---- */

grpc_server *grpc_server_create(const grpc_channel_args *args, void *reserved)
{
	grpc_server *srv = calloc(1, sizeof(*srv));

	(void)args;
	(void)reserved;
	assert(srv);
	srv->embassy = fiber_machine() - MACHINE_EMBASSY;
	srv->life = world_incarnation(fiber_machine());
	srv->last_request = &srv->requests;
	return srv;
}

void grpc_server_register_completion_queue(grpc_server *srv, grpc_completion_queue *cq,
					   void *reserved)
{
	(void)reserved;
	srv->cq = cq;
}

int grpc_server_add_http2_port(grpc_server *srv, const char *addr, grpc_server_credentials *creds)
{
	(void)addr;
	(void)creds;
	return NET_PORT + (int)srv->embassy;
}

void grpc_server_start(grpc_server *srv)
{
	net_servers[srv->embassy] = srv;
}

grpc_call_error grpc_server_request_call(grpc_server *srv, grpc_call **call,
					 grpc_call_details *details, grpc_metadata_array *metadata,
					 grpc_completion_queue *cq_bound, grpc_completion_queue *cq,
					 void *tag)
{
	struct request *r = malloc(sizeof(*r));

	(void)metadata;
	(void)cq_bound;
	assert(r);
	if (srv->stopping) {
		free(r);
		cq_push(cq, tag, false);
		return GRPC_CALL_OK;
	}
	*r = (struct request){.out = call, .details = details, .tag = tag};
	if (!srv->requests)
		srv->last_request = &srv->requests;
	*srv->last_request = r;
	srv->last_request = &r->next;
	return GRPC_CALL_OK;
}

static bool is_of(const struct stream *s, const struct grpc_server *srv)
{
	return s->embassy == srv->embassy && s->server && s->embassy_life == srv->life;
}

static void stop_if_idle(struct grpc_server *srv)
{
	if (!srv->stopping || !srv->stop_tag)
		return;
	for (struct stream *s = net_streams; s; s = s->next)
		if (is_of(s, srv) && !s->server->over)
			return;
	cq_push(srv->cq, srv->stop_tag, true);
	srv->stop_tag = NULL;
}

void grpc_server_shutdown_and_notify(grpc_server *srv, grpc_completion_queue *cq, void *tag)
{
	srv->stopping = true;
	srv->stop_tag = tag;
	for (; srv->requests; srv->requests = srv->requests->next)
		cq_push(cq, srv->requests->tag, false);
	stop_if_idle(srv);
}

void grpc_server_cancel_all_calls(grpc_server *srv)
{
	for (struct stream *s = net_streams; s; s = s->next)
		if (is_of(s, srv) && !s->server->over)
			(void)grpc_call_cancel(s->server, NULL);
}

void grpc_server_destroy(grpc_server *srv)
{
	assert(!srv->stop_tag);
}

/* ---- what is only there to be called ---- */

void grpc_metadata_array_init(grpc_metadata_array *a)
{
	memset(a, 0, sizeof(*a));
}

void grpc_metadata_array_destroy(grpc_metadata_array *a)
{
	(void)a;
}

void grpc_call_details_init(grpc_call_details *d)
{
	memset(d, 0, sizeof(*d));
}

void grpc_call_details_destroy(grpc_call_details *d)
{
	(void)d;
}

/* gRPC's headers declare these without a prototype. */
grpc_channel_credentials *grpc_insecure_credentials_create(void);
grpc_server_credentials *grpc_insecure_server_credentials_create(void);

grpc_channel_credentials *grpc_insecure_credentials_create(void)
{
	static char one;

	return (grpc_channel_credentials *)&one;
}

void grpc_channel_credentials_release(grpc_channel_credentials *c)
{
	(void)c;
}

grpc_server_credentials *grpc_insecure_server_credentials_create(void)
{
	static char one;

	return (grpc_server_credentials *)&one;
}

void grpc_server_credentials_release(grpc_server_credentials *c)
{
	(void)c;
}
