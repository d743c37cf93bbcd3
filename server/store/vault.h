#ifndef VAULT_H_
#define VAULT_H_

/*
 * The volumes of a block server, in a pool (storage.h).
 *
 * Who may do what: any caller that the server accepts may see and read every volume, since all that
 * is stored is sealed or public.  Only the owner, the identity that created a volume, may append to
 * it or change its volume.conf.
 */

#include "compiler.h"
#include "copy.h"

#include <stddef.h>

#define VAULT_VOLUMES_MAX 1024u
/* Of one identity, so that nobody fills the store with volumes alone; without TLS, of all. */
#define VAULT_SHARE_MAX 512u

struct storage_pool;
struct vault;

/*
 * vault_open(pool, out): a vault over ${pool}, which it takes, also when it fails.
 * Returns 0 or -ENOMEM.
 * vault_close(v) closes every copy, and the pool; nothing may be in use.  NULL is a no-op.
 */
MUST_CHECK int vault_open(struct storage_pool *pool, struct vault **out);
void vault_close(struct vault *v);

/*
 * vault_find(v, id, out): the copy of a volume, opened and recovered when first asked for.  The
 * caller gives it back with copy_unref() and does not use it after vault_close().  Any thread;
 * blocks while it recovers the copy.  While another thread recovers the copy, or vault_rest()
 * closes it, or VAULT_OPENING_MAX others are being opened, the caller waits until that has taken
 * VAULT_WAIT_MS.
 * Returns 0; -ERR_LOCKED, with a detail, if it takes longer; -ERR_NO_VOLUME with a detail; or, as
 * copy_open(), why it cannot be opened.  Opening is tried again after VAULT_RETRY_MS at the
 * earliest.
 */
#define VAULT_WAIT_MS 2000
#define VAULT_OPENING_MAX 3u /* fewer than the threads that answer questions */
#define VAULT_RETRY_MS 5000
MUST_CHECK int vault_find(struct vault *v, const uint8_t id[VOLUME_ID_LEN], struct copy **out);

/*
 * vault_rest(v, idle_ns): close each copy that nobody has used for ${idle_ns}: its catalog, its
 * descriptors and their memory are for volumes that are in use.  One that is being opened is passed
 * over.  Any thread; works on the disk.  Returns how many were closed.
 */
unsigned vault_rest(struct vault *v, uint64_t idle_ns);

/*
 * vault_renew(v): renew the leases of what is open; called each STORAGE_RENEW_MS.  Any thread; does
 * not wait.
 */
void vault_renew(struct vault *v);

/*
 * vault_put(v, text, len, who, out): create the volume of this volume.conf, owned by ${who}, or
 * replace its volume.conf.
 * Returns 0, durable, with the copy, which the caller gives back as that of vault_find().  Or,
 * without a copy: -ERR_FORBIDDEN, with a detail, if ${who} is not the owner; as params_decode(); as
 * copy_put_params(); -ENOSPC, with a detail, beyond VAULT_VOLUMES_MAX or ${who}'s VAULT_SHARE_MAX;
 * as vault_find().
 */
MUST_CHECK int vault_put(struct vault *v, const void *text, size_t len, const char *who,
			 struct copy **out);

/*
 * vault_list(v, fn, ctx): call fn for each volume's id, until it returns non-zero, returned.
 * Returns 0, that, or -errno.
 */
MUST_CHECK int vault_list(struct vault *v, int (*fn)(void *ctx, const uint8_t id[VOLUME_ID_LEN]),
			  void *ctx);

#endif /* !VAULT_H_ */
