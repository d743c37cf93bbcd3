/*
 * Making a copy, and opening one.
 *
 * Invariants: see copy.c.  A copy that was opened has been recovered, and its name is durable.
 */

#include "copy_internal.h"

#include "clock.h"
#include "err.h"
#include "file.h"
#include "msg.h"
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEW_PREFIX ".new-"

/* ${dir}/${prefix}${name} as owned text, or NULL. */
static char *join(const char *dir, const char *prefix, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s%s", dir, prefix, name) < 0 ? NULL : path;
}

/* Fill the folder ${dir} of a new copy. */
static int fill_new(const char *dir, const void *text, size_t len, const char *who)
{
	char *conf = join(dir, "", "volume.conf");
	char *owner = join(dir, "", "owner");
	int rc = -ENOMEM;

	if (conf && owner) {
		rc = file_replace(AT_FDCWD, conf, text, len, 0600);
		if (rc == 0)
			rc = file_replace(AT_FDCWD, owner, who, strlen(who), 0600);
	}
	free(conf);
	free(owner);
	return rc;
}

int copy_create(const char *vault_dir, const uint8_t id[VOLUME_ID_LEN], const void *text,
		size_t len, const char *who)
{
	char name[VOLUME_ID_TEXT_LEN];
	char *fresh, *final;
	int rc = -ENOMEM;

	volume_id_format(id, name);
	fresh = join(vault_dir, NEW_PREFIX, name);
	final = join(vault_dir, "", name);
	if (!fresh || !final)
		goto free_names;
	/* What an interrupted creation left behind. */
	rc = file_remove_tree(AT_FDCWD, fresh);
	if (rc < 0)
		goto free_names;
	rc = file_mkdir(AT_FDCWD, fresh, 0700);
	if (rc < 0)
		goto free_names;
	rc = fill_new(fresh, text, len, who);
	if (rc == 0)
		rc = file_rename(AT_FDCWD, fresh, final);
	if (rc == 0)
		rc = file_sync_dir(AT_FDCWD, vault_dir);
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

/* Read a whole small file of the copy. */
static int read_small(struct copy *c, const char *name, size_t max, void **out, size_t *out_len)
{
	char *path = join(c->dir, "", name);
	int rc;

	if (!path)
		return -ENOMEM;
	rc = file_read_all(AT_FDCWD, path, max, out, out_len);
	free(path);
	return rc;
}

static int load_conf(struct copy *c)
{
	void *text;
	size_t len;
	int rc;

	rc = read_small(c, "volume.conf", PARAMS_FILE_MAX, &text, &len);
	if (rc == -ENOENT || rc == -ENOTDIR)
		return -ERR_NO_VOLUME;
	if (rc < 0)
		return err_say(rc, "%s/volume.conf: %s; restore it from another copy", c->dir,
			       err_text(rc));
	rc = conf_new(c->id, text, len, &c->conf);
	free(text);
	/* What is no volume.conf is this server's damage here, not a caller's mistake. */
	if (rc == -ERR_FORMAT)
		rc = err_say(-ERR_DAMAGED, "%s/volume.conf: %s; restore it from another copy",
			     c->dir, err_detail(rc));
	return rc;
}

static int load_owner(struct copy *c)
{
	void *text;
	size_t len;
	int rc;

	rc = read_small(c, "owner", sizeof(c->owner) - 1, &text, &len);
	if (rc < 0)
		return err_say(
			rc == -ENOENT || rc == -EFBIG ? -ERR_DAMAGED : rc,
			"%s/owner: %s; write the owner's identity into it, without a newline",
			c->dir, err_text(rc));
	memcpy(c->owner, text, len);
	c->owner[len] = '\0';
	free(text);
	if (len == 0 || strlen(c->owner) != len)
		return err_say(-ERR_DAMAGED,
			       "%s/owner: no identity; write the owner's into it, "
			       "without a newline",
			       c->dir);
	return 0;
}

int copy_open(const char *vault_dir, const uint8_t id[VOLUME_ID_LEN], struct copy **out)
{
	struct copy *c = calloc(1, sizeof(*c));
	char name[VOLUME_ID_TEXT_LEN];
	int rc = -ENOMEM;

	if (!c)
		return -ENOMEM;
	memcpy(c->id, id, VOLUME_ID_LEN);
	c->dir_fd = -1;
	pthread_mutex_init(&c->conf_mu, NULL);
	pthread_rwlock_init(&c->gate, NULL);
	pthread_mutex_init(&c->mu, NULL);
	clock_cond_init(&c->unlocked);
	volume_id_format(id, name);
	c->dir = join(vault_dir, "", name);
	if (!c->dir)
		goto close_copy;
	rc = load_conf(c);
	if (rc < 0)
		goto close_copy;
	rc = load_owner(c);
	if (rc < 0)
		goto close_copy;
	c->dir_fd = rc = file_open(AT_FDCWD, c->dir, O_RDONLY | O_DIRECTORY, 0);
	if (rc < 0)
		goto close_copy;
	/* Who made it may have died, or failed, before its name was durable. */
	rc = file_sync_dir(AT_FDCWD, vault_dir);
	if (rc < 0)
		goto close_copy;
	rc = store_open(c->dir, true, &c->store);
	if (rc < 0)
		goto close_copy;
	rc = copy_recover(c);
	if (rc < 0)
		goto close_copy;
	c->idle_since_ns = clock_mono_ns();
	*out = c;
	return 0;

close_copy:
	copy_close(c);
	return rc;
}
