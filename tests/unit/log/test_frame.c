/* Frames and segment headers: golden bytes, and each way to be none. */

#include "frame.h"

#include "bytes.h"
#include "err.h"
#include "hash.h"
#include "head.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* Made by an independent implementation; proto/FORMAT.md shows the same bytes. */
#define GOLDEN_FRAME "e803000003010000a25e923b"
#define GOLDEN_FRAME_POS UINT64_C(0x4000074)
#define GOLDEN_SEGMENT                                                                             \
	"68000000010000006ece3b8a"                                                                 \
	"454d425345474d310200000001000000101112131415161718191a1b1c1d1e1f"                         \
	"030000000000000002000000000000000000000000000000d204000000000000"                         \
	"15cd853dfe9c9717404142434445464748494a4b4c4d4e4f5051525354555657"                         \
	"58595a5b5c5d5e5f"
#define GOLDEN_LEAF "c474f919c93058f1868a3e908ebbaf34095119a16c2ba5b79beb8993440aaca2"

static void assert_hex(const void *p, size_t len, const char *hex)
{
	char text[512];

	cr_assert_lt(len, sizeof(text) / 2);
	for (size_t i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", ((const uint8_t *)p)[i]);
	cr_assert_str_eq(text, hex);
}

static struct segment_header golden_header(void)
{
	struct segment_header h = {
		.number = 3,
		.epoch = 2,
		.n_blocks_before = 1234,
		.created_ns = INT64_C(1700000000123456789),
		.cipher = CIPHER_AES256GCM,
	};

	for (unsigned i = 0; i < VOLUME_ID_LEN; i++)
		h.volume[i] = (uint8_t)(0x10 + i);
	for (unsigned i = 0; i < SALT_LEN; i++)
		h.salt[i] = (uint8_t)(0x40 + i);
	return h;
}

Test(frame, golden)
{
	struct frame f = {.body_len = 1000, .kind = BLOCK_DATA, .flags = BLOCK_FLAG_ZSTD}, back;
	uint8_t out[FRAME_LEN];

	frame_encode(&f, GOLDEN_FRAME_POS, out);
	assert_hex(out, sizeof(out), GOLDEN_FRAME);
	cr_assert_eq(frame_decode(out, GOLDEN_FRAME_POS, &back), 0);
	cr_assert_eq(back.body_len, 1000);
	cr_assert_eq(back.kind, BLOCK_DATA);
	cr_assert_eq(back.flags, BLOCK_FLAG_ZSTD);
}

Test(frame, golden_segment_and_leaf)
{
	struct segment_header h = golden_header(), back;
	uint8_t out[SEGMENT_BLOCK_LEN], leaf[HASH_LEN];

	segment_header_encode(&h, out);
	assert_hex(out, sizeof(out), GOLDEN_SEGMENT);
	leaf_hash(segment_start(3), out, sizeof(out), leaf);
	assert_hex(leaf, sizeof(leaf), GOLDEN_LEAF);

	cr_assert_eq(segment_header_decode(out, 3, &back), 0);
	cr_assert_eq(back.number, 3);
	cr_assert_eq(back.epoch, 2);
	cr_assert_eq(back.n_blocks_before, 1234);
	cr_assert_eq(back.created_ns, h.created_ns);
	cr_assert_eq(back.cipher, CIPHER_AES256GCM);
	cr_assert_eq(back.key_generation, 0);
	cr_assert_arr_eq(back.volume, h.volume, VOLUME_ID_LEN);
	cr_assert_arr_eq(back.salt, h.salt, SALT_LEN);
}

/* Any one bit that differs, and any other position, is no frame. */
Test(frame, every_bit_counts)
{
	struct frame f = {.body_len = 1000, .kind = BLOCK_NODE}, back;
	uint8_t out[FRAME_LEN];

	frame_encode(&f, GOLDEN_FRAME_POS, out);
	for (unsigned bit = 0; bit < 8 * FRAME_LEN; bit++) {
		out[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert_eq(frame_decode(out, GOLDEN_FRAME_POS, &back), -ERR_DAMAGED);
		out[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	cr_assert_eq(frame_decode(out, GOLDEN_FRAME_POS + 1, &back), -ERR_DAMAGED);
	cr_assert_eq(frame_decode(out, GOLDEN_FRAME_POS + SEGMENT_SIZE, &back), -ERR_DAMAGED);
	memset(out, 0, sizeof(out));
	cr_assert_eq(frame_decode(out, GOLDEN_FRAME_POS, &back), -ERR_DAMAGED);
}

#define FINE BLOCK_FLAG_FINE

static int decode(unsigned kind, unsigned flags, uint32_t len, uint64_t pos)
{
	struct frame f = {.body_len = len, .kind = (uint8_t)kind, .flags = (uint8_t)flags}, back;
	uint8_t out[FRAME_LEN];

	frame_encode(&f, pos, out);
	return frame_decode(out, pos, &back);
}

Test(frame, rules)
{
	const uint64_t end = 2 * SEGMENT_SIZE;

	cr_assert_eq(decode(0, 0, 100, 200), -ERR_DAMAGED);
	cr_assert_eq(decode(BLOCK_KIND_END, 0, 100, 200), -ERR_DAMAGED);
	cr_assert_eq(decode(BLOCK_DATA, 0x04, 100, 200), -ERR_DAMAGED);
	cr_assert_eq(decode(BLOCK_HEAD, BLOCK_FLAG_ZSTD, 100, 200), -ERR_DAMAGED);
	cr_assert_eq(decode(BLOCK_HEAD, 0, 100, 200), 0);
	cr_assert_eq(decode(BLOCK_HEAD, 0, 0, 200), -ERR_DAMAGED);
	cr_assert_eq(decode(BLOCK_HEAD, 0, HEAD_NOTE_MAX, 200), 0);
	cr_assert_eq(decode(BLOCK_HEAD, 0, HEAD_NOTE_MAX + 1, 200), -ERR_DAMAGED);
	cr_assert_eq(decode(BLOCK_DATA, 0, SEAL_TAG_LEN, 200), -ERR_DAMAGED);
	cr_assert_eq(decode(BLOCK_DATA, 0, sealed_len(BLOCK_PLAIN_MAX, 0), 200), 0);
	cr_assert_eq(decode(BLOCK_DATA, 0, sealed_len(BLOCK_PLAIN_MAX, 0) + 1, 200), -ERR_DAMAGED);
	cr_assert_eq(decode(BLOCK_DATA, 0, sealed_len(SEAL_CHUNK, 0) + SEAL_TAG_LEN, 200),
		     -ERR_DAMAGED);
	cr_assert_eq(decode(BLOCK_DATA, 0, UINT32_MAX, 200), -ERR_DAMAGED);
	/* Fine chunks are of data that has more than one of them. */
	cr_assert_eq(decode(BLOCK_DATA, FINE, sealed_len(EXTENT_MAX, FINE), 200), 0);
	cr_assert_eq(decode(BLOCK_DATA, FINE, sealed_len(EXTENT_MAX, FINE) + 1, 200), -ERR_DAMAGED);
	cr_assert_eq(decode(BLOCK_DATA, FINE, sealed_len(SEAL_CHUNK_FINE + 1, FINE), 200), 0);
	cr_assert_eq(decode(BLOCK_DATA, FINE, sealed_len(SEAL_CHUNK_FINE, FINE), 200),
		     -ERR_DAMAGED);
	cr_assert_eq(decode(BLOCK_DATA, FINE | BLOCK_FLAG_ZSTD, sealed_len(8192, FINE), 200),
		     -ERR_DAMAGED);
	cr_assert_eq(decode(BLOCK_NODE, FINE, sealed_len(8192, FINE), 200), -ERR_DAMAGED);
	/* A segment's header, there and only there. */
	cr_assert_eq(decode(BLOCK_SEGMENT, 0, SEGMENT_HEADER_LEN, SEGMENT_SIZE), 0);
	cr_assert_eq(decode(BLOCK_SEGMENT, 0, SEGMENT_HEADER_LEN + 1, SEGMENT_SIZE), -ERR_DAMAGED);
	cr_assert_eq(decode(BLOCK_SEGMENT, 0, SEGMENT_HEADER_LEN, 200), -ERR_DAMAGED);
	cr_assert_eq(decode(BLOCK_DATA, 0, 100, SEGMENT_SIZE), -ERR_DAMAGED);
	/* Up to a segment's end and not over it. */
	cr_assert_eq(decode(BLOCK_DATA, 0, 100, end - 112), 0);
	cr_assert_eq(decode(BLOCK_DATA, 0, 100, end - 111), -ERR_DAMAGED);
	cr_assert_eq(decode(BLOCK_DATA, 0, 100, UINT64_MAX - 111), 0);
}

Test(frame, segment_errors)
{
	struct segment_header h = golden_header(), back;
	uint8_t good[SEGMENT_BLOCK_LEN], bad[SEGMENT_BLOCK_LEN];

	segment_header_encode(&h, good);
	cr_assert_eq(segment_header_decode(good, 4, &back), -ERR_DAMAGED);
	cr_assert_eq(segment_header_decode(good, UINT64_MAX, &back), -ERR_DAMAGED);

	memcpy(bad, good, sizeof(bad));
	bad[FRAME_LEN] = 'X'; /* magic */
	cr_assert_eq(segment_header_decode(bad, 3, &back), -ERR_DAMAGED);
	memcpy(bad, good, sizeof(bad));
	put_le32(bad + FRAME_LEN + 8, SEGMENT_VERSION + 1);
	cr_assert_eq(segment_header_decode(bad, 3, &back), -ERR_VERSION);
	put_le32(bad + FRAME_LEN + 8, 1);
	cr_assert_eq(segment_header_decode(bad, 3, &back), 0, "what was written before");
	put_le32(bad + FRAME_LEN + 8, 0);
	cr_assert_eq(segment_header_decode(bad, 3, &back), -ERR_DAMAGED);
	memcpy(bad, good, sizeof(bad));
	put_le64(bad + FRAME_LEN + 32, 4); /* number */
	cr_assert_eq(segment_header_decode(bad, 3, &back), -ERR_DAMAGED);
	memcpy(bad, good, sizeof(bad));
	bad[FRAME_LEN + 52] = 1; /* reserved */
	cr_assert_eq(segment_header_decode(bad, 3, &back), -ERR_DAMAGED);
	memcpy(bad, good, sizeof(bad));
	bad[0] ^= 1; /* frame */
	cr_assert_eq(segment_header_decode(bad, 3, &back), -ERR_DAMAGED);
}
