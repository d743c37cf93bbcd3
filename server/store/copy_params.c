/*
 * Replacing a copy's volume.conf.
 *
 * Invariants: see copy.c, 2.  The file in force and the stored file change in the same order.  A
 * stored file that is not in force was left by an attempt that failed; the next one has to
 * be a valid successor of both.
 */

#include "copy_internal.h"

#include "err.h"
#include "msg.h"
#include "storage.h"

#include <stdlib.h>
#include <string.h>

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

/*
 * Replace a stored file that is not the one in force: an attempt before this one failed half way.
 */
static int replace_other(struct copy *c, const struct conf *new)
{
	struct conf *stored;
	void *text;
	size_t len;
	int rc = storage_get_conf(c->storage, PARAMS_FILE_MAX, &text, &len);

	if (rc < 0)
		return rc;
	rc = conf_new(c->id, text, len, &stored);
	free(text);
	if (rc < 0)
		return rc;
	rc = judge_successor(stored, new);
	if (rc == 0)
		rc = storage_put_conf(c->storage, stored->text, stored->len, new->text, new->len);
	if (rc == -ERR_STALE)
		rc = err_say(rc, "%s: another server has taken this volume over", c->name);
	conf_put(stored);
	return rc;
}

static int replace(struct copy *c, const struct conf *old, const struct conf *new)
{
	int rc = storage_put_conf(c->storage, old->text, old->len, new->text, new->len);

	return rc == -ERR_STALE ? replace_other(c, new) : rc;
}

static bool is_same(const struct conf *a, const struct conf *b)
{
	return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

/* Whether ${new} grants a newer epoch than what is in force. */
static bool is_fence(struct copy *c, const struct conf *new)
{
	struct conf *conf = copy_conf(c);
	bool fence = params_epoch(&new->params) > params_epoch(&conf->params) &&
		     judge_successor(conf, new) == 0;

	conf_put(conf);
	return fence;
}

/* Takes ${new}. */
static int put(struct copy *c, struct conf *new)
{
	struct conf *old;
	uint64_t serial = new->params.serial;
	int rc = 0;

	/*
	 * Held over the write, so that the stored file and the one in force change in the same
	 * order.
	 */
	pthread_mutex_lock(&c->conf_mu);
	old = copy_conf(c);
	if (is_same(old, new))
		goto unlock;
	rc = judge_successor(old, new);
	if (rc == 0)
		rc = replace(c, old, new);
	if (rc < 0)
		goto unlock;
	copy_put_in_force(c, new);
	new = NULL;
	msg_event(MSG_NOTICE, "conf-replaced", "%s: volume.conf has serial %llu now, it had %llu",
		  c->name, (unsigned long long)serial, (unsigned long long)old->params.serial);

unlock:
	pthread_mutex_unlock(&c->conf_mu);
	conf_put(old);
	conf_put(new);
	return rc;
}

int copy_put_params(struct copy *c, const void *text, size_t len)
{
	struct copy_lock lock;
	struct conf *new;
	int rc;

	rc = conf_new(c->id, text, len, &new);
	if (rc < 0)
		return rc;
	if (!is_fence(c, new))
		return put(c, new);
	/*
	 * A fence: verified heads of the older epoch that are not committed must not count once the
	 * newer epoch is in force.  So end their stream before.
	 */
	rc = copy_lock_briefly(c, c->owner, &lock);
	if (rc < 0) {
		conf_put(new);
		return rc;
	}
	rc = copy_recover_if_needed(c);
	if (rc == 0)
		rc = put(c, new);
	else
		conf_put(new);
	copy_unlock(c, &lock);
	return rc;
}
