#ifndef KEYS_INTERNAL_H_
#define KEYS_INTERNAL_H_

/* Shared by keys.c and change.c: making the signed parts of volume.conf. */

#include "keys.h"

/* keys_sign(p, authority_secret): sign ${p} as it is.  Returns 0 or -ENOMEM, nothing changed. */
MUST_CHECK int keys_sign(struct params *p, const uint8_t *authority_secret);

/* keys_grant(p, epoch, writer, authority_secret): append a grant; there is room. */
void keys_grant(struct params *p, epoch_no epoch, const uint8_t writer[SIGN_PUBLIC_LEN],
		const uint8_t *authority_secret);

/*
 * keys_wrap_secret(wrap_key, name, secret, out): set ${*out} to the malloc'd text "NAME BASE64"
 * of a "secret" line: the seed of the Ed25519 key ${secret}, sealed.  Returns 0 or -ENOMEM.
 */
MUST_CHECK int keys_wrap_secret(const uint8_t *wrap_key, const char *name, const uint8_t *secret,
				char **out);

/* keys_writer_name(epoch, out): the name of the epoch's writer secret: "writer EPOCH". */
#define WRITER_NAME_LEN 32u
void keys_writer_name(epoch_no epoch, char out[WRITER_NAME_LEN]);

#endif /* !KEYS_INTERNAL_H_ */
