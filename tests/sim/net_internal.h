#ifndef NET_INTERNAL_H_
#define NET_INTERNAL_H_

/*
 * What net.c (links and what is on its way), grpc_ends.c (what waits at either end) and
 * grpc_calls.c (gRPC's functions) share.
 */

#include "net.h"
#include "world.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/slice.h>

struct batch {
	void *tag;
	grpc_completion_queue *cq;
	unsigned left; /* operations; one more while they are begun */
	bool ok;
};

struct event {
	struct event *next;
	void *tag;
	bool ok;
};

struct grpc_completion_queue {
	struct event *first, **last;
	bool shutdown;
};

enum item_kind { ITEM_OPEN, ITEM_MESSAGE, ITEM_CLOSE, ITEM_STATUS, ITEM_BREAK };

struct item {
	struct item *next;
	enum item_kind kind;
	uint64_t arrives_ns;
	grpc_byte_buffer *held; /* the sender's memory */
	uint8_t *bytes;
	size_t len;
	grpc_status_code status;
	char text[512];
};

struct items {
	struct item *first, **last;
};

/* One way of a stream. */
struct way {
	struct stream *stream;
	bool up; /* to the server */
	struct items items;
	bool armed; /* an event for its first item is under way */
	uint64_t last_ns;
};

struct stream {
	struct stream *next;
	unsigned embassy;
	unsigned home_life, embassy_life; /* the machines' incarnations */
	bool bulk;
	char method[96];
	struct way up, down;
	size_t in_flight; /* bytes up that the server has not taken */
	struct grpc_call *client, *server;
	uint8_t *old; /* an acknowledgement of before, for lies */
	size_t old_len;
};

struct grpc_call {
	struct stream *stream;
	bool is_server;
	grpc_completion_queue *cq;
	uint64_t deadline_ns;
	bool over;   /* client: the status is known; server: sent, or the stream broke */
	bool closed; /* no more items come */
	struct items inbox;
	grpc_status_code status;
	char text[512];
	/* Operations that wait. */
	struct batch *receive, *initial, *last, *send;
	grpc_byte_buffer **receive_out;
	grpc_status_code *status_out;
	grpc_slice *text_out;
	int *cancelled_out;
	size_t send_len;
};

struct request {
	struct request *next;
	struct grpc_call **out;
	grpc_call_details *details;
	void *tag;
};

struct grpc_server {
	unsigned embassy, life;
	grpc_completion_queue *cq;
	struct request *requests, **last_request;
	bool stopping;
	void *stop_tag;
};

struct grpc_channel {
	unsigned embassy;
};

/* Of each embassy; and every stream that ever was, the newest first. */
extern struct link net_links[EMBASSIES_MAX];
extern struct grpc_server *net_servers[EMBASSIES_MAX];
extern struct stream *net_streams;

static inline unsigned machine_of(unsigned embassy)
{
	return MACHINE_EMBASSY + embassy;
}

/* items_take(l): the first, or NULL.  items_add(l, it): takes ${it}. */
struct item *items_take(struct items *l);
void items_add(struct items *l, struct item *it);

/*
 * net_send(w, it): takes ${it}.  net_send_break(s, up): the sender's end is gone.
 * net_item_free(s, up, it), net_drop(s, up, l): what will not be received, or was; what its sender
 * lent goes back.
 * net_break_later(s, client, in_ns, if_cut): that end hears that the connection broke; with
 * ${if_cut}, if the link is still cut then.
 */
void net_send(struct way *w, struct item *it);
void net_send_break(struct stream *s, bool up);
void net_item_free(struct stream *s, bool up, struct item *it);
void net_drop(struct stream *s, bool up, struct items *l);
void net_break_later(struct stream *s, bool client, uint64_t in_ns, bool if_cut);

/* An operation is over: when it was its batch's last, the tag goes into the queue. */
void cq_push(grpc_completion_queue *cq, void *tag, bool ok);
void op_batch_over(struct batch *b, bool ok);
void op_over(struct batch **slot, bool ok);

/*
 * end_serve(c): give what is there to the operation that waits for it.
 * end_check_window(s): whether the client may send more now.
 * end_client_over(c, status, text, in_order): the client's end is over; not ${in_order}: what it
 * has not read is lost.  end_server_broken(c): the server's is; NULL: it never began.
 * end_stream_arrives(s): a server gets the call, or refuses it.
 */
void end_serve(struct grpc_call *c);
void end_check_window(struct stream *s);
void end_client_over(struct grpc_call *c, grpc_status_code status, const char *text, bool in_order);
void end_server_broken(struct grpc_call *c);
void end_stream_arrives(struct stream *s);
bool net_server_is_up(unsigned embassy);

#endif /* !NET_INTERNAL_H_ */
