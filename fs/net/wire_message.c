/*
 * Messages to and from gRPC's byte buffers.
 *
 * Key idea: control messages go through protobuf-c.  The two that carry bulk data are encoded by
 * hand, as a few header bytes in one slice and the payload, not copied, in another.  They are
 * decoded as views of the slices that they arrived in.
 *
 * Invariants: a decoder reads nothing outside the buffer's slices, whatever they contain.  Unknown
 * fields are skipped, as protobuf demands; of a repeated scalar field the last value counts.  The
 * memory for an unpacked message is bounded by its length: protobuf-c allocates some 80 bytes for
 * each unknown field, which may take only two bytes on the wire.
 */

#include "wire.h"

#include "embassy.pb-c.h"
#include "err.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VARINT_MAX 10u	     /* bytes of a 64-bit varint */
#define OPEN_MAX 256u	     /* bytes of an AppendOpen; it needs 51 */
#define UNPACK_COPY_MAX 256u /* a message this small is flattened on the stack */
/* Bytes of memory that unpacking may take: twice the message, and this for its structures. */
#define UNPACK_SLACK ((size_t)256 << 10)

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_LEN = 2, WIRE_FIXED32 = 5 };

int wire_pack(const ProtobufCMessage *m, grpc_byte_buffer **out)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	grpc_slice slice = grpc_slice_malloc(len);

	protobuf_c_message_pack(m, GRPC_SLICE_START_PTR(slice));
	*out = grpc_raw_byte_buffer_create(&slice, 1);
	grpc_slice_unref(slice);
	return *out ? 0 : -ENOMEM;
}

/* A position in a buffer's slices. */
struct cursor {
	const grpc_slice *slices;
	size_t n_slices;
	size_t skip; /* bytes of slices[0] already passed */
	size_t left; /* bytes left in all slices */
};

static int cursor_init(struct cursor *c, const grpc_byte_buffer *bb)
{
	if (!bb || bb->type != GRPC_BB_RAW || bb->data.raw.compression != GRPC_COMPRESS_NONE)
		return err_say(-ERR_FORMAT, "a message: missing or compressed; send it plain");
	c->slices = bb->data.raw.slice_buffer.slices;
	c->n_slices = bb->data.raw.slice_buffer.count;
	c->skip = 0;
	c->left = bb->data.raw.slice_buffer.length;
	return 0;
}

/* Advance by ${len} <= c->left bytes and, unless ${out} is NULL, copy them to it. */
static void cursor_move(struct cursor *c, size_t len, uint8_t *out)
{
	c->left -= len;
	while (len > 0) {
		size_t part = GRPC_SLICE_LENGTH(c->slices[0]) - c->skip;

		if (part > len)
			part = len;
		if (out && part > 0) {
			memcpy(out, GRPC_SLICE_START_PTR(c->slices[0]) + c->skip, part);
			out += part;
		}
		len -= part;
		c->skip += part;
		if (c->skip == GRPC_SLICE_LENGTH(c->slices[0])) {
			c->slices++;
			c->n_slices--;
			c->skip = 0;
		}
	}
}

static bool cursor_varint(struct cursor *c, uint64_t *out)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < VARINT_MAX && c->left > 0; i++) {
		uint8_t b;

		cursor_move(c, 1, &b);
		if (i == VARINT_MAX - 1 && b > 1)
			return false;
		v |= (uint64_t)(b & 0x7f) << (7 * i);
		if (b < 0x80) {
			*out = v;
			return true;
		}
	}
	return false;
}

/*
 * One field: its number and type, and its value (varint) or its bytes as a view.  Decoding one
 * leaves the cursor after it.
 */
struct field {
	uint64_t number;
	unsigned type;
	uint64_t value;
	struct wire_bytes bytes;
};

static bool cursor_field(struct cursor *c, struct field *f)
{
	uint64_t tag, len;

	if (!cursor_varint(c, &tag))
		return false;
	f->number = tag >> 3;
	f->type = tag & 7;
	if (f->number == 0 || f->number > UINT64_C(0x1fffffff))
		return false;
	switch (f->type) {
	case WIRE_VARINT:
		return cursor_varint(c, &f->value);
	case WIRE_FIXED64:
		len = 8;
		break;
	case WIRE_FIXED32:
		len = 4;
		break;
	case WIRE_LEN:
		if (!cursor_varint(c, &len))
			return false;
		break;
	default:
		return false;
	}
	if (len > c->left)
		return false;
	f->bytes = (struct wire_bytes){c->slices, c->n_slices, c->skip, (size_t)len};
	cursor_move(c, (size_t)len, NULL);
	return true;
}

void wire_bytes_copy(const struct wire_bytes *b, size_t off, size_t len, void *out)
{
	struct cursor c = {b->slices, b->n_slices, b->skip, b->len};

	assert(off <= b->len && len <= b->len - off);
	cursor_move(&c, off, NULL);
	cursor_move(&c, len, out);
}

/*
 * An allocator for one unpacking, with a limit on its total.  Its memory is freed with free(), as
 * the caller's protobuf_c_message_free_unpacked() does.
 */
struct budget {
	size_t left;
	bool exceeded, no_memory;
};

static void *budget_alloc(void *data, size_t size)
{
	struct budget *b = data;
	void *p;

	if (size > b->left) {
		b->exceeded = true;
		return NULL;
	}
	b->left -= size;
	p = malloc(size);
	if (!p)
		b->no_memory = true;
	return p;
}

static void budget_free(void *data, void *p)
{
	(void)data;
	free(p);
}

static int unpack_flat(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t len,
		       ProtobufCMessage **out)
{
	struct budget b = {.left = 2 * len + UNPACK_SLACK};
	ProtobufCAllocator allocator = {budget_alloc, budget_free, &b};

	*out = protobuf_c_message_unpack(type, &allocator, len, bytes);
	if (*out)
		return 0;
	if (b.no_memory)
		return -ENOMEM;
	return err_say(-ERR_FORMAT, "a message of %zu bytes: %s %s", len,
		       b.exceeded ? "it has too many fields for" : "not a valid", type->name);
}

int wire_unpack(const ProtobufCMessageDescriptor *type, const grpc_byte_buffer *bb,
		ProtobufCMessage **out)
{
	uint8_t small[UNPACK_COPY_MAX];
	uint8_t *flat = small;
	struct cursor c = {0};
	size_t len;
	int rc;

	rc = cursor_init(&c, bb);
	if (rc < 0)
		return rc;
	len = c.left;
	/* One slice: unpack in place, without a copy. */
	if (c.n_slices == 1)
		return unpack_flat(type, GRPC_SLICE_START_PTR(c.slices[0]), len, out);
	if (len > sizeof(small))
		flat = malloc(len);
	if (!flat)
		return -ENOMEM;
	cursor_move(&c, len, flat);
	rc = unpack_flat(type, flat, len, out);
	if (flat != small)
		free(flat);
	return rc;
}

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		*p++ = (uint8_t)(v | 0x80);
	*p++ = (uint8_t)v;
	return p;
}

/* Make a buffer of ${header} and, in a slice of its own, ${data}. */
static grpc_byte_buffer *two_slices(const uint8_t *header, size_t header_len, const void *data,
				    size_t len, void (*release)(void *arg), void *arg)
{
	grpc_slice slices[2] = {
		grpc_slice_from_copied_buffer((const char *)header, header_len),
		grpc_slice_new_with_user_data((void *)data, len, release, arg),
	};
	grpc_byte_buffer *bb = grpc_raw_byte_buffer_create(slices, 2);

	grpc_slice_unref(slices[0]);
	grpc_slice_unref(slices[1]);
	return bb;
}

grpc_byte_buffer *wire_append_data(log_pos position, const void *data, size_t len,
				   void (*release)(void *arg), void *arg)
{
	uint8_t header[2 + 2 * VARINT_MAX];
	uint8_t *p = header;

	*p++ = 2 << 3 | WIRE_VARINT;
	p = put_varint(p, position);
	*p++ = 3 << 3 | WIRE_LEN;
	p = put_varint(p, len);
	return two_slices(header, (size_t)(p - header), data, len, release, arg);
}

grpc_byte_buffer *wire_read_data(const void *data, size_t len, void (*release)(void *arg),
				 void *arg)
{
	uint8_t header[1 + VARINT_MAX];
	uint8_t *p = header;

	*p++ = 1 << 3 | WIRE_LEN;
	p = put_varint(p, len);
	return two_slices(header, (size_t)(p - header), data, len, release, arg);
}

static int decode_open(const struct wire_bytes *bytes, struct wire_append *out)
{
	Embassyfs__V1__AppendOpen *m;
	uint8_t flat[OPEN_MAX];
	int rc = 0;

	if (bytes->len > sizeof(flat))
		return err_say(-ERR_FORMAT, "an opening of %zu bytes: too long", bytes->len);
	wire_bytes_copy(bytes, 0, bytes->len, flat);
	m = embassyfs__v1__append_open__unpack(NULL, bytes->len, flat);
	if (!m)
		return err_say(-ERR_FORMAT, "an opening of %zu bytes: malformed", bytes->len);
	if (m->volume.len == VOLUME_ID_LEN) {
		memcpy(out->open.volume, m->volume.data, VOLUME_ID_LEN);
		out->open.epoch = m->epoch;
		out->open.position = m->position;
		out->open.head = m->head;
		out->has_open = true;
	} else {
		rc = err_say(-ERR_FORMAT, "an opening: a volume id has %u bytes, not %zu",
			     VOLUME_ID_LEN, m->volume.len);
	}
	embassyfs__v1__append_open__free_unpacked(m, NULL);
	return rc;
}

/* The next field of a message; false at its end, and, with an error in ${*rc}, where it is malformed. */
static bool next_field(struct cursor *c, struct field *f, const char *what, int *rc)
{
	if (*rc < 0 || c->left == 0)
		return false;
	if (!cursor_field(c, f))
		*rc = err_say(-ERR_FORMAT, "%s: malformed", what);
	return *rc == 0;
}

int wire_append_decode(const grpc_byte_buffer *bb, struct wire_append *out)
{
	struct cursor c = {0};
	struct field f = {0};
	int rc;

	memset(out, 0, sizeof(*out));
	rc = cursor_init(&c, bb);
	while (next_field(&c, &f, "an append message", &rc)) {
		if (f.number == 1 && f.type == WIRE_LEN) {
			rc = decode_open(&f.bytes, out);
		} else if (f.number == 2 && f.type == WIRE_VARINT) {
			out->position = f.value;
		} else if (f.number == 3 && f.type == WIRE_LEN) {
			out->has_data = true;
			out->data = f.bytes;
		}
	}
	return rc;
}

int wire_read_decode(const grpc_byte_buffer *bb, struct wire_bytes *out)
{
	struct cursor c = {0};
	struct field f = {0};
	int rc;

	memset(out, 0, sizeof(*out));
	rc = cursor_init(&c, bb);
	while (next_field(&c, &f, "a read reply", &rc)) {
		if (f.number == 1 && f.type == WIRE_LEN)
			*out = f.bytes;
	}
	return rc;
}
