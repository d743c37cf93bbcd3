#ifndef FORMAT_H_
#define FORMAT_H_

/*
 * Constants of the stored formats, shared by fs/ and server/.  proto/FORMAT.md says
 * what each byte means; a change here is a change of format.
 * All integers are little-endian, except inside tree keys, which are big-endian so
 * that memcmp() orders them.
 */

#include "numbers.h"

#include <stdbool.h>
#include <stdint.h>

#define FORMAT_VERSION 1u

/* Positions per segment.  tests/sim has smaller ones, so that it meets their ends often. */
#ifndef SEGMENT_SIZE
#define SEGMENT_SIZE (UINT64_C(64) << 20)
#endif
#define FRAME_LEN 12u	 /* clear frame before each block's body */
#define SEAL_TAG_LEN 16u /* AEAD tag at the end of each sealed chunk */
/* bytes under one tag; a block's last chunk has what is left */
#define SEAL_CHUNK (UINT32_C(16) << 10)
#define SEAL_CHUNK_FINE (UINT32_C(4) << 10) /* in a block with BLOCK_FLAG_FINE */
#define BLOCK_PLAIN_MAX (UINT32_C(1) << 20)
#define BLOCK_STORED_MAX (FRAME_LEN + BLOCK_PLAIN_MAX + BLOCK_PLAIN_MAX / SEAL_CHUNK * SEAL_TAG_LEN)
#define EXTENT_MAX (UINT32_C(128) << 10) /* plaintext of a file-data block */

#define VOLUME_ID_LEN 16u
#define HASH_LEN 32u
#define SALT_LEN 32u
#define SIGN_PUBLIC_LEN 32u
#define SIGN_LEN 64u

/* What a block holds; in the clear, so that a copy can be walked without a key. */
enum block_kind {
	BLOCK_SEGMENT = 1,    /* clear: segment header, first block of each segment */
	BLOCK_HEAD = 2,	      /* clear: a head, as a C2SP signed note */
	BLOCK_DATA = 3,	      /* sealed: file bytes, or an attribute too big for an item */
	BLOCK_NODE = 4,	      /* sealed: tree node */
	BLOCK_DELTA = 5,      /* sealed: item changes */
	BLOCK_CHECKPOINT = 6, /* sealed: names a tree root */
	BLOCK_KIND_END
};

#define BLOCK_FLAG_ZSTD 0x01u /* the plaintext under the seal is a zstd frame */
#define BLOCK_FLAG_FINE 0x02u /* of data, without the other: sealed in chunks of SEAL_CHUNK_FINE */

/* A pointer to a block.  pos 0 is the first segment's header, so it serves as "none". */
struct block_ptr {
	log_pos pos;	     /* position of the frame */
	uint32_t stored_len; /* bytes in the log, frame and tag included */
	uint32_t plain_len;  /* bytes of plaintext after decompression */
};

#define BLOCK_PTR_LEN 16u /* stored: pos u64, stored_len u32, plain_len u32 */

static inline bool block_kind_is_clear(unsigned kind)
{
	return kind == BLOCK_SEGMENT || kind == BLOCK_HEAD;
}

/* The bytes under each tag of a block with these flags. */
static inline uint32_t seal_chunk_len(unsigned flags)
{
	return flags & BLOCK_FLAG_FINE ? SEAL_CHUNK_FINE : SEAL_CHUNK;
}

/*
 * The flags of a data block that is not compressed: fine where a part of it can be read alone, and
 * it is no longer than extents are.
 */
static inline unsigned block_data_flags(uint32_t plain_len)
{
	return plain_len > SEAL_CHUNK_FINE && plain_len <= EXTENT_MAX ? BLOCK_FLAG_FINE : 0;
}

/* The body of ${len} bytes when sealed: each chunk of it followed by its tag. */
static inline uint32_t sealed_len(uint32_t len, unsigned flags)
{
	uint32_t chunk = seal_chunk_len(flags);

	return len + (len + chunk - 1) / chunk * SEAL_TAG_LEN;
}

/*
 * The other way round: the bytes under a sealed body of ${body_len}; 0 if no body has that length.
 */
static inline uint32_t opened_len(uint32_t body_len, unsigned flags)
{
	uint32_t chunk = seal_chunk_len(flags);
	uint32_t whole = body_len / (chunk + SEAL_TAG_LEN);
	uint32_t rest = body_len % (chunk + SEAL_TAG_LEN);

	if (rest == 0)
		return whole * chunk;
	return rest > SEAL_TAG_LEN ? whole * chunk + rest - SEAL_TAG_LEN : 0;
}

/* The flags under which some data fills a sealed body of ${body_len}, which some block had. */
static inline unsigned filler_flags(uint32_t body_len)
{
	return opened_len(body_len, 0) > 0 ? 0 : BLOCK_FLAG_FINE;
}

static inline segment_no segment_of(log_pos pos)
{
	return pos / SEGMENT_SIZE;
}

static inline log_pos segment_start(segment_no number)
{
	return number * SEGMENT_SIZE;
}

#endif /* !FORMAT_H_ */
