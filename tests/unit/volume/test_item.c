/* Items: golden bytes, and decoders that refuse what is malformed. */

#include "item.h"

#include "err.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const struct attr sample = {
	.ino = 0x0102030405,
	.mode = S_IFREG | 0640,
	.nlink = 2,
	.uid = 1000,
	.gid = 100,
	.rdev = 0,
	.size = 0x123456789a,
	.bytes = 4096,
	.parent = 0,
	.atime = {-1, 999999999},
	.mtime = {1, 2},
	.ctime = {4102444800, 3},
	.btime = {0, 0},
};

static void hex(const uint8_t *p, size_t len, char *out)
{
	for (size_t i = 0; i < len; i++)
		sprintf(out + 2 * i, "%02x", p[i]);
}

Test(item, golden)
{
	struct extent e = {
		.off = 65536, .ptr = {0x4000000c, 131100, 131072}, .block_off = 4096, .len = 8192};
	struct snapshot s = {.head = 7, .time_ns = 1, .hold = true};
	uint8_t inode[ITEM_INODE_LEN], extent[ITEM_EXTENT_LEN], snap[ITEM_SNAPSHOT_LEN];
	struct item_key key;
	char text[512];

	item_inode_encode(&sample, inode);
	hex(inode, sizeof(inode), text);
	cr_expect_str_eq(text,
			 "a081000002000000e80300006400000000000000000000009a78563412000000"
			 "00100000000000000000000000000000ffffffffffffffffffc99a3b01000000"
			 "0000000002000000005786f40000000003000000000000000000000000000000"
			 "0000000000000000");
	item_extent_encode(&e, extent);
	hex(extent, sizeof(extent), text);
	cr_expect_str_eq(text, "0c000040000000001c0002000000020000100000" "00200000");
	item_snapshot_encode(&s, snap);
	hex(snap, sizeof(snap), text);
	cr_expect_str_eq(text, "0700000000000000010000000000000001");
	item_key_num(&key, 5, ITEM_EXTENT, 65536);
	hex(key.b, key.len, text);
	cr_expect_str_eq(text, "0000000000000005050000000000010000");
	item_key_name(&key, 5, ITEM_XATTR, "user.a", 6);
	hex(key.b, key.len, text);
	cr_expect_str_eq(text, "000000000000000502757365722e61");
}

Test(item, inode_round_trip_and_damage)
{
	uint8_t value[ITEM_INODE_LEN];
	struct attr got;

	item_inode_encode(&sample, value);
	cr_assert_eq(item_inode_decode(value, sizeof(value), sample.ino, &got), 0);
	cr_assert_eq(memcmp(&got.mtime, &sample.mtime, sizeof(got.mtime)), 0);
	cr_assert_eq(got.size, sample.size);
	cr_assert_eq(got.atime.tv_sec, -1);
	cr_assert_eq(item_inode_decode(value, sizeof(value) - 1, 1, &got), -ERR_DAMAGED);
	memset(value + 56, 0xff, 4); /* nanoseconds */
	cr_assert_eq(item_inode_decode(value, sizeof(value), 1, &got), -ERR_DAMAGED);
}

Test(item, extent_damage)
{
	struct extent e = {.off = 0, .ptr = {4096, 4124, 4096}, .block_off = 0, .len = 4096}, got;
	uint8_t value[ITEM_EXTENT_LEN];

	item_extent_encode(&e, value);
	cr_assert_eq(item_extent_decode(value, sizeof(value), 0, &got), 0);
	cr_assert_eq(item_extent_decode(value, sizeof(value), FILE_SIZE_MAX - 1, &got),
		     -ERR_DAMAGED);
	e.block_off = 1;
	item_extent_encode(&e, value);
	cr_assert_eq(item_extent_decode(value, sizeof(value), 0, &got), -ERR_DAMAGED);
}

Test(item, entries)
{
	uint8_t value[2 * ENTRY_LEN_MAX];
	struct entry e = {.ino = 9, .type = S_IFDIR, .name = "a", .name_len = 1}, got;
	size_t len = item_entry_encode(&e, value), at = 0;

	e = (struct entry){.ino = 10, .type = S_IFLNK, .name = "\xff\n b", .name_len = 4};
	len += item_entry_encode(&e, value + len);
	cr_assert_eq(item_entry_next(value, len, &at, &got), 0);
	cr_assert(got.ino == 9 && got.type == S_IFDIR && got.name_len == 1);
	cr_assert_eq(item_entry_next(value, len, &at, &got), 0);
	cr_assert(got.ino == 10 && got.type == S_IFLNK && memcmp(got.name, "\xff\n b", 4) == 0);
	cr_assert_eq(item_entry_next(value, len, &at, &got), -ENOENT);
	at = 0;
	cr_assert_eq(item_entry_next(value, 10, &at, &got), -ERR_DAMAGED);
}
