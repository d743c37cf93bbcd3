/*
 * Key slots.
 *
 * A slot's key is Argon2id of a passphrase, or keyed BLAKE2b of a key file, with the slot's salt.
 * It seals the volume key with XChaCha20-Poly1305 under a random nonce.  The associated data are
 * the volume's id and the slot's text up to the sealed part.  So a slot copied into another volume,
 * or with another kind, cost or salt, does not open.
 *
 * A slot's text comes from a file, so its cost is bounded before Argon2id runs.
 */

#include "slot.h"

#include "buf.h"
#include "credential.h"
#include "err.h"
#include "keys.h"
#include "params.h"
#include "secret.h"
#include "text.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#define SLOT_SALT_MAX 32u
#define SLOT_NONCE_LEN crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define SLOT_TAG_LEN crypto_aead_xchacha20poly1305_ietf_ABYTES
#define WRAPPED_LEN (SLOT_NONCE_LEN + VOLUME_KEY_LEN + SLOT_TAG_LEN)

_Static_assert(crypto_pwhash_SALTBYTES == 16, "format: salt of a passphrase slot");
_Static_assert(WRAPPED_LEN == 72, "format: sealed volume key");
_Static_assert(crypto_aead_xchacha20poly1305_ietf_KEYBYTES == VOLUME_KEY_LEN, "slot key length");

/* A slot, parsed. */
struct slot {
	enum credential_kind kind;
	uint64_t opslimit, memlimit; /* of a passphrase */
	size_t salt_len;
	uint8_t salt[SLOT_SALT_MAX];
	uint8_t wrapped[WRAPPED_LEN]; /* nonce, ciphertext, tag */
	struct text bound;	      /* the text up to the sealed part, with the space before it */
	struct text label;	      /* may be empty */
};

static bool cost_fits(uint64_t opslimit, uint64_t memlimit)
{
	return opslimit >= crypto_pwhash_OPSLIMIT_MIN && opslimit <= SLOT_OPSLIMIT_MAX &&
	       memlimit >= crypto_pwhash_MEMLIMIT_MIN && memlimit <= SLOT_MEMLIMIT_MAX;
}

static bool label_fits(struct text label)
{
	return label.len <= SLOT_LABEL_MAX && text_printable(label);
}

/* Parse the kind, then the fields that only this kind has. */
static int read_kind(struct text *rest, struct slot *out)
{
	struct text ops, mem;

	if (text_skip(rest, "passphrase argon2id ")) {
		out->kind = CREDENTIAL_PASSPHRASE;
		out->salt_len = crypto_pwhash_SALTBYTES;
		if (!text_word(rest, &ops) || !text_word(rest, &mem) ||
		    !text_u64(ops, &out->opslimit) || !text_u64(mem, &out->memlimit))
			return err_say(-ERR_FORMAT, "key slot: malformed");
		if (!cost_fits(out->opslimit, out->memlimit))
			return err_say(-ERR_FORMAT,
				       "key slot: asks for %llu passes and %llu bytes of Argon2id, "
				       "beyond what is allowed",
				       (unsigned long long)out->opslimit,
				       (unsigned long long)out->memlimit);
		return 0;
	}
	if (text_skip(rest, "keyfile ")) {
		out->kind = CREDENTIAL_KEY_FILE;
		out->salt_len = SLOT_SALT_MAX;
		return 0;
	}
	out->kind = CREDENTIAL_NONE;
	return 0;
}

/* A slot of a kind unknown to this program gets CREDENTIAL_NONE: no credential opens it. */
static int slot_read(const char *slot, struct slot *out)
{
	struct text rest = text_of(slot, strlen(slot)), salt, wrapped;
	int rc;

	*out = (struct slot){0};
	rc = read_kind(&rest, out);
	if (rc < 0 || out->kind == CREDENTIAL_NONE)
		return rc;
	if (!text_word(&rest, &salt) || !text_base64(salt, out->salt, out->salt_len))
		return err_say(-ERR_FORMAT, "key slot: malformed");
	out->bound = text_of(slot, (size_t)(rest.p - slot));
	if (!text_word(&rest, &wrapped) || !text_base64(wrapped, out->wrapped, WRAPPED_LEN) ||
	    !label_fits(rest))
		return err_say(-ERR_FORMAT, "key slot: malformed");
	out->label = rest;
	return 0;
}

/* Derive the slot's own key from the credential, into secret memory. */
static int slot_key(const struct slot *s, const struct credential *c, uint8_t *out)
{
	if (c->kind == CREDENTIAL_KEY_FILE) {
		crypto_generichash(out, VOLUME_KEY_LEN, c->p, c->len, s->salt, s->salt_len);
		return 0;
	}
	/* Its only failure is a lack of memory: the cost was checked. */
	if (crypto_pwhash(out, VOLUME_KEY_LEN, (const char *)c->p, c->len, s->salt, s->opslimit,
			  (size_t)s->memlimit, crypto_pwhash_ALG_ARGON2ID13) != 0)
		return err_say(-ENOMEM, "key slot: Argon2id needs %llu MiB of memory",
			       (unsigned long long)(s->memlimit >> 20));
	return 0;
}

/* The associated data: "embassyfs slot ID " and the slot's text up to the sealed part. */
static int bound_data(const uint8_t id[VOLUME_ID_LEN], struct text bound, struct buf *out)
{
	char id_text[VOLUME_ID_TEXT_LEN];

	volume_id_format(id, id_text);
	return buf_printf(out, "embassyfs slot %s %.*s", id_text, (int)bound.len, bound.p);
}

int slot_open(const char *slot, const uint8_t id[VOLUME_ID_LEN], const struct credential *c,
	      uint8_t *out_key)
{
	struct buf data = {0};
	struct slot s;
	uint8_t *key;
	int rc;

	rc = slot_read(slot, &s);
	if (rc < 0)
		return rc;
	if (s.kind == CREDENTIAL_NONE || s.kind != c->kind)
		return -ERR_WRONG_KEY;

	key = secret_alloc(VOLUME_KEY_LEN);
	if (!key)
		return -ENOMEM;
	rc = bound_data(id, s.bound, &data);
	if (rc == 0)
		rc = slot_key(&s, c, key);
	if (rc == 0 && crypto_aead_xchacha20poly1305_ietf_decrypt(
			       out_key, NULL, NULL, s.wrapped + SLOT_NONCE_LEN,
			       VOLUME_KEY_LEN + SLOT_TAG_LEN, data.p, data.len, s.wrapped,
			       key) != 0)
		rc = -ERR_WRONG_KEY;
	buf_release(&data);
	secret_free(key);
	return rc;
}

/* Choose salt and cost, and write the text up to the sealed part. */
static int begin_slot(struct slot *s, const struct slot_options *options, struct buf *out)
{
	int rc;

	if (s->kind == CREDENTIAL_PASSPHRASE) {
		s->salt_len = crypto_pwhash_SALTBYTES;
		s->opslimit = options->opslimit ? options->opslimit
						: crypto_pwhash_OPSLIMIT_MODERATE;
		s->memlimit = options->memlimit ? options->memlimit
						: crypto_pwhash_MEMLIMIT_MODERATE;
		if (!cost_fits(s->opslimit, s->memlimit))
			return err_say(-EINVAL, "key slot: Argon2id takes 1 to %u passes and "
						"8 KiB to 4 GiB of memory",
				       SLOT_OPSLIMIT_MAX);
		rc = buf_printf(out, "passphrase argon2id %llu %llu ",
				(unsigned long long)s->opslimit, (unsigned long long)s->memlimit);
	} else {
		s->salt_len = SLOT_SALT_MAX;
		rc = buf_printf(out, "keyfile ");
	}
	random_bytes(s->salt, s->salt_len);
	if (rc == 0)
		rc = buf_add_base64(out, s->salt, s->salt_len);
	if (rc == 0)
		rc = buf_add_u8(out, ' ');
	return rc;
}

static int seal_volume_key(struct slot *s, const uint8_t id[VOLUME_ID_LEN],
			   const struct credential *c, const uint8_t *volume_key)
{
	uint8_t *key = secret_alloc(VOLUME_KEY_LEN);
	struct buf data = {0};
	int rc;

	if (!key)
		return -ENOMEM;
	rc = bound_data(id, s->bound, &data);
	if (rc == 0)
		rc = slot_key(s, c, key);
	if (rc == 0) {
		random_bytes(s->wrapped, SLOT_NONCE_LEN);
		crypto_aead_xchacha20poly1305_ietf_encrypt(s->wrapped + SLOT_NONCE_LEN, NULL,
							   volume_key, VOLUME_KEY_LEN, data.p,
							   data.len, NULL, s->wrapped, key);
	}
	buf_release(&data);
	secret_free(key);
	return rc;
}

int slot_make(const uint8_t id[VOLUME_ID_LEN], const uint8_t *volume_key,
	      const struct credential *c, const struct slot_options *options, struct buf *out)
{
	const char *label = options->label ? options->label : "";
	struct slot s = {.kind = c->kind};
	size_t start = out->len;
	int rc;

	if (c->kind == CREDENTIAL_NONE)
		return err_say(-EINVAL, "key slot: no passphrase or key file was given");
	if (!label_fits(text_of(label, strlen(label))) || label[0] == ' ')
		return err_say(-EINVAL, "key slot: a label is at most %u printable characters and "
					"does not begin with a space",
			       SLOT_LABEL_MAX);
	rc = begin_slot(&s, options, out);
	if (rc < 0)
		return rc;
	s.bound = text_of(out->p + start, out->len - start);
	rc = seal_volume_key(&s, id, c, volume_key);
	if (rc == 0)
		rc = buf_add_base64(out, s.wrapped, WRAPPED_LEN);
	if (rc == 0)
		rc = buf_printf(out, "%s%s", label[0] ? " " : "", label);
	return rc;
}

int slot_describe(const char *slot, struct buf *out)
{
	struct slot s;
	int rc;

	if (slot_read(slot, &s) < 0 || s.kind == CREDENTIAL_NONE)
		return buf_printf(out, "unknown");
	if (s.kind == CREDENTIAL_KEY_FILE)
		rc = buf_printf(out, "keyfile");
	else
		rc = buf_printf(out, "passphrase argon2id %llu passes %llu KiB",
				(unsigned long long)s.opslimit,
				(unsigned long long)(s.memlimit >> 10));
	if (rc == 0 && s.label.len > 0)
		rc = buf_printf(out, " %.*s", (int)s.label.len, s.label.p);
	return rc;
}

enum credential_kind slot_kind(const char *slot)
{
	struct slot s;

	return slot_read(slot, &s) == 0 ? s.kind : CREDENTIAL_NONE;
}

const char *slot_label(const char *slot)
{
	struct slot s;

	/* The label is the end of the text, so the text's NUL terminates it. */
	return slot_read(slot, &s) == 0 && s.label.len > 0 ? s.label.p : NULL;
}
