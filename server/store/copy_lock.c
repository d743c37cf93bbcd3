/*
 * The right to write to a copy: a lock with one holder, which a newcomer takes away.
 *
 * Key idea: a holder that has the lock for long is most often a dead connection that nobody has
 * noticed yet.  So a newcomer tells the holder to end, and waits; of two newcomers the later one
 * wins.
 *
 * Locks: copy.mu is held while cancel() is called, so that the holder cannot end and be freed
 * meanwhile.
 */

#include "copy_internal.h"

#include "clock.h"
#include "err.h"
#include "units.h"

#include <assert.h>
#include <errno.h>

int copy_lock(struct copy *c, const char *who, struct copy_lock *lock)
{
	uint64_t until_ns = clock_mono_ns() + NS_PER_MS * COPY_LOCK_WAIT_MS;
	struct copy_lock *former;
	int rc = 0;

	if (!copy_owned_by(c, who))
		return err_say(-ERR_FORBIDDEN,
			       "%s: another identity owns this volume; the owner alone may "
			       "append to it",
			       who);
	pthread_mutex_lock(&c->mu);
	former = c->lock;
	while (c->lock && rc == 0) {
		if (c->lock == former)
			former->cancel(former->ctx);
		rc = c->lock == former ? clock_wait(&c->unlocked, &c->mu, until_ns) : -EBUSY;
	}
	if (rc == 0)
		c->lock = lock;
	pthread_mutex_unlock(&c->mu);
	if (rc == 0)
		return 0;
	return err_say(-ERR_LOCKED,
		       "another stream is appending to this volume and does not end; is the "
		       "volume mounted twice?");
}

static void go_on(void *ctx)
{
	(void)ctx;
}

int copy_lock_briefly(struct copy *c, const char *who, struct copy_lock *lock)
{
	*lock = (struct copy_lock){.cancel = go_on};
	return copy_lock(c, who, lock);
}

void copy_unlock(struct copy *c, struct copy_lock *lock)
{
	pthread_mutex_lock(&c->mu);
	assert(c->lock == lock);
	c->lock = NULL;
	pthread_cond_broadcast(&c->unlocked);
	pthread_mutex_unlock(&c->mu);
}
