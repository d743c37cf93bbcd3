/* embassyd as a process, driven by a raw client: each method, hostile messages, TLS, kills and orderly ends. */

#include "child.h"
#include "client.h"
#include "embassy.pb-c.h"
#include "file.h"
#include "synth.h"

#include <criterion/criterion.h>

#include <grpc/grpc.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[200], store[256];
static struct synth log_;
static struct child server;
static struct client client;

static void set_up(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/embassyd-rpc-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert(mkdtemp(dir));
	snprintf(store, sizeof(store), "%s/store", dir);
	synth_init(&log_, 11);
	wire_setup();
	cr_assert(child_start(&server, store, "127.0.0.1:0", NULL));
	grpc_init();
	client_init(&client, server.address, NULL, NULL);
}

static void tear_down(void)
{
	client_release(&client);
	grpc_shutdown_blocking();
	if (server.pid)
		cr_expect_eq(child_end(&server, SIGTERM), 0);
	synth_release(&log_);
	cr_expect_eq(file_remove_tree(AT_FDCWD, dir), 0);
}

TestSuite(rpc, .init = set_up, .fini = tear_down, .timeout = 120);

static void restart(int signal, int expect)
{
	client_release(&client);
	cr_assert_eq(child_end(&server, signal), expect);
	cr_assert(child_start(&server, store, "127.0.0.1:0", NULL));
	client_init(&client, server.address, NULL, NULL);
}

/* PutVolume; the status, and its text in ${call}. */
static grpc_status_code put(struct client *c, uint64_t serial, unsigned n_epochs,
			    struct client_call *call)
{
	Embassyfs__V1__PutVolumeRequest m = EMBASSYFS__V1__PUT_VOLUME_REQUEST__INIT;
	struct buf conf = {0};
	grpc_byte_buffer *bb;
	grpc_status_code status;

	synth_conf(&log_, serial, n_epochs, &conf);
	m.params.data = conf.p;
	m.params.len = conf.len;
	status = client_unary(c, WIRE_SERVICE "PutVolume", &m.base, call, &bb);
	if (bb)
		grpc_byte_buffer_destroy(bb);
	buf_release(&conf);
	return status;
}

static grpc_status_code get(struct client *c, Embassyfs__V1__Volume **out, struct client_call *call)
{
	Embassyfs__V1__GetVolumeRequest m = EMBASSYFS__V1__GET_VOLUME_REQUEST__INIT;
	ProtobufCMessage *reply = NULL;
	grpc_byte_buffer *bb;
	grpc_status_code status;

	m.volume.data = log_.id;
	m.volume.len = VOLUME_ID_LEN;
	status = client_unary(c, WIRE_SERVICE "GetVolume", &m.base, call, &bb);
	if (bb) {
		cr_assert_eq(wire_unpack(&embassyfs__v1__volume__descriptor, bb, &reply), 0);
		grpc_byte_buffer_destroy(bb);
	}
	*out = (Embassyfs__V1__Volume *)reply;
	return status;
}

static uint64_t get_end(struct client *c)
{
	Embassyfs__V1__Volume *v;
	struct client_call call;
	uint64_t end;

	cr_assert_eq(get(c, &v, &call), GRPC_STATUS_OK, "%s", call.text);
	end = v->end;
	embassyfs__v1__volume__free_unpacked(v, NULL);
	return end;
}

static void send_opening(struct client_call *call, uint64_t epoch, uint64_t position, uint64_t head)
{
	Embassyfs__V1__AppendRequest m = EMBASSYFS__V1__APPEND_REQUEST__INIT;
	Embassyfs__V1__AppendOpen open = EMBASSYFS__V1__APPEND_OPEN__INIT;
	grpc_byte_buffer *bb;

	open.volume.data = log_.id;
	open.volume.len = VOLUME_ID_LEN;
	open.epoch = epoch;
	open.position = position;
	open.head = head;
	m.open = &open;
	cr_assert_eq(wire_pack(&m.base, &bb), 0);
	client_send(call, bb);
}

static void begin(struct client *c, struct client_call *call, uint64_t position, uint64_t head)
{
	client_open(c, WIRE_SERVICE "Append", call);
	send_opening(call, log_.epoch, position, head);
}

static void keep(void *arg)
{
	(void)arg;
}

static bool send_bytes(struct client_call *call, uint64_t pos, const void *bytes, size_t len)
{
	return client_send(call, wire_append_data(pos, bytes, len, keep, NULL));
}

static bool send_log(struct client_call *call, uint64_t pos, uint64_t limit, size_t piece)
{
	while (pos < limit) {
		size_t len;
		uint64_t at = synth_piece(&log_, pos, piece, &len);

		if (!send_bytes(call, at, synth_bytes(&log_, at), len))
			return false;
		pos = at + len;
	}
	return true;
}

/* The next acknowledgement's end; 0: there is none (any more, or not of a head). */
static bool acknowledged(struct client_call *call, uint64_t *out_end, uint64_t *out_head)
{
	grpc_byte_buffer *bb = client_receive(call);
	ProtobufCMessage *m;

	if (!bb)
		return false;
	cr_assert_eq(wire_unpack(&embassyfs__v1__append_reply__descriptor, bb, &m), 0);
	grpc_byte_buffer_destroy(bb);
	*out_end = ((Embassyfs__V1__AppendReply *)m)->end;
	*out_head = ((Embassyfs__V1__AppendReply *)m)->head;
	protobuf_c_message_free_unpacked(m, NULL);
	return true;
}

/* Read acknowledgements until ${end}. */
static void wait_for(struct client_call *call, uint64_t end)
{
	uint64_t got = UINT64_MAX, head, before = 0;

	while (got != end) {
		cr_assert(acknowledged(call, &got, &head), "no acknowledgement of %lu",
			  (unsigned long)end);
		cr_assert_geq(got, before);
		cr_assert_eq(got, synth_head_end(&log_, head));
		before = got;
	}
}

/* Append what the server lacks, from where it says that it stands. */
static void append_rest(struct client *c)
{
	struct client_call call;
	uint64_t end = get_end(c), head = 0;

	while (synth_head_end(&log_, head) < end)
		head++;
	begin(c, &call, end, head);
	cr_assert(send_log(&call, end, log_.end, 1 << 20));
	wait_for(&call, log_.end);
	client_send_done(&call);
	cr_assert_eq(client_finish(&call), GRPC_STATUS_OK, "%s", call.text);
}

static grpc_status_code read_range(struct client *c, uint64_t pos, uint64_t len, struct buf *out,
				   struct client_call *call)
{
	Embassyfs__V1__ReadRequest m = EMBASSYFS__V1__READ_REQUEST__INIT;
	grpc_byte_buffer *bb;

	m.volume.data = log_.id;
	m.volume.len = VOLUME_ID_LEN;
	m.position = pos;
	m.length = len;
	client_open(c, WIRE_SERVICE "Read", call);
	cr_assert_eq(wire_pack(&m.base, &bb), 0);
	client_send(call, bb);
	client_send_done(call);
	while ((bb = client_receive(call))) {
		struct wire_bytes data;

		cr_assert_eq(wire_read_decode(bb, &data), 0);
		cr_assert_leq(data.len, WIRE_PIECE_MAX);
		cr_assert_eq(buf_reserve(out, data.len), 0);
		wire_bytes_copy(&data, 0, data.len, out->p + out->len);
		out->len += data.len;
		grpc_byte_buffer_destroy(bb);
	}
	return client_finish(call);
}

/* Every byte of the log up to ${end} comes back as it was sent. */
static void expect_log(struct client *c, uint64_t end)
{
	for (uint64_t n = 0; n <= segment_of(end - 1); n++) {
		struct client_call call;
		struct buf got = {0};
		size_t len = log_.segments[n].len;

		if (len == 0)
			continue;
		if (segment_start(n) + len > end)
			len = (size_t)(end - segment_start(n));
		cr_assert_eq(read_range(c, segment_start(n), SEGMENT_SIZE, &got, &call),
			     GRPC_STATUS_OK, "%s", call.text);
		cr_assert_eq(got.len, len);
		cr_assert_eq(memcmp(got.p, log_.segments[n].p, len), 0);
		buf_release(&got);
	}
}

Test(rpc, append_resume_read)
{
	struct client_call call;

	cr_assert_eq(put(&client, 1, 1, &call), GRPC_STATUS_OK, "%s", call.text);
	cr_expect_eq(get_end(&client), 0);
	synth_grow(&log_, 70 << 20);
	append_rest(&client);
	cr_expect_eq(get_end(&client), log_.end);
	expect_log(&client, log_.end);
	synth_grow(&log_, 3 << 20);
	append_rest(&client);
	restart(SIGTERM, 0);
	cr_expect_eq(get_end(&client), log_.end);
	expect_log(&client, log_.end);
	synth_grow(&log_, 3 << 20);
	append_rest(&client);
}

Test(rpc, many_heads_on_one_stream)
{
	struct client_call call;
	uint64_t from = 0;

	cr_assert_eq(put(&client, 1, 1, &call), GRPC_STATUS_OK);
	synth_segment(&log_, 0);
	begin(&client, &call, 0, 0);
	for (unsigned i = 0; i < 200; i++) {
		synth_block(&log_, 3000);
		synth_head(&log_);
		cr_assert(send_log(&call, from, log_.end, 1 << 20));
		from = log_.end;
	}
	wait_for(&call, log_.end);
	client_send_done(&call);
	cr_assert_eq(client_finish(&call), GRPC_STATUS_OK);
	expect_log(&client, log_.end);
}

static size_t heads(const Embassyfs__V1__HeadsRequest *m, struct client_call *call, uint64_t first)
{
	ProtobufCMessage *base;
	Embassyfs__V1__HeadsReply *reply;
	grpc_byte_buffer *bb;
	size_t n;

	client_unary(&client, WIRE_SERVICE "Heads", &m->base, call, &bb);
	if (!bb)
		return 0;
	cr_assert_eq(wire_unpack(&embassyfs__v1__heads_reply__descriptor, bb, &base), 0);
	grpc_byte_buffer_destroy(bb);
	reply = (Embassyfs__V1__HeadsReply *)base;
	for (size_t i = 0; i < reply->n_heads; i++) {
		const struct synth_place *h = &log_.heads[first - 1 + i];

		cr_assert_eq(reply->heads[i]->position, h->pos);
		cr_assert_eq(reply->heads[i]->stored_len, h->len);
		cr_assert_eq(reply->heads[i]->note.len, h->len - 12);
		cr_assert_arr_eq(reply->heads[i]->note.data, synth_bytes(&log_, h->pos) + 12, h->len - 12);
	}
	n = reply->n_heads;
	protobuf_c_message_free_unpacked(base, NULL);
	return n;
}

Test(rpc, heads)
{
	Embassyfs__V1__HeadsRequest m = EMBASSYFS__V1__HEADS_REQUEST__INIT;
	struct client_call call;

	cr_assert_eq(put(&client, 1, 1, &call), GRPC_STATUS_OK);
	synth_segment(&log_, 0);
	for (unsigned i = 0; i < 30; i++)
		synth_head(&log_);
	append_rest(&client);
	m.volume.data = log_.id;
	m.volume.len = VOLUME_ID_LEN;
	m.first = 5;
	m.limit = 10;
	cr_expect_eq(heads(&m, &call, 5), 10);
	m.first = 1;
	m.limit = 1024;
	cr_expect_eq(heads(&m, &call, 1), 30);
	m.first = 31;
	cr_expect_eq(heads(&m, &call, 31), 0);
	cr_expect_eq(call.status, GRPC_STATUS_OK);
	m.by_time = true;
	m.at_time_ns = log_.time_ns - 1500000000;
	cr_expect_eq(heads(&m, &call, 28), 1);
	m.at_time_ns = 1;
	cr_expect_eq(heads(&m, &call, 1), 0);
	cr_expect_eq(call.status, GRPC_STATUS_OK);
	m.limit = 0;
	heads(&m, &call, 1);
	cr_expect_eq(call.status, GRPC_STATUS_INVALID_ARGUMENT);
	m.limit = 1025;
	heads(&m, &call, 1);
	cr_expect_eq(call.status, GRPC_STATUS_INVALID_ARGUMENT);
	m.limit = 1;
	m.volume.len = 15;
	heads(&m, &call, 1);
	cr_expect_eq(call.status, GRPC_STATUS_INVALID_ARGUMENT);
}

Test(rpc, volumes)
{
	Embassyfs__V1__ListVolumesRequest m = EMBASSYFS__V1__LIST_VOLUMES_REQUEST__INIT;
	Embassyfs__V1__Volume *v;
	struct client_call call;
	ProtobufCMessage *base;
	struct buf conf = {0};
	grpc_byte_buffer *bb;

	cr_expect_eq(get(&client, &v, &call), GRPC_STATUS_NOT_FOUND);
	cr_assert_eq(put(&client, 1, 1, &call), GRPC_STATUS_OK);
	cr_assert_eq(put(&client, 1, 1, &call), GRPC_STATUS_OK);
	cr_assert_eq(put(&client, 2, 2, &call), GRPC_STATUS_OK);
	cr_expect_eq(put(&client, 1, 1, &call), GRPC_STATUS_FAILED_PRECONDITION);
	cr_expect_eq(put(&client, 3, 1, &call), GRPC_STATUS_PERMISSION_DENIED);
	synth_conf(&log_, 2, 2, &conf);
	cr_assert_eq(get(&client, &v, &call), GRPC_STATUS_OK);
	cr_expect_eq(v->params.len, conf.len);
	cr_expect_arr_eq(v->params.data, conf.p, conf.len);
	cr_expect_null(v->newest);
	embassyfs__v1__volume__free_unpacked(v, NULL);
	buf_release(&conf);
	cr_assert_eq(client_unary(&client, WIRE_SERVICE "ListVolumes", &m.base, &call, &bb), GRPC_STATUS_OK);
	cr_assert_eq(wire_unpack(&embassyfs__v1__list_volumes_reply__descriptor, bb, &base), 0);
	cr_expect_eq(((Embassyfs__V1__ListVolumesReply *)base)->n_volumes, 1);
	cr_expect_arr_eq(((Embassyfs__V1__ListVolumesReply *)base)->volumes[0].data, log_.id, 16);
	protobuf_c_message_free_unpacked(base, NULL);
	grpc_byte_buffer_destroy(bb);
}

/* Send ${bytes} as the first message of a method, after which the server must answer with this status. */
static void expect_refusal(const char *method, const void *bytes, size_t len, grpc_status_code status)
{
	struct client_call call;
	grpc_byte_buffer *bb;

	client_open(&client, method, &call);
	client_send_raw(&call, bytes, len);
	client_send_done(&call);
	while ((bb = client_receive(&call)))
		grpc_byte_buffer_destroy(bb);
	cr_expect_eq(client_finish(&call), status, "%s: %d %s", method, (int)call.status, call.text);
}

Test(rpc, garbage)
{
	static const char *const names[] = {"Append", "Read", "Heads", "GetVolume", "PutVolume"};
	uint8_t garbage[200];
	char method[100];
	struct client_call call;

	memset(garbage, 0xff, sizeof(garbage));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(method, sizeof(method), WIRE_SERVICE "%s", names[i]);
		expect_refusal(method, garbage, sizeof(garbage), GRPC_STATUS_INVALID_ARGUMENT);
		expect_refusal(method, garbage, 1, GRPC_STATUS_INVALID_ARGUMENT);
		expect_refusal(method, "", 0, GRPC_STATUS_INVALID_ARGUMENT);
		/* A field that says it is longer than the message, and one of 2^63 bytes. */
		expect_refusal(method, "\x0a\x7f" "x", 3, GRPC_STATUS_INVALID_ARGUMENT);
		expect_refusal(method, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10,
			       GRPC_STATUS_INVALID_ARGUMENT);
		/* No message at all. */
		client_open(&client, method, &call);
		client_send_done(&call);
		cr_expect_eq(client_finish(&call), GRPC_STATUS_INVALID_ARGUMENT, "%s: %s", method,
			     call.text);
	}
	expect_refusal("/nobody/Knows", "", 0, GRPC_STATUS_UNIMPLEMENTED);
	cr_assert_eq(put(&client, 1, 1, &call), GRPC_STATUS_OK);
}

Test(rpc, a_message_beyond_the_limit)
{
	size_t len = WIRE_MESSAGE_MAX + 1;
	uint8_t *big = calloc(1, len);
	struct client_call call;

	/* Data of more than 4 MiB fits a message, but is refused. */
	cr_assert_eq(put(&client, 1, 1, &call), GRPC_STATUS_OK);
	begin(&client, &call, 0, 0);
	send_bytes(&call, 0, big, WIRE_DATA_MAX + 1);
	wait_for(&call, 0);
	cr_expect_eq(client_finish(&call), GRPC_STATUS_INVALID_ARGUMENT, "%s", call.text);
	free(big);
}

/* Append ${bytes} at ${pos} from the server's place, and expect that status; the copy stays. */
static void expect_lie(uint64_t pos, const void *bytes, size_t len, grpc_status_code status)
{
	uint64_t end = get_end(&client);
	struct client_call call;
	grpc_byte_buffer *bb;

	begin(&client, &call, end, end ? log_.number : 0);
	send_bytes(&call, pos, bytes, len);
	while ((bb = client_receive(&call)))
		grpc_byte_buffer_destroy(bb);
	cr_expect_eq(client_finish(&call), status, "%s", call.text);
	cr_expect_gt(strlen(call.text), 10);
	cr_expect_eq(get_end(&client), end);
}

Test(rpc, lies)
{
	struct client_call call;
	uint8_t bytes[5000];
	size_t len;

	synth_segment(&log_, 0);
	synth_block(&log_, 3000);
	synth_head(&log_);
	len = (size_t)log_.end;
	memcpy(bytes, synth_bytes(&log_, 0), len);
	cr_assert_eq(put(&client, 1, 1, &call), GRPC_STATUS_OK);
	/* The wrong place, half a block, a flipped bit under the head, bytes that are no block. */
	expect_lie(7, bytes, len, GRPC_STATUS_INVALID_ARGUMENT);
	expect_lie(0, bytes, len - 1, GRPC_STATUS_DATA_LOSS);
	bytes[200] ^= 1;
	expect_lie(0, bytes, len, GRPC_STATUS_DATA_LOSS);
	bytes[200] ^= 1;
	expect_lie(0, bytes + 1, len - 1, GRPC_STATUS_DATA_LOSS);
	append_rest(&client);
	expect_lie(log_.end, bytes, len, GRPC_STATUS_DATA_LOSS);
	expect_log(&client, log_.end);
}

Test(rpc, openings)
{
	struct client_call call;

	/* No such volume; then a wrong place, a wrong epoch, two openings, data first. */
	begin(&client, &call, 0, 0);
	cr_expect_null(client_receive(&call));
	cr_expect_eq(client_finish(&call), GRPC_STATUS_NOT_FOUND);
	cr_assert_eq(put(&client, 1, 1, &call), GRPC_STATUS_OK);
	begin(&client, &call, 100, 1);
	cr_expect_null(client_receive(&call));
	cr_expect_eq(client_finish(&call), GRPC_STATUS_FAILED_PRECONDITION);
	cr_expect(strstr(call.text, "stands at head 0"), "%s", call.text);
	log_.epoch = 2;
	begin(&client, &call, 0, 0);
	cr_expect_null(client_receive(&call));
	cr_expect_eq(client_finish(&call), GRPC_STATUS_FAILED_PRECONDITION);
	log_.epoch = 1;
	begin(&client, &call, 0, 0);
	send_opening(&call, 1, 0, 0);
	wait_for(&call, 0);
	cr_expect_eq(client_finish(&call), GRPC_STATUS_INVALID_ARGUMENT);
	client_open(&client, WIRE_SERVICE "Append", &call);
	send_bytes(&call, 0, "abc", 3);
	cr_expect_null(client_receive(&call));
	cr_expect_eq(client_finish(&call), GRPC_STATUS_INVALID_ARGUMENT);
}

Test(rpc, a_newer_stream_replaces_the_older)
{
	struct client_call old, call;

	cr_assert_eq(put(&client, 1, 1, &old), GRPC_STATUS_OK);
	synth_grow(&log_, 1 << 20);
	begin(&client, &old, 0, 0);
	wait_for(&old, 0);
	append_rest(&client);
	cr_expect_null(client_receive(&old));
	cr_expect_eq(client_finish(&old), GRPC_STATUS_ABORTED, "%s", old.text);
	(void)call;
}

Test(rpc, ranges)
{
	struct client_call call;
	struct buf got = {0};

	cr_expect_eq(read_range(&client, 0, 10, &got, &call), GRPC_STATUS_NOT_FOUND);
	cr_assert_eq(put(&client, 1, 1, &call), GRPC_STATUS_OK);
	cr_expect_eq(read_range(&client, 0, 10, &got, &call), GRPC_STATUS_OUT_OF_RANGE);
	synth_grow(&log_, 5 << 20);
	append_rest(&client);
	cr_expect_eq(read_range(&client, log_.end, 10, &got, &call), GRPC_STATUS_OUT_OF_RANGE);
	cr_expect_eq(read_range(&client, 10, SEGMENT_SIZE, &got, &call), GRPC_STATUS_INVALID_ARGUMENT);
	cr_expect_eq(read_range(&client, 10, UINT64_MAX, &got, &call), GRPC_STATUS_INVALID_ARGUMENT);
	cr_expect_eq(read_range(&client, 10, 0, &got, &call), GRPC_STATUS_INVALID_ARGUMENT);
	cr_expect_eq(read_range(&client, UINT64_MAX, 1, &got, &call), GRPC_STATUS_OUT_OF_RANGE);
	cr_expect_eq(got.len, 0);
	cr_expect_eq(read_range(&client, 12345, 2000000, &got, &call), GRPC_STATUS_OK);
	cr_expect_eq(got.len, 2000000);
	cr_expect_eq(memcmp(got.p, synth_bytes(&log_, 12345), got.len), 0);
	buf_release(&got);
}

/* Send a health request for a service of ${len} bytes; the first reply's status, 0: none. */
static int health(const char *method, const char *name, size_t len, struct client_call *call)
{
	uint8_t request[64] = {0x0a, (uint8_t)len}, reply[2] = {0};
	grpc_byte_buffer *bb;
	struct wire_bytes all;

	memcpy(request + 2, name, len);
	client_open(&client, method, call);
	client_send_raw(call, request, len ? len + 2 : 0);
	client_send_done(call);
	bb = client_receive(call);
	if (!bb)
		return 0;
	cr_assert_eq(grpc_byte_buffer_length(bb), 2);
	all = (struct wire_bytes){bb->data.raw.slice_buffer.slices, bb->data.raw.slice_buffer.count, 0, 2};
	wire_bytes_copy(&all, 0, 2, reply);
	grpc_byte_buffer_destroy(bb);
	cr_expect_eq(reply[0], 8);
	return reply[1];
}

Test(rpc, health)
{
	static const char name[] = "embassyfs.v1.BlockServer";
	struct client_call call;

	cr_expect_eq(health("/grpc.health.v1.Health/Check", "", 0, &call), 1);
	cr_expect_eq(client_finish(&call), GRPC_STATUS_OK);
	cr_expect_eq(health("/grpc.health.v1.Health/Check", name, sizeof(name) - 1, &call), 1);
	cr_expect_eq(client_finish(&call), GRPC_STATUS_OK);
	cr_expect_eq(health("/grpc.health.v1.Health/Check", "other", 5, &call), 0);
	cr_expect_eq(client_finish(&call), GRPC_STATUS_NOT_FOUND);
	expect_refusal("/grpc.health.v1.Health/Check", "\xff", 1, GRPC_STATUS_INVALID_ARGUMENT);
	expect_refusal("/grpc.health.v1.Health/Watch", "\x0a\x09x", 3, GRPC_STATUS_INVALID_ARGUMENT);
	cr_expect_eq(health("/grpc.health.v1.Health/Watch", "other", 5, &call), 3);
	client_cancel(&call);
	cr_expect_eq(health("/grpc.health.v1.Health/Watch", name, sizeof(name) - 1, &call), 1);
	/* It stays open until the server ends. */
	cr_assert_eq(child_end(&server, SIGTERM), 0);
	cr_expect_null(client_receive(&call));
	cr_expect_neq(client_finish(&call), GRPC_STATUS_OK);
}

Test(rpc, orderly_end_with_open_streams)
{
	struct client_call appending, reading;
	Embassyfs__V1__ReadRequest m = EMBASSYFS__V1__READ_REQUEST__INIT;
	uint64_t first;
	grpc_byte_buffer *bb;

	cr_assert_eq(put(&client, 1, 1, &appending), GRPC_STATUS_OK);
	synth_grow(&log_, 40 << 20);
	append_rest(&client);
	first = log_.end;
	/* A reader that does not read, and an appender in the middle. */
	m.volume.data = log_.id;
	m.volume.len = VOLUME_ID_LEN;
	m.length = SEGMENT_SIZE;
	client_open(&client, WIRE_SERVICE "Read", &reading);
	cr_assert_eq(wire_pack(&m.base, &bb), 0);
	client_send(&reading, bb);
	begin(&client, &appending, log_.end, 1);
	synth_block(&log_, 500000);
	send_log(&appending, first, log_.end, 1 << 20);
	wait_for(&appending, first);
	cr_assert_eq(child_end(&server, SIGTERM), 0);
	while ((bb = client_receive(&reading)))
		grpc_byte_buffer_destroy(bb);
	cr_expect_neq(client_finish(&reading), GRPC_STATUS_OK);
	cr_expect_null(client_receive(&appending));
	cr_expect_neq(client_finish(&appending), GRPC_STATUS_OK);
	client_release(&client);
	cr_assert(child_start(&server, store, "127.0.0.1:0", NULL));
	client_init(&client, server.address, NULL, NULL);
	cr_expect_eq(get_end(&client), first);
	expect_log(&client, first);
}

Test(rpc, killed_at_many_points)
{
	struct client_call call;
	unsigned lost = 0;

	cr_assert_eq(put(&client, 1, 1, &call), GRPC_STATUS_OK);
	synth_segment(&log_, 0);
	for (unsigned round = 0; round < 12; round++) {
		uint64_t end = get_end(&client), head = 0, known = end;

		while (synth_head_end(&log_, head) < end)
			head++;
		begin(&client, &call, end, head);
		for (unsigned i = 0; i < 8; i++) {
			synth_block(&log_, 200000 * round % 700000 + 100);
			synth_head(&log_);
		}
		send_log(&call, end, log_.end, 300000);
		/* Either at once, or after the opening, or after all is acknowledged. */
		if (round % 3 == 1) {
			wait_for(&call, end);
		} else if (round % 3 == 2) {
			wait_for(&call, log_.end);
			known = log_.end;
		}
		cr_assert_eq(child_end(&server, SIGKILL), -SIGKILL);
		client_cancel(&call);
		client_release(&client);
		cr_assert(child_start(&server, store, "127.0.0.1:0", NULL));
		client_init(&client, server.address, NULL, NULL);
		/* What was acknowledged is there, and what is there is the log. */
		cr_assert_geq(get_end(&client), known);
		lost += get_end(&client) < log_.end;
		if (get_end(&client) > 0)
			expect_log(&client, get_end(&client));
	}
	append_rest(&client);
	expect_log(&client, log_.end);
	(void)lost;
}

static void make(const char *command)
{
	char script[4096], err[2000];
	char *argv[] = {"sh", "-ec", script, NULL};

	snprintf(script, sizeof(script), "cd '%s'; %s", dir, command);
	cr_assert_eq(child_run(argv, err, sizeof(err)), 0, "%s", err);
}

#define MAKE_CA(name) \
	"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca" \
	" -keyout " name ".key -out " name ".pem; "
#define MAKE_CERT(ca, name, subject)                                                               \
	"mkdir " name "; cp " ca ".pem " name "/ca.pem; "                                          \
	"openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj '" subject "'" \
	" -addext subjectAltName=DNS:localhost,IP:127.0.0.1"                                       \
	" -keyout " name "/key.pem -out " name "/req.pem; "                                        \
	"printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\n' > " name "/ext; "                   \
	"openssl x509 -req -in " name "/req.pem -CA " ca ".pem -CAkey " ca ".key -CAcreateserial"  \
	" -days 2 -extfile " name "/ext -out " name "/cert.pem; "

static const char *in_dir(const char *name)
{
	static char path[4][512];
	static unsigned next;

	next = (next + 1) % 4;
	snprintf(path[next], sizeof(path[0]), "%s/%s", dir, name);
	return path[next];
}

Test(rpc, tls)
{
	struct client home, mount, stranger, plain;
	struct client_call call;
	struct child tls;

	make(MAKE_CA("ca") MAKE_CA("other") MAKE_CERT("ca", "server", "/CN=server")
		     MAKE_CERT("ca", "home", "/CN=home") MAKE_CERT("ca", "mount", "/O=none")
			     MAKE_CERT("other", "stranger", "/CN=home"));
	/* The stranger trusts the server's CA, but is not of it. */
	make("cp ca.pem stranger/ca.pem");
	cr_assert(child_start(&tls, in_dir("tls-store"), "127.0.0.1:0", in_dir("server")));
	client_init(&home, tls.address, in_dir("home"), NULL);
	client_init(&mount, tls.address, in_dir("mount"), NULL);
	client_init(&stranger, tls.address, in_dir("stranger"), NULL);
	client_init(&plain, tls.address, NULL, NULL);

	cr_assert_eq(put(&home, 1, 1, &call), GRPC_STATUS_OK, "%s", call.text);
	synth_grow(&log_, 2 << 20);
	append_rest(&home);
	/* A certificate of the same CA reads, and may do nothing else. */
	expect_log(&mount, log_.end);
	cr_expect_eq(put(&mount, 2, 1, &call), GRPC_STATUS_PERMISSION_DENIED);
	begin(&mount, &call, log_.end, 1);
	cr_expect_null(client_receive(&call));
	cr_expect_eq(client_finish(&call), GRPC_STATUS_PERMISSION_DENIED);
	/* Without one of that CA nothing is answered; the calls wait for a connection, so do not let them. */
	grpc_channel_check_connectivity_state(stranger.channel, 1);
	grpc_channel_check_connectivity_state(plain.channel, 1);
	for (unsigned i = 0; i < 2; i++) {
		struct client *c = i ? &plain : &stranger;
		grpc_connectivity_state state = GRPC_CHANNEL_IDLE;
		int tag;

		while (state != GRPC_CHANNEL_TRANSIENT_FAILURE) {
			cr_assert_neq(state, GRPC_CHANNEL_READY);
			grpc_channel_watch_connectivity_state(c->channel, state,
							      gpr_inf_future(GPR_CLOCK_REALTIME), c->cq,
							      &tag);
			grpc_completion_queue_pluck(c->cq, &tag, gpr_inf_future(GPR_CLOCK_REALTIME),
						    NULL);
			state = grpc_channel_check_connectivity_state(c->channel, 1);
		}
	}
	client_release(&home);
	client_release(&mount);
	client_release(&stranger);
	client_release(&plain);
	cr_expect_eq(child_end(&tls, SIGTERM), 0);
}

Test(rpc, a_unix_socket)
{
	struct child second;
	struct client c;
	struct client_call call;
	char address[300];

	snprintf(address, sizeof(address), "unix:%s/sock", dir);
	cr_assert(child_start(&second, in_dir("second"), address, NULL));
	cr_expect_str_eq(second.address, address);
	client_init(&c, address, NULL, NULL);
	cr_expect_eq(put(&c, 1, 1, &call), GRPC_STATUS_OK, "%s", call.text);
	client_release(&c);
	cr_expect_eq(child_end(&second, SIGINT), 0);
}

/* Run embassyd with these arguments; its exit code. */
static int run(char *err, size_t len, const char *a, const char *b, const char *c, const char *d,
	       const char *e, const char *f)
{
	char *argv[] = {EMBASSYD, (char *)a, (char *)b, (char *)c, (char *)d, (char *)e, (char *)f, NULL};

	return child_run(argv, err, len);
}

Test(rpc, command_line)
{
	static const char *const far_away[] = {"0.0.0.0:0", "[::]:0", "192.0.2.1:1", "example.org:1",
					       "128.0.0.1:0"};
	const char *second = in_dir("second");
	char err[2000];

	for (size_t i = 0; i < sizeof(far_away) / sizeof(far_away[0]); i++) {
		cr_expect_eq(run(err, sizeof(err), "--store", second, "--listen", far_away[i],
				 "--insecure", NULL), 2);
		cr_expect(strstr(err, "--insecure: refused on"), "%s", err);
	}
	cr_expect_eq(run(err, sizeof(err), "--store", second, "--listen", "127.0.0.1:0", NULL, NULL), 2);
	cr_expect(strstr(err, "embassyd: --tls: missing"), "%s", err);
	cr_expect_eq(run(err, sizeof(err), "--listen", "127.0.0.1:0", "--insecure", NULL, NULL, NULL), 2);
	cr_expect_eq(run(err, sizeof(err), "--store", second, "--insecure", NULL, NULL, NULL), 2);
	cr_expect_eq(run(err, sizeof(err), "--store", second, "--listen", "nonsense", "--insecure", NULL), 2);
	cr_expect_eq(run(err, sizeof(err), "--nonsense", NULL, NULL, NULL, NULL, NULL), 2);
	cr_expect_eq(run(err, sizeof(err), "--help", NULL, NULL, NULL, NULL, NULL), 0);
	cr_expect_eq(run(err, sizeof(err), "--version", NULL, NULL, NULL, NULL, NULL), 0);
	/* A store that is in use, an address that is in use, and TLS files that are not there. */
	cr_expect_eq(run(err, sizeof(err), "--store", store, "--listen", "127.0.0.1:0", "--insecure", NULL),
		     11);
	cr_expect(strstr(err, store), "%s", err);
	cr_expect_eq(run(err, sizeof(err), "--store", second, "--listen", server.address, "--insecure",
			 NULL), 1);
	cr_expect(strstr(err, "cannot be listened on"), "%s", err);
	cr_expect_neq(run(err, sizeof(err), "--store", second, "--listen", "127.0.0.1:0", "--tls",
			  in_dir("nowhere")), 0);
	cr_expect(strstr(err, "ca.pem"), "%s", err);
}
