/*
 * The clear frame before each block, the segment header, and the leaf hash.
 *
 * Key idea: a reader without a key can walk a log and recognise its blocks, because the frame's CRC
 * also covers the position: a block that was moved is not accepted.
 *
 * Invariants:
 *  1. A segment header lies at a segment's start and nothing else does.
 *  2. A block ends inside its segment.
 *  3. Each meaning has one encoding: what is not used is zero, so equal meaning is equal bytes.
 */

#include "frame.h"

#include "bytes.h"
#include "hash.h"
#include "head.h"

#include "err.h"

#include <string.h>

#define SEGMENT_MAGIC "EMBSEGM1"
#define SEGMENT_MAGIC_LEN 8u
#define FRAME_CRC_OFF 8u

_Static_assert(FRAME_LEN == 4 + 1 + 1 + 2 + 4, "the frame's fields");
_Static_assert(SEGMENT_HEADER_LEN ==
		       SEGMENT_MAGIC_LEN + 4 + 4 + VOLUME_ID_LEN + 8 + 8 + 4 + 4 + 8 + 8 + SALT_LEN,
	       "the segment header's fields");

static uint32_t frame_crc(const uint8_t frame[FRAME_LEN], log_pos pos)
{
	uint8_t in[8 + FRAME_CRC_OFF];

	put_le64(in, pos);
	memcpy(in + 8, frame, FRAME_CRC_OFF);
	return crc32c(0, in, sizeof(in));
}

void frame_encode(const struct frame *f, log_pos pos, uint8_t out[FRAME_LEN])
{
	put_le32(out, f->body_len);
	out[4] = f->kind;
	out[5] = f->flags;
	put_le16(out + 6, 0);
	put_le32(out + FRAME_CRC_OFF, frame_crc(out, pos));
}

static bool body_len_fits(const struct frame *f)
{
	uint32_t len = f->body_len, plain = opened_len(len, f->flags);

	switch (f->kind) {
	case BLOCK_SEGMENT:
		return len == SEGMENT_HEADER_LEN;
	case BLOCK_HEAD:
		return len > 0 && len <= HEAD_NOTE_MAX;
	default:
		if (f->flags & BLOCK_FLAG_FINE)
			return plain > SEAL_CHUNK_FINE && plain <= EXTENT_MAX;
		return plain > 0 && plain <= BLOCK_PLAIN_MAX;
	}
}

static bool flags_fit(const struct frame *f)
{
	switch (f->flags) {
	case 0:
		return true;
	case BLOCK_FLAG_ZSTD:
		return !block_kind_is_clear(f->kind);
	case BLOCK_FLAG_FINE:
		return f->kind == BLOCK_DATA;
	default:
		return false;
	}
}

bool frame_fits(const struct frame *f, log_pos pos)
{
	uint64_t off = pos % SEGMENT_SIZE;

	if (f->kind == 0 || f->kind >= BLOCK_KIND_END || !flags_fit(f))
		return false;
	if ((f->kind == BLOCK_SEGMENT) != (off == 0))
		return false;
	return body_len_fits(f) && off + FRAME_LEN + f->body_len <= SEGMENT_SIZE;
}

int frame_decode(const uint8_t in[FRAME_LEN], log_pos pos, struct frame *out)
{
	struct frame f = {.body_len = get_le32(in), .kind = in[4], .flags = in[5]};

	if (get_le32(in + FRAME_CRC_OFF) != frame_crc(in, pos))
		return -ERR_DAMAGED;
	if (get_le16(in + 6) != 0 || !frame_fits(&f, pos))
		return -ERR_DAMAGED;
	*out = f;
	return 0;
}

void segment_header_encode(const struct segment_header *h, uint8_t out[SEGMENT_BLOCK_LEN])
{
	struct frame f = {.body_len = SEGMENT_HEADER_LEN, .kind = BLOCK_SEGMENT};
	uint8_t *p = out + FRAME_LEN;

	frame_encode(&f, segment_start(h->number), out);
	memcpy(p, SEGMENT_MAGIC, SEGMENT_MAGIC_LEN);
	put_le32(p + 8, SEGMENT_VERSION);
	put_le32(p + 12, h->cipher);
	memcpy(p + 16, h->volume, VOLUME_ID_LEN);
	put_le64(p + 32, h->number);
	put_le64(p + 40, h->epoch);
	put_le32(p + 48, h->key_generation);
	put_le32(p + 52, 0);
	put_le64(p + 56, h->n_blocks_before);
	put_le64(p + 64, (uint64_t)h->created_ns);
	memcpy(p + 72, h->salt, SALT_LEN);
}

int segment_header_decode(const uint8_t in[SEGMENT_BLOCK_LEN], segment_no number,
			  struct segment_header *out)
{
	const uint8_t *p = in + FRAME_LEN;
	struct frame f;
	uint32_t version = get_le32(p + 8);

	if (number > SEGMENT_NUMBER_MAX)
		return -ERR_DAMAGED;
	if (frame_decode(in, segment_start(number), &f) < 0 || f.kind != BLOCK_SEGMENT)
		return -ERR_DAMAGED;
	if (memcmp(p, SEGMENT_MAGIC, SEGMENT_MAGIC_LEN) != 0)
		return -ERR_DAMAGED;
	if (version > SEGMENT_VERSION)
		return -ERR_VERSION;
	if (version == 0 || get_le64(p + 32) != number || get_le32(p + 52) != 0)
		return -ERR_DAMAGED;

	out->cipher = get_le32(p + 12);
	memcpy(out->volume, p + 16, VOLUME_ID_LEN);
	out->number = number;
	out->epoch = get_le64(p + 40);
	out->key_generation = get_le32(p + 48);
	out->n_blocks_before = get_le64(p + 56);
	out->created_ns = (int64_t)get_le64(p + 64);
	memcpy(out->salt, p + 72, SALT_LEN);
	return 0;
}

void leaf_hash(log_pos pos, const void *block, size_t len, uint8_t out[HASH_LEN])
{
	uint8_t head[9] = {0x00};

	put_le64(head + 1, pos);
	sha256_parts(head, sizeof(head), block, len, NULL, 0, out);
}
