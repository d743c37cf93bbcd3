#ifndef ITEM_H_
#define ITEM_H_

/*
 * The items of the tree: keys and values of inodes, entries, extents, attributes, snapshots.  A key
 * is inode u64 BE, type u8, then what the type demands.  So all items of an inode are neighbours,
 * and a folder's entries and a file's extents are in order.  Inode 0 holds items that belong to no
 * file. proto/FORMAT.md, "Items".
 */

#include "view.h"

#include "format.h"
#include "overlay.h"

/* For each type, what follows inode and type in the key, and the value. */
enum item_type {
	ITEM_INODE = 1,	   /* - : attributes, 104 bytes */
	ITEM_XATTR = 2,	   /* name : u8 0 + bytes, or u8 1 + block_ptr of a BLOCK_DATA */
	ITEM_SYMLINK = 3,  /* - : target */
	ITEM_ENTRY = 4,	   /* hash u64 BE : entries of that hash, one after the other */
	ITEM_EXTENT = 5,   /* offset u64 BE : block_ptr, u32 offset in its plaintext, u32 length */
	ITEM_ORPHAN = 6,   /* of inode 0; inode u64 BE : - ; it has no name, and may be open */
	ITEM_SNAPSHOT = 7, /* of inode 0; name : head u64, time i64, u8 hold */
};

#define ITEM_PREFIX_LEN 9u /* of a key: inode and type */
#define ITEM_KEY_MAX (ITEM_PREFIX_LEN + NAME_LEN_MAX)
#define ITEM_KEY_NUM_LEN 17u /* of a key that ends in a number */
#define ITEM_INODE_LEN 104u
#define ITEM_EXTENT_LEN (BLOCK_PTR_LEN + 8u)
#define ITEM_SNAPSHOT_LEN 17u
#define XATTR_INLINE_MAX 1024u /* longer values go into a block of their own */

struct item_key {
	uint8_t b[ITEM_KEY_MAX];
	size_t len;
};

/*
 * The key of an inode's item of ${type}; item_key_num() and item_key_name() append a number (hash,
 * offset, inode) or a name.
 */
void item_key(struct item_key *k, inode_no ino, enum item_type type);
void item_key_num(struct item_key *k, inode_no ino, enum item_type type, uint64_t num);
void item_key_name(struct item_key *k, inode_no ino, enum item_type type, const char *name,
		   size_t len);

/*
 * item_key_decode(key, len, ino, type): decode and check the first ITEM_PREFIX_LEN bytes.  Returns
 * 0 or -ERR_DAMAGED.
 * item_key_is_of(k, key, len): has ${key} the inode and the type of ${k}?
 * item_key_number(key): the number at the end of a key of ITEM_KEY_NUM_LEN bytes.
 */
bool item_key_is_of(const struct item_key *k, const uint8_t *key, size_t len);
uint64_t item_key_number(const uint8_t *key);
MUST_CHECK int item_key_decode(const uint8_t *key, size_t len, inode_no *out_ino,
			       enum item_type *out_type);

/* Attributes; ${ino} comes from the key.  Decoding returns 0 or -ERR_DAMAGED. */
void item_inode_encode(const struct attr *a, uint8_t out[ITEM_INODE_LEN]);
MUST_CHECK int item_inode_decode(const uint8_t *value, size_t len, inode_no ino, struct attr *out);

/* A run of file bytes inside one block's plaintext. */
struct extent {
	uint64_t off; /* in the file; from the key */
	struct block_ptr ptr;
	uint32_t block_off, len;
};
void item_extent_encode(const struct extent *e, uint8_t out[ITEM_EXTENT_LEN]);
MUST_CHECK int item_extent_decode(const uint8_t *value, size_t len, uint64_t off,
				  struct extent *out);

/*
 * The entries of one hash, nearly always one.  Each is inode u64 LE, type u8 (mode's S_IFMT >> 12),
 * name_len u8, name.
 * item_entry_hash(name_key, name, len): SipHash-2-4 shifted to 62 bits, never below 3, so that it
 * can serve as readdir's cookie.
 */
struct entry {
	inode_no ino;
	uint32_t type;	  /* S_IFMT bits */
	const char *name; /* borrowed, no NUL */
	size_t name_len;
};
#define ENTRIES_MAX (TREE_VALUE_MAX / 11u) /* the most that fit in an item */
uint64_t item_entry_hash(const uint8_t name_key[16], const char *name, size_t len);
/*
 * item_entry_next(value, len, at, out): decode the entry at offset ${*at}, and advance ${*at}.
 * Returns 0; -ENOENT at the end; -ERR_DAMAGED.
 */
MUST_CHECK int item_entry_next(const uint8_t *value, size_t len, size_t *at, struct entry *out);
/* item_entry_encode(e, out): ${out} has ENTRY_LEN_MAX bytes; returns the length. */
#define ENTRY_LEN_MAX (10u + NAME_LEN_MAX)
size_t item_entry_encode(const struct entry *e, uint8_t *out);

MUST_CHECK int item_snapshot_decode(const uint8_t *value, size_t len, struct snapshot *out);
void item_snapshot_encode(const struct snapshot *s, uint8_t out[ITEM_SNAPSHOT_LEN]);

#endif /* !ITEM_H_ */
