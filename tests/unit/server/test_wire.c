/* Messages: bulk without a copy, whatever the slices they arrive in, and hostile bytes. */

#include "embassy.pb-c.h"
#include "err.h"
#include "wire.h"

#include <criterion/criterion.h>

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static unsigned n_released;

static void released(void *arg)
{
	(void)arg;
	n_released++;
}

/* A buffer of ${len} bytes in slices of ${each}. */
static grpc_byte_buffer *sliced(const uint8_t *bytes, size_t len, size_t each)
{
	grpc_slice slices[600];
	size_t n = 0;
	grpc_byte_buffer *bb;

	for (size_t at = 0; at < len; at += each) {
		cr_assert_lt(n, 600);
		slices[n++] = grpc_slice_from_copied_buffer((const char *)bytes + at,
							    len - at < each ? len - at : each);
	}
	bb = grpc_raw_byte_buffer_create(slices, n);
	for (size_t i = 0; i < n; i++)
		grpc_slice_unref(slices[i]);
	return bb;
}

static void flatten(const grpc_byte_buffer *bb, uint8_t *out)
{
	struct wire_bytes all = {bb->data.raw.slice_buffer.slices, bb->data.raw.slice_buffer.count,
				 0, bb->data.raw.slice_buffer.length};

	wire_bytes_copy(&all, 0, all.len, out);
}

Test(wire, bulk_round_trip)
{
	uint8_t data[500], flat[600], got[500];
	grpc_byte_buffer *bb, *again;
	size_t len;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	bb = wire_append_data(UINT64_C(0x123456789abcdef0), data, sizeof(data), released, NULL);
	len = grpc_byte_buffer_length(bb);
	flatten(bb, flat);
	grpc_byte_buffer_destroy(bb);
	cr_expect_eq(n_released, 1);
	for (size_t each = 1; each < len; each += 3) {
		struct wire_append m;

		again = sliced(flat, len, each);
		cr_assert_eq(wire_append_decode(again, &m), 0);
		cr_expect(m.has_data && !m.has_open);
		cr_expect_eq(m.position, UINT64_C(0x123456789abcdef0));
		cr_assert_eq(m.data.len, sizeof(data));
		wire_bytes_copy(&m.data, 0, sizeof(data), got);
		cr_expect_arr_eq(got, data, sizeof(data));
		wire_bytes_copy(&m.data, 100, 50, got);
		cr_expect_arr_eq(got, data + 100, 50);
		grpc_byte_buffer_destroy(again);
	}
}

/* What we encode by hand is what protobuf-c decodes. */
Test(wire, agrees_with_protobuf)
{
	grpc_byte_buffer *bb = wire_append_data(77, "payload", 7, released, NULL);
	Embassyfs__V1__AppendRequest *m;
	ProtobufCMessage *base;

	cr_assert_eq(wire_unpack(&embassyfs__v1__append_request__descriptor, bb, &base), 0);
	m = (Embassyfs__V1__AppendRequest *)base;
	cr_expect_eq(m->position, 77);
	cr_expect_eq(m->data.len, 7);
	cr_expect_arr_eq(m->data.data, "payload", 7);
	protobuf_c_message_free_unpacked(base, NULL);
	grpc_byte_buffer_destroy(bb);
	bb = wire_read_data("payload", 7, released, NULL);
	cr_assert_eq(wire_unpack(&embassyfs__v1__read_reply__descriptor, bb, &base), 0);
	cr_expect_arr_eq(((Embassyfs__V1__ReadReply *)base)->data.data, "payload", 7);
	protobuf_c_message_free_unpacked(base, NULL);
	grpc_byte_buffer_destroy(bb);
}

static grpc_byte_buffer *opening(size_t id_len)
{
	Embassyfs__V1__AppendRequest m = EMBASSYFS__V1__APPEND_REQUEST__INIT;
	Embassyfs__V1__AppendOpen open = EMBASSYFS__V1__APPEND_OPEN__INIT;
	uint8_t id[20] = {9};
	grpc_byte_buffer *bb;

	open.volume.data = id;
	open.volume.len = id_len;
	open.epoch = 3;
	open.position = UINT64_MAX;
	open.head = 4;
	m.open = &open;
	cr_assert_eq(wire_pack(&m.base, &bb), 0);
	return bb;
}

Test(wire, openings)
{
	grpc_byte_buffer *bb = opening(16);
	struct wire_append m;

	cr_assert_eq(wire_append_decode(bb, &m), 0);
	cr_expect(m.has_open && !m.has_data);
	cr_expect_eq(m.open.volume[0], 9);
	cr_expect_eq(m.open.epoch, 3);
	cr_expect_eq(m.open.position, UINT64_MAX);
	cr_expect_eq(m.open.head, 4);
	grpc_byte_buffer_destroy(bb);
	bb = opening(17);
	cr_expect_eq(wire_append_decode(bb, &m), -ERR_FORMAT);
	grpc_byte_buffer_destroy(bb);
	cr_expect_eq(wire_append_decode(NULL, &m), -ERR_FORMAT);
}

/*
 * Cut anywhere, flipped anywhere: an answer, and nothing read outside (which the sanitizers see).
 */
Test(wire, hostile_bytes)
{
	uint8_t flat[200];
	grpc_byte_buffer *bb = opening(16);
	size_t len = grpc_byte_buffer_length(bb);
	struct wire_append m;
	struct wire_bytes data;

	flatten(bb, flat);
	grpc_byte_buffer_destroy(bb);
	for (size_t cut = 0; cut < len; cut++) {
		bb = sliced(flat, cut, 3);
		cr_expect(wire_append_decode(bb, &m) == -ERR_FORMAT || cut == 0);
		grpc_byte_buffer_destroy(bb);
	}
	srand(5);
	for (unsigned i = 0; i < 20000; i++) {
		uint8_t bad[200];
		int rc;

		memcpy(bad, flat, len);
		for (unsigned k = 0; k < 1 + i % 4; k++)
			bad[(size_t)rand() % len] = (uint8_t)rand();
		bb = sliced(bad, len, 1 + i % 7);
		rc = wire_append_decode(bb, &m);
		cr_assert(rc == 0 || rc == -ERR_FORMAT);
		rc = wire_read_decode(bb, &data);
		cr_assert(rc == 0 || rc == -ERR_FORMAT);
		grpc_byte_buffer_destroy(bb);
	}
}

Test(wire, unknown_fields_are_skipped)
{
	static const uint8_t bytes[] = {0x48, 0x05, /* field 9, varint */
					0x51, 1,    2,	  3,   4,
					5,    6,    7,	  8,	  /* field 10, fixed64 */
					0x5d, 1,    2,	  3,   4, /* field 11, fixed32 */
					0x62, 2,    'a',  'b',	  /* field 12, bytes */
					0x10, 0x07, 0x1a, 1,   'x'};
	grpc_byte_buffer *bb = sliced(bytes, sizeof(bytes), 4);
	struct wire_append m;

	cr_assert_eq(wire_append_decode(bb, &m), 0);
	cr_expect_eq(m.position, 7);
	cr_expect_eq(m.data.len, 1);
	grpc_byte_buffer_destroy(bb);
}

Test(wire, statuses)
{
	cr_expect_eq(wire_status(0), GRPC_STATUS_OK);
	cr_expect_eq(wire_error(GRPC_STATUS_OK), 0);
	cr_expect_eq(wire_error(wire_status(-ERR_NO_VOLUME)), -ERR_NO_VOLUME);
	cr_expect_eq(wire_error(wire_status(-ERR_ABSENT)), -ERR_ABSENT);
	cr_expect_eq(wire_error(wire_status(-ERR_DAMAGED)), -ERR_DAMAGED);
	cr_expect_eq(wire_error(wire_status(-ERR_FORBIDDEN)), -ERR_REFUSED);
	cr_expect_eq(wire_error(wire_status(-ENOSPC)), -ENOSPC);
	cr_expect_eq(wire_error(GRPC_STATUS_UNAVAILABLE), -ERR_UNREACHABLE);
	/* Damaged, absent and forbidden stay three things. */
	cr_expect_neq(wire_status(-ERR_DAMAGED), wire_status(-ERR_ABSENT));
	cr_expect_neq(wire_status(-ERR_ABSENT), wire_status(-ERR_FORBIDDEN));
}

Test(wire, tls_files)
{
	grpc_channel_credentials *creds;
	struct wire_tls_seen seen = {0};

	cr_expect_eq(wire_client_tls("/proc/nowhere", &seen, &creds), -ENOENT);
	cr_expect(strstr(err_detail(-ENOENT), "ca.pem"));
}

/* protobuf-c keeps each field that it does not know, in 80 bytes or more. */
Test(wire, unknown_fields_are_bounded)
{
	size_t len = 4u << 20;
	uint8_t *bytes = malloc(len);
	ProtobufCMessage *m;
	grpc_byte_buffer *bb;

	cr_assert(bytes);
	for (size_t i = 0; i < len; i += 2) {
		bytes[i] = 2 << 3; /* field 2, a varint */
		bytes[i + 1] = 1;
	}
	for (size_t pieces = 1; pieces <= 2; pieces++) {
		bb = sliced(bytes, len, len / pieces);
		cr_expect_eq(wire_unpack(&embassyfs__v1__get_volume_request__descriptor, bb, &m),
			     -ERR_FORMAT);
		grpc_byte_buffer_destroy(bb);
	}
	/* Some are no trouble: a newer peer may send them. */
	bb = sliced(bytes, 200, 200);
	cr_assert_eq(wire_unpack(&embassyfs__v1__get_volume_request__descriptor, bb, &m), 0);
	protobuf_c_message_free_unpacked(m, NULL);
	grpc_byte_buffer_destroy(bb);
	free(bytes);
}

/* The largest replies that a server sends are within the bound. */
Test(wire, largest_replies_unpack)
{
	Embassyfs__V1__HeadsReply heads = EMBASSYFS__V1__HEADS_REPLY__INIT;
	Embassyfs__V1__ListVolumesReply volumes = EMBASSYFS__V1__LIST_VOLUMES_REPLY__INIT;
	static Embassyfs__V1__Head head[WIRE_HEADS_MAX];
	static Embassyfs__V1__Head *head_list[WIRE_HEADS_MAX];
	static ProtobufCBinaryData id_list[4096];
	static uint8_t note[WIRE_NOTES_MAX / WIRE_HEADS_MAX];
	ProtobufCMessage *m;
	grpc_byte_buffer *bb;

	for (size_t round = 0; round < 2; round++) {
		for (size_t i = 0; i < WIRE_HEADS_MAX; i++) {
			embassyfs__v1__head__init(&head[i]);
			head[i].position = UINT64_MAX;
			head[i].note.data = note;
			head[i].note.len = round ? 1 : sizeof(note);
			head_list[i] = &head[i];
		}
		heads.heads = head_list;
		heads.n_heads = WIRE_HEADS_MAX;
		cr_assert_eq(wire_pack(&heads.base, &bb), 0);
		cr_assert_eq(wire_unpack(&embassyfs__v1__heads_reply__descriptor, bb, &m), 0);
		cr_expect_eq(((Embassyfs__V1__HeadsReply *)m)->n_heads, WIRE_HEADS_MAX);
		protobuf_c_message_free_unpacked(m, NULL);
		grpc_byte_buffer_destroy(bb);
	}
	for (size_t i = 0; i < 4096; i++)
		id_list[i] = (ProtobufCBinaryData){16, note};
	volumes.volumes = id_list;
	volumes.n_volumes = 4096;
	cr_assert_eq(wire_pack(&volumes.base, &bb), 0);
	cr_assert_eq(wire_unpack(&embassyfs__v1__list_volumes_reply__descriptor, bb, &m), 0);
	protobuf_c_message_free_unpacked(m, NULL);
	grpc_byte_buffer_destroy(bb);
}
