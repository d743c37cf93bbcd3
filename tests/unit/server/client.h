#ifndef CLIENT_H_
#define CLIENT_H_

/*
 * A raw client: one step after the other, each with a deadline, so that a server that hangs fails
 * the test.
 */

#include "wire.h"

#include <grpc/byte_buffer.h>

#define CLIENT_WAIT_S 60

struct client {
	grpc_completion_queue *cq;
	grpc_channel *channel;
};

struct client_call {
	struct client *client;
	grpc_call *core;
	bool opened; /* the server's initial metadata was asked for; gRPC gives no message before */
	grpc_metadata_array initial;
	grpc_status_code status;
	char text[1024];
};

/*
 * client_init(c, address, tls_dir, name): ${name}: the name that the server's certificate must be
 * of; NULL: the address's.
 */
void client_init(struct client *c, const char *address, const char *tls_dir, const char *name);
void client_release(struct client *c);

void client_open(struct client *c, const char *method, struct client_call *call);
bool client_send(struct client_call *call, grpc_byte_buffer *bb); /* takes ${bb} */
bool client_send_raw(struct client_call *call, const void *bytes, size_t len);
void client_send_done(struct client_call *call);
grpc_byte_buffer *client_receive(struct client_call *call); /* owned; NULL: no more */

/*
 * client_finish(call): wait for the status, which is kept in ${call} too, and let go of the call.
 * client_cancel(): the same, at once.
 */
grpc_status_code client_finish(struct client_call *call);
void client_cancel(struct client_call *call);

/*
 * client_unary(c, method, request, out): one request, one reply (owned; NULL if none); ${call}
 * keeps status and text.
 */
grpc_status_code client_unary(struct client *c, const char *method, const ProtobufCMessage *request,
			      struct client_call *call, grpc_byte_buffer **out);

#endif /* !CLIENT_H_ */
