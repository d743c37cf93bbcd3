#ifndef SLOT_H_
#define SLOT_H_

/*
 * One key slot of volume.conf: the volume key, sealed under a key made from a credential.
 *
 *	passphrase argon2id OPSLIMIT MEMLIMIT SALT WRAPPED [label]
 *	keyfile SALT WRAPPED [label]
 */

#include "compiler.h"
#include "credential.h"
#include "format.h"

#include <stdint.h>

struct buf;
struct slot_options;

/*
 * slot_make(id, volume_key, c, options, out): append the text of a slot of volume ${id} that ${c}
 * opens, and a NUL that out->len does not count.
 * Returns 0; -EINVAL with a detail (label or cost); -ENOMEM.
 */
MUST_CHECK int slot_make(const uint8_t id[VOLUME_ID_LEN], const uint8_t *volume_key,
			 const struct credential *c, const struct slot_options *options,
			 struct buf *out);

/*
 * slot_open(slot, id, c, out_key): open the slot with ${c}, and write the volume key to the 32
 * bytes of secret memory at ${out_key}.
 * Returns 0; -ERR_WRONG_KEY (no detail) if it is of another kind or does not open; -ERR_FORMAT
 * with a detail; -ENOMEM.
 */
MUST_CHECK int slot_open(const char *slot, const uint8_t id[VOLUME_ID_LEN],
			 const struct credential *c, uint8_t *out_key);

/*
 * slot_describe(slot, out): append "KIND [cost] [label]", without a newline.  Returns 0 or
 * -ENOMEM.
 */
MUST_CHECK int slot_describe(const char *slot, struct buf *out);

/* slot_kind(slot): the kind of its credential; CREDENTIAL_NONE if this program can't read it. */
enum credential_kind slot_kind(const char *slot);

/* slot_label(slot): its label, borrowed from ${slot}, or NULL. */
const char *slot_label(const char *slot);

#endif /* !SLOT_H_ */
