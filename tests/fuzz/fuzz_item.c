/* The items of the tree: the first byte chooses the type. */

#include "fuzz.h"
#include "item.h"

#include <errno.h>
#include <string.h>

static void try_inode(const uint8_t *value, size_t len)
{
	uint8_t again[ITEM_INODE_LEN];
	struct attr a;

	if (item_inode_decode(value, len, 7, &a) != 0)
		return;
	item_inode_encode(&a, again);
	MUST_HOLD(len == sizeof(again) && memcmp(value, again, len) == 0);
}

static void try_extent(const uint8_t *value, size_t len)
{
	uint8_t again[ITEM_EXTENT_LEN];
	struct extent e;

	if (item_extent_decode(value, len, 4096, &e) != 0)
		return;
	MUST_HOLD(e.len > 0 && e.len <= EXTENT_MAX && e.block_off + e.len <= e.ptr.plain_len);
	item_extent_encode(&e, again);
	MUST_HOLD(len == sizeof(again) && memcmp(value, again, len) == 0);
}

static void try_entries(const uint8_t *value, size_t len)
{
	uint8_t again[ENTRY_LEN_MAX];
	struct entry e;
	size_t at = 0, from;
	int rc;

	while (from = at, (rc = item_entry_next(value, len, &at, &e)) == 0) {
		MUST_HOLD(at > from && at <= len);
		MUST_HOLD(item_entry_encode(&e, again) == at - from);
		MUST_HOLD(memcmp(value + from, again, at - from) == 0);
	}
	MUST_HOLD(rc != -ENOENT || at == len);
}

static void try_snapshot(const uint8_t *value, size_t len)
{
	uint8_t again[ITEM_SNAPSHOT_LEN];
	struct snapshot s = {0};

	if (item_snapshot_decode(value, len, &s) != 0)
		return;
	item_snapshot_encode(&s, again);
	MUST_HOLD(len == sizeof(again) && memcmp(value, again, len) == 0);
}

void fuzz_one(const uint8_t *bytes, size_t len)
{
	enum item_type type;
	uint64_t ino;

	if (len == 0)
		return;
	(void)!item_key_decode(bytes + 1, len - 1, &ino, &type);
	switch (bytes[0] % 4) {
	case 0: try_inode(bytes + 1, len - 1); break;
	case 1: try_extent(bytes + 1, len - 1); break;
	case 2: try_entries(bytes + 1, len - 1); break;
	case 3: try_snapshot(bytes + 1, len - 1); break;
	}
}
