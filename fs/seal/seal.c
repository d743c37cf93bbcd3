/*
 * Sealing and opening of blocks.
 *
 * Key idea: setting up a cipher costs about a microsecond, more than sealing a small block.  So
 * each thread keeps one cipher context to seal and one to open.  It remembers, by serial number,
 * which segment key is loaded, and sets only the nonce while the key stays the same.
 *
 * Invariants:
 *  - A segment_key never changes after segment_key_new(); serials are never used twice in a
 *    process, so a context cannot mistake one key for another that lies at the same address.
 *  - A block occupies more bytes than it has chunks, so nonces of different blocks never coincide.
 *  - Unverified plaintext never leaves seal_open_chunks().
 * A thread's contexts hold the expanded key until another key is loaded or the thread ends; the
 * library wipes them then.
 */

#include "seal.h"

#include "bytes.h"
#include "err.h"
#include "secret.h"

#include <openssl/evp.h>
#include <sodium.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define NONCE_LEN 12u
#define FRAME_SEALED_LEN 8u /* frame bytes authenticated by the seal; the rest is the frame's CRC */
#define AAD_LEN (VOLUME_ID_LEN + 8u + FRAME_SEALED_LEN)

struct segment_key {
	uint64_t serial;
	uint32_t cipher;
	uint8_t volume[VOLUME_ID_LEN];
	uint8_t key[32];
};

struct context {
	EVP_CIPHER_CTX *evp;
	uint64_t serial; /* of the loaded key; 0: none */
};

struct thread_contexts {
	struct context seal, open;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_key;
static EVP_CIPHER *aes256gcm, *chacha20poly1305;
static atomic_uint_fast64_t next_serial = 1;
static _Thread_local struct thread_contexts *mine;

static void free_contexts(void *p)
{
	struct thread_contexts *t = p;

	EVP_CIPHER_CTX_free(t->seal.evp);
	EVP_CIPHER_CTX_free(t->open.evp);
	free(t);
	mine = NULL;
}

static void init_once(void)
{
	/* A libcrypto without these ciphers, or no thread key this early, is fatal. */
	aes256gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	chacha20poly1305 = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
	if (!aes256gcm || !chacha20poly1305 || pthread_key_create(&thread_key, free_contexts) != 0)
		abort();
}

static struct thread_contexts *contexts(void)
{
	struct thread_contexts *t;

	if (mine)
		return mine;
	pthread_once(&once, init_once);
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->seal.evp = EVP_CIPHER_CTX_new();
	t->open.evp = EVP_CIPHER_CTX_new();
	if (!t->seal.evp || !t->open.evp || pthread_setspecific(thread_key, t) != 0) {
		free_contexts(t);
		return NULL;
	}
	mine = t;
	return t;
}

int seal_ready(void)
{
	return contexts() ? 0 : -ENOMEM;
}

int segment_key_new(const uint8_t log_key[LOG_KEY_LEN], const struct segment_header *h,
		    struct segment_key **out)
{
	static const char label[] = "embassyfs segment";
	struct segment_key *k;
	crypto_generichash_state state;
	uint8_t fixed[16];

	if (h->cipher != CIPHER_AES256GCM && h->cipher != CIPHER_CHACHA20POLY1305)
		return err_say(-ERR_VERSION, "segment %llu: cipher %u is not known to this program",
			       (unsigned long long)h->number, h->cipher);
	k = secret_alloc(sizeof(*k));
	if (!k)
		return -ENOMEM;

	k->serial = atomic_fetch_add(&next_serial, 1);
	k->cipher = h->cipher;
	memcpy(k->volume, h->volume, VOLUME_ID_LEN);
	put_le64(fixed, h->number);
	put_le32(fixed + 8, h->key_generation);
	put_le32(fixed + 12, h->cipher);
	crypto_generichash_init(&state, log_key, LOG_KEY_LEN, sizeof(k->key));
	crypto_generichash_update(&state, (const uint8_t *)label, sizeof(label) - 1);
	crypto_generichash_update(&state, h->volume, VOLUME_ID_LEN);
	crypto_generichash_update(&state, fixed, sizeof(fixed));
	crypto_generichash_update(&state, h->salt, SALT_LEN);
	crypto_generichash_final(&state, k->key, sizeof(k->key));
	secret_wipe(&state, sizeof(state));
	*out = k;
	return 0;
}

void segment_key_free(struct segment_key *k)
{
	secret_free(k);
}

static void make_nonce(log_pos pos, uint32_t chunk, uint8_t nonce[NONCE_LEN])
{
	memset(nonce, 0, NONCE_LEN);
	put_le64(nonce, pos + chunk);
}

static void make_aad(const struct segment_key *k, log_pos pos, const struct frame *f,
		     uint8_t aad[AAD_LEN])
{
	uint8_t frame[FRAME_LEN];

	frame_encode(f, pos, frame);
	memcpy(aad, k->volume, VOLUME_ID_LEN);
	put_le64(aad + VOLUME_ID_LEN, pos);
	memcpy(aad + VOLUME_ID_LEN + 8, frame, FRAME_SEALED_LEN);
}

/* Load the key unless it is loaded already, and set the nonce. */
static bool context_ready(struct context *c, const struct segment_key *k, log_pos pos,
			  uint32_t chunk, int encrypt)
{
	const EVP_CIPHER *cipher;
	uint8_t nonce[NONCE_LEN];

	make_nonce(pos, chunk, nonce);
	if (c->serial == k->serial)
		return EVP_CipherInit_ex2(c->evp, NULL, NULL, nonce, encrypt, NULL) == 1;

	c->serial = 0;
	cipher = k->cipher == CIPHER_AES256GCM ? aes256gcm : chacha20poly1305;
	if (EVP_CipherInit_ex2(c->evp, cipher, k->key, nonce, encrypt, NULL) != 1)
		return false;
	c->serial = k->serial;
	return true;
}

static bool seal_chunk(struct context *c, const uint8_t aad[AAD_LEN], const uint8_t *plain,
		       size_t len, uint8_t *out)
{
	int n;

	return EVP_EncryptUpdate(c->evp, NULL, &n, aad, AAD_LEN) == 1 &&
	       EVP_EncryptUpdate(c->evp, out, &n, plain, (int)len) == 1 && (size_t)n == len &&
	       EVP_EncryptFinal_ex(c->evp, out + n, &n) == 1 &&
	       EVP_CIPHER_CTX_ctrl(c->evp, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_LEN, out + len) == 1;
}

int seal_block(const struct segment_key *k, log_pos pos, const struct frame *f, const void *plain,
	       size_t plain_len, uint8_t *out)
{
	struct thread_contexts *t = contexts();
	const uint8_t *from = plain;
	size_t chunk_len = seal_chunk_len(f->flags);
	uint8_t aad[AAD_LEN];

	assert(plain_len <= BLOCK_PLAIN_MAX &&
	       f->body_len == sealed_len((uint32_t)plain_len, f->flags));
	assert(!block_kind_is_clear(f->kind));
	if (!t)
		return -ENOMEM;
	frame_encode(f, pos, out);
	make_aad(k, pos, f, aad);
	out += FRAME_LEN;
	for (uint32_t chunk = 0; plain_len > 0; chunk++) {
		size_t len = plain_len < chunk_len ? plain_len : chunk_len;

		if (!context_ready(&t->seal, k, pos, chunk, 1))
			return -EIO;
		if (!seal_chunk(&t->seal, aad, from, len, out)) {
			t->seal.serial = 0;
			return -EIO;
		}
		from += len;
		plain_len -= len;
		out += len + SEAL_TAG_LEN;
	}
	return 0;
}

static int open_chunk(struct context *c, const uint8_t aad[AAD_LEN], const uint8_t *cipher,
		      size_t len, uint8_t *out)
{
	uint8_t tag[SEAL_TAG_LEN];
	int n;

	memcpy(tag, cipher + len, SEAL_TAG_LEN);
	if (EVP_CIPHER_CTX_ctrl(c->evp, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG_LEN, tag) != 1 ||
	    EVP_DecryptUpdate(c->evp, NULL, &n, aad, AAD_LEN) != 1 ||
	    EVP_DecryptUpdate(c->evp, out, &n, cipher, (int)len) != 1) {
		c->serial = 0;
		return -EIO;
	}
	return EVP_DecryptFinal_ex(c->evp, out + len, &n) == 1 ? 0 : -ERR_DAMAGED;
}

int seal_open_chunks(const struct segment_key *k, log_pos pos, const struct frame *f,
		     uint32_t first, uint32_t n, const uint8_t *sealed, void *out)
{
	struct thread_contexts *t = contexts();
	uint32_t len = opened_len(f->body_len, f->flags), chunk_len = seal_chunk_len(f->flags);
	uint32_t from = first * chunk_len, at = from, end;
	uint8_t aad[AAD_LEN];
	int rc = 0;

	if (block_kind_is_clear(f->kind) || len == 0 || len > BLOCK_PLAIN_MAX)
		return -ERR_DAMAGED;
	if (!t)
		return -ENOMEM;
	assert(n > 0 && first < BLOCK_PLAIN_MAX / chunk_len && from < len);
	end = n < (len - from + chunk_len - 1) / chunk_len ? from + n * chunk_len : len;
	make_aad(k, pos, f, aad);
	for (uint32_t chunk = first; rc == 0 && at < end; chunk++) {
		uint32_t step = end - at < chunk_len ? end - at : chunk_len;

		if (!context_ready(&t->open, k, pos, chunk, 0))
			rc = -EIO;
		else
			rc = open_chunk(&t->open, aad, sealed, step, (uint8_t *)out + (at - from));
		sealed += step + SEAL_TAG_LEN;
		at += step;
	}
	if (rc < 0)
		memset(out, 0, end - from);
	return rc;
}

int seal_open(const struct segment_key *k, log_pos pos, const struct frame *f, const uint8_t *block,
	      void *out)
{
	return seal_open_chunks(k, pos, f, 0, UINT32_MAX, block + FRAME_LEN, out);
}
