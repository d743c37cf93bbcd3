/*
 * Opening a copy.
 *
 * Invariants: see copy.c.  A copy that was opened has been recovered, and its name is durable.
 */

#include "copy_internal.h"

#include "clock.h"
#include "err.h"
#include "thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int load_conf(struct copy *c)
{
	void *text;
	size_t len;
	int rc;

	rc = storage_get_conf(c->storage, PARAMS_FILE_MAX, &text, &len);
	if (rc < 0)
		return rc == -ERR_NO_VOLUME
			       ? rc
			       : err_say(rc, "%s/volume.conf: %s; restore it from another copy",
					 c->name, err_text(rc));
	rc = conf_new(c->id, text, len, &c->conf);
	free(text);
	/*
	 * A stored file that is not a volume.conf is damage of this server, not a caller's mistake.
	 */
	if (rc == -ERR_FORMAT)
		rc = err_say(-ERR_DAMAGED, "%s/volume.conf: %s; restore it from another copy",
			     c->name, err_detail(rc));
	return rc;
}

int copy_open(struct storage_pool *pool, const uint8_t id[VOLUME_ID_LEN], struct copy **out)
{
	struct copy *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return -ENOMEM;
	memcpy(c->id, id, VOLUME_ID_LEN);
	pthread_mutex_init(&c->conf_mu, NULL);
	rwlock_init(&c->gate);
	pthread_mutex_init(&c->mu, NULL);
	clock_cond_init(&c->unlocked);
	rc = storage_pool_open(pool, id, &c->storage);
	if (rc < 0)
		goto close_copy;
	c->name = c->storage->name;
	rc = load_conf(c);
	if (rc < 0)
		goto close_copy;
	rc = storage_pool_owner(pool, id, c->owner, sizeof(c->owner));
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
