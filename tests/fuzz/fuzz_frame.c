/* Frames and segment headers: the first 8 bytes choose the position. */

#include "bytes.h"
#include "frame.h"
#include "fuzz.h"

#include <string.h>

void fuzz_one(const uint8_t *bytes, size_t len)
{
	uint8_t block[SEGMENT_BLOCK_LEN] = {0}, again[SEGMENT_BLOCK_LEN];
	struct segment_header h;
	struct frame f;
	uint64_t pos;

	if (len < 8 + FRAME_LEN)
		return;
	pos = get_le64(bytes);
	bytes += 8;
	len -= 8;
	/* A guess at the CRC would never be right: frames with the right one, too. */
	memcpy(block, bytes, len < sizeof(block) ? len : sizeof(block));
	f = (struct frame){.body_len = get_le32(block), .kind = block[4], .flags = block[5]};
	if (pos & 1) {
		pos &= ~(uint64_t)1;
		frame_encode(&f, pos, block);
	}
	if (frame_decode(block, pos, &f) == 0) {
		MUST_HOLD(pos % SEGMENT_SIZE + FRAME_LEN + f.body_len <= SEGMENT_SIZE);
		MUST_HOLD(block_kind_is_clear(f.kind) || opened_len(f.body_len, f.flags) > 0);
		frame_encode(&f, pos, again);
		MUST_HOLD(memcmp(block, again, FRAME_LEN) == 0);
	}
	if (segment_header_decode(block, segment_of(pos), &h) == 0) {
		segment_header_encode(&h, again);
		/* It may be of an older version, which we do not write. */
		memcpy(again + FRAME_LEN + 8, block + FRAME_LEN + 8, 4);
		MUST_HOLD(memcmp(block, again, sizeof(block)) == 0);
	}
}
