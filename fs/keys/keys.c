/*
 * A volume's keys: how they are made, derived and unlocked.
 *
 * The volume key is random and never changes.  Slots seal it; crypto_kdf (BLAKE2b) derives the log,
 * name and wrap keys from it.  Signing keys are independent random Ed25519 keys; volume.conf holds
 * their seeds, sealed by the wrap key.  A seed that opens must belong to the public key in the
 * signed part of volume.conf, so one seed cannot be passed off as another.
 *
 * Invariant: our code keeps key bytes in secret memory only; libsodium wipes its own stack copies.
 */

#include "keys_internal.h"

#include "buf.h"
#include "credential.h"
#include "err.h"
#include "frame.h"
#include "hash.h"
#include "msg.h"
#include "params.h"
#include "secret.h"
#include "slot.h"
#include "text.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED_LEN crypto_sign_SEEDBYTES
#define WRAPPED_SEED_LEN (crypto_secretbox_NONCEBYTES + SEED_LEN + crypto_secretbox_MACBYTES)

_Static_assert(crypto_kdf_KEYBYTES == VOLUME_KEY_LEN, "volume key length");
_Static_assert(crypto_secretbox_KEYBYTES == VOLUME_KEY_LEN, "wrap key length");
_Static_assert(crypto_sign_SECRETKEYBYTES == SIGN_SECRET_LEN, "signing key length");
_Static_assert(WRAPPED_SEED_LEN == 72, "format: sealed seed");

void keys_release(struct volume_keys *k)
{
	secret_free(k->volume_key);
	secret_free(k->log_key);
	secret_free(k->name_key);
	secret_free(k->wrap_key);
	secret_free(k->writer_secret);
	secret_free(k->authority_secret);
	*k = (struct volume_keys){0};
}

/* Derive the log, name and wrap keys from the volume key. */
static int derive(struct volume_keys *k)
{
	k->log_key = secret_alloc(VOLUME_KEY_LEN);
	k->name_key = secret_alloc(NAME_KEY_LEN);
	k->wrap_key = secret_alloc(VOLUME_KEY_LEN);
	if (!k->log_key || !k->name_key || !k->wrap_key)
		return -ENOMEM;
	crypto_kdf_derive_from_key(k->log_key, VOLUME_KEY_LEN, 1, "segments", k->volume_key);
	crypto_kdf_derive_from_key(k->name_key, NAME_KEY_LEN, 1, "dirnames", k->volume_key);
	crypto_kdf_derive_from_key(k->wrap_key, VOLUME_KEY_LEN, 1, "wrapkeys", k->volume_key);
	return 0;
}

void keys_writer_name(epoch_no epoch, char out[WRITER_NAME_LEN])
{
	snprintf(out, WRITER_NAME_LEN, "writer %llu", (unsigned long long)epoch);
}

int keys_wrap_secret(const uint8_t *wrap_key, const char *name, const uint8_t *secret, char **out)
{
	uint8_t wrapped[WRAPPED_SEED_LEN];
	struct buf text = {0};
	int rc;

	/* A libsodium secret key begins with the seed. */
	random_bytes(wrapped, crypto_secretbox_NONCEBYTES);
	crypto_secretbox_easy(wrapped + crypto_secretbox_NONCEBYTES, secret, SEED_LEN, wrapped,
			      wrap_key);
	rc = buf_printf(&text, "%s ", name);
	if (rc == 0)
		rc = buf_add_base64(&text, wrapped, sizeof(wrapped));
	if (rc == 0)
		rc = buf_add_u8(&text, '\0');
	if (rc < 0) {
		buf_release(&text);
		return rc;
	}
	*out = (char *)text.p;
	return 0;
}

/* Unseal ${value}, the seed of the key with public half ${public}, into ${*out}. */
static int unwrap_secret(const uint8_t *wrap_key, struct text value, const uint8_t *public,
			 uint8_t **out)
{
	uint8_t wrapped[WRAPPED_SEED_LEN], made[SIGN_PUBLIC_LEN];
	uint8_t *seed, *secret;
	int rc = 0;

	if (!text_base64(value, wrapped, sizeof(wrapped)))
		return err_say(-ERR_FORMAT, "volume.conf: malformed secret");
	seed = secret_alloc(SEED_LEN);
	secret = secret_alloc(SIGN_SECRET_LEN);
	if (!seed || !secret)
		rc = -ENOMEM;
	else if (crypto_secretbox_open_easy(seed, wrapped + crypto_secretbox_NONCEBYTES,
					    sizeof(wrapped) - crypto_secretbox_NONCEBYTES, wrapped,
					    wrap_key) != 0)
		rc = err_say(-ERR_TAMPERED,
			     "volume.conf: a secret is not sealed by the volume key");
	else {
		crypto_sign_seed_keypair(made, secret, seed);
		if (memcmp(made, public, SIGN_PUBLIC_LEN) != 0)
			rc = err_say(-ERR_TAMPERED,
				     "volume.conf: a secret belongs to another public key");
	}
	secret_free(seed);
	if (rc < 0) {
		secret_free(secret);
		return rc;
	}
	*out = secret;
	return 0;
}

/* Take one "secret" line.  Lines of earlier epochs or unknown names are ignored. */
static int open_secret(const struct params *p, const char *line, struct volume_keys *k)
{
	struct text rest = text_of(line, strlen(line)), word;
	const uint8_t *public = p->authority;
	uint8_t **out = &k->authority_secret;
	epoch_no epoch;

	if (text_skip(&rest, "writer ")) {
		if (!text_word(&rest, &word) || !text_u64(word, &epoch))
			return err_say(-ERR_FORMAT, "volume.conf: malformed secret");
		if (epoch != params_epoch(p))
			return 0;
		public = params_writer(p, epoch);
		out = &k->writer_secret;
	} else if (!text_skip(&rest, "authority "))
		return 0;
	if (*out)
		return err_say(-ERR_FORMAT, "volume.conf: a secret is there twice");
	return unwrap_secret(k->wrap_key, rest, public, out);
}

/* RFC 8265 is not followed: a passphrase is its bytes; other encodings of the same text differ. */
#define NOT_NORMALISED                                                                             \
	"it has letters beyond ASCII, which are not normalised: an accented one may be one or "    \
	"two characters, so type it where and as it was set"

static bool beyond_ascii(const struct credential *c)
{
	if (c->kind != CREDENTIAL_PASSPHRASE)
		return false;
	for (size_t i = 0; i < c->len; i++)
		if (c->p[i] >= 0x80)
			return true;
	return false;
}

static int say_wrong_key(const struct params *p, const struct credential *c)
{
	enum credential_kind kind = c->kind;
	const char *given = kind == CREDENTIAL_PASSPHRASE ? "passphrase" : "key file";
	const char *other = kind == CREDENTIAL_PASSPHRASE ? "key file" : "passphrase";
	char id[VOLUME_ID_TEXT_LEN];
	unsigned n = 0;

	volume_id_format(p->id, id);
	for (uint32_t i = 0; i < p->n_slots; i++)
		n += slot_kind(p->slots[i]) == kind;
	if (n == 0)
		return err_say(-ERR_WRONG_KEY, "volume %s: no key slot takes a %s; give a %s", id,
			       given, other);
	return err_say(-ERR_WRONG_KEY,
		       "volume %s: wrong %s: it opens none of the volume's key slots; check it and "
		       "try again%s",
		       id, given, beyond_ascii(c) ? "; " NOT_NORMALISED : "");
}

/* Try the slots in order; a malformed slot does not prevent the others from being tried. */
static int open_volume_key(const struct params *p, const struct credential *c, uint8_t *out_key)
{
	int first = 0;

	for (uint32_t i = 0; i < p->n_slots; i++) {
		int rc = slot_open(p->slots[i], p->id, c, out_key);

		if (rc == 0)
			return 0;
		if (rc != -ERR_WRONG_KEY && first == 0)
			first = rc;
	}
	return first < 0 ? first : say_wrong_key(p, c);
}

/* Try ${c}; if it opens nothing, try the passphrase file's raw line, as earlier versions did. */
static int open_as_before(const struct params *p, const struct credential *c, uint8_t *volume_key)
{
	const struct credential raw = {.kind = c->kind, .p = c->raw, .len = c->raw_len};
	int rc = open_volume_key(p, c, volume_key);

	if (rc != -ERR_WRONG_KEY || !c->raw)
		return rc;
	rc = open_volume_key(p, &raw, volume_key);
	if (rc == 0)
		msg_warn("the carriage return or byte-order mark of the passphrase file is part of "
			 "this volume's passphrase, and can hardly be typed; set it anew with "
			 "'embassy keys VOLUME rotate SLOT'");
	return rc;
}

int keys_unlock(const struct params *p, const struct credential *c, struct volume_keys *out)
{
	int rc;

	*out = (struct volume_keys){0};
	out->volume_key = secret_alloc(VOLUME_KEY_LEN);
	if (!out->volume_key)
		return -ENOMEM;
	rc = open_as_before(p, c, out->volume_key);
	if (rc == 0)
		rc = derive(out);
	for (uint32_t i = 0; rc == 0 && i < p->n_secrets; i++)
		rc = open_secret(p, p->secrets[i], out);
	if (rc < 0)
		keys_release(out);
	return rc;
}

int keys_sign(struct params *p, const uint8_t *authority_secret)
{
	struct buf text = {0};
	int rc = params_encode_unsigned(p, &text);

	if (rc == 0)
		crypto_sign_detached(p->signature, NULL, text.p, text.len, authority_secret);
	buf_release(&text);
	return rc;
}

void keys_grant(struct params *p, epoch_no epoch, const uint8_t writer[SIGN_PUBLIC_LEN],
		const uint8_t *authority_secret)
{
	struct grant *g = &p->grants[p->n_grants++];
	uint8_t message[GRANT_MESSAGE_LEN];

	g->epoch = epoch;
	memcpy(g->writer, writer, SIGN_PUBLIC_LEN);
	params_grant_message(p->id, g, message);
	crypto_sign_detached(g->signature, NULL, message, sizeof(message), authority_secret);
}

/* Make new keys of every kind, and put their public halves into ${p}. */
static int make_keys(struct volume_keys *k, struct params *p)
{
	uint8_t hash[HASH_LEN], writer[SIGN_PUBLIC_LEN];
	int rc;

	k->volume_key = secret_alloc(VOLUME_KEY_LEN);
	k->writer_secret = secret_alloc(SIGN_SECRET_LEN);
	k->authority_secret = secret_alloc(SIGN_SECRET_LEN);
	if (!k->volume_key || !k->writer_secret || !k->authority_secret)
		return -ENOMEM;
	random_bytes(k->volume_key, VOLUME_KEY_LEN);
	rc = derive(k);
	if (rc < 0)
		return rc;

	crypto_sign_keypair(p->authority, k->authority_secret);
	crypto_sign_keypair(writer, k->writer_secret);
	sha256_parts(p->authority, SIGN_PUBLIC_LEN, NULL, 0, NULL, 0, hash);
	memcpy(p->id, hash, VOLUME_ID_LEN);
	keys_grant(p, 1, writer, k->authority_secret);
	return 0;
}

static int add_secret(struct params *p, const char *name, const uint8_t *wrap_key,
		      const uint8_t *secret)
{
	int rc = keys_wrap_secret(wrap_key, name, secret, &p->secrets[p->n_secrets]);

	if (rc == 0)
		p->n_secrets++;
	return rc;
}

static int add_first_slot(struct params *p, const struct volume_keys *k, const struct credential *c,
			  const struct slot_options *options)
{
	struct buf slot = {0};
	int rc = slot_make(p->id, k->volume_key, c, options, &slot);

	if (rc < 0) {
		buf_release(&slot);
		return rc;
	}
	p->slots[p->n_slots++] = (char *)slot.p;
	return 0;
}

int keys_create(const struct volume_options *options, const struct credential *c,
		struct params *out_params, struct volume_keys *out_keys)
{
	struct params *p = out_params;
	struct volume_keys *k = out_keys;
	char name[WRITER_NAME_LEN];
	int rc;

	*k = (struct volume_keys){0};
	*p = (struct params){
		.serial = 1,
		.created_ns = options->created_ns,
		.cipher = options->cipher ? options->cipher : CIPHER_AES256GCM,
		.compress = options->compress,
	};
	rc = make_keys(k, p);
	if (rc == 0)
		rc = add_first_slot(p, k, c, &options->slot);
	keys_writer_name(1, name);
	if (rc == 0)
		rc = add_secret(p, name, k->wrap_key, k->writer_secret);
	if (rc == 0)
		rc = add_secret(p, "authority", k->wrap_key, k->authority_secret);
	if (rc == 0)
		rc = keys_sign(p, k->authority_secret);
	if (rc < 0) {
		params_release(p);
		keys_release(k);
	}
	return rc;
}
