/*
 * The server's copy of one volume: its volume.conf, its owner, where it stands.
 *
 * Key idea: what keeps the bytes is a storage (storage.h), and nothing here knows how.  What is
 * served is decided by one small struct in memory, the committed state, which only ever names
 * verified durable bytes.
 *
 * Invariants:
 *  1. committed.end never goes back while the server runs, except that a copy found damaged is
 *     closed as a whole.
 *  2. volume.conf's serial grows, and a grant once in it stays.
 *  3. The owner never changes.
 */

#include "copy_internal.h"

#include "buf.h"
#include "catalog.h"
#include "clock.h"
#include "err.h"
#include "storage.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

void copy_put_in_force(struct copy *c, struct conf *conf)
{
	pthread_mutex_lock(&c->mu);
	if (conf->params.serial > c->conf->params.serial) {
		struct conf *former = c->conf;

		c->conf = conf;
		conf = former;
	}
	pthread_mutex_unlock(&c->mu);
	conf_put(conf);
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
	storage_close(c->storage);
	conf_put(c->conf);
	pthread_cond_destroy(&c->unlocked);
	pthread_mutex_destroy(&c->mu);
	pthread_rwlock_destroy(&c->gate);
	pthread_mutex_destroy(&c->conf_mu);
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
	idle = c->n_users == 0 && (c->gone || clock_mono_ns() - c->idle_since_ns >= idle_ns);
	assert(!idle || !c->lock);
	pthread_mutex_unlock(&c->mu);
	return idle;
}

bool copy_gone(struct copy *c)
{
	bool first;

	pthread_mutex_lock(&c->mu);
	first = !c->gone;
	c->gone = true;
	if (c->lock)
		c->lock->cancel(c->lock->ctx);
	pthread_mutex_unlock(&c->mu);
	return first;
}

const uint8_t *copy_id(const struct copy *c)
{
	return c->id;
}

void copy_get_committed(struct copy *c, struct copy_committed *out)
{
	pthread_mutex_lock(&c->mu);
	*out = c->committed;
	pthread_mutex_unlock(&c->mu);
}

void copy_publish(struct copy *c, const struct copy_committed *s)
{
	pthread_mutex_lock(&c->mu);
	c->committed = *s;
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
