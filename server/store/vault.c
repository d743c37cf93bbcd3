/*
 * The volumes of a server.
 *
 * Key idea: a copy is opened when it is asked for and closed when nobody has asked for a while.  So
 * a store of many volumes starts at once and costs only what is in use, and one that cannot be
 * opened is an error of that volume alone.
 *
 * Opening may be a recovery that takes hours.  Callers wait for it a moment, and are sent away from
 * then on: a server has few threads, and the callers of one volume would soon occupy them all.  For
 * the same reason few volumes are opened at a time.
 *
 * Invariants:
 *  1. The vault alone uses its pool.
 *  2. At most one struct copy exists per volume; slots are never removed while the vault is open,
 *     and only for volumes that exist, so questions about unknown ids cost no memory.
 *  3. A copy gets users under its slot's lock only, and is closed only while it has none.  It is
 *     opened and closed by the one thread that has set its slot's busy, without the lock.
 *
 * Lock order: create_mu, mu, slot.mu.  Slots are found under mu.
 */

#include "vault.h"

#include "clock.h"
#include "err.h"
#include "locks.h"
#include "msg.h"
#include "params.h"
#include "storage.h"
#include "units.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DETAIL_MAX 1024u

struct slot {
	uint8_t id[VOLUME_ID_LEN];
	pthread_mutex_t mu;
	pthread_cond_t rested; /* no longer busy */
	/* Guarded by mu. */
	bool busy; /* somebody opens or closes the copy */
	uint64_t busy_since_ns;
	struct copy *copy; /* NULL: not open */
	int why;	   /* the newest failure to open it; 0: not tried */
	char detail[DETAIL_MAX];
	uint64_t failed_ns;
};

struct vault {
	struct storage_pool *pool;
	pthread_mutex_t create_mu; /* one creation at a time, so that the count holds */
	pthread_mutex_t mu;
	pthread_cond_t opened; /* n_opening has become less */
	/* Guarded by mu. */
	struct slot *slots[VAULT_VOLUMES_MAX];
	size_t n_slots;
	unsigned n_opening;	    /* at most VAULT_OPENING_MAX */
	uint64_t newest_opening_ns; /* when the youngest of them began */
};

static int add_slot_locked(struct vault *v, const uint8_t id[VOLUME_ID_LEN], struct slot **out)
	REQUIRES(v->mu);
static int await_rest_locked(struct slot *slot) REQUIRES(slot->mu);
static void set_busy_locked(struct slot *slot, bool yes) REQUIRES(slot->mu);
static int open_locked(struct vault *v, struct slot *slot) REQUIRES(slot->mu);
static bool close_idle_locked(struct vault *v, struct slot *slot, uint64_t idle_ns)
	REQUIRES(slot->mu);

int vault_open(struct storage_pool *pool, struct vault **out)
{
	struct vault *v = calloc(1, sizeof(*v));

	if (!v) {
		storage_pool_close(pool);
		return -ENOMEM;
	}
	v->pool = pool;
	pthread_mutex_init(&v->create_mu, NULL);
	pthread_mutex_init(&v->mu, NULL);
	clock_cond_init(&v->opened);
	*out = v;
	return 0;
}

void vault_close(struct vault *v)
{
	if (!v)
		return;
	for (size_t i = 0; i < v->n_slots; i++) {
		copy_close(v->slots[i]->copy);
		pthread_cond_destroy(&v->slots[i]->rested);
		pthread_mutex_destroy(&v->slots[i]->mu);
		free(v->slots[i]);
	}
	pthread_cond_destroy(&v->opened);
	pthread_mutex_destroy(&v->mu);
	pthread_mutex_destroy(&v->create_mu);
	storage_pool_close(v->pool);
	free(v);
}

static int no_volume(const uint8_t id[VOLUME_ID_LEN])
{
	char name[VOLUME_ID_TEXT_LEN];

	volume_id_format(id, name);
	return err_say(-ERR_NO_VOLUME,
		       "%s: this server has no such volume; its home creates it when it "
		       "first connects",
		       name);
}

static int add_slot_locked(struct vault *v, const uint8_t id[VOLUME_ID_LEN], struct slot **out)
{
	struct slot *slot;
	int rc = storage_pool_has(v->pool, id);

	if (rc <= 0)
		return rc < 0 ? rc : no_volume(id);
	if (v->n_slots == VAULT_VOLUMES_MAX)
		return err_say(-ENOSPC, "this server holds %u volumes, its limit",
			       VAULT_VOLUMES_MAX);
	slot = calloc(1, sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	memcpy(slot->id, id, VOLUME_ID_LEN);
	pthread_mutex_init(&slot->mu, NULL);
	clock_cond_init(&slot->rested);
	v->slots[v->n_slots++] = slot;
	*out = slot;
	return 0;
}

static int find_slot(struct vault *v, const uint8_t id[VOLUME_ID_LEN], struct slot **out)
{
	int rc = 0;

	pthread_mutex_lock(&v->mu);
	*out = NULL;
	for (size_t i = 0; i < v->n_slots && !*out; i++) {
		if (memcmp(v->slots[i]->id, id, VOLUME_ID_LEN) == 0)
			*out = v->slots[i];
	}
	if (!*out)
		rc = add_slot_locked(v, id, out);
	pthread_mutex_unlock(&v->mu);
	return rc;
}

static void tell_opening(const struct vault *v, const struct slot *slot)
{
	char name[VOLUME_ID_TEXT_LEN];
	struct copy_committed s;

	volume_id_format(slot->id, name);
	copy_get_committed(slot->copy, &s);
	msg_event(MSG_INFO, "volume-opened", "%s/%s: opened at head %llu, position %llu",
		  v->pool->name, name, (unsigned long long)s.head, (unsigned long long)s.end);
}

/* Wait, not for long, while another thread opens or closes the copy.  Returns 0 or -ERR_LOCKED. */
static int await_rest_locked(struct slot *slot)
{
	char name[VOLUME_ID_TEXT_LEN];
	int rc = 0;

	while (slot->busy && rc == 0)
		rc = clock_wait(&slot->rested, &slot->mu,
				slot->busy_since_ns + NS_PER_MS * VAULT_WAIT_MS);
	if (!slot->busy)
		return 0;
	volume_id_format(slot->id, name);
	return err_say(-ERR_LOCKED,
		       "%s: the server is opening this volume, which may take long after a crash; "
		       "come back later",
		       name);
}

static void set_busy_locked(struct slot *slot, bool yes)
{
	slot->busy = yes;
	slot->busy_since_ns = clock_mono_ns();
	if (!yes)
		pthread_cond_broadcast(&slot->rested);
}

/*
 * Become one of the few threads that open a volume.  Waits a moment for that, unless all of them
 * have been at it for longer.
 * Returns 0, and end_opening() must follow; or -ERR_LOCKED.
 */
static int begin_opening(struct vault *v)
{
	int rc = 0;

	pthread_mutex_lock(&v->mu);
	while (v->n_opening == VAULT_OPENING_MAX && rc == 0)
		rc = clock_wait(&v->opened, &v->mu,
				v->newest_opening_ns + NS_PER_MS * VAULT_WAIT_MS);
	rc = v->n_opening == VAULT_OPENING_MAX ? -ERR_LOCKED : 0;
	if (rc == 0) {
		v->n_opening++;
		v->newest_opening_ns = clock_mono_ns();
	}
	pthread_mutex_unlock(&v->mu);
	return rc;
}

static void end_opening(struct vault *v)
{
	pthread_mutex_lock(&v->mu);
	v->n_opening--;
	pthread_cond_signal(&v->opened);
	pthread_mutex_unlock(&v->mu);
}

/*
 * Open a copy.  Returns as copy_open(); or -ERR_LOCKED, with ${*out_tried} false: it was not tried.
 */
static int open_copy(struct vault *v, const uint8_t id[VOLUME_ID_LEN], struct copy **out,
		     bool *out_tried)
{
	int rc = begin_opening(v);

	*out_tried = rc == 0;
	if (rc < 0)
		return err_say(rc,
			       "the server is opening %u other volumes, which may take long after "
			       "a crash; come back later",
			       VAULT_OPENING_MAX);
	rc = copy_open(v->pool, id, out);
	end_opening(v);
	return rc;
}

static int open_locked(struct vault *v, struct slot *slot)
{
	struct copy *copy = NULL;
	bool tried;
	int rc;

	if (slot->why < 0 && clock_mono_ns() - slot->failed_ns < NS_PER_MS * VAULT_RETRY_MS)
		return err_say(slot->why, "%s", slot->detail);
	set_busy_locked(slot, true);
	pthread_mutex_unlock(&slot->mu);
	rc = open_copy(v, slot->id, &copy, &tried);
	pthread_mutex_lock(&slot->mu);
	set_busy_locked(slot, false);
	if (!tried)
		return rc;
	slot->copy = copy;
	slot->why = rc;
	if (rc < 0) {
		slot->failed_ns = clock_mono_ns();
		snprintf(slot->detail, sizeof(slot->detail), "%s", err_detail(rc));
		msg_event(MSG_ERROR, "volume-unopened", "%s", slot->detail);
	} else {
		tell_opening(v, slot);
	}
	return rc;
}

int vault_find(struct vault *v, const uint8_t id[VOLUME_ID_LEN], struct copy **out)
{
	struct slot *slot;
	int rc;

	*out = NULL;
	rc = find_slot(v, id, &slot);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&slot->mu);
	rc = await_rest_locked(slot);
	if (rc == 0 && !slot->copy)
		rc = open_locked(v, slot);
	if (rc == 0) {
		*out = slot->copy;
		copy_ref(slot->copy);
	}
	pthread_mutex_unlock(&slot->mu);
	return rc;
}

/* Slot number ${i}; NULL: there are no more. */
static struct slot *slot_at(struct vault *v, size_t i)
{
	struct slot *slot;

	pthread_mutex_lock(&v->mu);
	slot = i < v->n_slots ? v->slots[i] : NULL;
	pthread_mutex_unlock(&v->mu);
	return slot;
}

static bool close_idle_locked(struct vault *v, struct slot *slot, uint64_t idle_ns)
{
	char name[VOLUME_ID_TEXT_LEN];
	struct copy *copy = slot->copy;

	if (slot->busy || !copy)
		return false;
	volume_id_format(slot->id, name);
	if (storage_pool_has(v->pool, slot->id) == 0 && copy_gone(copy))
		msg_event(MSG_ERROR, "volume-gone",
			  "%s/%s: was removed while it was in use; its home begins it anew",
			  v->pool->name, name);
	if (!copy_is_idle(copy, idle_ns))
		return false;
	slot->copy = NULL;
	set_busy_locked(slot, true);
	pthread_mutex_unlock(&slot->mu);
	copy_close(copy);
	pthread_mutex_lock(&slot->mu);
	set_busy_locked(slot, false);
	msg_event(MSG_INFO, "volume-closed", "%s/%s: closed, since nobody uses it", v->pool->name,
		  name);
	return true;
}

unsigned vault_rest(struct vault *v, uint64_t idle_ns)
{
	struct slot *slot;
	unsigned n = 0;

	for (size_t i = 0; (slot = slot_at(v, i)) != NULL; i++) {
		pthread_mutex_lock(&slot->mu);
		n += close_idle_locked(v, slot, idle_ns);
		pthread_mutex_unlock(&slot->mu);
	}
	return n;
}

/* How many volumes there are, and how many of them ${who} owns. */
struct census {
	const struct vault *vault;
	const char *who;
	unsigned all, owned;
};

static int count_one(void *ctx, const uint8_t id[VOLUME_ID_LEN])
{
	struct census *c = ctx;
	char owner[WHO_MAX];

	c->all++;
	/* A volume whose owner cannot be read counts for nobody. */
	if (storage_pool_owner(c->vault->pool, id, owner, sizeof(owner)) == 0)
		c->owned += strcmp(owner, c->who) == 0;
	return 0;
}

static int create(struct vault *v, const struct params *p, const void *text, size_t len,
		  const char *who)
{
	struct census c = {.vault = v, .who = who};
	char name[VOLUME_ID_TEXT_LEN];
	int rc;

	rc = vault_list(v, count_one, &c);
	if (rc < 0)
		return rc;
	if (c.all >= VAULT_VOLUMES_MAX)
		return err_say(-ENOSPC, "this server holds %u volumes, its limit", c.all);
	if (c.owned >= VAULT_SHARE_MAX && strcmp(who, WHO_LOCAL) != 0)
		return err_say(-ENOSPC,
			       "%s owns %u volumes here, the most that one identity may; remove "
			       "some or use another server",
			       who, c.owned);
	rc = storage_pool_create(v->pool, p->id, who, text, len);
	if (rc < 0)
		return rc;
	volume_id_format(p->id, name);
	msg_event(MSG_NOTICE, "volume-created", "%s/%s: created, owned by %s", v->pool->name, name,
		  who);
	return 0;
}

int vault_put(struct vault *v, const void *text, size_t len, const char *who, struct copy **out)
{
	struct params p;
	int rc;

	if (len > PARAMS_FILE_MAX)
		return err_say(-ERR_FORMAT, "volume.conf: %zu bytes are too many", len);
	rc = params_decode(text, len, &p);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&v->create_mu);
	rc = storage_pool_has(v->pool, p.id);
	if (rc == 0)
		rc = create(v, &p, text, len, who);
	pthread_mutex_unlock(&v->create_mu);
	if (rc >= 0)
		rc = vault_find(v, p.id, out);
	params_release(&p);
	if (rc < 0)
		return rc;
	rc = copy_owned_by(*out, who)
		     ? copy_put_params(*out, text, len)
		     : err_say(-ERR_FORBIDDEN,
			       "%s: another identity owns this volume; the owner alone may "
			       "change it",
			       who);
	if (rc < 0) {
		copy_unref(*out);
		*out = NULL;
	}
	return rc;
}

int vault_list(struct vault *v, int (*fn)(void *ctx, const uint8_t id[VOLUME_ID_LEN]), void *ctx)
{
	return storage_pool_list(v->pool, fn, ctx);
}

void vault_renew(struct vault *v)
{
	storage_pool_renew(v->pool);
}
