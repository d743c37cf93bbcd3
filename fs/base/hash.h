#ifndef HASH_H_
#define HASH_H_

/* Hashes: SHA-256 (libcrypto; for leaves), CRC-32C (frames), SipHash-2-4 (names, tables). */

#include <stddef.h>
#include <stdint.h>

/*
 * sha256_parts(...): SHA-256 of prefix byte(s), then two parts (any may be empty). Any thread.
 * Aborts only if libcrypto is unusable.
 */
void sha256_parts(const void *a, size_t a_len, const void *b, size_t b_len, const void *c,
		  size_t c_len, uint8_t out[32]);

/*
 * crc32c(crc, p, len): CRC-32C (Castagnoli, RFC 3720 appendix B.4); start with 0, chain by
 * passing the last result.
 */
uint32_t crc32c(uint32_t crc, const void *p, size_t len);

/* crc32c_portable(): the same, always without special instructions. */
uint32_t crc32c_portable(uint32_t crc, const void *p, size_t len);

/* siphash(key, p, len): SipHash-2-4, 64 bits, 16-byte key. */
uint64_t siphash(const uint8_t key[16], const void *p, size_t len);

#endif /* !HASH_H_ */
