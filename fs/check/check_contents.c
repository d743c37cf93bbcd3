/*
 * Check, part 3, continued: an inode's contents.
 *
 * Extents and long attributes point to data blocks.  A pointer must lead to a block of the right
 * kind and length, below the head.  Extents must not overlap, and must add up to what the
 * attributes state.
 */

#include "check_names_internal.h"

#include "bytes.h"
#include "frame.h"
#include "store.h"

#include <inttypes.h>
#include <sys/stat.h>

void check_contents_end(struct names *n, const struct group *g)
{
	bool behind = S_ISREG(g->attr.mode) && g->end > g->attr.size;

	if (behind)
		bad_inode(n, g->ino, "the file has %" PRIu64 " bytes and extents up to %" PRIu64,
			  g->attr.size, g->end);
	if (g->bytes != g->attr.bytes)
		bad_inode(n, g->ino, "it states %" PRIu64 " bytes of data and has %" PRIu64,
			  g->attr.bytes, g->bytes);
	if (g->unsure)
		return;
	if (behind && g->attr.size == 0)
		check_fix(n->c, g->ino, FIX_CUT, g->attr.bytes, 0);
	else if (g->bytes != g->attr.bytes)
		check_fix(n->c, g->ino, FIX_BYTES, g->attr.bytes, g->bytes);
}

/*
 * Does an item's pointer lead to a data block?  Consecutive extents often lie in one block, so the
 * last block is remembered.
 */
static int check_pointer(struct names *n, inode_no ino, const struct block_ptr *ptr)
{
	const struct head *head = view_head(n->v);
	uint8_t bytes[FRAME_LEN];
	struct frame f;
	int rc;

	if (ptr->pos == n->known_block)
		return 0;
	if (ptr->pos >= head->pos) {
		bad_inode(n, ino, "it points at position %" PRIu64 ", above its head", ptr->pos);
		return 0;
	}
	if (SEGMENT_SIZE - ptr->pos % SEGMENT_SIZE < FRAME_LEN)
		rc = -ERR_DAMAGED;
	else
		rc = store_read(n->c->store, ptr->pos, FRAME_LEN, bytes);
	if (rc == 0)
		rc = frame_decode(bytes, ptr->pos, &f);
	if (rc == 0 && (f.kind != BLOCK_DATA || f.body_len + FRAME_LEN != ptr->stored_len))
		rc = -ERR_DAMAGED;
	if (rc == -ERR_DAMAGED || rc == -ERR_ABSENT) {
		bad_inode(n, ino, "position %" PRIu64 " does not hold the block that it points at",
			  ptr->pos);
		return 0;
	}
	n->known_block = ptr->pos;
	return rc;
}

int check_contents_extent(struct names *n, const uint8_t *key, size_t key_len, const uint8_t *value,
			  size_t len)
{
	struct group *g = &n->g;
	struct extent e;

	if (key_len != ITEM_KEY_NUM_LEN ||
	    item_extent_decode(value, len, item_key_number(key), &e) < 0) {
		bad_inode(n, g->ino, "an extent is malformed");
		g->unsure = true;
		return 0;
	}
	n->c->counts->extents++;
	if (e.off < g->end) {
		bad_inode(n, g->ino,
			  "extents overlap at byte %" PRIu64
			  "; its bytes can't be brought back from here",
			  e.off);
		g->unsure = true;
	}
	g->end = e.off + e.len;
	g->bytes += e.len;
	if (check_block_is_damaged(n->c, e.ptr.pos))
		check_hurt(n->c, g->ino, e.off, e.off + e.len);
	return check_pointer(n, g->ino, &e.ptr);
}

int check_contents_xattr(struct names *n, size_t key_len, const uint8_t *value, size_t len)
{
	struct reader r = reader_of(value, len);
	uint8_t how = reader_u8(&r);
	struct block_ptr ptr;

	if (key_len <= ITEM_PREFIX_LEN || r.bad || how > 1) {
		bad_inode(n, n->g.ino, "an extended attribute is malformed");
		return 0;
	}
	if (how == 0)
		return 0;
	ptr.pos = reader_le64(&r);
	ptr.stored_len = reader_le32(&r);
	ptr.plain_len = reader_le32(&r);
	if (r.bad || r.left != 0 || ptr.plain_len > XATTR_VALUE_MAX) {
		bad_inode(n, n->g.ino, "an extended attribute is malformed");
		return 0;
	}
	if (check_block_is_damaged(n->c, ptr.pos))
		check_hurt(n->c, n->g.ino, 0, 0);
	return check_pointer(n, n->g.ino, &ptr);
}
