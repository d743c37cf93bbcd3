/*
 * Signatures that were found good are not computed again: each head is verified by many, and that
 * would be a quarter of a history's time.  A pure function's results, kept by all of its arguments.
 */

#include "hash.h"

#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define PLACES 4096u

int __real_crypto_sign_verify_detached(const unsigned char *sig, const unsigned char *m,
				       unsigned long long len, const unsigned char *pk);
int __wrap_crypto_sign_verify_detached(const unsigned char *sig, const unsigned char *m,
				       unsigned long long len, const unsigned char *pk);

static uint8_t known[PLACES][32];

int __wrap_crypto_sign_verify_detached(const unsigned char *sig, const unsigned char *m,
				       unsigned long long len, const unsigned char *pk)
{
	uint8_t digest[32];
	uint8_t *place;
	int rc;

	sha256_parts(sig, crypto_sign_BYTES, pk, crypto_sign_PUBLICKEYBYTES, m, (size_t)len,
		     digest);
	place = known[(digest[0] | digest[1] << 8) % PLACES];
	if (memcmp(place, digest, sizeof(digest)) == 0)
		return 0;
	rc = __real_crypto_sign_verify_detached(sig, m, len, pk);
	if (rc == 0)
		memcpy(place, digest, sizeof(digest));
	return rc;
}
