#ifndef COPY_INTERNAL_H_
#define COPY_INTERNAL_H_

/*
 * What copy*.c and appender*.c share.  They stand in one order, each using those before it:
 *
 *   copy           volume.conf in force, owner, committed state
 *   copy_lock      the right to write
 *   copy_recover   what is true after a crash
 *   copy_revive    when that is asked, and by whom
 *   copy_open      opening
 *   copy_params    replacing volume.conf
 *   copy_read      what is served
 *   copy_prove, copy_repair, appender
 */

#include "copy.h"
#include "locks.h"
#include "newest.h"
#include "params.h"
#include "storage.h"

#include <pthread.h>
#include <stdatomic.h>

struct catalog;
struct history;

/* A volume.conf in use; an appender may hold an older one while it is replaced. */
struct conf {
	atomic_uint refs;
	struct params params;
	size_t len;
	char text[]; /* as stored */
};

/*
 * Lock order: the lock (copy_lock()), conf_mu, gate, mu.
 */
struct copy {
	uint8_t id[VOLUME_ID_LEN];
	const char *name; /* for messages; the storage's */
	/* 1 + number of a segment not served: its repaired bytes may not be durable; 0: none. */
	_Atomic uint64_t unsynced;
	char owner[WHO_MAX];
	struct newest noted; /* what newest-head says; for the holder of the lock only */
	struct storage *storage;
	bool keeps_commits; /* the storage has commits; else log and catalog tell the copy's end */
	pthread_mutex_t conf_mu; /* serialises changes of volume.conf */

	/* Held for reading while the catalog is used, for writing while it is opened anew. */
	pthread_rwlock_t gate;
	struct catalog *catalog; /* NULL: could not be opened again; guarded by gate */

	pthread_mutex_t mu;
	pthread_cond_t unlocked;
	/* Guarded by mu. */
	struct copy_committed committed;
	struct conf *conf;
	struct copy_lock *lock; /* of the one who may write; NULL: nobody */
	unsigned n_users;
	uint64_t idle_since_ns; /* when the last of them left, or it was opened */
	/* what lies after the end, or the catalog, is not as it should be */
	bool must_recover;
	/* its files were removed: to be closed as soon as nobody uses it, and looked for anew */
	bool gone;
	uint64_t revived_ns; /* when copy_revive() last tried; 0: never */
	uint64_t
		recovering_ns; /* when the recovery that now holds the gate began; 0: none */
};

/*
 * conf_new(id, text, len, out): decode ${text}, which must be of volume ${id}, into ${*out}, with
 * one reference.  Returns 0; -ENOMEM; -EINVAL if it is another volume's; as params_decode(); with a
 * detail.
 */
MUST_CHECK int conf_new(const uint8_t id[VOLUME_ID_LEN], const void *text, size_t len,
			struct conf **out);

/*
 * copy_put_in_force(c, conf): put ${conf}, whose reference is taken, in force from now on; but not
 * if the one in force has a serial as high.  The caller holds conf_mu.
 */
void copy_put_in_force(struct copy *c, struct conf *conf);

/* copy_conf(c): the volume.conf in force, with a reference.  conf_put(NULL) is a no-op. */
struct conf *copy_conf(struct copy *c);
void conf_put(struct conf *conf);

/* copy_publish(c, s): serve ${s} from now on. */
void copy_publish(struct copy *c, const struct copy_committed *s);

/* How long a newcomer waits for the holder to end. */
#define COPY_LOCK_WAIT_MS 30000

/*
 * The right to write, embedded in its holder.  cancel(ctx): another wants it; end soon.  Any
 * thread, with a lock of the copy held: it must not block, nor call back.  Not called after
 * copy_unlock() has returned.
 */
struct copy_lock {
	void (*cancel)(void *ctx);
	void *ctx;
};

/*
 * copy_lock(c, who, lock): become the only one who writes to ${c}: tell the holder to end, and wait
 * for it.  ${lock} is borrowed until copy_unlock().  Any thread.
 * Returns 0; -ERR_FORBIDDEN if ${who} does not own the copy; -ERR_LOCKED if the holder does not end
 * in COPY_LOCK_WAIT_MS, or yet another replaced it meanwhile; each with a detail.
 *
 * copy_lock_briefly(c, who, lock): the same for a holder that is done soon, so that nobody needs to
 * tell it to end.
 */
MUST_CHECK int copy_lock(struct copy *c, const char *who, struct copy_lock *lock);
MUST_CHECK int copy_lock_briefly(struct copy *c, const char *who, struct copy_lock *lock);
void copy_unlock(struct copy *c, struct copy_lock *lock);

/*
 * copy_note_newest(c, p, s, at_end): write newest-head if the head of ${s}, which is committed, is
 * newer and due; or, ${at_end}, if it is newer.  REQUIRES(the lock), as copy_recover().
 */
void copy_note_newest(struct copy *c, const struct params *p, const struct copy_committed *s,
		      bool at_end);

/*
 * copy_cut(c, end): remove every stored byte from position ${end} on, durably.  Only for the
 * recovery or the one appender.
 * Returns 0; -ERR_DAMAGED, with a detail, if the log ends before ${end}; -errno.
 */
MUST_CHECK int copy_cut(struct copy *c, log_pos end);

/*
 * copy_recover_with(c, p, h): make catalog, log and committed state agree with what was
 * acknowledged, by ${p}; ${h} is begun with it.  REQUIRES(the lock, and the gate for writing), as
 * copy_recover(), which also closes the catalog on error.
 * Returns as copy_open().
 */
MUST_CHECK int copy_recover_with(struct copy *c, const struct params *p, struct history *h);

/*
 * copy_recover(c): as copy_open() does, on a copy whose catalog may be open.  REQUIRES(the lock),
 * or that nobody else knows the copy yet.  The copy must not be used for anything else after an
 * error until copy_recover() succeeds.
 */
MUST_CHECK int copy_recover(struct copy *c);

/*
 * copy_must_recover(c): note that what lies after the end, or the catalog, is not as it should be:
 * the next holder of the lock recovers the copy before anything else.
 * copy_needs_recovery(c): whether that was noted.
 * copy_recover_if_needed(c): recover it if so; for a holder of the lock, right after it got it.
 * Returns as copy_recover().
 */
void copy_must_recover(struct copy *c);
bool copy_needs_recovery(struct copy *c);
MUST_CHECK int copy_recover_if_needed(struct copy *c);

/*
 * copy_revive(c): for a caller that found no catalog, since it could not be opened anew: take the
 * lock and recover the copy.  At most once in COPY_REVIVE_MS, since any caller may ask, and a
 * recovery can take long.  If it fails, the caller meets the error when it looks at the catalog
 * again.
 */
#define COPY_REVIVE_MS 5000
void copy_revive(struct copy *c);

/*
 * copy_await_recovery(c): call it before copy_enter().  It waits while another thread recovers the
 * copy, until that recovery has taken COPY_WAIT_MS.  A server has few threads, and all of them
 * would soon wait for one volume's gate.
 * Returns 0; -ERR_LOCKED, with a detail, if it takes longer.
 */
#define COPY_WAIT_MS 2000
MUST_CHECK int copy_await_recovery(struct copy *c);

/*
 * copy_enter(c): hold the gate for reading until copy_leave(c), whatever is returned.
 * Returns 0; or -EIO, with a detail: there is no catalog.
 */
MUST_CHECK int copy_enter(struct copy *c) ACQUIRES_SHARED(c->gate);
void copy_leave(struct copy *c) RELEASES_EITHER(c->gate);

#endif /* !COPY_INTERNAL_H_ */
