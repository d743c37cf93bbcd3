/*
 * The two ends of a stream: completion queues, and the operations that wait for what arrives.
 *
 * What arrives is given to the call's operation that waits for it, or kept.  An operation that
 * is over puts its batch's tag into the queue, which one of the code's own threads turns.
 */

#include "net_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define SLICES_MAX 4u

/* ---- completion queues ---- */

void cq_push(grpc_completion_queue *cq, void *tag, bool ok)
{
	struct event *e = malloc(sizeof(*e));

	assert(e);
	*e = (struct event){.tag = tag, .ok = ok};
	*cq->last = e;
	cq->last = &e->next;
	fiber_wake(cq, true);
}

void op_batch_over(struct batch *b, bool ok)
{
	b->ok = b->ok && ok;
	if (--b->left > 0)
		return;
	cq_push(b->cq, b->tag, b->ok);
	free(b);
}

void op_over(struct batch **slot, bool ok)
{
	struct batch *b = *slot;

	*slot = NULL;
	if (b)
		op_batch_over(b, ok);
}

grpc_completion_queue *grpc_completion_queue_create_for_next(void *reserved)
{
	grpc_completion_queue *cq = calloc(1, sizeof(*cq));

	(void)reserved;
	assert(cq);
	cq->last = &cq->first;
	return cq;
}

grpc_event grpc_completion_queue_next(grpc_completion_queue *cq, gpr_timespec deadline,
				      void *reserved)
{
	struct event *e;
	grpc_event out = {.type = GRPC_OP_COMPLETE};

	(void)deadline;
	(void)reserved;
	fiber_pause();
	while (!cq->first && !cq->shutdown)
		(void)fiber_wait(cq, WORLD_NEVER);
	e = cq->first;
	if (!e)
		return (grpc_event){.type = GRPC_QUEUE_SHUTDOWN};
	cq->first = e->next;
	if (!cq->first)
		cq->last = &cq->first;
	out.tag = e->tag;
	out.success = e->ok;
	free(e);
	return out;
}

void grpc_completion_queue_shutdown(grpc_completion_queue *cq)
{
	cq->shutdown = true;
	fiber_wake(cq, true);
}

void grpc_completion_queue_destroy(grpc_completion_queue *cq)
{
	assert(cq->shutdown && !cq->first);
}

/* ---- what a call's operations wait for ---- */

/* A byte buffer as it comes off a network: in pieces of any length. */
static grpc_byte_buffer *received_buffer(const struct item *it)
{
	grpc_slice slices[SLICES_MAX];
	grpc_byte_buffer *bb;
	size_t n = 0, at = 0;

	while (at < it->len || n == 0) {
		size_t len = it->len - at;

		if (n + 1 < SLICES_MAX && len > 1)
			len = (size_t)prng_between(&world_random, 1, len);
		slices[n++] = grpc_slice_from_copied_buffer((const char *)it->bytes + at, len);
		at += len;
	}
	bb = grpc_raw_byte_buffer_create(slices, n);
	for (size_t i = 0; i < n; i++)
		grpc_slice_unref(slices[i]);
	return bb;
}

/* More may be sent once less is on its way. */
void end_check_window(struct stream *s)
{
	struct grpc_call *c = s->client;

	if (c->send && (s->in_flight == 0 || s->in_flight < net_links[s->embassy].window))
		op_over(&c->send, true);
}

static void end_client(struct grpc_call *c)
{
	if (c->status_out) {
		*c->status_out = c->status;
		*c->text_out = grpc_slice_from_copied_string(c->text);
		c->status_out = NULL;
	}
	op_over(&c->last, true);
}

/* Give what is there to who waits for it. */
void end_serve(struct grpc_call *c)
{
	struct stream *s = c->stream;
	struct item *it;

	if (c->receive && c->inbox.first) {
		it = items_take(&c->inbox);
		*c->receive_out = received_buffer(it);
		if (c->is_server)
			s->in_flight -= it->len;
		net_item_free(s, c->is_server, it);
		op_over(&c->receive, true);
		if (c->is_server)
			end_check_window(s);
	}
	if (c->receive && !c->inbox.first && c->closed) {
		*c->receive_out = NULL;
		op_over(&c->receive, c->status == GRPC_STATUS_OK);
	}
	if (!c->is_server && c->over && !c->inbox.first)
		end_client(c);
}

/* The client's end is over, in order or not. */
void end_client_over(struct grpc_call *c, grpc_status_code status, const char *text, bool in_order)
{
	if (c->over)
		return;
	c->over = c->closed = true;
	c->status = status;
	snprintf(c->text, sizeof(c->text), "%s", text);
	if (!in_order)
		net_drop(c->stream, false, &c->inbox);
	op_over(&c->initial, in_order);
	op_over(&c->send, false);
	end_serve(c);
}

void end_server_broken(struct grpc_call *c)
{
	struct stream *s;

	if (!c || c->closed)
		return;
	s = c->stream;
	c->closed = true;
	c->status = GRPC_STATUS_CANCELLED;
	net_drop(s, true, &c->inbox);
	s->in_flight = 0;
	op_over(&c->send, false);
	if (c->cancelled_out)
		*c->cancelled_out = 1;
	op_over(&c->last, true);
	end_serve(c);
}

/* ---- servers ---- */

bool net_server_is_up(unsigned embassy)
{
	const struct grpc_server *srv = net_servers[embassy];

	return srv && !srv->stopping && srv->life == world_incarnation(machine_of(embassy));
}

static void match(struct stream *s)
{
	struct grpc_server *srv = net_servers[s->embassy];
	struct request *r = srv->requests;

	srv->requests = r->next;
	if (!srv->requests)
		srv->last_request = &srv->requests;
	s->server->cq = srv->cq;
	*r->out = s->server;
	r->details->method = grpc_slice_from_static_string(s->method);
	cq_push(srv->cq, r->tag, true);
	free(r);
}

void end_stream_arrives(struct stream *s)
{
	struct grpc_server *srv = net_servers[s->embassy];
	struct grpc_call *c;

	if (!net_server_is_up(s->embassy) || net_links[s->embassy].refusing || !srv->requests) {
		net_send_break(s, false);
		return;
	}
	s->embassy_life = srv->life;
	c = calloc(1, sizeof(*c));
	assert(c);
	c->is_server = true;
	c->stream = s;
	s->server = c;
	match(s);
}
