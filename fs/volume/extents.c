/*
 * Which blocks hold the bytes of a file.
 *
 * A file is a set of extents that do not overlap and do not reach beyond its size.  To write, punch
 * or truncate means to delete a range, keep the parts of extents that stick out at either end, and
 * perhaps put new extents into the range.  Old blocks are never changed: views of the past still
 * read them.
 */

#include "volume_internal.h"

#include <assert.h>
#include <errno.h>

/*
 * Several inodes share a change number.  A change of one makes a cut of another start over, nothing
 * worse.
 */
static uint64_t *change_number(struct volume *v, inode_no ino)
{
	return &v->extent_changes[ino % EXTENT_CHANGES];
}

/* The counts of a cut add up: each byte of an extent that it touches is either removed or kept. */
static void cut_check(const struct cut *c)
{
	assert(c->from <= c->to && c->bytes <= c->to - c->from);
	assert(c->bytes + c->left.len + c->right.len == c->touched);
	assert(c->any == (c->touched != 0));
	assert(c->left.len == 0 || c->left.off + c->left.len == c->from);
	assert(c->right.len == 0 || (c->right.off == c->to && c->scanned > c->to));
}

static void cut_count(struct cut *c, const struct extent *e)
{
	uint64_t e_end = e->off + e->len;
	uint64_t from = e->off > c->from ? e->off : c->from;
	uint64_t to = e_end < c->to ? e_end : c->to;

	assert(from < to && e_end > c->scanned);
	c->any = true;
	c->bytes += to - from;
	c->touched += e->len;
	c->scanned = e_end;
	if (e->off < c->from) {
		c->left = *e;
		c->left.len = (uint32_t)(c->from - e->off);
	}
	if (e_end > c->to) {
		c->right = *e;
		c->right.off = c->to;
		c->right.block_off += (uint32_t)(c->to - e->off);
		c->right.len = (uint32_t)(e_end - c->to);
	}
	cut_check(c);
}

int cut_find(struct volume *v, inode_no ino, uint64_t from, uint64_t to, struct need *need,
	     struct cut *c)
{
	uint64_t change = *change_number(v, ino);
	struct extent_walk w;
	struct extent e;
	int rc;

	if (c->change != change || c->ino != ino || c->from != from || c->to != to)
		*c = (struct cut){
			.change = change, .ino = ino, .from = from, .to = to, .scanned = from};
	cut_check(c);
	if (c->scanned >= to)
		return 0;
	for (rc = extent_first(&w, &v->view, ino, c->scanned, need, &e); rc == 0 && e.off < to;
	     rc = extent_next(&w, &e)) {
		/*
		 * The extents counted so far end at ${scanned} at the latest.  An extent found now
		 * that begins before it overlaps one of them.
		 */
		if (c->any && e.off < c->scanned) {
			rc = err_say(-ERR_DAMAGED, "inode %llu: extents overlap at byte %llu",
				     (unsigned long long)ino, (unsigned long long)e.off);
			break;
		}
		cut_count(c, &e);
	}
	extent_walk_end(&w);
	return rc == -ENOENT ? 0 : rc;
}

int cut_find_lost(struct volume *v, const struct attr *a, struct need *need, struct cut *c,
		  uint64_t *out_bytes)
{
	assert(a->size == 0);
	*out_bytes = a->bytes;
	return cut_find(v, a->ino, 0, FILE_SIZE_MAX, need, c);
}

void cut_all(struct volume *v, inode_no ino, uint64_t bytes, struct cut *c)
{
	*c = (struct cut){.change = *change_number(v, ino),
			  .ino = ino,
			  .to = FILE_SIZE_MAX,
			  .bytes = bytes,
			  .touched = bytes,
			  .any = true};
}

void extent_put(struct volume *v, inode_no ino, const struct extent *e)
{
	uint8_t value[ITEM_EXTENT_LEN];
	struct item_key key;

	assert(e->len > 0 && e->len <= EXTENT_MAX && e->off <= FILE_SIZE_MAX - e->len);
	item_key_num(&key, ino, ITEM_EXTENT, e->off);
	item_extent_encode(e, value);
	overlay_put(v->view.map.live, key.b, key.len, value, sizeof(value));
	++*change_number(v, ino);
}

void cut_apply(struct volume *v, const struct cut *c)
{
	struct item_key from, to;

	if (!c->any)
		return;
	assert(c->change == *change_number(v, c->ino));
	item_key_num(&from, c->ino, ITEM_EXTENT, c->from);
	item_key_num(&to, c->ino, ITEM_EXTENT, c->to);
	overlay_del_range(v->view.map.live, from.b, from.len, to.b, to.len);
	++*change_number(v, c->ino);
	if (c->left.len != 0)
		extent_put(v, c->ino, &c->left);
	if (c->right.len != 0)
		extent_put(v, c->ino, &c->right);
}
