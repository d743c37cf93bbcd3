/*
 * Changing which blocks hold a file's bytes.
 *
 * A file is a set of extents that do not overlap and do not reach beyond its size.  To write, punch
 * or cut is to delete a range, keeping what sticks out at either end, and perhaps to put new
 * extents there.  Old blocks are never touched: views of the past still read them.
 */

#include "volume_internal.h"

#include "bytes.h"

#include <errno.h>
#include <string.h>

void cut_init(struct cut *c, uint64_t from, uint64_t to)
{
	*c = (struct cut){.from = from, .to = to, .scanned = from};
}

static void cut_count(struct cut *c, const struct extent *e)
{
	uint64_t e_end = e->off + e->len;
	uint64_t from = e->off > c->from ? e->off : c->from;
	uint64_t to = e_end < c->to ? e_end : c->to;

	c->any = true;
	c->bytes += to - from;
	c->scanned = to;
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
}

/*
 * An attempt that meets a missing node keeps what it counted and goes on from there: the kernel
 * lets one at a time cut a file, so nothing changes in between, and counting a huge file from its
 * start again for each node would never end.
 */
int cut_find(struct volume *v, uint64_t ino, struct need *need, struct cut *c)
{
	uint64_t at = c->scanned;
	struct map_cursor mc;
	struct item_key key;
	struct extent e;
	int rc;

	item_key_num(&key, ino, ITEM_EXTENT, at < EXTENT_MAX ? 0 : at - EXTENT_MAX + 1);
	map_cursor_init(&mc, &v->view.map, need);
	for (rc = map_seek(&mc, key.b, key.len); rc == 0; rc = map_next(&mc)) {
		if (mc.top < 0 || mc.key_len != 17 || memcmp(mc.key, key.b, 9) != 0)
			break;
		rc = item_extent_decode(mc.value, mc.value_len, get_be64(mc.key + 9), &e);
		if (rc < 0 || e.off >= c->to)
			break;
		if (e.off + e.len > c->scanned)
			cut_count(c, &e);
	}
	map_cursor_release(&mc);
	return rc;
}

void extent_put(struct volume *v, uint64_t ino, const struct extent *e)
{
	uint8_t value[ITEM_EXTENT_LEN];
	struct item_key key;

	item_key_num(&key, ino, ITEM_EXTENT, e->off);
	item_extent_encode(e, value);
	overlay_put(v->view.map.live, key.b, key.len, value, sizeof(value));
}

void cut_apply(struct volume *v, uint64_t ino, const struct cut *c)
{
	struct item_key from, to;

	if (!c->any)
		return;
	item_key_num(&from, ino, ITEM_EXTENT, c->from);
	item_key_num(&to, ino, ITEM_EXTENT, c->to);
	overlay_del_range(v->view.map.live, from.b, from.len, to.b, to.len);
	if (c->left.len != 0)
		extent_put(v, ino, &c->left);
	if (c->right.len != 0)
		extent_put(v, ino, &c->right);
}
