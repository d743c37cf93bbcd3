/*
 * How much of the server each caller uses at once.
 *
 * Key idea: a share for each identity.  A limit over all callers alone would let one of them take
 * everything; a share leaves half of the server to the others, whatever one identity does.
 *
 * Invariants:
 *  1. used[kind] is the sum over all users, and at most limits[kind].all.
 *  2. A user in the list uses something.
 */

#include "quota.h"

#include "auth.h"
#include "err.h"
#include "locks.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

/* clang-format off */
static const struct {
	const char *what;
	unsigned all, one;
} limits[QUOTA_KINDS] = {
	[QUOTA_CALLS]     = {"calls",          512, 256},
	[QUOTA_APPENDERS] = {"append streams",  64,  32},
	[QUOTA_WATCHES]   = {"health watches",  64,  16},
};
/* clang-format on */

struct user {
	LIST_ENTRY(user) link;
	char who[WHO_MAX];
	unsigned used[QUOTA_KINDS];
};

struct quota {
	pthread_mutex_t mu;
	/* Guarded by mu. */
	LIST_HEAD(, user) users;
	unsigned used[QUOTA_KINDS];
};

int quota_new(struct quota **out)
{
	struct quota *q = calloc(1, sizeof(*q));

	if (!q)
		return -ENOMEM;
	pthread_mutex_init(&q->mu, NULL);
	LIST_INIT(&q->users);
	*out = q;
	return 0;
}

void quota_free(struct quota *q)
{
	if (!q)
		return;
	assert(LIST_EMPTY(&q->users));
	pthread_mutex_destroy(&q->mu);
	free(q);
}

static struct user *find_user_locked(struct quota *q, const char *who) REQUIRES(q->mu);
static struct user *add_user_locked(struct quota *q, const char *who) REQUIRES(q->mu);
static int take_locked(struct quota *q, const char *who, enum quota_kind kind) REQUIRES(q->mu);

static struct user *find_user_locked(struct quota *q, const char *who)
{
	struct user *u;

	LIST_FOREACH(u, &q->users, link)
	{
		if (strcmp(u->who, who) == 0)
			return u;
	}
	return NULL;
}

static struct user *add_user_locked(struct quota *q, const char *who)
{
	struct user *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	assert(strlen(who) < sizeof(u->who));
	strcpy(u->who, who);
	LIST_INSERT_HEAD(&q->users, u, link);
	return u;
}

static int take_locked(struct quota *q, const char *who, enum quota_kind kind)
{
	struct user *u = find_user_locked(q, who);
	unsigned used = u ? u->used[kind] : 0;

	if (used >= limits[kind].one && strcmp(who, WHO_LOCAL) != 0)
		return err_say(-EMFILE,
			       "%s has %u %s under way here, the most that one identity may; end "
			       "some of them first",
			       who, used, limits[kind].what);
	if (q->used[kind] >= limits[kind].all)
		return err_say(-EMFILE,
			       "this server has %u %s under way, its limit; come back later",
			       q->used[kind], limits[kind].what);
	if (!u)
		u = add_user_locked(q, who);
	if (!u)
		return -ENOMEM;
	u->used[kind]++;
	q->used[kind]++;
	assert(u->used[kind] <= q->used[kind]);
	assert(q->used[kind] <= limits[kind].all);
	return 0;
}

int quota_take(struct quota *q, const char *who, enum quota_kind kind)
{
	int rc;

	pthread_mutex_lock(&q->mu);
	rc = take_locked(q, who, kind);
	pthread_mutex_unlock(&q->mu);
	return rc;
}

static bool uses_nothing(const struct user *u)
{
	for (unsigned i = 0; i < QUOTA_KINDS; i++) {
		if (u->used[i] > 0)
			return false;
	}
	return true;
}

void quota_give(struct quota *q, const char *who, enum quota_kind kind)
{
	struct user *u;

	pthread_mutex_lock(&q->mu);
	u = find_user_locked(q, who);
	assert(u && u->used[kind] > 0 && q->used[kind] >= u->used[kind]);
	u->used[kind]--;
	q->used[kind]--;
	if (uses_nothing(u)) {
		LIST_REMOVE(u, link);
		free(u);
	}
	pthread_mutex_unlock(&q->mu);
}
