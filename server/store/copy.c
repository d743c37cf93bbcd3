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

/* ${dir}/${name} as owned text, or NULL. */
static char *copy_path(const char *dir, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

int conf_new(const uint8_t id[VOLUME_ID_LEN], const void *text, size_t len, struct conf **out)
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

void copy_close(struct copy *c)
{
	if (!c)
		return;
	assert(!c->lock);
	catalog_close(c->catalog);
	store_close(c->store);
	file_close(c->dir_fd);
	conf_put(c->conf);
	pthread_cond_destroy(&c->unlocked);
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
	assert(!idle || !c->lock);
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
	struct copy_lock lock;
	bool fenced = false;
	struct conf *new, *old;
	uint64_t serial;
	char *path;
	int rc;

	rc = conf_new(c->id, text, len, &new);
	if (rc < 0)
		return rc;
	serial = new->params.serial;
	path = copy_path(c->dir, "volume.conf");
	/* Held over the write, so that what is in force and what is on disk change in one order. */
	pthread_mutex_lock(&c->conf_mu);
	old = copy_conf(c);
	if (old->len == new->len && memcmp(old->text, new->text, old->len) == 0)
		goto unlock;
	rc = judge_successor(old, new);
	/*
	 * A fence: heads of the older epoch that verified, and are not committed, must not count once
	 * the newer one is in force.  So their stream ends before.
	 */
	if (rc == 0 && params_epoch(&new->params) > params_epoch(&old->params)) {
		rc = copy_lock_briefly(c, c->owner, &lock);
		fenced = rc == 0;
		rc = fenced ? copy_recover_if_needed(c) : rc;
	}
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
	if (fenced)
		copy_unlock(c, &lock);
	pthread_mutex_unlock(&c->conf_mu);
	conf_put(old);
	conf_put(new);
	free(path);
	return rc;
}
