#ifndef KEYS_H_
#define KEYS_H_

/*
 * A volume's keys, and the slots of volume.conf that open them.
 *
 *	credential --KDF--> slot key --opens--> volume key
 *	volume key --KDF--> log key, name key, wrap key
 *	wrap key --opens--> the writer's and the authority's Ed25519 seeds
 *
 * Whoever opens one slot has all keys that this volume.conf carries.  Functions that change a
 * volume.conf do so in memory, raise its serial by one and sign it; the caller stores it with
 * params_store().  When they fail, nothing is changed.  No two threads call functions here with the
 * same params or keys at a time.  secret_init() must have been called.
 */

#include "compiler.h"
#include "format.h"

#include <stddef.h>
#include <stdint.h>

struct buf;
struct credential;
struct params;

#define VOLUME_KEY_LEN 32u
#define NAME_KEY_LEN 16u
#define SIGN_SECRET_LEN 64u
#define SLOT_LABEL_MAX 64u

/* The most that a volume.conf may demand of Argon2id. */
#define SLOT_OPSLIMIT_MAX 64u
#define SLOT_MEMLIMIT_MAX (UINT64_C(4) << 30)

/* Each member is in secret memory of its own, or NULL.  A zeroed struct is empty. */
struct volume_keys {
	uint8_t *volume_key;	   /* VOLUME_KEY_LEN: all but the signing keys derive from it */
	uint8_t *log_key;	   /* VOLUME_KEY_LEN: the segments' keys derive from it */
	uint8_t *name_key;	   /* NAME_KEY_LEN: hashes names in folders */
	uint8_t *wrap_key;	   /* VOLUME_KEY_LEN: seals the two secrets below in volume.conf */
	uint8_t *writer_secret;	   /* SIGN_SECRET_LEN, of the newest epoch; NULL if not carried */
	uint8_t *authority_secret; /* SIGN_SECRET_LEN; NULL if not carried */
};

void keys_release(struct volume_keys *k);

/* Parameters of a new slot.  A zeroed struct: default cost, no label. */
struct slot_options {
	uint64_t opslimit; /* Argon2id passes; 0: libsodium's "moderate" */
	uint64_t memlimit; /* Argon2id bytes; 0: libsodium's "moderate" */
	const char *label; /* printable, at most SLOT_LABEL_MAX bytes; NULL: none */
};

struct volume_options {
	uint32_t cipher;    /* enum cipher; 0: AES-256-GCM */
	int32_t compress;   /* zstd level; 0: none */
	int64_t created_ns; /* since 1970 UTC */
	struct slot_options slot;
};

/*
 * keys_create(options, c, out_params, out_keys): make a new volume's keys and parameters: fresh
 * authority and writer keys, a grant of epoch 1, one slot for ${c}, serial 1, signed.  The caller
 * releases both outputs.
 * Returns 0; -EINVAL with a detail (label or cost); -ENOMEM.
 */
MUST_CHECK int keys_create(const struct volume_options *options, const struct credential *c,
			   struct params *out_params, struct volume_keys *out_keys);

/*
 * keys_unlock(p, c, out): open a slot of ${p} with ${c}, then every secret of ${p}.  The caller
 * releases ${out}.
 * Returns 0; -ERR_WRONG_KEY with a detail if no slot of that kind opens; -ERR_FORMAT with a
 * detail for a malformed slot or secret or one that asks too much of Argon2id; -ERR_TAMPERED if a
 * slot opens but a secret does not or belongs to another public key; -ENOMEM.
 */
MUST_CHECK int keys_unlock(const struct params *p, const struct credential *c,
			   struct volume_keys *out);

/*
 * keys_add_slot(p, k, c, options): add a slot that ${c} opens.
 * Returns 0; -ERR_FORBIDDEN if ${k} lacks the authority's secret; -ENOSPC if all slots are taken;
 * -EINVAL with a detail; -ENOMEM.
 */
MUST_CHECK int keys_add_slot(struct params *p, const struct volume_keys *k,
			     const struct credential *c,
			     const struct slot_options *options);

/*
 * keys_remove_slot(p, k, number): remove slot ${number} (counted from 1, as listed).  It still
 * opens older copies of volume.conf.
 * Returns 0; -ERR_FORBIDDEN; -ENOENT if there is no such slot; -EPERM if it is the last; each
 * with a detail; -ENOMEM.
 */
MUST_CHECK int keys_remove_slot(struct params *p, const struct volume_keys *k, unsigned number);

/*
 * keys_rotate_slot(p, k, number, c, options): from now on ${c} opens slot ${number}, and the old
 * credential does not.  Without a label in ${options} the slot keeps its label.
 * Returns as keys_add_slot(); -ENOENT with a detail if there is no such slot.
 */
MUST_CHECK int keys_rotate_slot(struct params *p, const struct volume_keys *k, unsigned number,
				const struct credential *c, const struct slot_options *options);

/*
 * keys_list_slots(p, out): append one line per slot: "NUMBER KIND [cost] [label]", no secrets.  A
 * slot that this program can't read is listed as "unknown".  Returns 0 or -ENOMEM.
 */
MUST_CHECK int keys_list_slots(const struct params *p, struct buf *out);

/*
 * keys_grant_writer(p, k): grant the next epoch to a new writer key, which replaces the one in
 * ${k}.  Everybody who then has ${p} refuses further heads of the epoch before.
 * Returns 0; -ERR_FORBIDDEN; -ENOSPC if no grant fits; each with a detail; -ENOMEM.
 */
MUST_CHECK int keys_grant_writer(struct params *p, struct volume_keys *k);

#endif /* !KEYS_H_ */
