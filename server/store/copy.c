/*
 * The server's copy of one volume: its folder, its volume.conf, where it stands.
 *
 * Key idea: the folder has the format of a home's, so that a copy can be mounted without a server.
 * What is served is decided by one small struct in memory, the stand, which only ever names
 * verified durable bytes.
 *
 * Invariants:
 *  1. stand.end never goes back while the server runs, except that a copy found damaged is closed
 *     as a whole.
 *  2. A folder under its final name has volume.conf and owner: it is made beside and renamed.
 *  3. volume.conf's serial grows, and a grant once in it stays.
 *  4. The owner never changes.
 */

#include "copy_internal.h"

#include "buf.h"
#include "catalog.h"
#include "clock.h"
#include "err.h"
#include "file.h"
#include "msg.h"
#include "store.h"

#include <assert.h>
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

/* Decode ${text}, which must be of volume ${id}, into ${*out} with one reference. */
static int conf_new(const uint8_t id[VOLUME_ID_LEN], const void *text, size_t len,
		    struct conf **out)
{
	struct conf *conf = malloc(sizeof(*conf) + len);
	int rc;

	if (!conf)
		return -ENOMEM;
	rc = params_decode(text, len, &conf->params);
	if (rc < 0) {
		free(conf);
		return rc;
	}
	atomic_init(&conf->refs, 1);
	conf->len = len;
	memcpy(conf->text, text, len);
	if (memcmp(conf->params.id, id, VOLUME_ID_LEN) != 0) {
		conf_put(conf);
		return err_say(-EINVAL, "volume.conf: it is another volume's");
	}
	*out = conf;
	return 0;
}

void conf_put(struct conf *conf)
{
	if (conf && atomic_fetch_sub(&conf->refs, 1) == 1) {
		params_release(&conf->params);
		free(conf);
	}
}

struct conf *copy_conf(struct copy *c)
{
	struct conf *conf;

	pthread_mutex_lock(&c->mu);
	conf = c->conf;
	atomic_fetch_add(&conf->refs, 1);
	pthread_mutex_unlock(&c->mu);
	return conf;
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
	clock_cond_init(&c->free_to_append);
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

void copy_close(struct copy *c)
{
	if (!c)
		return;
	assert(!c->appender);
	catalog_close(c->catalog);
	store_close(c->store);
	file_close(c->dir_fd);
	conf_put(c->conf);
	pthread_cond_destroy(&c->free_to_append);
	pthread_mutex_destroy(&c->mu);
	pthread_rwlock_destroy(&c->gate);
	pthread_mutex_destroy(&c->conf_mu);
	free(c->dir);
	free(c);
}

void copy_ref(struct copy *c)
{
	pthread_mutex_lock(&c->mu);
	c->n_users++;
	pthread_mutex_unlock(&c->mu);
}

void copy_unref(struct copy *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->mu);
	assert(c->n_users > 0);
	if (--c->n_users == 0)
		c->idle_since_ns = clock_mono_ns();
	pthread_mutex_unlock(&c->mu);
}

bool copy_is_idle(struct copy *c, uint64_t idle_ns)
{
	bool idle;

	pthread_mutex_lock(&c->mu);
	idle = c->n_users == 0 && clock_mono_ns() - c->idle_since_ns >= idle_ns;
	assert(!idle || !c->appender);
	pthread_mutex_unlock(&c->mu);
	return idle;
}

const uint8_t *copy_id(const struct copy *c)
{
	return c->id;
}

void copy_get_stand(struct copy *c, struct copy_stand *out)
{
	pthread_mutex_lock(&c->mu);
	*out = c->stand;
	pthread_mutex_unlock(&c->mu);
}

void copy_publish(struct copy *c, const struct copy_stand *s)
{
	pthread_mutex_lock(&c->mu);
	c->stand = *s;
	pthread_mutex_unlock(&c->mu);
}

bool copy_owned_by(const struct copy *c, const char *who)
{
	return strcmp(c->owner, who) == 0;
}

int copy_get_params(struct copy *c, struct buf *out)
{
	struct conf *conf = copy_conf(c);
	int rc = buf_add(out, conf->text, conf->len);

	conf_put(conf);
	return rc;
}

/* Whether every grant of ${old} is in ${new} as it was. */
static bool keeps_grants(const struct params *old, const struct params *new)
{
	for (uint32_t i = 0; i < old->n_grants; i++) {
		const struct grant *g = &old->grants[i];
		const uint8_t *writer = params_writer(new, g->epoch);

		if (!writer || memcmp(writer, g->writer, SIGN_PUBLIC_LEN) != 0)
			return false;
	}
	return true;
}

static int judge_successor(const struct conf *old, const struct conf *new)
{
	if (new->params.serial <= old->params.serial)
		return err_say(-ERR_STALE,
			       "volume.conf: its serial %llu is not higher than %llu, which "
			       "is stored here; fetch that one and change it",
			       (unsigned long long)new->params.serial,
			       (unsigned long long)old->params.serial);
	if (!keeps_grants(&old->params, &new->params))
		return err_say(-ERR_FORBIDDEN,
			       "volume.conf: it takes away or changes an epoch's grant; "
			       "grants may only be added");
	return 0;
}

int copy_put_params(struct copy *c, const void *text, size_t len)
{
	struct conf *new, *old;
	uint64_t serial;
	char *path;
	int rc;

	rc = conf_new(c->id, text, len, &new);
	if (rc < 0)
		return rc;
	serial = new->params.serial;
	path = join(c->dir, "", "volume.conf");
	/* Held over the write, so that what is in force and what is on disk change in one order. */
	pthread_mutex_lock(&c->conf_mu);
	old = copy_conf(c);
	if (old->len == new->len && memcmp(old->text, new->text, old->len) == 0)
		goto unlock;
	rc = judge_successor(old, new);
	if (rc == 0)
		rc = path ? file_replace(AT_FDCWD, path, text, len, 0600) : -ENOMEM;
	if (rc < 0)
		goto unlock;
	pthread_mutex_lock(&c->mu);
	c->conf = new;
	new = old; /* what was in force gives its reference up */
	pthread_mutex_unlock(&c->mu);
	msg_event(MSG_NOTICE, "conf-replaced", "%s: volume.conf has serial %llu now, it had %llu",
		  c->dir, (unsigned long long)serial, (unsigned long long)old->params.serial);

unlock:
	pthread_mutex_unlock(&c->conf_mu);
	conf_put(old);
	conf_put(new);
	free(path);
	return rc;
}
