/*
 * Hashes.
 *
 * SHA-256 is hot (every block's leaf), so the algorithm is fetched once in the process
 * and each thread keeps one context, freed when the thread ends.  CRC-32C uses the SSE4.2
 * instruction where the processor has it; both ways give equal results.
 */

#include "hash.h"

#include "bytes.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

#define CRC32C_POLY 0x82f63b78u /* Castagnoli, bits reversed */

static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;
static pthread_key_t sha256_key;
static EVP_MD *sha256_md;
static _Thread_local EVP_MD_CTX *sha256_ctx;

static pthread_once_t crc_once = PTHREAD_ONCE_INIT;
static uint32_t crc_table[256];

static void free_context(void *ctx)
{
	EVP_MD_CTX_free(ctx);
}

static void fetch_sha256(void)
{
	sha256_md = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (!sha256_md || pthread_key_create(&sha256_key, free_context) != 0)
		abort();
}

static EVP_MD_CTX *thread_context(void)
{
	if (sha256_ctx)
		return sha256_ctx;
	pthread_once(&sha256_once, fetch_sha256);
	sha256_ctx = EVP_MD_CTX_new();
	if (!sha256_ctx || pthread_setspecific(sha256_key, sha256_ctx) != 0)
		abort();
	return sha256_ctx;
}

void sha256_parts(const void *a, size_t a_len, const void *b, size_t b_len, const void *c,
		  size_t c_len, uint8_t out[32])
{
	EVP_MD_CTX *ctx = thread_context();
	unsigned len = 32;

	if (!EVP_DigestInit_ex2(ctx, sha256_md, NULL) ||
	    (a_len > 0 && !EVP_DigestUpdate(ctx, a, a_len)) ||
	    (b_len > 0 && !EVP_DigestUpdate(ctx, b, b_len)) ||
	    (c_len > 0 && !EVP_DigestUpdate(ctx, c, c_len)) ||
	    !EVP_DigestFinal_ex(ctx, out, &len) || len != 32)
		abort();
}

static void fill_crc_table(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t v = i;

		for (int bit = 0; bit < 8; bit++)
			v = v & 1 ? v >> 1 ^ CRC32C_POLY : v >> 1;
		crc_table[i] = v;
	}
}

uint32_t crc32c_portable(uint32_t crc, const void *p, size_t len)
{
	const uint8_t *b = p;

	pthread_once(&crc_once, fill_crc_table);
	crc = ~crc;
	for (; len > 0; len--)
		crc = crc >> 8 ^ crc_table[(crc ^ *b++) & 0xff];
	return ~crc;
}

#if defined(__x86_64__)
static __attribute__((target("sse4.2"))) uint32_t crc32c_sse42(uint32_t crc, const void *p,
							       size_t len)
{
	const uint8_t *b = p;
	uint64_t v = (uint32_t)~crc;

	for (; len >= 8; len -= 8, b += 8)
		v = _mm_crc32_u64(v, get_le64(b));
	for (; len > 0; len--)
		v = _mm_crc32_u8((uint32_t)v, *b++);
	return ~(uint32_t)v;
}
#endif

uint32_t crc32c(uint32_t crc, const void *p, size_t len)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return crc32c_sse42(crc, p, len);
#endif
	return crc32c_portable(crc, p, len);
}

uint64_t siphash(const uint8_t key[16], const void *p, size_t len)
{
	_Static_assert(crypto_shorthash_KEYBYTES == 16, "SipHash key length");
	uint8_t out[crypto_shorthash_BYTES];

	crypto_shorthash(out, p, len, key);
	return get_le64(out);
}
