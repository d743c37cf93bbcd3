/*
 * When a copy is recovered, and by whom.
 *
 * Key idea: recovery (copy_recover.c) belongs to the one holder of the lock.  A failure only leaves
 * a mark that the copy must be recovered; the next holder does so before anything else, and where
 * nobody writes, a reader who finds no catalog takes the lock for it.
 *
 * Invariants:
 *  1. The storage is taken before its log is judged, and what volume.conf it keeps is in force by
 *     then: that says whose heads count.
 *  2. The gate is held for writing as long as the judging lasts.  A request waits at most
 *     COPY_WAIT_MS for its end: a server has few threads.
 */

#include "copy_internal.h"

#include "catalog.h"
#include "clock.h"
#include "err.h"
#include "history.h"
#include "storage.h"
#include "units.h"

#include <stdlib.h>
#include <string.h>

/*
 * What is stored is in force: while another server wrote to the volume its owner may have given
 * that one a newer volume.conf.  It may not be durable yet.
 */
static int follow_conf(struct copy *c)
{
	struct conf *conf, *stored;
	void *text;
	size_t len;
	int rc;

	pthread_mutex_lock(&c->conf_mu);
	conf = copy_conf(c);
	rc = storage_get_conf(c->storage, PARAMS_FILE_MAX, &text, &len);
	if (rc < 0)
		goto unlock;
	if (conf->len == len && memcmp(conf->text, text, len) == 0)
		goto free_text;
	rc = conf_new(c->id, text, len, &stored);
	if (rc == 0)
		rc = storage_put_conf(c->storage, text, len, text, len);
	if (rc == 0)
		copy_put_in_force(c, stored);

free_text:
	free(text);
unlock:
	conf_put(conf);
	pthread_mutex_unlock(&c->conf_mu);
	return rc;
}

/* Be the one writer, and know whom the authority lets write. */
static int take(struct copy *c)
{
	int rc = storage_take(c->storage);

	if (rc < 0)
		return rc;
	atomic_store(&c->unsynced, 0);
	return follow_conf(c);
}

/* Tell those who ask meanwhile, and who would wait for the gate. */
static void set_recovering(struct copy *c, bool yes)
{
	pthread_mutex_lock(&c->mu);
	c->recovering_ns = yes ? clock_mono_ns() : 0;
	if (!yes)
		pthread_cond_broadcast(&c->unlocked);
	pthread_mutex_unlock(&c->mu);
}

int copy_await_recovery(struct copy *c)
{
	bool goes_on;
	int rc = 0;

	pthread_mutex_lock(&c->mu);
	while (c->recovering_ns != 0 && rc == 0)
		rc = clock_wait(&c->unlocked, &c->mu, c->recovering_ns + NS_PER_MS * COPY_WAIT_MS);
	goes_on = c->recovering_ns != 0;
	pthread_mutex_unlock(&c->mu);
	if (!goes_on)
		return 0;
	return err_say(-ERR_LOCKED,
		       "%s: the server is recovering this volume, which may take long; come back "
		       "later",
		       c->name);
}

static int recover(struct copy *c)
{
	struct conf *conf;
	struct history h;
	int rc = take(c);

	if (rc < 0)
		return rc;
	conf = copy_conf(c);
	set_recovering(c, true);
	pthread_rwlock_wrlock(&c->gate);
	catalog_close(c->catalog);
	c->catalog = NULL;
	history_init(&h, &conf->params);
	rc = copy_recover_with(c, &conf->params, &h);
	history_release(&h);
	if (rc < 0) {
		catalog_close(c->catalog);
		c->catalog = NULL;
	}
	pthread_rwlock_unlock(&c->gate);
	set_recovering(c, false);
	conf_put(conf);
	return rc;
}

int copy_recover(struct copy *c)
{
	int rc = recover(c);

	pthread_mutex_lock(&c->mu);
	c->must_recover = rc < 0;
	pthread_mutex_unlock(&c->mu);
	return rc;
}

void copy_must_recover(struct copy *c)
{
	pthread_mutex_lock(&c->mu);
	c->must_recover = true;
	pthread_mutex_unlock(&c->mu);
}

bool copy_needs_recovery(struct copy *c)
{
	bool must;

	pthread_mutex_lock(&c->mu);
	must = c->must_recover;
	pthread_mutex_unlock(&c->mu);
	return must;
}

int copy_recover_if_needed(struct copy *c)
{
	return copy_needs_recovery(c) ? copy_recover(c) : 0;
}

/* Whether it is time to try again; then it is being tried. */
static bool may_revive(struct copy *c)
{
	uint64_t now_ns = clock_mono_ns();
	bool may;

	pthread_mutex_lock(&c->mu);
	may = c->revived_ns == 0 || now_ns - c->revived_ns >= NS_PER_MS * COPY_REVIVE_MS;
	if (may)
		c->revived_ns = now_ns;
	pthread_mutex_unlock(&c->mu);
	return may;
}

void copy_revive(struct copy *c)
{
	struct copy_lock lock;

	if (!may_revive(c) || copy_lock_briefly(c, c->owner, &lock) < 0)
		return;
	(void)!copy_recover_if_needed(c);
	copy_unlock(c, &lock);
}
