/*
 * The network: what is on its way, in virtual time.
 *
 * Key idea: a stream is two ways, each a queue of items in the order they were sent; the first
 * arrives at its time, unless the link is cut, and then it tries again.
 *
 * Nothing here waits; memory that was lent is let go of by a fiber of the machine that lent it,
 * as a thread of gRPC's would.
 */

#include "net_internal.h"

#include "embassy.pb-c.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_NS (100 * MS)	       /* how often what is held back tries again */
#define KEEPALIVE_ASK_NS (15 * SECOND) /* a question's connection; as client.c sets them */
#define KEEPALIVE_BULK_NS (130 * SECOND)
#define KEEPALIVE_SERVER_NS (30 * SECOND)

/* Memory that was sent from a machine, on its way back. */
struct transport {
	bool running;
	unsigned life;
	struct items done;
};

void (*net_acknowledged)(unsigned embassy, uint64_t head, uint64_t end);

struct link net_links[EMBASSIES_MAX];
struct grpc_server *net_servers[EMBASSIES_MAX];
struct stream *net_streams;
static struct transport transports[MACHINES_MAX];

struct link *net_link(unsigned embassy)
{
	return &net_links[embassy];
}

struct item *items_take(struct items *l)
{
	struct item *it = l->first;

	if (it) {
		l->first = it->next;
		if (!l->first)
			l->last = &l->first;
	}
	return it;
}

void items_add(struct items *l, struct item *it)
{
	if (!l->first)
		l->last = &l->first;
	it->next = NULL;
	*l->last = it;
	l->last = &it->next;
}
/* ---- memory on its way back ---- */

static void *transport_main(void *arg)
{
	struct transport *t = arg;

	for (;;) {
		struct item *it = items_take(&t->done);

		if (it) {
			grpc_byte_buffer_destroy(it->held);
			free(it);
		} else {
			(void)fiber_wait(t, WORLD_NEVER);
		}
	}
	return NULL;
}

void grpc_init(void)
{
	unsigned m = fiber_machine();
	struct transport *t = &transports[m];

	if (t->running && t->life == world_incarnation(m))
		return;
	*t = (struct transport){.running = true, .life = world_incarnation(m)};
	fiber_start(m, transport_main, t);
}

void grpc_shutdown(void)
{
}

/* The transport has no more use for what the item holds. */
static void give_back(struct item *it, unsigned machine, unsigned life)
{
	if (it->held && life == world_incarnation(machine)) {
		struct item *back = calloc(1, sizeof(*back));

		assert(back);
		back->held = it->held;
		items_add(&transports[machine].done, back);
		fiber_wake(&transports[machine], true);
	}
	it->held = NULL;
}

void net_item_free(struct stream *s, bool up, struct item *it)
{
	give_back(it, up ? MACHINE_HOME : machine_of(s->embassy),
		  up ? s->home_life : s->embassy_life);
	free(it->bytes);
	free(it);
}

void net_drop(struct stream *s, bool up, struct items *l)
{
	struct item *it;

	while ((it = items_take(l)) != NULL)
		net_item_free(s, up, it);
}
/* ---- ways ---- */

static void lie_up(struct stream *s, struct item *it)
{
	if (s->bulk && it->len > 200 && prng_one_in(&world_random, net_links[s->embassy].lie_up)) {
		it->bytes[prng_below(&world_random, it->len)] ^=
			(uint8_t)(1u << prng_below(&world_random, 8));
		trace("net: a bit flipped on its way to embassy %u", s->embassy);
	}
}

/* An acknowledgement of before, or of what is not there, or a bit flipped. */
static void lie_down(struct stream *s, struct item *it)
{
	Embassyfs__V1__AppendReply r = EMBASSYFS__V1__APPEND_REPLY__INIT, *m;
	unsigned kind = (unsigned)prng_below(&world_random, 3);

	if (kind == 0 || !s->bulk) {
		if (it->len > 0)
			it->bytes[prng_below(&world_random, it->len)] ^= 0x10;
	} else if (kind == 1 && s->old) {
		free(it->bytes);
		it->bytes = malloc(s->old_len + 1);
		assert(it->bytes);
		memcpy(it->bytes, s->old, s->old_len);
		it->len = s->old_len;
	} else {
		m = embassyfs__v1__append_reply__unpack(NULL, it->len, it->bytes);
		if (!m)
			return;
		r.head = m->head + prng_below(&world_random, 3);
		r.end = m->end + prng_below(&world_random, 2000);
		embassyfs__v1__append_reply__free_unpacked(m, NULL);
		free(it->bytes);
		it->len = embassyfs__v1__append_reply__get_packed_size(&r);
		it->bytes = malloc(it->len + 1);
		assert(it->bytes);
		embassyfs__v1__append_reply__pack(&r, it->bytes);
	}
	trace("net: embassy %u lies", s->embassy);
}

static void arrive(struct way *w, struct item *it)
{
	struct stream *s = w->stream;
	struct grpc_call *c = w->up ? s->server : s->client;

	switch (it->kind) {
	case ITEM_OPEN:
		end_stream_arrives(s);
		break;
	case ITEM_MESSAGE:
		if (!c || c->closed)
			break;
		if (w->up && net_links[s->embassy].lie_up)
			lie_up(s, it);
		if (!w->up && net_links[s->embassy].lie_down &&
		    prng_one_in(&world_random, net_links[s->embassy].lie_down))
			lie_down(s, it);
		items_add(&c->inbox, it);
		op_over(&c->initial, true);
		end_serve(c);
		return;
	case ITEM_CLOSE:
		if (c) {
			c->closed = true;
			end_serve(c);
		}
		break;
	case ITEM_STATUS:
		end_client_over(c, it->status, it->text, true);
		break;
	case ITEM_BREAK:
		if (w->up)
			end_server_broken(c);
		else
			end_client_over(c, GRPC_STATUS_UNAVAILABLE, "the connection broke", false);
		break;
	}
	if (w->up)
		s->in_flight -= it->len < s->in_flight ? it->len : s->in_flight;
	net_item_free(s, w->up, it);
}

static void turn(void *arg);

static void arm(struct way *w, uint64_t when_ns)
{
	if (w->armed)
		return;
	w->armed = true;
	world_at(when_ns, turn, w);
}

/* The first item's time has come. */
static void turn(void *arg)
{
	struct way *w = arg;
	struct item *it = w->items.first;

	w->armed = false;
	if (!it)
		return;
	if (net_links[w->stream->embassy].cut) {
		/* Who gives up on the connection is not reached by it any more. */
		if (w->up ? w->stream->server && w->stream->server->closed
			  : w->stream->client->over)
			net_drop(w->stream, w->up, &w->items);
		else
			arm(w, world_now() + RETRY_NS);
		return;
	}
	arrive(w, items_take(&w->items));
	if (w->items.first)
		arm(w, w->items.first->arrives_ns);
}

void net_send(struct way *w, struct item *it)
{
	uint64_t delay = net_links[w->stream->embassy].delay_ns;

	it->arrives_ns = world_now() + 1 + prng_below(&world_random, delay + 1);
	if (it->arrives_ns < w->last_ns)
		it->arrives_ns = w->last_ns;
	w->last_ns = it->arrives_ns;
	items_add(&w->items, it);
	if (w->items.first == it)
		arm(w, it->arrives_ns);
}

void net_send_break(struct stream *s, bool up)
{
	struct item *it = calloc(1, sizeof(*it));

	assert(it);
	it->kind = ITEM_BREAK;
	net_send(up ? &s->up : &s->down, it);
}

/* ---- breaks ---- */

struct later {
	struct stream *stream;
	bool client;
	bool if_cut; /* only while the link is cut */
};

static void break_end(void *arg)
{
	struct later *l = arg;
	struct stream *s = l->stream;

	if (!l->if_cut || net_links[s->embassy].cut) {
		if (l->client && s->home_life == world_incarnation(MACHINE_HOME))
			end_client_over(s->client, GRPC_STATUS_UNAVAILABLE, "keepalive: no answer",
					false);
		if (!l->client && s->server &&
		    s->embassy_life == world_incarnation(machine_of(s->embassy)))
			end_server_broken(s->server);
	}
	free(l);
}

void net_break_later(struct stream *s, bool client, uint64_t in_ns, bool if_cut)
{
	struct later *l = malloc(sizeof(*l));

	assert(l);
	*l = (struct later){s, client, if_cut};
	world_at(world_now() + in_ns, break_end, l);
}

static uint64_t keepalive(const struct stream *s, bool client)
{
	if (!client)
		return KEEPALIVE_SERVER_NS;
	return s->bulk ? KEEPALIVE_BULK_NS : KEEPALIVE_ASK_NS;
}

/* Streams that no item can move any more are nothing to look at again. */
static bool is_open(const struct stream *s)
{
	return !s->client->over || (s->server && !s->server->closed);
}

void net_cut(unsigned embassy, bool cut)
{
	net_links[embassy].cut = cut;
	for (struct stream *s = net_streams; s && cut; s = s->next)
		if (s->embassy == embassy && is_open(s)) {
			net_break_later(s, true, keepalive(s, true), true);
			net_break_later(s, false, keepalive(s, false), true);
		}
}

/* What is on its way is lost; one end may hear of it late. */
static void break_stream(struct stream *s)
{
	unsigned late = (unsigned)prng_below(&world_random, 4);

	net_drop(s, true, &s->up.items);
	net_drop(s, false, &s->down.items);
	net_break_later(s, true, late == 1 ? keepalive(s, true) : 1, false);
	net_break_later(s, false, late == 2 ? keepalive(s, false) : 1, false);
}

void net_break(unsigned embassy)
{
	for (struct stream *s = net_streams; s; s = s->next)
		if (s->embassy == embassy && is_open(s))
			break_stream(s);
}

/* Its machine is gone, and with it the memory that its operations were to fill. */
static void bury(struct grpc_call *c)
{
	c->over = c->closed = true;
	c->status = GRPC_STATUS_CANCELLED;
	c->receive = c->initial = c->last = c->send = NULL;
	c->status_out = NULL;
	c->cancelled_out = NULL;
}

void net_crashed(unsigned machine)
{
	for (struct stream *s = net_streams; s; s = s->next) {
		if (machine != MACHINE_HOME && machine != machine_of(s->embassy))
			continue;
		if (is_open(s))
			break_stream(s);
		if (machine == MACHINE_HOME)
			bury(s->client);
		else if (s->server)
			bury(s->server);
	}
}
