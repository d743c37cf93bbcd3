#ifndef CLIENT_H_
#define CLIENT_H_

/*
 * The client side of the protocol, without its purpose: two channels to one address (one for
 * questions, one for bulk data), one completion queue and its thread, calls that wait, and streams.
 * Of what a server sends, only the form is checked here.
 *
 * fork() only before the first client_new(): gRPC starts threads of its own.
 */

#include "compiler.h"
#include "numbers.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct client;
struct client_stream;
struct grpc_byte_buffer;

struct client_config {
	const char *address; /* HOST:PORT or unix:PATH */
	const char *tls_dir; /* NULL: plain text, only to a loopback address or a Unix socket */
};

/*
 * client_new(cfg, out): create a client; it does not connect yet.
 * Returns 0; -ERR_FORBIDDEN with a detail (plain text to another host); -errno (TLS files, memory,
 * threads) with a detail.
 */
MUST_CHECK int client_new(const struct client_config *cfg, struct client **out);

/* client_free(c): the caller has released all calls and streams.  NULL is a no-op. */
void client_free(struct client *c);

/* client_address(c): as configured; borrowed. */
const char *client_address(const struct client *c);

/*
 * client_connect(c): start connecting both channels at once; otherwise each connects with its first
 * call.  Does not wait.
 */
void client_connect(struct client *c);

/*
 * client_reconnect(c): drop the connections and their back-off.  The next call connects anew, with
 * the TLS files as they are now, or, if they are unusable, with those in use.  Calls under way are
 * not touched.
 */
MUST_CHECK int client_reconnect(struct client *c);

/*
 * client_renew(c): the same, but only if usable TLS files differ from those in use.  Returns true
 * if so.  Any thread.
 */
bool client_renew(struct client *c);

/*
 * client_explain(c, rc): if ${rc} says that the server cannot be reached, find out why and make
 * that the error's detail.  Takes a few seconds at most, less after client_abort().  Returns ${rc}.
 */
int client_explain(struct client *c, int rc);

/*
 * client_abort(c): end all calls under way with -ECANCELED, and refuse new ones.  Any thread.
 */
void client_abort(struct client *c);

/*
 * client_call(c, method, request, type, timeout_ms, out): one question, one answer.  Any thread.
 * Returns 0 and a message of ${type}, to be freed with protobuf_c_message_free_unpacked(); or, each
 * with a detail that names the address and the server's words: -ERR_UNREACHABLE (not connected,
 * broken off, timed out), -ERR_FORBIDDEN (permission), -ERR_REFUSED (failed precondition, invalid
 * argument), -ERR_NO_VOLUME (not found), -ERR_DAMAGED (data loss), -ERR_ABSENT (out of range),
 * -ERR_VERSION (no such method), -EAGAIN (aborted: busy), -ENOSPC (exhausted), -EIO (internal),
 * -EPROTO (a malformed answer, none, or more than one), -ECANCELED (client_abort), -ENOMEM.
 */
MUST_CHECK int client_call(struct client *c, const char *method, const ProtobufCMessage *request,
			   const ProtobufCMessageDescriptor *type, int timeout_ms,
			   ProtobufCMessage **out);

/*
 * client_read(c, volume, pos, len, timeout_ms, out, out_len): read stored bytes.  ${*out_len} is
 * less than ${len} only where the log ends.  Any thread, several at once.  Returns as
 * client_call(); -EPROTO also if the server sends more than was asked for.
 */
MUST_CHECK int client_read(struct client *c, const uint8_t *volume, log_pos pos, size_t len,
			   int timeout_ms, void *out, size_t *out_len);

/*
 * Callbacks of a stream, on the completion queue's thread.  They must not block or call back into
 * the stream.
 */
struct client_stream_ops {
	/* message(ctx, bb): a message came; ${bb} is borrowed. */
	void (*message)(void *ctx, struct grpc_byte_buffer *bb);
	/*
	 * sent(ctx): the transport took the message of client_stream_send(); the next may be sent.
	 */
	void (*sent)(void *ctx);
	/*
	 * ended(ctx, rc, detail): the last callback.  ${rc} as client_call() returns it, or 0 if
	 * the server ended the stream normally.
	 */
	void (*ended)(void *ctx, int rc, const char *detail);
};

/*
 * client_stream_open(c, method, ops, ctx, out): open a stream on the bulk channel, without
 * deadline.
 * Returns 0; -ECANCELED after client_abort(); -ENOMEM; -EPROTO.
 */
MUST_CHECK int client_stream_open(struct client *c, const char *method,
				  const struct client_stream_ops *ops, void *ctx,
				  struct client_stream **out);

/*
 * client_stream_send(s, bb): takes ${bb}.  One message at a time: the next only after sent().
 * Returns 0 (then sent() or ended() follows) or -EPIPE if the stream has ended.
 */
MUST_CHECK int client_stream_send(struct client_stream *s, struct grpc_byte_buffer *bb);

/*
 * client_stream_cancel(s): end the stream; ended() follows unless it has been called already.  Any
 * thread.
 */
void client_stream_cancel(struct client_stream *s);

/*
 * client_stream_free(s): only once ended() has returned or is running; waits until it has returned.
 * NULL is a no-op.
 */
void client_stream_free(struct client_stream *s);

#endif /* !CLIENT_H_ */
