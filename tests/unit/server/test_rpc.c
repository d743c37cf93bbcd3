/* The methods with one request: heads, volumes, ranges, health; and garbage to each. */

#include "rpc_fixture.h"

#include "anchor.h"
#include "frame.h"
#include "merkle.h"
#include "wire.h"

#include <criterion/criterion.h>

#include <grpc/grpc.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

TestSuite(rpc, .init = fix_set_up, .fini = fix_tear_down, .timeout = 300);

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
		cr_assert_arr_eq(reply->heads[i]->note.data, synth_bytes(&log_, h->pos) + 12,
				 h->len - 12);
	}
	n = reply->n_heads;
	protobuf_c_message_free_unpacked(base, NULL);
	return n;
}

Test(rpc, heads)
{
	Embassyfs__V1__HeadsRequest m = EMBASSYFS__V1__HEADS_REQUEST__INIT;
	struct client_call call;

	cr_assert_eq(fix_put(&client, 1, 1, &call), GRPC_STATUS_OK);
	synth_segment(&log_, 0);
	for (unsigned i = 0; i < 30; i++)
		synth_head(&log_);
	fix_append_rest(&client);
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

	cr_expect_eq(fix_get(&client, &v, &call), GRPC_STATUS_NOT_FOUND);
	cr_assert_eq(fix_put(&client, 1, 1, &call), GRPC_STATUS_OK);
	cr_assert_eq(fix_put(&client, 1, 1, &call), GRPC_STATUS_OK);
	cr_assert_eq(fix_put(&client, 2, 2, &call), GRPC_STATUS_OK);
	cr_expect_eq(fix_put(&client, 1, 1, &call), GRPC_STATUS_FAILED_PRECONDITION);
	cr_expect_eq(fix_put(&client, 3, 1, &call), GRPC_STATUS_PERMISSION_DENIED);
	synth_conf(&log_, 2, 2, &conf);
	cr_assert_eq(fix_get(&client, &v, &call), GRPC_STATUS_OK);
	cr_expect_eq(v->params.len, conf.len);
	cr_expect_arr_eq(v->params.data, conf.p, conf.len);
	cr_expect_null(v->newest);
	embassyfs__v1__volume__free_unpacked(v, NULL);
	buf_release(&conf);
	cr_assert_eq(client_unary(&client, WIRE_SERVICE "ListVolumes", &m.base, &call, &bb),
		     GRPC_STATUS_OK);
	cr_assert_eq(wire_unpack(&embassyfs__v1__list_volumes_reply__descriptor, bb, &base), 0);
	cr_expect_eq(((Embassyfs__V1__ListVolumesReply *)base)->n_volumes, 1);
	cr_expect_arr_eq(((Embassyfs__V1__ListVolumesReply *)base)->volumes[0].data, log_.id, 16);
	protobuf_c_message_free_unpacked(base, NULL);
	grpc_byte_buffer_destroy(bb);
}

Test(rpc, garbage)
{
	static const char *const names[] = {"Append",	 "Read",      "Heads",
					    "GetVolume", "PutVolume", "Segments"};
	uint8_t garbage[200];
	char method[100];
	struct client_call call;

	memset(garbage, 0xff, sizeof(garbage));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(method, sizeof(method), WIRE_SERVICE "%s", names[i]);
		fix_expect_refusal(method, garbage, sizeof(garbage), GRPC_STATUS_INVALID_ARGUMENT);
		fix_expect_refusal(method, garbage, 1, GRPC_STATUS_INVALID_ARGUMENT);
		fix_expect_refusal(method, "", 0, GRPC_STATUS_INVALID_ARGUMENT);
		/* A field that says it is longer than the message, and one of 2^63 bytes. */
		fix_expect_refusal(method,
				   "\x0a\x7f"
				   "x",
				   3, GRPC_STATUS_INVALID_ARGUMENT);
		fix_expect_refusal(method, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10,
				   GRPC_STATUS_INVALID_ARGUMENT);
		/* No message at all. */
		client_open(&client, method, &call);
		client_send_done(&call);
		cr_expect_eq(client_finish(&call), GRPC_STATUS_INVALID_ARGUMENT, "%s: %s", method,
			     call.text);
	}
	fix_expect_refusal("/nobody/Knows", "", 0, GRPC_STATUS_UNIMPLEMENTED);
	cr_assert_eq(fix_put(&client, 1, 1, &call), GRPC_STATUS_OK);
}

Test(rpc, ranges)
{
	struct client_call call;
	struct buf got = {0};

	cr_expect_eq(fix_read_range(&client, 0, 10, &got, &call), GRPC_STATUS_NOT_FOUND);
	cr_assert_eq(fix_put(&client, 1, 1, &call), GRPC_STATUS_OK);
	cr_expect_eq(fix_read_range(&client, 0, 10, &got, &call), GRPC_STATUS_OUT_OF_RANGE);
	synth_grow(&log_, 5 << 20);
	fix_append_rest(&client);
	cr_expect_eq(fix_read_range(&client, log_.end, 10, &got, &call), GRPC_STATUS_OUT_OF_RANGE);
	cr_expect_eq(fix_read_range(&client, 10, SEGMENT_SIZE, &got, &call),
		     GRPC_STATUS_INVALID_ARGUMENT);
	cr_expect_eq(fix_read_range(&client, 10, UINT64_MAX, &got, &call),
		     GRPC_STATUS_INVALID_ARGUMENT);
	cr_expect_eq(fix_read_range(&client, 10, 0, &got, &call), GRPC_STATUS_INVALID_ARGUMENT);
	cr_expect_eq(fix_read_range(&client, UINT64_MAX, 1, &got, &call), GRPC_STATUS_OUT_OF_RANGE);
	cr_expect_eq(got.len, 0);
	cr_expect_eq(fix_read_range(&client, 12345, 2000000, &got, &call), GRPC_STATUS_OK);
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
	all = (struct wire_bytes){bb->data.raw.slice_buffer.slices, bb->data.raw.slice_buffer.count,
				  0, 2};
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
	fix_expect_refusal("/grpc.health.v1.Health/Check", "\xff", 1, GRPC_STATUS_INVALID_ARGUMENT);
	fix_expect_refusal("/grpc.health.v1.Health/Watch", "\x0a\x09x", 3,
			   GRPC_STATUS_INVALID_ARGUMENT);
	cr_expect_eq(health("/grpc.health.v1.Health/Watch", "other", 5, &call), 3);
	client_cancel(&call);
	cr_expect_eq(health("/grpc.health.v1.Health/Watch", name, sizeof(name) - 1, &call), 1);
	/* It stays open until the server ends. */
	cr_assert_eq(child_end(&server, SIGTERM), 0);
	cr_expect_null(client_receive(&call));
	cr_expect_neq(client_finish(&call), GRPC_STATUS_OK);
}

/* ---- proofs ---- */

/* The log's block number ${index}, as the tree has it. */
static void leaf_of(uint64_t index, uint8_t out[HASH_LEN])
{
	const struct synth_place *b = &log_.blocks[index];

	leaf_hash(b->pos, synth_bytes(&log_, b->pos), b->len, out);
}

static void root_of(uint64_t n, uint8_t out[HASH_LEN])
{
	uint8_t leaf[HASH_LEN];
	struct merkle m;

	merkle_init(&m);
	for (uint64_t i = 0; i < n; i++) {
		leaf_of(i, leaf);
		merkle_add(&m, leaf);
	}
	merkle_root(&m, out);
}

/* Which block of the log lies at ${pos}: as many are below it. */
static uint64_t block_at(uint64_t pos)
{
	uint64_t i = 0;

	while (log_.blocks[i].pos != pos)
		i++;
	return i;
}

static struct anchor head_anchor(uint64_t number)
{
	struct anchor a = {.number = number, .n_blocks = block_at(log_.heads[number - 1].pos)};

	root_of(a.n_blocks, a.root);
	leaf_of(a.n_blocks, a.leaf);
	return a;
}

static void *ask(const char *method, const ProtobufCMessage *m,
		 const ProtobufCMessageDescriptor *type, struct client_call *call)
{
	ProtobufCMessage *reply = NULL;
	grpc_byte_buffer *bb;

	client_unary(&client, method, m, call, &bb);
	if (!bb)
		return NULL;
	cr_assert_eq(wire_unpack(type, bb, &reply), 0);
	grpc_byte_buffer_destroy(bb);
	return reply;
}

static void proven_heads(uint64_t known, uint64_t first, uint64_t n)
{
	Embassyfs__V1__HeadsRequest m = EMBASSYFS__V1__HEADS_REQUEST__INIT;
	struct anchor a = known ? head_anchor(known) : (struct anchor){0}, heads[64];
	Embassyfs__V1__HeadsReply *r;
	struct client_call call;

	m.volume = (ProtobufCBinaryData){VOLUME_ID_LEN, log_.id};
	m.first = first;
	m.limit = (uint32_t)n;
	m.prove = true;
	m.known = a.n_blocks;
	r = ask(WIRE_SERVICE "Heads", &m.base, &embassyfs__v1__heads_reply__descriptor, &call);
	cr_assert(r && r->n_heads == n && r->proof);
	for (uint64_t i = 0; i < n; i++)
		heads[i] = head_anchor(first + i);
	cr_assert_eq(anchor_admit(&a, heads, n, r->proof->hashes.data, r->proof->hashes.len), 0,
		     "heads %llu to %llu, known %llu", (unsigned long long)first,
		     (unsigned long long)(first + n - 1), (unsigned long long)known);
	cr_expect_eq(a.number, known > first + n - 1 ? known : first + n - 1);
	embassyfs__v1__heads_reply__free_unpacked(r, NULL);
}

Test(rpc, heads_are_proven)
{
	Embassyfs__V1__HeadsRequest m = EMBASSYFS__V1__HEADS_REQUEST__INIT;
	Embassyfs__V1__HeadsReply *r;
	struct client_call call;

	cr_assert_eq(fix_put(&client, 1, 1, &call), GRPC_STATUS_OK);
	synth_segment(&log_, 0);
	for (unsigned i = 0; i < 40; i++) {
		for (unsigned k = 0; k < i % 17; k++)
			synth_block(&log_, 100);
		synth_head(&log_);
	}
	fix_append_rest(&client);
	for (uint64_t known = 0; known <= 40; known += 8)
		for (uint64_t first = 1; first <= 40; first += 13) {
			proven_heads(known, first, 1);
			proven_heads(known, first, 40 - first + 1);
		}
	m.volume = (ProtobufCBinaryData){VOLUME_ID_LEN, log_.id};
	m.first = m.limit = 1;
	/* Not asked for: none.  Of no heads: none.  Under more than there is: refused. */
	r = ask(WIRE_SERVICE "Heads", &m.base, &embassyfs__v1__heads_reply__descriptor, &call);
	cr_assert(r && r->n_heads == 1 && !r->proof);
	embassyfs__v1__heads_reply__free_unpacked(r, NULL);
	m.prove = true;
	m.first = 41;
	r = ask(WIRE_SERVICE "Heads", &m.base, &embassyfs__v1__heads_reply__descriptor, &call);
	cr_assert(r && r->n_heads == 0 && !r->proof);
	embassyfs__v1__heads_reply__free_unpacked(r, NULL);
	m.first = 1;
	m.known = head_anchor(40).n_blocks + 1;
	cr_expect_null(
		ask(WIRE_SERVICE "Heads", &m.base, &embassyfs__v1__heads_reply__descriptor, &call));
	cr_expect_eq(call.status, GRPC_STATUS_OUT_OF_RANGE);
	m.known = UINT64_MAX;
	cr_expect_null(
		ask(WIRE_SERVICE "Heads", &m.base, &embassyfs__v1__heads_reply__descriptor, &call));
	cr_expect_eq(call.status, GRPC_STATUS_OUT_OF_RANGE);
}

static grpc_status_code segments(const struct anchor *a, uint64_t *numbers, size_t n)
{
	Embassyfs__V1__SegmentsRequest m = EMBASSYFS__V1__SEGMENTS_REQUEST__INIT;
	Embassyfs__V1__SegmentsReply *r;
	struct client_call call;

	m.volume = (ProtobufCBinaryData){VOLUME_ID_LEN, log_.id};
	m.known = a->n_blocks;
	m.n_numbers = n;
	m.numbers = numbers;
	r = ask(WIRE_SERVICE "Segments", &m.base, &embassyfs__v1__segments_reply__descriptor,
		&call);
	if (!r)
		return call.status;
	cr_assert(r->proof && r->headers.len == n * SEGMENT_BLOCK_LEN);
	cr_assert_eq(anchor_check_headers(a, log_.id, numbers, n, r->headers.data,
					  r->proof->hashes.data, r->proof->hashes.len),
		     0);
	embassyfs__v1__segments_reply__free_unpacked(r, NULL);
	return GRPC_STATUS_OK;
}

Test(rpc, segments_are_proven)
{
	uint64_t few[] = {0, 2, 3}, all[65], back[] = {2, 0}, twice[] = {0, 0}, gone[] = {1},
		 above[] = {UINT64_MAX};
	struct client_call call;
	struct anchor first, last;

	cr_assert_eq(fix_put(&client, 1, 1, &call), GRPC_STATUS_OK);
	for (unsigned i = 0; i < 4; i++) {
		synth_segment(&log_, i == 1 ? 2 : i == 2 ? 3 : i == 3 ? 9 : 0);
		synth_block(&log_, 5000);
		synth_head(&log_);
	}
	fix_append_rest(&client);
	first = head_anchor(1);
	last = head_anchor(4);
	cr_expect_eq(segments(&last, few, 3), GRPC_STATUS_OK);
	cr_expect_eq(segments(&first, few, 1), GRPC_STATUS_OK);
	/* It begins after that head. */
	cr_expect_eq(segments(&first, few, 2), GRPC_STATUS_OUT_OF_RANGE);
	cr_expect_eq(segments(&last, gone, 1), GRPC_STATUS_OUT_OF_RANGE);
	cr_expect_eq(segments(&last, back, 2), GRPC_STATUS_INVALID_ARGUMENT);
	cr_expect_eq(segments(&last, twice, 2), GRPC_STATUS_INVALID_ARGUMENT);
	cr_expect_eq(segments(&last, few, 0), GRPC_STATUS_INVALID_ARGUMENT);
	cr_expect_eq(segments(&last, above, 1), GRPC_STATUS_INVALID_ARGUMENT);
	for (size_t i = 0; i < 65; i++)
		all[i] = i;
	cr_expect_eq(segments(&last, all, 65), GRPC_STATUS_INVALID_ARGUMENT);
	last.n_blocks++;
	cr_expect_eq(segments(&last, few, 3), GRPC_STATUS_OUT_OF_RANGE);
}

/* A header that the server's own disk changed is its damage, and never sent as what was signed. */
Test(rpc, a_damaged_header_is_told)
{
	uint64_t number[] = {0};
	struct client_call call;
	struct anchor a;
	char path[400], id[33];
	int fd;

	cr_assert_eq(fix_put(&client, 1, 1, &call), GRPC_STATUS_OK);
	synth_segment(&log_, 0);
	synth_head(&log_);
	synth_block(&log_, 100);
	synth_head(&log_);
	fix_append_rest(&client);
	a = head_anchor(2);
	cr_assert_eq(segments(&a, number, 1), GRPC_STATUS_OK);
	for (unsigned i = 0; i < VOLUME_ID_LEN; i++)
		snprintf(id + (size_t)2 * i, 3, "%02x", log_.id[i]);
	snprintf(path, sizeof(path), "%s/%s/log/0000000000000000.seg", store, id);
	fd = open(path, O_WRONLY);
	cr_assert_geq(fd, 0);
	cr_assert_eq(pwrite(fd, "x", 1, FRAME_LEN + 80), 1);
	close(fd);
	cr_expect_eq(segments(&a, number, 1), GRPC_STATUS_DATA_LOSS);
}
