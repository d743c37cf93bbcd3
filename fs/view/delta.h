#ifndef DELTA_H_
#define DELTA_H_

/*
 * The plaintext of BLOCK_DELTA and BLOCK_CHECKPOINT blocks.
 *
 * A delta covers the flushes with sequence numbers first..last and holds their net effect.  That is
 * one flush, or, where a head rolls up many small ones, several in a row.  A checkpoint's tree
 * holds every flush up to covers_seq; heads after from_head list all deltas that it may lack.
 * Applying a delta to a state that already has part of it is harmless.
 */

#include "compiler.h"
#include "format.h"
#include "tree.h"

#include <stddef.h>

struct buf;
struct blocks;

/* What deltas and checkpoints state besides items, as of their end. */
struct volume_counts {
	inode_no next_ino; /* the lowest inode number never used */
	uint64_t inodes;
	uint64_t bytes;
};

struct delta {
	uint64_t first_seq, last_seq;
	struct volume_counts counts;
	const uint8_t *records; /* borrowed from the plaintext */
	size_t records_len;
};

#define DELTA_HEADER_LEN 48u
#define DELTA_RECORDS_MAX (BLOCK_PLAIN_MAX - DELTA_HEADER_LEN)

/* delta_begin(out, d): append the header (records are appended after it).  0 or -ENOMEM. */
MUST_CHECK int delta_begin(struct buf *out, const struct delta *d);

/* delta_decode(plain, len, out): 0, -ERR_DAMAGED or -ERR_VERSION, with a detail. */
MUST_CHECK int delta_decode(const void *plain, size_t len, struct delta *out);

struct checkpoint {
	uint64_t covers_seq;
	head_no from_head;
	struct volume_counts counts;
	struct tree_root root;
};

#define CHECKPOINT_LEN 72u

void checkpoint_encode(const struct checkpoint *c, uint8_t out[CHECKPOINT_LEN]);

/*
 * checkpoint_read(b, ptr, out): read and decode; its root must lie below ${ptr}.  0, -ERR_DAMAGED,
 * -ERR_VERSION, or as blocks_read().
 */
MUST_CHECK int checkpoint_read(struct blocks *b, const struct block_ptr *ptr,
			       struct checkpoint *out);

#endif /* !DELTA_H_ */
