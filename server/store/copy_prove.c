/*
 * Proofs out of a copy: that blocks are under a head.
 *
 * Key idea: the catalog has the leaf hash of each block that a head states, and the tree over them
 * in tiles; so a proof reads a few tiles and no byte of the log.  A segment's header is sent with
 * its proof, since only the header says which leaf it is.
 *
 * Invariant: a header that is sent has the leaf hash that was verified when it came: damage of this
 * copy is told as such, and no reader takes it for a forgery.
 */

#include "copy_internal.h"

#include "buf.h"
#include "catalog.h"
#include "err.h"
#include "frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

int copy_prove(struct copy *c, leaf_no n, const leaf_no *index, size_t k, struct buf *out)
{
	int rc = copy_await_recovery(c);

	if (rc < 0)
		return rc;
	rc = copy_enter(c);
	if (rc == 0)
		rc = catalog_prove(c->catalog, n, index, k, out);
	copy_leave(c);
	if (rc == -ERR_ABSENT)
		return err_say(rc, "this copy has no head that states %llu blocks", (ull)n);
	return rc;
}

/* The leaf hash of block ${index}, as it was verified. */
static int verified_leaf(struct copy *c, leaf_no index, uint8_t out[HASH_LEN])
{
	int rc = copy_await_recovery(c);

	if (rc < 0)
		return rc;
	rc = copy_enter(c);
	if (rc == 0)
		rc = catalog_leaf(c->catalog, index, out);
	copy_leave(c);
	return rc;
}

static int say_header_damaged(const struct copy *c, segment_no number)
{
	return err_say(-ERR_DAMAGED,
		       "%s: damaged: the header of segment %016llx is no longer what was verified; "
		       "stop the server and heal the folder with 'embassy check %s --log-only "
		       "--repair --from' another copy",
		       c->name, (ull)number, c->name);
}

static int load_header(struct copy *c, segment_no number, uint8_t block[SEGMENT_BLOCK_LEN],
		       leaf_no *out_index)
{
	uint8_t mine[HASH_LEN], there[HASH_LEN];
	struct segment_header h;
	uint64_t len;
	int rc;

	if (number > SEGMENT_NUMBER_MAX)
		return err_say(-EINVAL, "segment %016llx: no segment has that number", (ull)number);
	rc = copy_clip(c, segment_start(number), SEGMENT_BLOCK_LEN, &len);
	if (rc < 0)
		return rc;
	if (len < SEGMENT_BLOCK_LEN)
		return say_header_damaged(c, number);
	rc = copy_read(c, segment_start(number), SEGMENT_BLOCK_LEN, block);
	if (rc < 0)
		return rc;
	rc = segment_header_decode(block, number, &h);
	if (rc == -ERR_DAMAGED)
		return say_header_damaged(c, number);
	if (rc < 0)
		return rc;
	rc = verified_leaf(c, h.n_blocks_before, mine);
	if (rc < 0 && rc != -ERR_ABSENT)
		return rc;
	leaf_hash(segment_start(number), block, SEGMENT_BLOCK_LEN, there);
	if (rc == -ERR_ABSENT || memcmp(mine, there, HASH_LEN) != 0)
		return say_header_damaged(c, number);
	*out_index = h.n_blocks_before;
	return 0;
}

int copy_segments(struct copy *c, leaf_no known, const segment_no *numbers, size_t n,
		  struct buf *headers, struct buf *proof)
{
	uint8_t block[SEGMENT_BLOCK_LEN];
	leaf_no index[COPY_SEGMENTS_MAX];
	int rc;

	if (n == 0 || n > COPY_SEGMENTS_MAX)
		return err_say(-EINVAL, "%zu segments: 1 to %u can be asked for", n,
			       COPY_SEGMENTS_MAX);
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && numbers[i - 1] >= numbers[i])
			return err_say(-EINVAL, "the segments' numbers do not ascend");
		rc = load_header(c, numbers[i], block, &index[i]);
		if (rc == 0 && index[i] >= known)
			return err_say(-ERR_ABSENT,
				       "segment %016llx: begins after the head that states %llu "
				       "blocks",
				       (ull)numbers[i], (ull)known);
		if (rc == 0)
			rc = buf_add(headers, block, sizeof(block));
		if (rc < 0)
			return rc;
	}
	return copy_prove(c, known, index, n, proof);
}
