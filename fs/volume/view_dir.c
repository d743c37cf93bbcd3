/*
 * Reading names: attributes, lookup, folders, links, extended attributes, snapshots.
 */

#include "view_internal.h"

#include "blocks.h"
#include "bytes.h"
#include "key.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define READDIR_BATCH 128u
#define COOKIE_DOT 1u
#define COOKIE_DOTDOT 2u
#define NAMES_BATCH 16u /* names of attributes that are taken in one attempt */
#define PREFIX_LEN 9u	/* of a key: inode and type */

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

struct place {
	uint64_t parent;
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
		/* Tell a missing name from a parent that is no folder. */
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

int view_lookup(struct view *v, uint64_t parent, const char *name, struct attr *out)
{
	struct place p = {parent, name};

	return view_run(v, lookup_locked, &p, out, sizeof(*out));
}

static int getattr_locked(struct view *v, struct need *need, const void *in, void *out)
{
	const uint64_t *ino = in;

	return view_inode_locked(v, *ino, need, out);
}

int view_getattr(struct view *v, uint64_t ino, struct attr *out)
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

int view_readlink(struct view *v, uint64_t ino, char *out)
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

/* Entries taken under the lock, to be given out without it. */
struct batch {
	size_t n;
	bool end;      /* the folder ends with them */
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
	uint64_t cookie;
	size_t before = b->n;
	struct entry e;
	size_t at = 0;
	int rc;

	if (mc->key_len != ITEM_KEY_NUM_LEN)
		return err_say(-ERR_DAMAGED, "a folder's entry has a malformed key");
	cookie = get_be64(mc->key + PREFIX_LEN);
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

struct listing {
	uint64_t ino, cookie;
	bool attrs;
};

/*
 * What was found before a missing node is a batch of its own: the next one begins with the node
 * there.  So each node that is missing costs one attempt that found nothing, however many there are.
 */
static int fill_batch_locked(struct view *v, struct need *need, const void *in, void *out)
{
	const struct listing *l = in;
	struct batch *b = out;
	struct map_cursor mc;
	struct item_key key;
	int rc;

	b->n = 0;
	b->end = false;
	b->next = l->cookie;
	item_key_num(&key, l->ino, ITEM_ENTRY, l->cookie + 1);
	map_cursor_init(&mc, &v->map, need);
	for (rc = map_seek(&mc, key.b, key.len); rc == 0; rc = map_next(&mc)) {
		if (mc.top < 0 || mc.key_len < PREFIX_LEN ||
		    memcmp(mc.key, key.b, PREFIX_LEN) != 0) {
			b->end = true;
			break;
		}
		rc = batch_add_bucket(v, b, &mc, l->attrs, need);
		if (rc != 0)
			break;
	}
	map_cursor_release(&mc);
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
	struct listing l = {.ino = ino, .attrs = attrs};
	struct batch *b;
	int rc;

	rc = give_dots(v, ino, &cookie, fn, ctx);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	b = malloc(sizeof(*b));
	if (b == NULL)
		return -ENOMEM;
	l.cookie = cookie;
	do {
		rc = view_run(v, fill_batch_locked, &l, b, sizeof(*b));
		l.cookie = b->next;
	} while (rc == 0 && give_batch(b, attrs, fn, ctx) && !b->end);
	free(b);
	return rc;
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

/* Names that were taken in one attempt, each with its NUL. */
struct names {
	struct item_key last; /* the key of the last */
	size_t n, len;
	bool end; /* there are no more */
	char text[NAMES_BATCH * (NAME_LEN_MAX + 1)];
};

/* The names of attributes behind ${in}, the key of one. */
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
		size_t len = mc.key_len - PREFIX_LEN;

		if (mc.top < 0 || mc.key_len < PREFIX_LEN ||
		    memcmp(mc.key, after->b, PREFIX_LEN) != 0) {
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
		memcpy(names->text + names->len, mc.key + PREFIX_LEN, len);
		names->text[names->len + len] = '\0';
		names->len += len + 1;
		if (++names->n == NAMES_BATCH)
			break;
	}
	map_cursor_release(&mc);
	return rc;
}

int view_listxattr(struct view *v, uint64_t ino, char *out, size_t cap, size_t *out_len)
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

/* The first snapshot behind the key ${in}; -ENOENT if there is none. */
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
	if (rc == 0 &&
	    (mc.top < 0 || mc.key_len < PREFIX_LEN || memcmp(mc.key, after->b, PREFIX_LEN) != 0))
		rc = -ENOENT;
	if (rc == 0) {
		len = mc.key_len - PREFIX_LEN;
		if (len == 0 || len > NAME_LEN_MAX)
			rc = err_say(-ERR_DAMAGED, "a snapshot's item is malformed");
	}
	if (rc == 0) {
		memcpy(n->key.b, mc.key, mc.key_len);
		n->key.len = mc.key_len;
		memcpy(n->s.name, mc.key + PREFIX_LEN, len);
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
