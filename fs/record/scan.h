#ifndef SCAN_H_
#define SCAN_H_

/*
 * Walk the blocks of a log in order, across segments, without a key: frames checked,
 * leaf hashes computed.  One sequential reader with a bounded buffer (4 MiB).
 */

#include "compiler.h"
#include "frame.h"

#include <stdbool.h>

struct hole;
struct storage;

struct scan_block {
	log_pos pos;
	struct frame frame;
	const uint8_t *bytes; /* whole block, frame included; valid during the call */
	size_t len;
	uint8_t leaf[HASH_LEN];
	/*
	 * Not NULL: the bytes are gone, and this stands for them (st->holes).  Then ${bytes} is
	 * NULL; and for a run of blocks the frame is zero, ${len} is the length of all of them, and
	 * ${leaf} the root over their leaves.  NULL: the bytes are here.
	 */
	const struct hole *hole;
};

/* scan_block_is_run(b): whether it is more than one block. */
bool scan_block_is_run(const struct scan_block *b);

/* scan_hole(h, out): set ${out} to what a walk gives for ${h}, which is borrowed. */
void scan_hole(const struct hole *h, struct scan_block *out);

enum scan_verdict {
	SCAN_END,     /* the last segment's file ends where its last block ends (or in zeros) */
	SCAN_TORN,    /* the last segment has bytes after its last whole block that are no block */
	SCAN_STOPPED, /* fn asked to stop before the block at end */
};

struct scan_result {
	log_pos end; /* position after the last block that fn accepted */
	enum scan_verdict verdict;
};

/*
 * What fn returns: SCAN_GO, SCAN_STOP (this block and what follows are not part of the log), or
 * a negative error.
 */
enum { SCAN_GO = 0, SCAN_STOP = 1 };

/*
 * scan_blocks(st, from, fn, ctx, out): call fn for each block from position ${from} (a block's
 * start, or an end) on.  Where a segment ends, goes on at the header of the next segment that
 * exists.  What st->holes has is given as it stands there, and not read.  A segment file that is
 * shorter than a segment ends where it ends; only the last may end in anything but a whole block.
 * Returns 0 with ${*out}; fn's negative error; -ERR_DAMAGED, with a detail naming the segment and
 * offset, for bytes that are not a block in a segment that is not the last, and for holes that lie
 * in no gap between blocks or behind the last; or -errno.
 */
MUST_CHECK int scan_blocks(struct storage *st, log_pos from,
			   int (*fn)(void *ctx, const struct scan_block *b), void *ctx,
			   struct scan_result *out);

#endif /* !SCAN_H_ */
