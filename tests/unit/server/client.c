/* The raw client, on a completion queue that is plucked. */

#include "client.h"

#include <criterion/criterion.h>

#include <grpc/grpc_security.h>
#include <grpc/slice.h>

#include <stdio.h>
#include <string.h>

void client_init(struct client *c, const char *address, const char *tls_dir, const char *name)
{
	grpc_channel_credentials *creds;
	grpc_channel_args args;
	grpc_arg list[32];

	args.num_args = wire_client_args()->num_args;
	args.args = list;
	memcpy(list, wire_client_args()->args, args.num_args * sizeof(list[0]));
	if (name)
		list[args.num_args++] = (grpc_arg){.type = GRPC_ARG_STRING,
						   .key = (char *)GRPC_SSL_TARGET_NAME_OVERRIDE_ARG,
						   .value.string = (char *)name};
	if (tls_dir)
		cr_assert_eq(wire_client_tls(tls_dir, &(struct wire_tls_seen){0}, &creds), 0);
	else
		creds = grpc_insecure_credentials_create();
	c->channel = grpc_channel_create(address, creds, &args);
	grpc_channel_credentials_release(creds);
	c->cq = grpc_completion_queue_create_for_pluck(NULL);
}

void client_release(struct client *c)
{
	grpc_channel_destroy(c->channel);
	grpc_completion_queue_shutdown(c->cq);
	while (grpc_completion_queue_pluck(c->cq, NULL, gpr_inf_future(GPR_CLOCK_REALTIME), NULL)
		       .type != GRPC_QUEUE_SHUTDOWN)
		;
	grpc_completion_queue_destroy(c->cq);
}

/* One step, waited for. */
static bool step(struct client_call *call, const grpc_op *ops, size_t n)
{
	gpr_timespec until = gpr_time_add(gpr_now(GPR_CLOCK_REALTIME),
					  gpr_time_from_seconds(CLIENT_WAIT_S, GPR_TIMESPAN));
	int tag;
	grpc_event ev;

	cr_assert_eq(grpc_call_start_batch(call->core, ops, n, &tag, NULL), GRPC_CALL_OK);
	ev = grpc_completion_queue_pluck(call->client->cq, &tag, until, NULL);
	if (ev.type != GRPC_OP_COMPLETE) {
		grpc_call_cancel(call->core, NULL);
		grpc_completion_queue_pluck(call->client->cq, &tag,
					    gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
		cr_assert_fail("the server does not answer");
	}
	return ev.success;
}

void client_open(struct client *c, const char *method, struct client_call *call)
{
	grpc_slice name = grpc_slice_from_copied_string(method);
	grpc_op op = {.op = GRPC_OP_SEND_INITIAL_METADATA,
		      .flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY};
	gpr_timespec deadline = gpr_time_add(
		gpr_now(GPR_CLOCK_REALTIME),
		gpr_time_from_seconds(2 * CLIENT_WAIT_S, GPR_TIMESPAN));

	memset(call, 0, sizeof(*call));
	grpc_metadata_array_init(&call->initial);
	call->client = c;
	call->core = grpc_channel_create_call(c->channel, NULL, GRPC_PROPAGATE_DEFAULTS, c->cq,
					      name, NULL, deadline, NULL);
	grpc_slice_unref(name);
	step(call, &op, 1);
}

bool client_send(struct client_call *call, grpc_byte_buffer *bb)
{
	grpc_op op = {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = bb};
	bool ok = step(call, &op, 1);

	grpc_byte_buffer_destroy(bb);
	return ok;
}

bool client_send_raw(struct client_call *call, const void *bytes, size_t len)
{
	grpc_slice slice = grpc_slice_from_copied_buffer(bytes, len);
	grpc_byte_buffer *bb = grpc_raw_byte_buffer_create(&slice, 1);

	grpc_slice_unref(slice);
	return client_send(call, bb);
}

void client_send_done(struct client_call *call)
{
	grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};

	step(call, &op, 1);
}

grpc_byte_buffer *client_receive(struct client_call *call)
{
	grpc_byte_buffer *bb = NULL;
	grpc_op ops[2] = {{.op = GRPC_OP_RECV_MESSAGE}, {.op = GRPC_OP_RECV_INITIAL_METADATA}};
	bool ok;

	ops[0].data.recv_message.recv_message = &bb;
	ops[1].data.recv_initial_metadata.recv_initial_metadata = &call->initial;
	ok = step(call, ops, call->opened ? 1 : 2);
	call->opened = true;
	if (!ok && bb) {
		grpc_byte_buffer_destroy(bb);
		bb = NULL;
	}
	return bb;
}

grpc_status_code client_finish(struct client_call *call)
{
	grpc_op ops[2] = {{.op = GRPC_OP_RECV_STATUS_ON_CLIENT},
			  {.op = GRPC_OP_RECV_INITIAL_METADATA}};
	grpc_slice text = grpc_empty_slice();
	grpc_metadata_array trailing;
	size_t len;

	grpc_metadata_array_init(&trailing);
	ops[0].data.recv_status_on_client.trailing_metadata = &trailing;
	ops[0].data.recv_status_on_client.status = &call->status;
	ops[0].data.recv_status_on_client.status_details = &text;
	ops[1].data.recv_initial_metadata.recv_initial_metadata = &call->initial;
	step(call, ops, call->opened ? 1 : 2);
	len = GRPC_SLICE_LENGTH(text);
	snprintf(call->text, sizeof(call->text), "%.*s", (int)len,
		 (const char *)GRPC_SLICE_START_PTR(text));
	grpc_slice_unref(text);
	grpc_metadata_array_destroy(&call->initial);
	grpc_metadata_array_destroy(&trailing);
	grpc_call_unref(call->core);
	return call->status;
}

void client_cancel(struct client_call *call)
{
	grpc_call_cancel(call->core, NULL);
	client_finish(call);
}

grpc_status_code client_unary(struct client *c, const char *method, const ProtobufCMessage *request,
			      struct client_call *call, grpc_byte_buffer **out)
{
	grpc_byte_buffer *bb;

	client_open(c, method, call);
	cr_assert_eq(wire_pack(request, &bb), 0);
	client_send(call, bb);
	client_send_done(call);
	*out = client_receive(call);
	return client_finish(call);
}
