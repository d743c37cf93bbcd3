#ifndef PARAMS_H_
#define PARAMS_H_

/*
 * volume.conf: the public parameters of a volume, signed by its authority key, the same
 * file at home and at every embassy.  The volume's id is the first 16 bytes of SHA-256 of
 * the authority's public key, so that whoever knows the id can check the file.  Key slots and
 * wrapped secrets are carried as opaque lines; fs/keys reads them.
 */

#include "compiler.h"
#include "format.h"

#include <stddef.h>

struct buf;

#define PARAMS_SLOTS_MAX 32u
#define PARAMS_SECRETS_MAX 8u
#define PARAMS_GRANTS_MAX 256u
#define PARAMS_LINE_MAX 1024u
#define PARAMS_FILE_MAX (256u << 10)
#define VOLUME_ID_TEXT_LEN (2 * VOLUME_ID_LEN + 1) /* lower-case hex and NUL */

/* A writer's term, granted by the authority: "epoch E belongs to this public key". */
struct grant {
	epoch_no epoch;
	uint8_t writer[SIGN_PUBLIC_LEN];
	uint8_t signature[SIGN_LEN]; /* by the authority over "embassyfs grant" id epoch writer */
};

struct params {
	uint8_t id[VOLUME_ID_LEN];
	uint8_t authority[SIGN_PUBLIC_LEN];
	uint64_t serial;    /* grows with each change; a server accepts only a higher one */
	int64_t created_ns;
	uint32_t cipher;    /* enum cipher, for new segments */
	int32_t compress;   /* zstd level for new blocks; 0: none */
	uint32_t n_grants;
	struct grant grants[PARAMS_GRANTS_MAX]; /* ascending epochs */
	uint32_t n_slots;
	char *slots[PARAMS_SLOTS_MAX];	   /* owned; the text after "slot " */
	uint32_t n_secrets;
	char *secrets[PARAMS_SECRETS_MAX]; /* owned; the text after "secret " */
	uint8_t signature[SIGN_LEN];	   /* by the authority over all lines before "signature" */
};

/*
 * params_decode(text, len, out): read a volume.conf and verify it whole: id, grants, signature.
 * On success ${out} owns memory; release with params_release().
 * Returns 0; -ERR_FORMAT, -ERR_VERSION or -ERR_TAMPERED, each with a detail; -ENOMEM.
 */
MUST_CHECK int params_decode(const void *text, size_t len, struct params *out);
void params_release(struct params *p);

/* params_encode(p, out): append the file's text with ${p->signature}.  Returns 0 or -ENOMEM. */
MUST_CHECK int params_encode(const struct params *p, struct buf *out);

/* params_encode_unsigned(p, out): the same without the signature line: what is signed. */
MUST_CHECK int params_encode_unsigned(const struct params *p, struct buf *out);

/* params_grant_message(id, grant, out): the bytes that the authority signs for a grant. */
#define GRANT_MESSAGE_LEN (15u + VOLUME_ID_LEN + 8u + SIGN_PUBLIC_LEN)
void params_grant_message(const uint8_t id[VOLUME_ID_LEN], const struct grant *grant,
			  uint8_t out[GRANT_MESSAGE_LEN]);

/*
 * params_writer(p, epoch): the public key of ${epoch}'s writer, borrowed, or NULL.
 * params_epoch(p): the newest epoch.
 */
const uint8_t *params_writer(const struct params *p, epoch_no epoch);
epoch_no params_epoch(const struct params *p);

/*
 * params_load(volume_dir, out): read VOLUME/volume.conf.
 * Returns 0; -ERR_NO_VOLUME if there is no such folder or no volume.conf in it; or as
 * params_decode().
 */
MUST_CHECK int params_load(const char *volume_dir, struct params *out);

/* params_store(p, volume_dir): write it atomically and durably.  Returns 0 or -errno. */
MUST_CHECK int params_store(const struct params *p, const char *volume_dir);

void volume_id_format(const uint8_t id[VOLUME_ID_LEN], char out[VOLUME_ID_TEXT_LEN]);
/* volume_id_parse(text, out): 32 lower-case hex digits.  Returns 0 or -ERR_FORMAT. */
MUST_CHECK int volume_id_parse(const char *text, uint8_t out[VOLUME_ID_LEN]);

#endif /* !PARAMS_H_ */
