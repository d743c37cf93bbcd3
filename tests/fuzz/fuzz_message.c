/* What peers send: messages cut into slices as a network does; the first byte says where. */

#include "embassy.pb-c.h"
#include "fuzz.h"
#include "head.h"
#include "params.h"
#include "remote_head.h"
#include "wire.h"

#include <string.h>

static grpc_byte_buffer *in_slices(const uint8_t *bytes, size_t len, size_t step)
{
	grpc_slice slices[64];
	grpc_byte_buffer *bb;
	size_t n = 0;

	while (len > 0 && n < 64) {
		size_t take = n == 63 || len < step ? len : step;

		slices[n++] = grpc_slice_from_copied_buffer((const char *)bytes, take);
		bytes += take;
		len -= take;
	}
	bb = grpc_raw_byte_buffer_create(slices, n);
	for (size_t i = 0; i < n; i++)
		grpc_slice_unref(slices[i]);
	return bb;
}

static void try_bulk(const grpc_byte_buffer *bb, size_t len)
{
	struct wire_append append;
	struct wire_bytes data;
	uint8_t *copy = malloc(len + 1);

	MUST_HOLD(copy);
	if (wire_append_decode(bb, &append) == 0 && append.has_data) {
		MUST_HOLD(append.data.len <= len);
		wire_bytes_copy(&append.data, 0, append.data.len, copy);
	}
	if (wire_read_decode(bb, &data) == 0) {
		MUST_HOLD(data.len <= len);
		wire_bytes_copy(&data, 0, data.len, copy);
	}
	free(copy);
}

static void try_control(const grpc_byte_buffer *bb)
{
	static const ProtobufCMessageDescriptor *const types[] = {
		&embassyfs__v1__append_reply__descriptor, &embassyfs__v1__read_request__descriptor,
		&embassyfs__v1__heads_request__descriptor, &embassyfs__v1__heads_reply__descriptor,
		&embassyfs__v1__volume__descriptor, &embassyfs__v1__put_volume_request__descriptor,
		&embassyfs__v1__segments_request__descriptor, &embassyfs__v1__segments_reply__descriptor,
	};
	static struct params nobody;
	static const struct head_known k = {.params = &nobody};
	ProtobufCMessage *m;
	struct head h;

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (wire_unpack(types[i], bb, &m) != 0)
			continue;
		if (types[i] == &embassyfs__v1__volume__descriptor) {
			const Embassyfs__V1__Volume *v = (const Embassyfs__V1__Volume *)m;

			MUST_HOLD(!v->newest || remote_head_check(&k, v->newest, &h) < 0);
		}
		protobuf_c_message_free_unpacked(m, NULL);
	}
}

void fuzz_one(const uint8_t *bytes, size_t len)
{
	grpc_byte_buffer *bb;

	if (len < 1)
		return;
	bb = in_slices(bytes + 1, len - 1, bytes[0] + 1u);
	try_bulk(bb, len);
	try_control(bb);
	grpc_byte_buffer_destroy(bb);
}
