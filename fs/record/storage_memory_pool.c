/* Pools of volumes in memory: see storage_memory.c. */

#include "memory_internal.h"

#include "kv_memory.h"
#include "locks.h"

#include "err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One takes the lock and another drops it, which the analysis can't follow. */
static int pool_enter(struct pool *p, const char *op) UNFOLLOWED;
static void pool_leave(struct pool *p) UNFOLLOWED;

static struct pool *pool_of(struct storage_pool *p)
{
	return (struct pool *)p;
}

/* As enter(). */
static int pool_enter(struct pool *p, const char *op)
{
	struct memory *m = p->memory;
	int rc = memory_fault(m, op);

	if (rc != 0)
		return rc < 0 ? rc : -(rc & ~MEMORY_LATE);
	pthread_mutex_lock(&m->mu);
	if (p->life == m->life)
		return 0;
	pthread_mutex_unlock(&m->mu);
	return -EIO;
}

static void pool_leave(struct pool *p)
{
	pthread_mutex_unlock(&p->memory->mu);
}

static int pool_list(struct storage_pool *pool,
		     int (*fn)(void *ctx, const uint8_t id[VOLUME_ID_LEN]), void *ctx)
{
	struct pool *p = pool_of(pool);
	struct volume *v;
	int rc = pool_enter(p, "list");

	if (rc < 0)
		return rc;
	v = p->memory->volumes;
	pool_leave(p);
	/* No lock is needed: volumes never go, and new ones are put in front of ${v}. */
	for (; v && rc == 0; v = v->next)
		rc = fn(ctx, v->id);
	return rc;
}

static int pool_has(struct storage_pool *pool, const uint8_t id[VOLUME_ID_LEN])
{
	struct pool *p = pool_of(pool);
	int rc = pool_enter(p, "has");

	if (rc < 0)
		return err_say(rc, "%s: %s", pool->name, err_text(rc));
	rc = memory_find(p->memory, id) ? 1 : 0;
	pool_leave(p);
	return rc;
}

static int pool_owner(struct storage_pool *pool, const uint8_t id[VOLUME_ID_LEN], char *out,
		      size_t cap)
{
	struct pool *p = pool_of(pool);
	const struct volume *v;
	int rc = pool_enter(p, "owner");

	if (rc < 0)
		return err_say(rc, "%s: %s", pool->name, err_text(rc));
	v = memory_find(p->memory, id);
	if (!v || strlen(v->owner) >= cap)
		rc = err_say(-ERR_DAMAGED, "%s: no owner", pool->name);
	else
		memcpy(out, v->owner, strlen(v->owner) + 1);
	pool_leave(p);
	return rc;
}

static int pool_create(struct storage_pool *pool, const uint8_t id[VOLUME_ID_LEN],
		       const char *owner, const void *conf, size_t len)
{
	struct pool *p = pool_of(pool);
	struct memory *m = p->memory;
	struct volume *v = NULL;
	int rc = pool_enter(p, "create_volume");

	if (rc < 0)
		return rc;
	rc = memory_find(m, id) ? -EEXIST : memory_volume_new(id, owner, conf, len, &v);
	if (rc == 0) {
		kv_memory_set_fault(v->index, m->fault, m->fault_ctx);
		v->next = m->volumes;
		m->volumes = v;
	}
	pool_leave(p);
	return rc;
}

static void name_it(struct opened *o, const struct storage_pool *pool)
{
	size_t at = 0;

	while (pool->name[at] && at < sizeof(o->name) - 2 * VOLUME_ID_LEN - 2) {
		o->name[at] = pool->name[at];
		at++;
	}
	o->name[at++] = '/';
	for (unsigned i = 0; i < VOLUME_ID_LEN; i++) {
		const char *digits = "0123456789abcdef";

		o->name[at++] = digits[o->volume->id[i] >> 4];
		o->name[at++] = digits[o->volume->id[i] & 15];
	}
	o->name[at] = '\0';
	o->storage.name = o->name;
}

static int pool_open(struct storage_pool *pool, const uint8_t id[VOLUME_ID_LEN],
		     struct storage **out)
{
	struct pool *p = pool_of(pool);
	struct opened *o = calloc(1, sizeof(*o));
	int rc = o ? pool_enter(p, "open") : -ENOMEM;

	if (rc == 0) {
		o->memory = p->memory;
		o->volume = memory_find(p->memory, id);
		o->life = p->life;
		pool_leave(p);
		rc = o->volume ? 0 : -ERR_NO_VOLUME;
	}
	if (rc < 0) {
		free(o);
		return rc;
	}
	o->storage.ops = &storage_memory_ops;
	o->storage.is_copy = true;
	name_it(o, pool);
	*out = &o->storage;
	return 0;
}

static void pool_renew(struct storage_pool *pool)
{
	(void)pool; /* a lease runs out when memory_expire() says so */
}

static void pool_close(struct storage_pool *pool)
{
	free(pool_of(pool));
}

static const struct storage_pool_ops pool_ops = {
	.list = pool_list,
	.has = pool_has,
	.owner = pool_owner,
	.create = pool_create,
	.open = pool_open,
	.renew = pool_renew,
	.close = pool_close,
};

int storage_memory_open(struct memory *m, const char *name, struct storage_pool **out)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->pool = (struct storage_pool){.ops = &pool_ops, .name = name};
	p->memory = m;
	p->life = m->life;
	*out = &p->pool;
	return 0;
}
