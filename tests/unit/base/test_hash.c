/* Known answers, parts against the whole, and both ways of CRC-32C against each other. */

#include "hash.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void expect_hex(const uint8_t *p, size_t len, const char *hex)
{
	char text[129];

	for (size_t i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", p[i]);
	cr_assert_str_eq(text, hex);
}

Test(hash, sha256_known_answers)
{
	uint8_t out[32];

	/* FIPS 180-4's examples. */
	sha256_parts(NULL, 0, NULL, 0, NULL, 0, out);
	expect_hex(out, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	sha256_parts("abc", 3, NULL, 0, NULL, 0, out);
	expect_hex(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	sha256_parts("a", 1, "b", 1, "c", 1, out);
	expect_hex(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void *hash_many(void *arg)
{
	uint8_t expected[32], out[32], data[1000];
	uintptr_t good = 1;

	memset(data, (int)(intptr_t)arg, sizeof(data));
	sha256_parts(data, sizeof(data), NULL, 0, NULL, 0, expected);
	for (size_t i = 0; i < 1000; i++) {
		sha256_parts(data, i, data, sizeof(data) - i, NULL, 0, out);
		good &= memcmp(out, expected, 32) == 0;
	}
	return (void *)good;
}

Test(hash, sha256_in_many_threads)
{
	pthread_t threads[8];
	void *good;

	for (intptr_t i = 0; i < 8; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, hash_many, (void *)i), 0);
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i], &good);
		cr_assert(good != NULL);
	}
}

Test(hash, crc32c_known_answers)
{
	uint8_t bytes[32];

	/* RFC 3720 B.4, and the usual check value. */
	memset(bytes, 0, 32);
	cr_assert_eq(crc32c(0, bytes, 32), 0x8a9136aa);
	memset(bytes, 0xff, 32);
	cr_assert_eq(crc32c(0, bytes, 32), 0x62a8ab43);
	cr_assert_eq(crc32c(0, "123456789", 9), 0xe3069283);
	cr_assert_eq(crc32c_portable(0, "123456789", 9), 0xe3069283);
	cr_assert_eq(crc32c(0, NULL, 0), 0);
}

Test(hash, crc32c_both_ways_and_chained)
{
	uint8_t bytes[257];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * i + 3 * i);
	for (size_t from = 0; from < 9; from++) {
		for (size_t len = 0; len + from <= sizeof(bytes); len += 3) {
			uint32_t whole = crc32c(0, bytes + from, len);

			cr_assert_eq(whole, crc32c_portable(0, bytes + from, len));
			cr_assert_eq(whole, crc32c(crc32c(0, bytes + from, len / 3),
						   bytes + from + len / 3, len - len / 3));
		}
	}
}

Test(hash, siphash_known_answers)
{
	uint8_t key[16], in[15];

	/* Aumasson and Bernstein, SipHash, appendix A. */
	for (int i = 0; i < 16; i++)
		key[i] = (uint8_t)i;
	for (int i = 0; i < 15; i++)
		in[i] = (uint8_t)i;
	cr_assert_eq(siphash(key, in, 15), UINT64_C(0xa129ca6149be45e5));
}
