/*
 * Changing extended attributes.
 */

#include "volume_internal.h"

#include "bytes.h"
#include "log.h"
#include "params.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

struct xattr_change {
	inode_no ino;
	struct item_key key;
	uint8_t value[1 + XATTR_INLINE_MAX];
	size_t len; /* 0: remove */
	int flags;
	struct change_stamp now;
};

static int change_locked(struct volume *v, struct need *need, const void *in, void *out)
{
	const struct xattr_change *x = in;
	uint8_t old[TREE_VALUE_MAX];
	struct attr a;
	size_t old_len;
	int rc;

	(void)out;
	rc = view_inode_locked(&v->view, x->ino, need, &a);
	if (rc < 0)
		return rc;
	rc = map_get(&v->view.map, x->key.b, x->key.len, need, old, sizeof(old), &old_len);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (rc == 0 && (x->flags & XATTR_CREATE))
		return -EEXIST;
	if (rc == -ENOENT && (x->len == 0 || (x->flags & XATTR_REPLACE)))
		return -ENODATA;
	if (change_reserve(v, 2, sizeof(x->value)) < 0)
		return -ENOMEM;

	if (x->len == 0)
		overlay_del(v->view.map.live, x->key.b, x->key.len);
	else
		overlay_put(v->view.map.live, x->key.b, x->key.len, x->value, x->len);
	a.ctime = change_time(v, &x->now);
	change_inode(v, &a);
	return 0;
}

static int change(struct volume *v, const struct caller *c, struct xattr_change *x)
{
	x->now = change_stamp(v);
	return change_run(v, c, change_locked, x, NULL, 0);
}

static int check_name(const char *name)
{
	size_t len = strlen(name);

	return len == 0 ? -EINVAL : len > NAME_LEN_MAX ? -ERANGE : 0;
}

int volume_setxattr(struct volume *v, const struct caller *c, inode_no ino, const char *name,
		    const void *value, size_t len, int flags)
{
	struct xattr_change x = {.ino = ino, .flags = flags};
	struct block_ptr ptr;
	int rc = check_name(name);

	if (rc == 0 && len > XATTR_VALUE_MAX)
		rc = -E2BIG;
	if (rc == 0 && (flags & ~(XATTR_CREATE | XATTR_REPLACE)) != 0)
		rc = -EINVAL;
	if (rc == 0)
		rc = change_begin(v);
	if (rc < 0)
		return rc;
	item_key_name(&x.key, ino, ITEM_XATTR, name, strlen(name));
	if (len <= XATTR_INLINE_MAX) {
		x.value[0] = 0;
		memcpy(x.value + 1, value, len);
		x.len = 1 + len;
		return change(v, c, &x);
	}
	rc = log_append(v->log, BLOCK_DATA, value, len, v->cfg.params->compress, &ptr);
	scheduler_space_tried(v, rc);
	if (rc < 0)
		return rc;
	x.value[0] = 1;
	put_le64(x.value + 1, ptr.pos);
	put_le32(x.value + 9, ptr.stored_len);
	put_le32(x.value + 13, ptr.plain_len);
	x.len = 1 + BLOCK_PTR_LEN;
	return change(v, c, &x);
}

int volume_removexattr(struct volume *v, const struct caller *c, inode_no ino, const char *name)
{
	struct xattr_change x = {.ino = ino};
	int rc = check_name(name);

	if (rc == 0)
		rc = change_begin(v);
	if (rc < 0)
		return rc;
	item_key_name(&x.key, ino, ITEM_XATTR, name, strlen(name));
	return change(v, c, &x);
}
