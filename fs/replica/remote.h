#ifndef REMOTE_H_
#define REMOTE_H_

/*
 * A block server as seen by a client: a source for views, and the few questions of the admin's
 * command.  The server is not trusted: volume.conf is checked against the volume's id, and heads
 * against their writer's key; the layers above check the seals of blocks.
 */

#include "compiler.h"
#include "head.h"
#include "params.h"

#include <stdbool.h>
#include <stddef.h>

struct source;

struct remote_config {
	const char *address;   /* HOST:PORT or unix:PATH */
	const uint8_t *volume; /* VOLUME_ID_LEN bytes */
	/* ca.pem cert.pem key.pem; NULL: plain, refused unless loopback or a Unix socket */
	const char *tls_dir;
	/* local cache of log bytes (ciphertext, in an unlinked file); 0: 1 GiB */
	uint64_t cache_bytes;
	int timeout_ms; /* per call; 0: 10 000 */
};

/*
 * source_open_remote(cfg, out): connect, then fetch and verify volume.conf; tries for
 * cfg->timeout_ms.  If the server goes away later, a read fails after that time; once the server is
 * back, reads succeed again.
 * Returns 0; -ERR_UNREACHABLE; -ERR_REFUSED or -ERR_FORBIDDEN (the server refuses us; also plain
 * text to a host that is not this one); -ERR_NO_VOLUME (it has no such volume); -ERR_TAMPERED;
 * -ERR_FORMAT or -errno (TLS files); as client_call(); each with a detail.
 */
MUST_CHECK int source_open_remote(const struct remote_config *cfg, struct source **out);

/* What a server says of one volume; the head was verified. */
struct remote_status {
	log_pos end;
	struct head head; /* number 0: none yet */
};

/* remote_volume_status(cfg, out): ask once.  Returns as source_open_remote(). */
MUST_CHECK int remote_volume_status(const struct remote_config *cfg, struct remote_status *out);

/*
 * remote_repair(cfg, pos, leaf, data, len, out_blocks): send whole adjacent blocks once more;
 * ${leaf} is the block number of the first in the log.  The server writes those that it no longer
 * has as it once verified them.
 * Returns 0; -ERR_FORBIDDEN (not ours, or not the bytes that it had verified); -ERR_ABSENT; as
 * source_open_remote().
 */
MUST_CHECK int remote_repair(const struct remote_config *cfg, log_pos pos, leaf_no leaf,
			     const void *data, size_t len, uint32_t *out_blocks);

/*
 * remote_list_volumes(cfg, fn, ctx): call fn for each volume that the server holds (cfg->volume is
 * not used), until it returns non-zero, which is returned.
 * Returns 0; that; as source_open_remote().
 */
MUST_CHECK int remote_list_volumes(const struct remote_config *cfg,
				   int (*fn)(void *ctx, const uint8_t id[VOLUME_ID_LEN]),
				   void *ctx);

#endif /* !REMOTE_H_ */
