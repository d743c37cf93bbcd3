/*
 * The keys and values of items as stored bytes.  Decoders check every length and range, because a
 * tree may come from a damaged disk or from a foreign writer.
 */

#include "item.h"

#include "bytes.h"
#include "err.h"
#include "hash.h"
#include "units.h"

#include <errno.h>

#include <sys/stat.h>

#define ENTRY_HASH_MIN 3u /* 0 to 2 are the cookies of the start, "." and ".." */

void item_key(struct item_key *k, inode_no ino, enum item_type type)
{
	put_be64(k->b, ino);
	k->b[8] = (uint8_t)type;
	k->len = ITEM_PREFIX_LEN;
}

void item_key_num(struct item_key *k, inode_no ino, enum item_type type, uint64_t num)
{
	item_key(k, ino, type);
	put_be64(k->b + ITEM_PREFIX_LEN, num);
	k->len += 8;
}

void item_key_name(struct item_key *k, inode_no ino, enum item_type type, const char *name,
		   size_t len)
{
	item_key(k, ino, type);
	if (len > NAME_LEN_MAX)
		len = NAME_LEN_MAX;
	memcpy(k->b + ITEM_PREFIX_LEN, name, len);
	k->len += len;
}

int item_key_decode(const uint8_t *key, size_t len, inode_no *out_ino, enum item_type *out_type)
{
	if (len < ITEM_PREFIX_LEN || key[8] < ITEM_INODE || key[8] > ITEM_SNAPSHOT)
		return -ERR_DAMAGED;
	*out_ino = get_be64(key);
	*out_type = key[8];
	return 0;
}

bool item_key_is_of(const struct item_key *k, const uint8_t *key, size_t len)
{
	return len >= ITEM_PREFIX_LEN && memcmp(key, k->b, ITEM_PREFIX_LEN) == 0;
}

uint64_t item_key_number(const uint8_t *key)
{
	return get_be64(key + ITEM_PREFIX_LEN);
}

static void put_time(uint8_t *p, const struct timespec *t)
{
	put_le64(p, (uint64_t)t->tv_sec);
	put_le32(p + 8, (uint32_t)t->tv_nsec);
}

static bool take_time(struct reader *r, struct timespec *out)
{
	out->tv_sec = (time_t)reader_le64(r);
	out->tv_nsec = reader_le32(r);
	return out->tv_nsec < NS_PER_S;
}

void item_inode_encode(const struct attr *a, uint8_t out[ITEM_INODE_LEN])
{
	put_le32(out, a->mode);
	put_le32(out + 4, a->nlink);
	put_le32(out + 8, a->uid);
	put_le32(out + 12, a->gid);
	put_le64(out + 16, a->rdev);
	put_le64(out + 24, a->size);
	put_le64(out + 32, a->bytes);
	put_le64(out + 40, a->parent);
	put_time(out + 48, &a->atime);
	put_time(out + 60, &a->mtime);
	put_time(out + 72, &a->ctime);
	put_time(out + 84, &a->btime);
	put_le64(out + 96, 0);
}

_Static_assert(ITEM_INODE_LEN == 104, "an inode's value is 104 bytes");

int item_inode_decode(const uint8_t *value, size_t len, inode_no ino, struct attr *out)
{
	struct reader r = reader_of(value, len);
	bool times;

	out->ino = ino;
	out->mode = reader_le32(&r);
	out->nlink = reader_le32(&r);
	out->uid = reader_le32(&r);
	out->gid = reader_le32(&r);
	out->rdev = reader_le64(&r);
	out->size = reader_le64(&r);
	out->bytes = reader_le64(&r);
	out->parent = reader_le64(&r);
	times = take_time(&r, &out->atime);
	times &= take_time(&r, &out->mtime);
	times &= take_time(&r, &out->ctime);
	times &= take_time(&r, &out->btime);
	if (reader_le64(&r) != 0 || r.bad || r.left != 0 || !times || out->size > FILE_SIZE_MAX)
		return err_say(-ERR_DAMAGED, "inode %llu: its attributes are malformed",
			       (unsigned long long)ino);
	return 0;
}

void item_extent_encode(const struct extent *e, uint8_t out[ITEM_EXTENT_LEN])
{
	put_le64(out, e->ptr.pos);
	put_le32(out + 8, e->ptr.stored_len);
	put_le32(out + 12, e->ptr.plain_len);
	put_le32(out + 16, e->block_off);
	put_le32(out + 20, e->len);
}

int item_extent_decode(const uint8_t *value, size_t len, uint64_t off, struct extent *out)
{
	struct reader r = reader_of(value, len);

	out->off = off;
	out->ptr.pos = reader_le64(&r);
	out->ptr.stored_len = reader_le32(&r);
	out->ptr.plain_len = reader_le32(&r);
	out->block_off = reader_le32(&r);
	out->len = reader_le32(&r);
	if (r.bad || r.left != 0 || out->len == 0 || out->ptr.pos == 0 ||
	    out->ptr.stored_len > BLOCK_STORED_MAX || out->ptr.plain_len > EXTENT_MAX ||
	    out->block_off > out->ptr.plain_len || out->len > out->ptr.plain_len - out->block_off ||
	    off > FILE_SIZE_MAX - out->len)
		return err_say(-ERR_DAMAGED, "an extent at file offset %llu is malformed",
			       (unsigned long long)off);
	return 0;
}

uint64_t item_entry_hash(const uint8_t name_key[16], const char *name, size_t len)
{
	uint64_t hash = siphash(name_key, name, len) >> 2;

	return hash < ENTRY_HASH_MIN ? hash + ENTRY_HASH_MIN : hash;
}

int item_entry_next(const uint8_t *value, size_t len, size_t *at, struct entry *out)
{
	struct reader r = reader_of(value + *at, len - *at);

	if (*at == len)
		return -ENOENT;
	out->ino = reader_le64(&r);
	out->type = (uint32_t)reader_u8(&r) << 12;
	out->name_len = reader_u8(&r);
	out->name = (const char *)reader_take(&r, out->name_len);
	if (r.bad || out->name_len == 0 || out->ino == 0 || out->ino >= INO_MAX ||
	    (out->type & ~(uint32_t)S_IFMT) != 0)
		return err_say(-ERR_DAMAGED, "a folder entry is malformed");
	*at = len - r.left;
	return 0;
}

size_t item_entry_encode(const struct entry *e, uint8_t *out)
{
	put_le64(out, e->ino);
	out[8] = (uint8_t)(e->type >> 12);
	out[9] = (uint8_t)e->name_len;
	memcpy(out + 10, e->name, e->name_len);
	return 10 + e->name_len;
}

int item_snapshot_decode(const uint8_t *value, size_t len, struct snapshot *out)
{
	struct reader r = reader_of(value, len);
	uint8_t hold;

	out->head = reader_le64(&r);
	out->time_ns = (int64_t)reader_le64(&r);
	hold = reader_u8(&r);
	out->hold = hold == 1;
	if (r.bad || r.left != 0 || hold > 1)
		return err_say(-ERR_DAMAGED, "a snapshot's item is malformed");
	return 0;
}

void item_snapshot_encode(const struct snapshot *s, uint8_t out[ITEM_SNAPSHOT_LEN])
{
	put_le64(out, s->head);
	put_le64(out + 8, (uint64_t)s->time_ns);
	out[16] = s->hold;
}
