/* Append streams: resume, lies, replacement, kills at many points. */

#include "rpc_fixture.h"

#include <criterion/criterion.h>

#include <grpc/grpc.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>

TestSuite(rpc_append, .init = fix_set_up, .fini = fix_tear_down, .timeout = 300);

Test(rpc_append, append_resume_read)
{
	struct client_call call;

	cr_assert_eq(fix_put(&client, 1, 1, &call), GRPC_STATUS_OK, "%s", call.text);
	cr_expect_eq(fix_get_end(&client), 0);
	synth_grow(&log_, 70 << 20);
	fix_append_rest(&client);
	cr_expect_eq(fix_get_end(&client), log_.end);
	fix_expect_log(&client, log_.end);
	synth_grow(&log_, 3 << 20);
	fix_append_rest(&client);
	fix_restart(SIGTERM, 0);
	cr_expect_eq(fix_get_end(&client), log_.end);
	fix_expect_log(&client, log_.end);
	synth_grow(&log_, 3 << 20);
	fix_append_rest(&client);
}

Test(rpc_append, many_heads_on_one_stream)
{
	struct client_call call;
	uint64_t from = 0;

	cr_assert_eq(fix_put(&client, 1, 1, &call), GRPC_STATUS_OK);
	synth_segment(&log_, 0);
	fix_begin(&client, &call, 0, 0);
	for (unsigned i = 0; i < 200; i++) {
		synth_block(&log_, 3000);
		synth_head(&log_);
		cr_assert(fix_send_log(&call, from, log_.end, 1 << 20));
		from = log_.end;
	}
	fix_wait_for(&call, log_.end);
	client_send_done(&call);
	cr_assert_eq(client_finish(&call), GRPC_STATUS_OK);
	fix_expect_log(&client, log_.end);
}

Test(rpc_append, a_message_beyond_the_limit)
{
	size_t len = WIRE_MESSAGE_MAX + 1;
	uint8_t *big = calloc(1, len);
	struct client_call call;

	/* Data of more than 4 MiB fits a message, but is refused. */
	cr_assert_eq(fix_put(&client, 1, 1, &call), GRPC_STATUS_OK);
	fix_begin(&client, &call, 0, 0);
	fix_send_bytes(&call, 0, big, WIRE_DATA_MAX + 1);
	fix_wait_for(&call, 0);
	cr_expect_eq(client_finish(&call), GRPC_STATUS_INVALID_ARGUMENT, "%s", call.text);
	free(big);
}

/* Append ${bytes} at ${pos} from the server's place, and expect that status; the copy stays. */
static void expect_lie(uint64_t pos, const void *bytes, size_t len, grpc_status_code status)
{
	uint64_t end = fix_get_end(&client);
	struct client_call call;
	grpc_byte_buffer *bb;

	fix_begin(&client, &call, end, end ? log_.number : 0);
	fix_send_bytes(&call, pos, bytes, len);
	while ((bb = client_receive(&call)))
		grpc_byte_buffer_destroy(bb);
	cr_expect_eq(client_finish(&call), status, "%s", call.text);
	cr_expect_gt(strlen(call.text), 10);
	cr_expect_eq(fix_get_end(&client), end);
}

Test(rpc_append, lies)
{
	struct client_call call;
	uint8_t bytes[5000];
	size_t len;

	synth_segment(&log_, 0);
	synth_block(&log_, 3000);
	synth_head(&log_);
	len = (size_t)log_.end;
	memcpy(bytes, synth_bytes(&log_, 0), len);
	cr_assert_eq(fix_put(&client, 1, 1, &call), GRPC_STATUS_OK);
	/* The wrong place, half a block, a flipped bit under the head, bytes that are no block. */
	expect_lie(7, bytes, len, GRPC_STATUS_INVALID_ARGUMENT);
	expect_lie(0, bytes, len - 1, GRPC_STATUS_DATA_LOSS);
	bytes[200] ^= 1;
	expect_lie(0, bytes, len, GRPC_STATUS_DATA_LOSS);
	bytes[200] ^= 1;
	expect_lie(0, bytes + 1, len - 1, GRPC_STATUS_DATA_LOSS);
	fix_append_rest(&client);
	expect_lie(log_.end, bytes, len, GRPC_STATUS_DATA_LOSS);
	fix_expect_log(&client, log_.end);
}

Test(rpc_append, openings)
{
	struct client_call call;

	/* No such volume; then a wrong place, a wrong epoch, two openings, data first. */
	fix_begin(&client, &call, 0, 0);
	cr_expect_null(client_receive(&call));
	cr_expect_eq(client_finish(&call), GRPC_STATUS_NOT_FOUND);
	cr_assert_eq(fix_put(&client, 1, 1, &call), GRPC_STATUS_OK);
	fix_begin(&client, &call, 100, 1);
	cr_expect_null(client_receive(&call));
	cr_expect_eq(client_finish(&call), GRPC_STATUS_FAILED_PRECONDITION);
	cr_expect(strstr(call.text, "stands at head 0"), "%s", call.text);
	log_.epoch = 2;
	fix_begin(&client, &call, 0, 0);
	cr_expect_null(client_receive(&call));
	cr_expect_eq(client_finish(&call), GRPC_STATUS_FAILED_PRECONDITION);
	log_.epoch = 1;
	fix_begin(&client, &call, 0, 0);
	fix_send_opening(&call, 1, 0, 0);
	fix_wait_for(&call, 0);
	cr_expect_eq(client_finish(&call), GRPC_STATUS_INVALID_ARGUMENT);
	client_open(&client, WIRE_SERVICE "Append", &call);
	fix_send_bytes(&call, 0, "abc", 3);
	cr_expect_null(client_receive(&call));
	cr_expect_eq(client_finish(&call), GRPC_STATUS_INVALID_ARGUMENT);
}

/* It is not kept: four of them may wait. */
Test(rpc_append, too_long_a_data_message_ends_the_stream)
{
	size_t len = WIRE_DATA_MAX + WIRE_REQUEST_MAX + 1;
	uint8_t *bytes = calloc(1, len);
	struct client_call call;

	cr_assert(bytes);
	cr_assert_eq(fix_put(&client, 1, 1, &call), GRPC_STATUS_OK);
	fix_begin(&client, &call, 0, 0);
	fix_wait_for(&call, 0);
	client_send_raw(&call, bytes, len);
	cr_expect_eq(client_finish(&call), GRPC_STATUS_INVALID_ARGUMENT);
	cr_expect(strstr(call.text, "longer than any"), "%s", call.text);
	free(bytes);
}

Test(rpc_append, a_newer_stream_replaces_the_older)
{
	struct client_call old, call;

	cr_assert_eq(fix_put(&client, 1, 1, &old), GRPC_STATUS_OK);
	synth_grow(&log_, 1 << 20);
	fix_begin(&client, &old, 0, 0);
	fix_wait_for(&old, 0);
	fix_append_rest(&client);
	cr_expect_null(client_receive(&old));
	cr_expect_eq(client_finish(&old), GRPC_STATUS_ABORTED, "%s", old.text);
	(void)call;
}

Test(rpc_append, orderly_end_with_open_streams)
{
	struct client_call appending, reading;
	Embassyfs__V1__ReadRequest m = EMBASSYFS__V1__READ_REQUEST__INIT;
	uint64_t first;
	grpc_byte_buffer *bb;

	cr_assert_eq(fix_put(&client, 1, 1, &appending), GRPC_STATUS_OK);
	synth_grow(&log_, 40 << 20);
	fix_append_rest(&client);
	first = log_.end;
	/* A reader that does not read, and an appender in the middle. */
	m.volume.data = log_.id;
	m.volume.len = VOLUME_ID_LEN;
	m.length = SEGMENT_SIZE;
	client_open(&client, WIRE_SERVICE "Read", &reading);
	cr_assert_eq(wire_pack(&m.base, &bb), 0);
	client_send(&reading, bb);
	fix_begin(&client, &appending, log_.end, 1);
	synth_block(&log_, 500000);
	fix_send_log(&appending, first, log_.end, 1 << 20);
	fix_wait_for(&appending, first);
	cr_assert_eq(child_end(&server, SIGTERM), 0);
	while ((bb = client_receive(&reading)))
		grpc_byte_buffer_destroy(bb);
	cr_expect_neq(client_finish(&reading), GRPC_STATUS_OK);
	cr_expect_null(client_receive(&appending));
	cr_expect_neq(client_finish(&appending), GRPC_STATUS_OK);
	client_release(&client);
	cr_assert(child_start(&server, store, "127.0.0.1:0", NULL));
	client_init(&client, server.address, NULL, NULL);
	cr_expect_eq(fix_get_end(&client), first);
	fix_expect_log(&client, first);
}

Test(rpc_append, killed_at_many_points)
{
	struct client_call call;
	unsigned lost = 0;

	cr_assert_eq(fix_put(&client, 1, 1, &call), GRPC_STATUS_OK);
	synth_segment(&log_, 0);
	for (unsigned round = 0; round < 12; round++) {
		uint64_t end = fix_get_end(&client), head = 0, known = end;

		while (synth_head_end(&log_, head) < end)
			head++;
		fix_begin(&client, &call, end, head);
		for (unsigned i = 0; i < 8; i++) {
			synth_block(&log_, 200000 * round % 700000 + 100);
			synth_head(&log_);
		}
		fix_send_log(&call, end, log_.end, 300000);
		/* Either at once, or after the opening, or after all is acknowledged. */
		if (round % 3 == 1) {
			fix_wait_for(&call, end);
		} else if (round % 3 == 2) {
			fix_wait_for(&call, log_.end);
			known = log_.end;
		}
		cr_assert_eq(child_end(&server, SIGKILL), -SIGKILL);
		client_cancel(&call);
		client_release(&client);
		cr_assert(child_start(&server, store, "127.0.0.1:0", NULL));
		client_init(&client, server.address, NULL, NULL);
		/* What was acknowledged is there, and what is there is the log. */
		cr_assert_geq(fix_get_end(&client), known);
		lost += fix_get_end(&client) < log_.end;
		if (fix_get_end(&client) > 0)
			fix_expect_log(&client, fix_get_end(&client));
	}
	fix_append_rest(&client);
	fix_expect_log(&client, log_.end);
	(void)lost;
}
