/*
 * Finding out what a command's argument names.
 *
 * A name of the form HOST:PORT/ID is a server's volume, unless a folder of that name exists.  A
 * folder with .embassy/status in it is a mount; one with a volume.conf is a volume.  The kernel's
 * mount table says what is mounted at a mount point.
 */

#include "target.h"

#include "address.h"
#include "blocks.h"
#include "cache.h"
#include "err.h"
#include "file.h"
#include "head.h"
#include "jsontext.h"
#include "keys.h"
#include "mountinfo.h"
#include "params.h"
#include "remote.h"
#include "source.h"
#include "source_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define STATUS_MAX ((size_t)1 << 20)
#define NODE_CACHE_BYTES ((size_t)32 << 20)
#define LOG_CACHE_BYTES (UINT64_C(256) << 20)

/* Does DIR/NAME exist?  Returns 0, -ENOENT, or why that is unknown.  Does only a look-up. */
static int holds(const char *dir, const char *name)
{
	struct stat st;
	char *path;
	int rc;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		return -ENOMEM;
	rc = stat(path, &st) == 0 ? 0 : -errno;
	free(path);
	return rc == -ENOTDIR ? -ENOENT : rc;
}

/* Report why ${text} cannot be looked at; it remains unknown what it is. */
static int look_failed(const char *text, int err)
{
	if (err == ENOTCONN)
		return err_say(-err,
			       "%s: a mount whose daemon has gone; unmount it with 'fusermount3 -u "
			       "%s' and mount it again: what was durable is there",
			       text, text);
	if (err == EACCES)
		return err_say(
			-ERR_FORBIDDEN,
			"%s: this user may not look into it; only its owner may or, of a mount "
			"without allow_other, the user who mounted it",
			text);
	return err_say(-err, "%s: %s", text, strerror(err));
}

int target_not_yours(const char *mount)
{
	return err_say(-ERR_FORBIDDEN, "%s: only root and the user who mounted it may do this",
		       mount);
}

/*
 * Is an EmbassyFS mounted at ${text}?  Returns 0, -ENOENT, or why that is unknown, with a detail.
 */
static int find_status(const char *text)
{
	int rc = holds(text, ".embassy/status");

	if (rc == -EACCES && holds(text, ".embassy") == 0)
		return err_say(-ERR_FORBIDDEN,
			       "%s: its .embassy is open only to root and the user who mounted it "
			       "(see history= in embassyfs(1))",
			       text);
	return rc == 0 || rc == -ENOENT ? rc : look_failed(text, -rc);
}

/* Check a volume's folder. */
static int check_readable(const char *text)
{
	char *path;
	int rc;

	if (asprintf(&path, "%s/volume.conf", text) < 0)
		return -ENOMEM;
	rc = access(path, R_OK) < 0 && errno == EACCES ? look_failed(text, EACCES) : 0;
	free(path);
	return rc;
}

int target_check_folder(const char *text, const char *remote_advice)
{
	uint8_t volume[VOLUME_ID_LEN];
	struct stat st;
	char *address;
	int rc;

	if (stat(text, &st) < 0 && errno != ENOENT && errno != ENOTDIR)
		return look_failed(text, errno);
	if (stat(text, &st) < 0) {
		if (address_parse_target(text, &address, volume) < 0)
			return 0;
		free(address);
		return err_say(-ERR_NO_VOLUME, "%s: it is on a block server; %s", text,
			       remote_advice);
	}
	rc = holds(text, ".embassy/status");
	if (rc == 0 || (rc == -EACCES && holds(text, ".embassy") == 0))
		return err_say(-ERR_NO_VOLUME,
			       "%s: it is a mount point; give the folder of the volume that is "
			       "mounted there",
			       text);
	return rc == -ENOENT ? check_readable(text) : look_failed(text, -rc);
}

int target_find_mount(const char *text)
{
	struct stat st;
	int rc;

	if (stat(text, &st) < 0) {
		rc = -errno;
		if (rc != -ENOENT)
			return look_failed(text, -rc);
		return err_say(-ERR_NO_VOLUME, "%s: %s; give the mount point", text, strerror(-rc));
	}
	rc = find_status(text);
	if (rc != -ENOENT)
		return rc;
	if (holds(text, "volume.conf") == 0)
		return err_say(-ERR_NO_VOLUME,
			       "%s: it is a volume's folder; give the mount point, where "
			       "'embassyfs %s MOUNT' has mounted it",
			       text, text);
	return err_say(-ERR_NO_VOLUME,
		       "%s: no EmbassyFS is mounted there; mount one with 'embassyfs VOLUME %s'",
		       text, text);
}

/* Find out what it is; sets all but out->text. */
static int look(const char *text, struct target *out)
{
	struct stat st;
	int rc;

	if (stat(text, &st) < 0 && errno != ENOENT && errno != ENOTDIR)
		return look_failed(text, errno);
	if (stat(text, &st) < 0) {
		rc = address_parse_target(text, &out->address, out->volume);
		out->kind = TARGET_REMOTE;
		if (rc == -ERR_FORMAT)
			return err_say(-ERR_NO_VOLUME,
				       "%s: no such folder, and not of the form "
				       "HOST:PORT/VOLUME-ID",
				       text);
		return rc;
	}
	out->kind = TARGET_MOUNT;
	rc = find_status(text);
	if (rc != -ENOENT)
		return rc;
	out->kind = TARGET_FOLDER;
	/* If one of the two is missing, the code that reads it reports that. */
	if (holds(text, "volume.conf") == 0 || holds(text, "log") == 0)
		return check_readable(text);
	if (access(text, R_OK | X_OK) < 0)
		return look_failed(text, errno);
	return err_say(-ERR_NO_VOLUME,
		       "%s: neither a mount point of EmbassyFS nor a volume's folder", text);
}

int target_find(const char *text, struct target *out)
{
	int rc;

	memset(out, 0, sizeof(*out));
	rc = look(text, out);
	if (rc < 0)
		return rc;
	out->text = strdup(text);
	if (out->text)
		return 0;
	target_release(out);
	return -ENOMEM;
}

bool target_is_server(const char *text)
{
	struct stat st;

	return stat(text, &st) < 0 && address_check(text) == 0 &&
	       (strncmp(text, "unix:", 5) != 0 || stat(text + 5, &st) == 0);
}

void target_release(struct target *t)
{
	free(t->address);
	free(t->text);
	t->address = t->text = NULL;
}

/* The source of the mount on the device that ${path} lies on; the caller frees it. */
static int mounted_source(const char *path, char **out)
{
	struct mountinfo mounts;
	struct stat st;
	int rc;

	*out = NULL;
	if (stat(path, &st) < 0)
		return -errno;
	rc = mountinfo_read(MOUNTINFO_OWN, &mounts);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < mounts.n && !*out; i++)
		if (mounts.row[i].dev == st.st_dev)
			*out = strdup(mounts.row[i].source);
	mountinfo_release(&mounts);
	return *out ? 0 : -ENOENT;
}

static int open_remote(const char *address, const uint8_t *volume, const char *tls_dir,
		       struct source **out)
{
	const struct remote_config cfg = {
		.address = address,
		.volume = volume,
		.tls_dir = tls_dir,
		.cache_bytes = LOG_CACHE_BYTES,
	};

	return source_open_remote(&cfg, out);
}

struct reading {
	int fd, err;
	size_t left;
};

static size_t read_some(void *out, size_t len, void *ctx)
{
	struct reading *r = ctx;
	ssize_t n = read(r->fd, out, len);

	r->err = n < 0 ? errno : (size_t)n > r->left ? EFBIG : 0;
	if (r->err != 0)
		return (size_t)-1;
	r->left -= (size_t)n;
	return (size_t)n;
}

int target_read_status(const char *mount, json_t **out)
{
	struct reading r = {.left = STATUS_MAX};
	json_error_t error;
	char *path;

	if (asprintf(&path, "%s/.embassy/status", mount) < 0)
		return -ENOMEM;
	r.fd = file_open(AT_FDCWD, path, O_RDONLY, 0);
	free(path);
	if (r.fd < 0)
		return err_say(r.fd, "%s: its status can't be read: %s", mount, strerror(-r.fd));
	*out = json_load_callback(read_some, &r, JSON_REJECT_DUPLICATES, &error);
	file_close(r.fd);
	if (r.err == 0 && json_is_object(*out))
		return 0;
	json_decref(*out);
	/* libjansson takes a failed read for the end of the text. */
	if (r.err != 0)
		return err_say(-r.err, "%s: its status can't be read: %s", mount, strerror(r.err));
	if (!*out && json_error_code(&error) == json_error_out_of_memory)
		return -ENOMEM;
	return err_say(-ERR_FORMAT, "%s: its status is no JSON object", mount);
}

/* Is ${src} what is mounted where ${status} is from, and not another volume or an older copy? */
static int check_mounted(const json_t *status, struct source *src)
{
	char id[VOLUME_ID_TEXT_LEN];
	struct head newest;
	int rc;

	volume_id_format(src->params->id, id);
	if (strcmp(jsontext_get(status, "volume"), id) != 0)
		return -ERR_NO_VOLUME;
	rc = src->ops->head_at(src, INT64_MAX, &newest);
	if (rc < 0)
		return rc;
	return newest.number < jsontext_get_u64(json_object_get(status, "head"), "number")
		       ? -ERR_NO_VOLUME
		       : 0;
}

/*
 * The kernel tells the path that the folder had when it was mounted.  It may have been moved since,
 * and another be in its place.
 */
static int mounted_folder(const char *mount, const char *path, struct source **out)
{
	json_t *status;
	int rc = target_read_status(mount, &status);

	if (rc < 0)
		return rc;
	rc = source_open_folder(path, out);
	if (rc == 0) {
		rc = check_mounted(status, *out);
		if (rc < 0)
			source_free(*out);
	}
	json_decref(status);
	if (rc == -ERR_NO_VOLUME)
		return err_say(rc,
			       "%s: the folder that it was mounted from, %s, is there no more, or "
			       "another copy is in its place; give the folder where it is now",
			       mount, path);
	return rc;
}

static int mount_source(const char *mount, const char *tls_dir, struct source **out)
{
	uint8_t volume[VOLUME_ID_LEN];
	char *mounted, *address;
	int rc;

	rc = mounted_source(mount, &mounted);
	if (rc < 0)
		return err_say(rc, "%s: what is mounted there can't be found out", mount);
	if (mounted[0] == '/') {
		rc = mounted_folder(mount, mounted, out);
	} else {
		rc = address_parse_target(mounted, &address, volume);
		if (rc == 0) {
			rc = open_remote(address, volume, tls_dir, out);
			free(address);
		} else {
			rc = err_say(rc, "%s: '%s' is mounted there, which names no volume", mount,
				     mounted);
		}
	}
	free(mounted);
	return rc;
}

int target_source(const struct target *t, const char *tls_dir, struct source **out)
{
	switch (t->kind) {
	case TARGET_MOUNT:
		return mount_source(t->text, tls_dir, out);
	case TARGET_FOLDER:
		/*
		 * Check and mount report a damaged end; here the whole part is enough to list and
		 * repair from.
		 */
		return source_open_folder_partial(t->text, out);
	case TARGET_REMOTE:
		return open_remote(t->address, t->volume, tls_dir, out);
	}
	return -EINVAL;
}

int session_open(struct session *s, struct source *src, const struct cmd_credential *c)
{
	struct block_io io;
	int rc;

	memset(s, 0, sizeof(*s));
	s->keys = calloc(1, sizeof(*s->keys));
	if (!s->keys)
		return -ENOMEM;
	rc = cmd_unlock(c, src->params, s->keys);
	if (rc < 0)
		return rc;
	s->unlocked = true;
	s->config.source = src;
	s->config.name_key = s->keys->name_key;
	rc = blocks_new(src, s->keys->log_key, &s->config.blocks);
	if (rc < 0)
		return rc;
	io = blocks_io(s->config.blocks);
	return node_cache_new(NODE_CACHE_BYTES, &io, &s->config.cache);
}

void session_close(struct session *s)
{
	if (s->config.cache)
		node_cache_free(s->config.cache);
	if (s->config.blocks)
		blocks_free(s->config.blocks);
	if (s->unlocked)
		keys_release(s->keys);
	free(s->keys);
	memset(s, 0, sizeof(*s));
}

int target_order(const char *mount, const char *order, const char *value)
{
	char *path, *name;
	int rc = -ENOMEM;

	if (asprintf(&path, "%s/.embassy", mount) < 0)
		return rc;
	if (asprintf(&name, "system.embassyfs.%s", order) >= 0) {
		rc = setxattr(path, name, value, strlen(value), 0) < 0 ? -errno : 0;
		free(name);
	}
	free(path);
	return rc;
}
