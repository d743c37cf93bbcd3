/*
 * Reading names: attributes, lookup, folders, links, extended attributes, snapshots.
 */

#include "view_internal.h"

#include "blocks.h"
#include "bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define READDIR_BATCH 128u
#define COOKIE_DOT 1u
#define COOKIE_DOTDOT 2u

int view_inode_locked(struct view *v, uint64_t ino, struct need *need, struct attr *out)
{
	uint8_t value[ITEM_INODE_LEN];
	struct item_key key;
	size_t len;
	int rc;

	item_key(&key, ino, ITEM_INODE);
	rc = map_get(&v->map, key.b, key.len, need, value, sizeof(value), &len);
	return rc < 0 ? rc : item_inode_decode(value, len, ino, out);
}

int view_folder_locked(struct view *v, uint64_t ino, struct need *need, struct attr *out)
{
	int rc = view_inode_locked(v, ino, need, out);

	if (rc == 0 && !S_ISDIR(out->mode))
		return -ENOTDIR;
	return rc;
}

int view_bucket_locked(struct view *v, uint64_t parent, const char *name, struct need *need,
		       struct bucket *out)
{
	size_t len = strlen(name);
	int rc;

	if (len > NAME_LEN_MAX)
		return -ENAMETOOLONG;
	item_key_num(&out->key, parent, ITEM_ENTRY, item_entry_hash(v->cfg.name_key, name, len));
	rc = map_get(&v->map, out->key.b, out->key.len, need, out->value, sizeof(out->value),
		     &out->len);
	if (rc == -ENOENT) {
		out->len = 0;
		return 0;
	}
	return rc;
}

int bucket_find(const struct bucket *b, const char *name, struct entry *out)
{
	size_t name_len = strlen(name);
	size_t at = 0;
	int rc;

	while ((rc = item_entry_next(b->value, b->len, &at, out)) == 0) {
		if (out->name_len == name_len && memcmp(out->name, name, name_len) == 0)
			return 0;
	}
	return rc;
}

static int lookup_locked(struct view *v, uint64_t parent, const char *name, struct need *need,
			 struct attr *out)
{
	struct bucket b;
	struct entry e;
	struct attr dir;
	int rc;

	if (strcmp(name, "..") == 0 || strcmp(name, ".") == 0) {
		rc = view_folder_locked(v, parent, need, &dir);
		return rc < 0 ? rc : view_inode_locked(v, name[1] ? dir.parent : parent, need, out);
	}
	rc = view_bucket_locked(v, parent, name, need, &b);
	if (rc == 0)
		rc = bucket_find(&b, name, &e);
	if (rc == -ENOENT) {
		/* Tell a missing name from a parent that is no folder. */
		rc = view_folder_locked(v, parent, need, &dir);
		return rc < 0 ? rc : -ENOENT;
	}
	if (rc < 0)
		return rc;
	rc = view_inode_locked(v, e.ino, need, out);
	if (rc == -ENOENT)
		return err_say(-ERR_DAMAGED,
			       "'%s' in folder %llu names inode %llu, which is not there", name,
			       (unsigned long long)parent, (unsigned long long)e.ino);
	return rc;
}

int view_lookup(struct view *v, uint64_t parent, const char *name, struct attr *out)
{
	struct need need;
	int rc;

	do {
		view_rdlock(v);
		rc = lookup_locked(v, parent, name, &need, out);
		view_unlock(v);
	} while (view_again(v, &need, &rc));
	return rc;
}

int view_getattr(struct view *v, uint64_t ino, struct attr *out)
{
	struct need need;
	int rc;

	do {
		view_rdlock(v);
		rc = view_inode_locked(v, ino, &need, out);
		view_unlock(v);
	} while (view_again(v, &need, &rc));
	return rc;
}

int view_readlink(struct view *v, uint64_t ino, char *out)
{
	struct item_key key;
	struct need need;
	size_t len;
	int rc;

	item_key(&key, ino, ITEM_SYMLINK);
	do {
		view_rdlock(v);
		rc = map_get(&v->map, key.b, key.len, &need, out, SYMLINK_LEN_MAX, &len);
		view_unlock(v);
	} while (view_again(v, &need, &rc));
	if (rc == -ENOENT)
		return -EINVAL;
	if (rc == 0)
		out[len] = '\0';
	return rc;
}

/* Entries taken under the lock, to be given out without it. */
struct batch {
	size_t n;
	bool end;	 /* the folder ends with them */
	uint64_t next; /* the cookie after the last */
	struct {
		uint64_t ino, cookie;
		uint32_t type;
		struct attr attr;
		char name[NAME_LEN_MAX + 1];
	} at[READDIR_BATCH];
};

static int batch_add(struct view *v, struct batch *b, const struct entry *e, uint64_t cookie,
		     bool attrs, struct need *need)
{
	int rc = 0;

	b->at[b->n].ino = e->ino;
	b->at[b->n].cookie = cookie;
	b->at[b->n].type = e->type;
	memcpy(b->at[b->n].name, e->name, e->name_len);
	b->at[b->n].name[e->name_len] = '\0';
	if (attrs)
		rc = view_inode_locked(v, e->ino, need, &b->at[b->n].attr);
	if (rc == -ENOENT)
		rc = err_say(-ERR_DAMAGED, "'%s' names inode %llu, which is not there",
			     b->at[b->n].name, (unsigned long long)e->ino);
	if (rc == 0)
		b->n++;
	return rc;
}

/* Add the entries of one hash: all of them, or none where they don't fit. */
static int batch_add_bucket(struct view *v, struct batch *b, const struct map_cursor *mc,
			    bool attrs, struct need *need)
{
	uint64_t cookie = get_be64(mc->key + 9);
	size_t before = b->n;
	struct entry e;
	size_t at = 0;
	int rc;

	while ((rc = item_entry_next(mc->value, mc->value_len, &at, &e)) == 0) {
		if (b->n == READDIR_BATCH) {
			b->n = before;
			return 1;
		}
		rc = batch_add(v, b, &e, cookie, attrs, need);
		if (rc < 0) {
			b->n = before;
			return rc;
		}
	}
	if (rc != -ENOENT)
		return rc;
	b->next = cookie;
	return 0;
}

static int fill_batch_locked(struct view *v, uint64_t ino, struct batch *b, bool attrs,
			     struct need *need)
{
	struct map_cursor mc;
	struct item_key key;
	int rc;

	item_key_num(&key, ino, ITEM_ENTRY, b->next + 1);
	map_cursor_init(&mc, &v->map, need);
	for (rc = map_seek(&mc, key.b, key.len); rc == 0; rc = map_next(&mc)) {
		if (mc.top < 0 || mc.key_len != 17 || memcmp(mc.key, key.b, 9) != 0) {
			b->end = true;
			break;
		}
		rc = batch_add_bucket(v, b, &mc, attrs, need);
		if (rc != 0)
			break;
	}
	map_cursor_release(&mc);
	/*
	 * What was found before a missing node is good; the next batch begins with the node there.
	 */
	if (rc == -ERR_NEED_NODE && b->n > 0)
		rc = 0;
	return rc > 0 ? 0 : rc;
}

static int give_dots(struct view *v, uint64_t ino, uint64_t *cookie,
		     int (*fn)(void *ctx, const struct view_entry *e), void *ctx)
{
	struct attr dir;
	int rc;

	rc = view_getattr(v, ino, &dir);
	if (rc < 0)
		return rc;
	if (!S_ISDIR(dir.mode))
		return -ENOTDIR;
	for (; *cookie < COOKIE_DOTDOT; (*cookie)++) {
		bool up = *cookie == COOKIE_DOT;
		struct view_entry e = {
			.name = up ? ".." : ".",
			.ino = up ? dir.parent : ino,
			.type = S_IFDIR,
			.cookie = *cookie + 1,
		};

		if (fn(ctx, &e) != 0)
			return 1;
	}
	return 0;
}

static bool give_batch(const struct batch *b, bool attrs,
		       int (*fn)(void *ctx, const struct view_entry *e), void *ctx)
{
	for (size_t i = 0; i < b->n; i++) {
		struct view_entry e = {
			.name = b->at[i].name,
			.ino = b->at[i].ino,
			.type = b->at[i].type,
			.cookie = b->at[i].cookie,
			.attr = attrs ? &b->at[i].attr : NULL,
		};

		if (fn(ctx, &e) != 0)
			return false;
	}
	return true;
}

int view_readdir(struct view *v, uint64_t ino, uint64_t cookie, bool attrs,
		 int (*fn)(void *ctx, const struct view_entry *e), void *ctx)
{
	struct need need;
	struct batch *b;
	int rc;

	rc = give_dots(v, ino, &cookie, fn, ctx);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	b = malloc(sizeof(*b));
	if (b == NULL)
		return -ENOMEM;
	b->next = cookie;
	b->end = false;
	do {
		b->n = 0;
		do {
			view_rdlock(v);
			rc = fill_batch_locked(v, ino, b, attrs, &need);
			view_unlock(v);
		} while (view_again(v, &need, &rc));
	} while (rc == 0 && give_batch(b, attrs, fn, ctx) && !b->end);
	free(b);
	return rc;
}

static int getxattr_locked(struct view *v, const struct item_key *key, struct need *need,
			   uint8_t *value, size_t *out_len)
{
	return map_get(&v->map, key->b, key->len, need, value, TREE_VALUE_MAX, out_len);
}

/* A value too long for an item lies in a block of its own. */
static int getxattr_block(struct view *v, const uint8_t *value, size_t len, void *out, size_t cap,
			  size_t *out_len)
{
	struct reader r = reader_of(value, len);
	struct block_ptr ptr;

	ptr.pos = reader_le64(&r);
	ptr.stored_len = reader_le32(&r);
	ptr.plain_len = reader_le32(&r);
	if (r.bad || r.left != 0 || ptr.plain_len > XATTR_VALUE_MAX)
		return err_say(-ERR_DAMAGED, "an extended attribute's item is malformed");
	*out_len = ptr.plain_len;
	if (cap == 0)
		return 0;
	if (cap < ptr.plain_len)
		return -ERANGE;
	return blocks_read(v->cfg.blocks, &ptr, BLOCK_DATA, out);
}

int view_getxattr(struct view *v, uint64_t ino, const char *name, void *out, size_t cap,
		  size_t *out_len)
{
	uint8_t value[TREE_VALUE_MAX];
	struct item_key key;
	struct need need;
	size_t len;
	int rc;

	if (strlen(name) > NAME_LEN_MAX)
		return -ERANGE;
	item_key_name(&key, ino, ITEM_XATTR, name, strlen(name));
	do {
		view_rdlock(v);
		rc = getxattr_locked(v, &key, &need, value, &len);
		view_unlock(v);
	} while (view_again(v, &need, &rc));
	if (rc == -ENOENT)
		return -ENODATA;
	if (rc < 0)
		return rc;
	if (len == 0 || value[0] > 1)
		return err_say(-ERR_DAMAGED, "an extended attribute's item is malformed");
	if (value[0] == 1)
		return getxattr_block(v, value + 1, len - 1, out, cap, out_len);
	*out_len = len - 1;
	if (cap == 0)
		return 0;
	if (cap < len - 1)
		return -ERANGE;
	memcpy(out, value + 1, len - 1);
	return 0;
}

static int listxattr_locked(struct view *v, uint64_t ino, struct need *need, char *out, size_t cap,
			    size_t *out_len)
{
	struct map_cursor mc;
	struct item_key key;
	size_t used = 0;
	int rc;

	item_key(&key, ino, ITEM_XATTR);
	map_cursor_init(&mc, &v->map, need);
	for (rc = map_seek(&mc, key.b, key.len); rc == 0; rc = map_next(&mc)) {
		size_t name_len = mc.key_len - key.len;

		if (mc.top < 0 || mc.key_len < key.len || memcmp(mc.key, key.b, key.len) != 0)
			break;
		if (cap != 0 && used + name_len + 1 > cap) {
			rc = -ERANGE;
			break;
		}
		if (cap != 0) {
			memcpy(out + used, mc.key + key.len, name_len);
			out[used + name_len] = '\0';
		}
		used += name_len + 1;
	}
	map_cursor_release(&mc);
	*out_len = used;
	return rc;
}

int view_listxattr(struct view *v, uint64_t ino, char *out, size_t cap, size_t *out_len)
{
	struct need need;
	int rc;

	do {
		view_rdlock(v);
		rc = listxattr_locked(v, ino, &need, out, cap, out_len);
		view_unlock(v);
	} while (view_again(v, &need, &rc));
	return rc;
}

int view_snapshot(struct view *v, const char *name, struct snapshot *out)
{
	uint8_t value[ITEM_SNAPSHOT_LEN];
	struct item_key key;
	struct need need;
	size_t len = strlen(name);
	int rc;

	if (len > NAME_LEN_MAX)
		return -ENOENT;
	item_key_name(&key, 0, ITEM_SNAPSHOT, name, len);
	memcpy(out->name, name, len + 1);
	do {
		view_rdlock(v);
		rc = map_get(&v->map, key.b, key.len, &need, value, sizeof(value), &len);
		view_unlock(v);
	} while (view_again(v, &need, &rc));
	return rc < 0 ? rc : item_snapshot_decode(value, len, out);
}

/* The first snapshot at or after ${key}; -ENOENT if there is none. */
static int next_snapshot_locked(struct view *v, const struct item_key *key, struct need *need,
				struct snapshot *out)
{
	struct map_cursor mc;
	int rc;

	map_cursor_init(&mc, &v->map, need);
	rc = map_seek(&mc, key->b, key->len);
	if (rc == 0 && (mc.top < 0 || mc.key_len <= 9 || mc.key_len > ITEM_KEY_MAX ||
			memcmp(mc.key, key->b, 9) != 0))
		rc = -ENOENT;
	if (rc == 0) {
		memcpy(out->name, mc.key + 9, mc.key_len - 9);
		out->name[mc.key_len - 9] = '\0';
		rc = item_snapshot_decode(mc.value, mc.value_len, out);
	}
	map_cursor_release(&mc);
	return rc;
}

int view_snapshots(struct view *v, int (*fn)(void *ctx, const struct snapshot *s), void *ctx)
{
	struct item_key key;
	struct snapshot s;
	struct need need;
	int rc;

	item_key(&key, 0, ITEM_SNAPSHOT);
	for (;;) {
		do {
			view_rdlock(v);
			rc = next_snapshot_locked(v, &key, &need, &s);
			view_unlock(v);
		} while (view_again(v, &need, &rc));
		if (rc == -ENOENT)
			return 0;
		if (rc == 0)
			rc = fn(ctx, &s);
		if (rc != 0)
			return rc < 0 ? rc : 0;
		/* The least key above this name: the name and a zero byte. */
		item_key_name(&key, 0, ITEM_SNAPSHOT, s.name, strlen(s.name));
		key.b[key.len < ITEM_KEY_MAX ? key.len++ : key.len - 1] = 0;
	}
}
