#ifndef FRAME_H_
#define FRAME_H_

/*
 * The clear frame before each block, the segment header, and the leaf hash of a
 * block.  Needs no key.  Layouts: proto/FORMAT.md, "Block" and "Segment".
 */

#include "compiler.h"
#include "format.h"

#include <stdbool.h>
#include <stddef.h>

struct frame {
	uint32_t body_len; /* bytes after the frame */
	uint8_t kind;	   /* enum block_kind */
	uint8_t flags;
};

/* frame_encode(f, pos, out): the FRAME_LEN bytes of a frame that lies at ${pos}. */
void frame_encode(const struct frame *f, log_pos pos, uint8_t out[FRAME_LEN]);

/*
 * frame_fits(f, pos): whether a block with this kind, flags and length can lie at ${pos}: inside
 * its segment, and a segment header exactly where a segment starts.
 */
bool frame_fits(const struct frame *f, log_pos pos);

/*
 * frame_decode(in, pos, out): read the frame at ${pos} and check its CRC (which covers
 * ${pos}), kind, flags and length, that the block ends inside its segment, and that it is a
 * segment header exactly where a segment starts.
 * Returns 0 or -ERR_DAMAGED (no detail: the caller knows where it looked).
 */
MUST_CHECK int frame_decode(const uint8_t in[FRAME_LEN], log_pos pos, struct frame *out);

enum cipher { CIPHER_AES256GCM = 1, CIPHER_CHACHA20POLY1305 = 2 };

struct segment_header {
	uint8_t volume[VOLUME_ID_LEN];
	segment_no number;	 /* of the segment */
	epoch_no epoch;		 /* of the writer */
	leaf_no n_blocks_before; /* blocks (leaves) in the log before this segment */
	int64_t created_ns;
	uint32_t cipher; /* enum cipher */
	uint32_t key_generation;
	uint8_t salt[SALT_LEN];
};

#define SEGMENT_VERSION 2u /* 1 had no BLOCK_FLAG_FINE, and is read as well */
#define SEGMENT_NUMBER_MAX (UINT64_MAX / SEGMENT_SIZE - 1) /* so that every position fits 64 bits */
#define SEGMENT_HEADER_LEN 104u				   /* body */
#define SEGMENT_BLOCK_LEN (FRAME_LEN + SEGMENT_HEADER_LEN) /* whole block */

/* segment_header_encode(h, out): the whole block, frame included. */
void segment_header_encode(const struct segment_header *h, uint8_t out[SEGMENT_BLOCK_LEN]);

/*
 * segment_header_decode(in, number, out): read the header block of segment ${number}.
 * Whether volume, epoch and count fit is the caller's to judge; a cipher is not judged.
 * Returns 0; -ERR_DAMAGED; -ERR_VERSION if its version is newer than ours.  No detail.
 */
MUST_CHECK int segment_header_decode(const uint8_t in[SEGMENT_BLOCK_LEN], segment_no number,
				     struct segment_header *out);

/*
 * leaf_hash(pos, block, len, out): the RFC 6962 leaf hash of a block:
 * SHA-256(0x00 || pos as u64 LE || the ${len} stored bytes, frame included).
 */
void leaf_hash(log_pos pos, const void *block, size_t len, uint8_t out[HASH_LEN]);

#endif /* !FRAME_H_ */
