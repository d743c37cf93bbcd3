#ifndef COPY_INTERNAL_H_
#define COPY_INTERNAL_H_

/* What copy*.c and appender.c share. */

#include "copy.h"
#include "params.h"

#include <pthread.h>
#include <stdatomic.h>

struct appender;
struct catalog;
struct history;
struct store;

/* A volume.conf in use; an appender may hold an older one while it is replaced. */
struct conf {
	atomic_uint refs;
	struct params params;
	size_t len;
	char text[]; /* as stored */
};

/*
 * Lock order: conf_mu, gate, mu.
 */
struct copy {
	uint8_t id[VOLUME_ID_LEN];
	char *dir;
	/* 1 + a segment whose healed bytes could not be made durable; 0: none.  It is not served. */
	_Atomic uint64_t unsettled;
	int dir_fd; /* of dir, to ask for free space */
	char owner[WHO_MAX];
	struct store *store;
	pthread_mutex_t conf_mu; /* serialises changes of volume.conf */

	/* Held for reading while the catalog is used, for writing while it is opened anew. */
	pthread_rwlock_t gate;
	struct catalog *catalog; /* NULL: could not be opened again; guarded by gate */

	pthread_mutex_t mu;
	pthread_cond_t free_to_append;
	/* Guarded by mu. */
	struct copy_stand stand;
	struct conf *conf;
	struct appender *appender; /* the one that may write; NULL: none */
	unsigned n_users;
	uint64_t idle_since_ns; /* when the last of them left, or it was opened */
	/* what lies after the end, or the catalog, is not as it should be */
	bool must_recover;
};

/* copy_conf(c): the volume.conf in force, with a reference.  conf_put(NULL) is a no-op. */
struct conf *copy_conf(struct copy *c);
void conf_put(struct conf *conf);

/* copy_publish(c, s): from now on ${s} is served. */
void copy_publish(struct copy *c, const struct copy_stand *s);

/*
 * copy_cut(c, end): remove every stored byte from position ${end} on, durably.  Only for the
 * recovery or the one appender.
 * Returns 0; -ERR_DAMAGED, with a detail, if the log ends before ${end}; -errno.
 */
MUST_CHECK int copy_cut(struct copy *c, uint64_t end);

/*
 * copy_recover(c): as copy_open() does, on a copy whose catalog may be open.  Only while nobody
 * appends. The copy must not be used for anything else after an error until copy_recover()
 * succeeds.
 */
MUST_CHECK int copy_recover(struct copy *c);

/*
 * copy_revive(c): for whoever found no catalog, since it could not be opened anew: recover the
 * copy, in the place of the one appender.  What that could not do the next look at the catalog
 * meets.
 */
void copy_revive(struct copy *c);

/* copy_must_recover(c): the next appender recovers the copy before anything else. */
void copy_must_recover(struct copy *c);

#endif /* !COPY_INTERNAL_H_ */
