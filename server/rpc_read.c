/*
 * Read: a range of the log, in pieces.
 *
 * Key idea: one piece is read on a pool thread, handed to gRPC without a copy, and only when gRPC
 * has taken it is the next one read; so a slow reader costs one piece of memory, whatever it asked
 * for.
 *
 * Invariants: left > 0 while a piece is to be read; one job or one send of the call at a time.
 */

#include "rpc_internal.h"

#include "copy.h"
#include "embassy.pb-c.h"
#include "err.h"
#include "vault.h"

#include <grpc/byte_buffer.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct reading {
	grpc_byte_buffer *request; /* until it was read */
	struct copy *copy;	   /* counted */
	log_pos pos;
	uint64_t left;
};

static void start(struct call *call)
{
	call->state = calloc(1, sizeof(struct reading));
	if (call->state)
		call_receive(call);
	else
		call_finish(call, -ENOMEM);
}

static void received(struct call *call, grpc_byte_buffer *bb)
{
	struct reading *r = call->state;

	r->request = bb;
	if (bb)
		call_work(call);
	else
		call_finish_with(call, GRPC_STATUS_INVALID_ARGUMENT,
				 "no request came with this call");
}

/* Find out what there is to send. */
static int prepare(struct call *call, struct reading *r)
{
	Embassyfs__V1__ReadRequest *m;
	ProtobufCMessage *base;
	int rc;

	rc = wire_unpack(&embassyfs__v1__read_request__descriptor, r->request, &base);
	grpc_byte_buffer_destroy(r->request);
	r->request = NULL;
	if (rc < 0)
		return rc;
	m = (Embassyfs__V1__ReadRequest *)base;
	if (m->volume.len != VOLUME_ID_LEN)
		rc = err_say(-ERR_FORMAT, "a volume id has %u bytes, not %zu", VOLUME_ID_LEN,
			     m->volume.len);
	else
		rc = vault_find(call_vault(call), m->volume.data, &r->copy);
	if (rc == 0) {
		r->pos = m->position;
		rc = copy_clip(r->copy, m->position, m->length, &r->left);
	}
	protobuf_c_message_free_unpacked(base, NULL);
	return rc;
}

/* On a pool thread: read the next piece and send it. */
static void run(struct call *call)
{
	struct reading *r = call->state;
	uint8_t *piece;
	size_t len;
	int rc = 0;

	if (!r->copy)
		rc = prepare(call, r);
	if (rc < 0) {
		call_finish(call, rc);
		return;
	}
	len = r->left < WIRE_PIECE_MAX ? (size_t)r->left : WIRE_PIECE_MAX;
	piece = malloc(len);
	rc = piece ? copy_read(r->copy, r->pos, len, piece) : -ENOMEM;
	if (rc < 0) {
		free(piece);
		call_finish(call, rc);
		return;
	}
	r->pos += len;
	r->left -= len;
	if (r->left > 0)
		copy_hint(r->copy, r->pos, r->left < WIRE_PIECE_MAX ? r->left : WIRE_PIECE_MAX);
	call_send(call, wire_read_data(piece, len, free, piece));
}

static void sent(struct call *call, bool ok)
{
	struct reading *r = call->state;

	if (ok && r->left > 0)
		call_work(call);
	else
		call_finish_with(call, ok ? GRPC_STATUS_OK : GRPC_STATUS_CANCELLED, "");
}

static void release(struct call *call)
{
	struct reading *r = call->state;

	if (r && r->request)
		grpc_byte_buffer_destroy(r->request);
	if (r)
		copy_unref(r->copy);
	free(r);
}

const struct method read_method = {
	.name = WIRE_SERVICE "Read",
	.request_max = WIRE_REQUEST_MAX,
	.start = start,
	.received = received,
	.run = run,
	.sent = sent,
	.release = release,
};
