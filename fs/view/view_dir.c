/*
 * Reading names: attributes, lookup, links, extended attributes, snapshots.
 */

#include "view_state.h"

#include "blocks.h"
#include "bytes.h"
#include "key.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define NAMES_BATCH 16u /* attribute names collected in one attempt */

int view_inode_locked(struct view *v, inode_no ino, struct need *need, struct attr *out)
{
	uint8_t value[ITEM_INODE_LEN];
	struct item_key key;
	size_t len;
	int rc;

	item_key(&key, ino, ITEM_INODE);
	rc = map_get(&v->map, key.b, key.len, need, value, sizeof(value), &len);
	return rc < 0 ? rc : item_inode_decode(value, len, ino, out);
}

int view_folder_locked(struct view *v, inode_no ino, struct need *need, struct attr *out)
{
	int rc = view_inode_locked(v, ino, need, out);

	if (rc == 0 && !S_ISDIR(out->mode))
		return -ENOTDIR;
	return rc;
}

int view_bucket_locked(struct view *v, inode_no parent, const char *name, struct need *need,
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

struct place {
	inode_no parent;
	const char *name;
};

static int lookup_locked(struct view *v, struct need *need, const void *in, void *out)
{
	const struct place *p = in;
	struct bucket b;
	struct entry e;
	struct attr dir;
	int rc;

	if (strcmp(p->name, "..") == 0 || strcmp(p->name, ".") == 0) {
		rc = view_folder_locked(v, p->parent, need, &dir);
		return rc < 0 ? rc
			      : view_inode_locked(v, p->name[1] ? dir.parent : p->parent, need,
						  out);
	}
	rc = view_bucket_locked(v, p->parent, p->name, need, &b);
	if (rc == 0)
		rc = bucket_find(&b, p->name, &e);
	if (rc == -ENOENT) {
		/* Distinguish a missing name from a parent that is not a folder. */
		rc = view_folder_locked(v, p->parent, need, &dir);
		return rc < 0 ? rc : -ENOENT;
	}
	if (rc < 0)
		return rc;
	rc = view_inode_locked(v, e.ino, need, out);
	if (rc == -ENOENT)
		return err_say(-ERR_DAMAGED,
			       "'%s' in folder %llu names inode %llu, which is not there", p->name,
			       (unsigned long long)p->parent, (unsigned long long)e.ino);
	return rc;
}

int view_lookup(struct view *v, inode_no parent, const char *name, struct attr *out)
{
	struct place p = {parent, name};

	return view_run(v, lookup_locked, &p, out, sizeof(*out));
}

static int getattr_locked(struct view *v, struct need *need, const void *in, void *out)
{
	const inode_no *ino = in;

	return view_inode_locked(v, *ino, need, out);
}

int view_getattr(struct view *v, inode_no ino, struct attr *out)
{
	return view_run(v, getattr_locked, &ino, out, sizeof(*out));
}

/* An item's value. */
struct value {
	size_t len;
	uint8_t b[TREE_VALUE_MAX];
};

static int value_locked(struct view *v, struct need *need, const void *in, void *out)
{
	const struct item_key *key = in;
	struct value *value = out;

	return map_get(&v->map, key->b, key->len, need, value->b, sizeof(value->b), &value->len);
}

static int get_value(struct view *v, const struct item_key *key, struct value *out)
{
	return view_run(v, value_locked, key, out, sizeof(*out));
}

int view_readlink(struct view *v, inode_no ino, char *out)
{
	struct value value;
	struct item_key key;
	int rc;

	item_key(&key, ino, ITEM_SYMLINK);
	rc = get_value(v, &key, &value);
	if (rc == -ENOENT)
		return -EINVAL;
	if (rc == 0 && value.len > SYMLINK_LEN_MAX)
		return err_say(-ERR_DAMAGED, "inode %llu: its target is too long",
			       (unsigned long long)ino);
	if (rc < 0)
		return rc;
	memcpy(out, value.b, value.len);
	out[value.len] = '\0';
	return 0;
}

/* Read a value that is too long for an item and so has a block of its own. */
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

int view_getxattr(struct view *v, inode_no ino, const char *name, void *out, size_t cap,
		  size_t *out_len)
{
	struct value value;
	struct item_key key;
	int rc;

	if (strlen(name) > NAME_LEN_MAX)
		return -ERANGE;
	item_key_name(&key, ino, ITEM_XATTR, name, strlen(name));
	rc = get_value(v, &key, &value);
	if (rc == -ENOENT)
		return -ENODATA;
	if (rc < 0)
		return rc;
	if (value.len == 0 || value.b[0] > 1)
		return err_say(-ERR_DAMAGED, "an extended attribute's item is malformed");
	if (value.b[0] == 1)
		return getxattr_block(v, value.b + 1, value.len - 1, out, cap, out_len);
	*out_len = value.len - 1;
	if (cap == 0)
		return 0;
	if (cap < value.len - 1)
		return -ERANGE;
	memcpy(out, value.b + 1, value.len - 1);
	return 0;
}

/* Attribute names collected in one attempt, each with its NUL. */
struct names {
	struct item_key last; /* the key of the last */
	size_t n, len;
	bool end; /* there are no further names */
	char text[NAMES_BATCH * (NAME_LEN_MAX + 1)];
};

/* Collect the attribute names after the key ${in}. */
static int names_locked(struct view *v, struct need *need, const void *in, void *out)
{
	const struct item_key *after = in;
	struct names *names = out;
	struct map_cursor mc;
	int rc;

	names->n = names->len = 0;
	names->end = false;
	map_cursor_init(&mc, &v->map, need);
	for (rc = map_seek(&mc, after->b, after->len); rc == 0; rc = map_next(&mc)) {
		size_t len = mc.key_len - ITEM_PREFIX_LEN;

		if (mc.top < 0 || !item_key_is_of(after, mc.key, mc.key_len)) {
			names->end = true;
			break;
		}
		if (key_cmp(mc.key, mc.key_len, after->b, after->len) == 0)
			continue;
		if (len > NAME_LEN_MAX) {
			rc = err_say(-ERR_DAMAGED, "an extended attribute's name is too long");
			break;
		}
		memcpy(names->last.b, mc.key, mc.key_len);
		names->last.len = mc.key_len;
		memcpy(names->text + names->len, mc.key + ITEM_PREFIX_LEN, len);
		names->text[names->len + len] = '\0';
		names->len += len + 1;
		if (++names->n == NAMES_BATCH)
			break;
	}
	map_cursor_release(&mc);
	return rc;
}

int view_listxattr(struct view *v, inode_no ino, char *out, size_t cap, size_t *out_len)
{
	struct item_key after;
	struct names names;
	int rc;

	*out_len = 0;
	item_key(&after, ino, ITEM_XATTR);
	do {
		rc = view_run(v, names_locked, &after, &names, sizeof(names));
		if (rc < 0)
			return rc;
		if (cap != 0 && names.len > cap - *out_len)
			return -ERANGE;
		if (cap != 0)
			memcpy(out + *out_len, names.text, names.len);
		*out_len += names.len;
		after = names.last;
	} while (!names.end);
	return 0;
}

int view_snapshot(struct view *v, const char *name, struct snapshot *out)
{
	struct value value;
	struct item_key key;
	size_t len = strlen(name);
	int rc;

	if (len > NAME_LEN_MAX)
		return -ENOENT;
	item_key_name(&key, 0, ITEM_SNAPSHOT, name, len);
	memcpy(out->name, name, len + 1);
	rc = get_value(v, &key, &value);
	return rc < 0 ? rc : item_snapshot_decode(value.b, value.len, out);
}

struct named {
	struct item_key key;
	struct snapshot s;
};

/* The first snapshot after the key ${in}; -ENOENT if there is none. */
static int next_snapshot_locked(struct view *v, struct need *need, const void *in, void *out)
{
	const struct item_key *after = in;
	struct named *n = out;
	struct map_cursor mc;
	size_t len = 0;
	int rc;

	map_cursor_init(&mc, &v->map, need);
	rc = map_seek(&mc, after->b, after->len);
	if (rc == 0 && mc.top >= 0 && key_cmp(mc.key, mc.key_len, after->b, after->len) == 0)
		rc = map_next(&mc);
	if (rc == 0 && (mc.top < 0 || !item_key_is_of(after, mc.key, mc.key_len)))
		rc = -ENOENT;
	if (rc == 0) {
		len = mc.key_len - ITEM_PREFIX_LEN;
		if (len == 0 || len > NAME_LEN_MAX)
			rc = err_say(-ERR_DAMAGED, "a snapshot's item is malformed");
	}
	if (rc == 0) {
		memcpy(n->key.b, mc.key, mc.key_len);
		n->key.len = mc.key_len;
		memcpy(n->s.name, mc.key + ITEM_PREFIX_LEN, len);
		n->s.name[len] = '\0';
		rc = item_snapshot_decode(mc.value, mc.value_len, &n->s);
	}
	map_cursor_release(&mc);
	return rc;
}

int view_snapshots(struct view *v, int (*fn)(void *ctx, const struct snapshot *s), void *ctx)
{
	struct item_key after;
	struct named n;
	int rc;

	item_key(&after, 0, ITEM_SNAPSHOT);
	for (;;) {
		rc = view_run(v, next_snapshot_locked, &after, &n, sizeof(n));
		if (rc == -ENOENT)
			return 0;
		if (rc == 0)
			rc = fn(ctx, &n.s);
		if (rc != 0)
			return rc < 0 ? rc : 0;
		after = n.key;
	}
}
