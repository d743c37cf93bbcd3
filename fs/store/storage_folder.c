/*
 * A pool of volumes in a folder.
 *
 * Invariants:
 *  1. One process uses a pool: DIR/lock is held.
 *  2. A folder under its final name has volume.conf and owner: it is made beside and renamed.
 *  3. A name is durable before anybody builds on it: whoever opens a pool or a volume syncs the folder
 *     that it is in again, since who made it may have died, or failed, before that.
 */

#include "storage_folder.h"

#include "err.h"
#include "file.h"
#include "msg.h"
#include "params.h"
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEW_PREFIX ".new-"

struct pool {
	struct storage_pool pool; /* first */
	char *dir;
	int lock_fd;
};

static struct pool *pool_of(struct storage_pool *p)
{
	return (struct pool *)p;
}

/* DIR/${prefix}${id}${rest} as owned text, or NULL. */
static char *path_of(const struct pool *p, const char *prefix, const uint8_t id[VOLUME_ID_LEN],
		     const char *rest)
{
	char name[VOLUME_ID_TEXT_LEN], *path;

	volume_id_format(id, name);
	return asprintf(&path, "%s/%s%s%s", p->dir, prefix, name, rest) < 0 ? NULL : path;
}

/* Names that are volume ids; all others (lock, unfinished creations) are passed over. */
struct listing {
	int (*fn)(void *ctx, const uint8_t id[VOLUME_ID_LEN]);
	void *ctx;
};

static int visit(void *ctx, const char *name)
{
	struct listing *l = ctx;
	uint8_t id[VOLUME_ID_LEN];

	return volume_id_parse(name, id) < 0 ? 0 : l->fn(l->ctx, id);
}

static int pool_list(struct storage_pool *pool,
		     int (*fn)(void *ctx, const uint8_t id[VOLUME_ID_LEN]), void *ctx)
{
	struct listing l = {fn, ctx};

	return file_list(AT_FDCWD, pool_of(pool)->dir, visit, &l);
}

static int pool_has(struct storage_pool *pool, const uint8_t id[VOLUME_ID_LEN])
{
	char *path = path_of(pool_of(pool), "", id, "");
	int rc;

	if (!path)
		return -ENOMEM;
	rc = file_exists(AT_FDCWD, path);
	if (rc < 0)
		err_say(rc, "%s: %s", path, err_text(rc));
	free(path);
	return rc;
}

static int pool_owner(struct storage_pool *pool, const uint8_t id[VOLUME_ID_LEN], char *out,
		      size_t cap)
{
	char *path = path_of(pool_of(pool), "", id, "/owner");
	void *text;
	size_t len;
	int rc;

	if (!path)
		return -ENOMEM;
	rc = file_read_all(AT_FDCWD, path, cap - 1, &text, &len);
	if (rc < 0) {
		rc = err_say(rc == -ENOENT || rc == -EFBIG ? -ERR_DAMAGED : rc,
			     "%s: %s; write the owner's identity into it, without a newline", path,
			     err_text(rc));
		goto free_path;
	}
	memcpy(out, text, len);
	out[len] = '\0';
	free(text);
	if (len == 0 || strlen(out) != len)
		rc = err_say(-ERR_DAMAGED,
			     "%s: no identity; write the owner's into it, without a newline", path);

free_path:
	free(path);
	return rc;
}

/* Fill the folder ${dir} of a new volume. */
static int fill_new(const char *dir, const char *owner, const void *conf, size_t len)
{
	int fd = file_open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0), rc;

	if (fd < 0)
		return fd;
	rc = file_replace(fd, "volume.conf", conf, len, 0600);
	if (rc == 0)
		rc = file_replace(fd, "owner", owner, strlen(owner), 0600);
	file_close(fd);
	return rc;
}

static int pool_create(struct storage_pool *pool, const uint8_t id[VOLUME_ID_LEN],
		       const char *owner, const void *conf, size_t len)
{
	struct pool *p = pool_of(pool);
	char *fresh = path_of(p, NEW_PREFIX, id, ""), *final = path_of(p, "", id, "");
	int rc = -ENOMEM;

	if (!fresh || !final)
		goto free_names;
	/* What an interrupted creation left behind. */
	rc = file_remove_tree(AT_FDCWD, fresh);
	if (rc < 0)
		goto free_names;
	rc = file_mkdir(AT_FDCWD, fresh, 0700);
	if (rc < 0)
		goto free_names;
	rc = fill_new(fresh, owner, conf, len);
	if (rc == 0)
		rc = file_rename(AT_FDCWD, fresh, final);
	if (rc == 0)
		rc = file_sync_dir(AT_FDCWD, p->dir);
	else if (file_remove_tree(AT_FDCWD, fresh) < 0)
		msg_event(MSG_WARN, "volume-left-over",
			  "%s: left over from a volume that could not be created; remove it",
			  fresh);
	if (rc == -ENOTEMPTY)
		rc = -EEXIST;

free_names:
	free(fresh);
	free(final);
	return rc;
}

static int pool_open(struct storage_pool *pool, const uint8_t id[VOLUME_ID_LEN],
		     struct storage **out)
{
	struct pool *p = pool_of(pool);
	char *dir = path_of(p, "", id, ""), *conf = path_of(p, "", id, "/volume.conf");
	struct store *st;
	int rc = -ENOMEM;

	if (!dir || !conf)
		goto free_names;
	rc = file_exists(AT_FDCWD, conf);
	if (rc <= 0) {
		rc = rc < 0 ? err_say(rc, "%s: %s", conf, err_text(rc)) : -ERR_NO_VOLUME;
		goto free_names;
	}
	rc = file_sync_dir(AT_FDCWD, p->dir);
	if (rc == 0)
		rc = store_open(dir, STORE_WRITABLE | STORE_COPY, &st);
	if (rc == 0)
		*out = store_storage(st);

free_names:
	free(dir);
	free(conf);
	return rc;
}

static void pool_renew(struct storage_pool *pool)
{
	(void)pool; /* the lock is kept by the kernel */
}

static void pool_close(struct storage_pool *pool)
{
	struct pool *p = pool_of(pool);

	file_close(p->lock_fd);
	free(p->dir);
	free(p);
}

static const struct storage_pool_ops pool_ops = {
	.list = pool_list,
	.has = pool_has,
	.owner = pool_owner,
	.create = pool_create,
	.open = pool_open,
	.renew = pool_renew,
	.close = pool_close,
};

static int take_lock(struct pool *p)
{
	char *path;
	int rc;

	if (asprintf(&path, "%s/lock", p->dir) < 0)
		return -ENOMEM;
	p->lock_fd = rc = file_open(AT_FDCWD, path, O_RDWR | O_CREAT, 0600);
	free(path);
	if (rc < 0)
		return rc;
	rc = file_lock(p->lock_fd);
	return rc == -EAGAIN ? -ERR_LOCKED : rc;
}

/*
 * Have the pool's folder, durable in name: also where it was there, since who made it may have died
 * before that.  One in a folder that this user may not read was made by another.
 */
static int make_folder(const char *dir)
{
	int made = file_mkdir(AT_FDCWD, dir, 0700), rc;

	if (made < 0 && made != -EEXIST)
		return made;
	rc = file_sync_parent(AT_FDCWD, dir);
	return rc == -EACCES && made == -EEXIST ? 0 : rc;
}

/* Not a volume's own folder, which a pool's lock would be mixed up with. */
static int check_is_pool(const char *dir)
{
	char *path;
	int rc;

	if (asprintf(&path, "%s/volume.conf", dir) < 0)
		return -ENOMEM;
	rc = file_exists(AT_FDCWD, path);
	free(path);
	if (rc != 1)
		return 0;
	return err_say(-EINVAL,
		       "%s: a volume's folder; give another one, in which copies of volumes are "
		       "kept",
		       dir);
}

int storage_folder_open(const char *dir, struct storage_pool **out)
{
	struct pool *p;
	int rc = check_is_pool(dir);

	if (rc < 0)
		return rc;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->lock_fd = -1;
	p->dir = strdup(dir);
	p->pool = (struct storage_pool){.ops = &pool_ops, .name = p->dir};
	rc = p->dir ? make_folder(dir) : -ENOMEM;
	if (rc == 0)
		rc = take_lock(p);
	if (rc < 0) {
		pool_close(&p->pool);
		if (rc == -ERR_LOCKED)
			return err_say(rc, "%s: another server has it open; stop that one first",
				       dir);
		return err_say(rc, "%s: %s; give a folder that this user can write to", dir,
			       err_text(rc));
	}
	*out = &p->pool;
	return 0;
}
