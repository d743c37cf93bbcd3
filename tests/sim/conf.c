/* See conf.h. */

#include "conf.h"

#include "buf.h"
#include "frame.h"
#include "hash.h"
#include "seal.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

static uint8_t log_key[LOG_KEY_LEN];
static uint8_t authority[SIGN_PUBLIC_LEN], authority_secret[64];
static uint8_t writers[CONF_EPOCHS_MAX + 1][SIGN_PUBLIC_LEN];
static uint8_t writer_secrets[CONF_EPOCHS_MAX + 1][64];
static uint8_t id[VOLUME_ID_LEN];
static char id_text[VOLUME_ID_TEXT_LEN];

void conf_init(void)
{
	uint8_t seed[crypto_sign_SEEDBYTES], digest[32];

	memset(log_key, 5, sizeof(log_key));
	memset(seed, 7, sizeof(seed));
	crypto_sign_seed_keypair(authority, authority_secret, seed);
	for (unsigned e = 1; e <= CONF_EPOCHS_MAX; e++) {
		memset(seed, 16 + (int)e, sizeof(seed));
		crypto_sign_seed_keypair(writers[e], writer_secrets[e], seed);
	}
	sha256_parts(authority, sizeof(authority), NULL, 0, NULL, 0, digest);
	memcpy(id, digest, sizeof(id));
	volume_id_format(id, id_text);
}

static void sign_grant(struct params *p, struct grant *g)
{
	uint8_t message[GRANT_MESSAGE_LEN];

	params_grant_message(p->id, g, message);
	crypto_sign_detached(g->signature, NULL, message, sizeof(message), authority_secret);
}

void conf_make(struct params *p, uint64_t serial, uint64_t epochs)
{
	struct buf text = {0};
	int rc;

	assert(epochs >= 1 && epochs <= CONF_EPOCHS_MAX);
	memset(p, 0, sizeof(*p));
	memcpy(p->id, id, sizeof(id));
	memcpy(p->authority, authority, sizeof(authority));
	p->serial = serial;
	p->cipher = CIPHER_AES256GCM;
	p->n_grants = (uint32_t)epochs;
	for (uint32_t i = 0; i < epochs; i++) {
		p->grants[i].epoch = i + 1;
		memcpy(p->grants[i].writer, writers[i + 1], SIGN_PUBLIC_LEN);
		sign_grant(p, &p->grants[i]);
	}
	rc = params_encode_unsigned(p, &text);
	assert(rc == 0);
	crypto_sign_detached(p->signature, NULL, text.p, text.len, authority_secret);
	buf_release(&text);
}

const uint8_t *conf_log_key(void)
{
	return log_key;
}

const uint8_t *conf_name_key(void)
{
	static const uint8_t key[16] = {3, 1, 4, 1, 5, 9, 2, 6};

	return key;
}

const uint8_t *conf_writer_secret(uint64_t epoch)
{
	return writer_secrets[epoch];
}

const char *conf_id(void)
{
	return id_text;
}
