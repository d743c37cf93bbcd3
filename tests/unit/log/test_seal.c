/* Sealing: round trips, each byte's protection, golden bytes. */

#include "err.h"
#include "frame.h"
#include "hash.h"
#include "seal.h"
#include "secret.h"

#include <criterion/criterion.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define POS (UINT64_C(3) * SEGMENT_SIZE + 4711)

static const uint8_t log_key[LOG_KEY_LEN] = "thirty-two bytes of a log key...";

static struct segment_header header(uint32_t cipher)
{
	struct segment_header h = {.number = 3, .epoch = 1, .cipher = cipher};

	for (unsigned i = 0; i < VOLUME_ID_LEN; i++)
		h.volume[i] = (uint8_t)i;
	for (unsigned i = 0; i < SALT_LEN; i++)
		h.salt[i] = (uint8_t)(0x80 + i);
	return h;
}

static struct segment_key *make_key(const struct segment_header *h)
{
	struct segment_key *k = NULL;

	cr_assert_eq(secret_init(), 0);
	cr_assert_eq(segment_key_new(log_key, h, &k), 0);
	return k;
}

static struct frame flagged_frame(size_t plain_len, unsigned flags)
{
	return (struct frame){.body_len = sealed_len((uint32_t)plain_len, flags),
			      .kind = BLOCK_DATA,
			      .flags = (uint8_t)flags};
}

static struct frame data_frame(size_t plain_len)
{
	return flagged_frame(plain_len, 0);
}

static void check_round_trip(uint32_t cipher)
{
	static const size_t lens[] = {
		1, 15, 16, 17, 4096, SEAL_CHUNK, SEAL_CHUNK + 1, EXTENT_MAX, BLOCK_PLAIN_MAX};
	static uint8_t plain[BLOCK_PLAIN_MAX], block[BLOCK_STORED_MAX], out[BLOCK_PLAIN_MAX];
	struct segment_header h = header(cipher);
	struct segment_key *k = make_key(&h);

	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(i * 7 + (i >> 8));
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		uint32_t len = (uint32_t)lens[i];
		struct frame f = flagged_frame(len, block_data_flags(len)), seen;

		cr_assert_eq(seal_block(k, POS, &f, plain, lens[i], block), 0);
		cr_assert_eq(frame_decode(block, POS, &seen), 0);
		cr_assert_eq(seen.body_len, f.body_len);
		if (lens[i] >= 16)
			cr_assert_neq(memcmp(block + FRAME_LEN, plain, lens[i]), 0);
		memset(out, 0xee, sizeof(out));
		cr_assert_eq(seal_open(k, POS, &seen, block, out), 0);
		cr_assert_eq(memcmp(out, plain, lens[i]), 0);
	}
	segment_key_free(k);
}

Test(seal, round_trip)
{
	check_round_trip(CIPHER_AES256GCM);
	check_round_trip(CIPHER_CHACHA20POLY1305);
}

static void check_protection(uint32_t cipher)
{
	uint8_t plain[40] = "some plaintext", block[FRAME_LEN + 40 + SEAL_TAG_LEN], out[40];
	static const uint8_t zeros[40];
	struct segment_header h = header(cipher);
	struct segment_key *k = make_key(&h);
	struct frame f = data_frame(sizeof(plain));

	cr_assert_eq(seal_block(k, POS, &f, plain, sizeof(plain), block), 0);
	for (size_t i = 0; i < sizeof(block); i++) {
		struct frame seen;

		for (unsigned bit = 0; bit < 8; bit++) {
			block[i] ^= (uint8_t)(1u << bit);
			memset(out, 0xee, sizeof(out));
			if (i < FRAME_LEN) {
				cr_assert_eq(frame_decode(block, POS, &seen), -ERR_DAMAGED);
			} else {
				cr_assert_eq(seal_open(k, POS, &f, block, out), -ERR_DAMAGED,
					     "byte %zu", i);
				cr_assert_eq(memcmp(out, zeros, sizeof(out)), 0,
					     "plaintext got out");
			}
			block[i] ^= (uint8_t)(1u << bit);
		}
	}
	/* The frame is under the seal, too: another CRC doesn't make it good. */
	for (int i = 0; i < 2; i++) {
		struct frame other = f;

		if (i == 0)
			other.kind = BLOCK_NODE;
		else
			other.flags = BLOCK_FLAG_ZSTD;
		cr_assert_eq(seal_open(k, POS, &other, block, out), -ERR_DAMAGED);
	}
	cr_assert_eq(seal_open(k, POS, &f, block, out), 0);
	cr_assert_eq(seal_open(k, POS + 1, &f, block, out), -ERR_DAMAGED);
	cr_assert_eq(seal_open(k, POS + SEGMENT_SIZE, &f, block, out), -ERR_DAMAGED);
	segment_key_free(k);
}

Test(seal, every_bit_counts)
{
	check_protection(CIPHER_AES256GCM);
	check_protection(CIPHER_CHACHA20POLY1305);
}

Test(seal, impossible_frames)
{
	struct segment_header h = header(CIPHER_AES256GCM);
	struct segment_key *k = make_key(&h);
	struct frame f = data_frame(8);
	uint8_t block[64] = {0}, out[64];

	f.body_len = SEAL_TAG_LEN - 1;
	cr_assert_eq(seal_open(k, POS, &f, block, out), -ERR_DAMAGED);
	f.body_len = sealed_len(BLOCK_PLAIN_MAX, 0) + 1;
	cr_assert_eq(seal_open(k, POS, &f, block, out), -ERR_DAMAGED);
	f = data_frame(8);
	f.kind = BLOCK_HEAD;
	cr_assert_eq(seal_open(k, POS, &f, block, out), -ERR_DAMAGED);
	segment_key_free(k);
}

/* A chunk opens by itself, in its place only, and no chunk can be missing. */
static void check_chunks(uint32_t cipher, unsigned flags)
{
	enum { LEN_MAX = 3 * SEAL_CHUNK + 100 };
	static uint8_t plain[LEN_MAX], block[FRAME_LEN + LEN_MAX + 4 * SEAL_TAG_LEN], out[LEN_MAX];
	const size_t chunk = seal_chunk_len(flags), step = chunk + SEAL_TAG_LEN;
	const size_t whole = 3 * chunk + 100;
	struct segment_header h = header(cipher);
	struct segment_key *k = make_key(&h);
	struct frame f = flagged_frame(whole, flags), shorter = flagged_frame(3 * chunk, flags);
	const uint8_t *body = block + FRAME_LEN;

	for (size_t i = 0; i < whole; i++)
		plain[i] = (uint8_t)(i >> 3);
	cr_assert_eq(seal_block(k, POS, &f, plain, whole, block), 0);
	for (uint32_t i = 0; i < 4; i++) {
		for (uint32_t n = 1; n <= 5 - i; n++) {
			size_t end = (i + n) * chunk < whole ? (i + n) * chunk : whole;

			memset(out, 0xee, whole);
			cr_assert_eq(seal_open_chunks(k, POS, &f, i, n, body + i * step, out), 0);
			cr_assert_eq(memcmp(out, plain + i * chunk, end - i * chunk), 0);
			cr_assert(end == whole || out[end - i * chunk] == 0xee);
		}
	}
	cr_assert_eq(seal_open_chunks(k, POS, &f, 0, 1, body + step, out), -ERR_DAMAGED);
	cr_assert_eq(seal_open_chunks(k, POS, &f, 1, 1, body, out), -ERR_DAMAGED);
	cr_assert_eq(seal_open(k, POS, &shorter, block, out), -ERR_DAMAGED, "cut short");
	block[FRAME_LEN + 2 * step + 5] ^= 1;
	cr_assert_eq(seal_open_chunks(k, POS, &f, 0, 2, body, out), 0);
	cr_assert_eq(seal_open_chunks(k, POS, &f, 1, 2, body + step, out), -ERR_DAMAGED);
	cr_assert(out[0] == 0 && out[chunk] == 0, "plaintext got out");
	segment_key_free(k);
}

Test(seal, chunks)
{
	check_chunks(CIPHER_AES256GCM, 0);
	check_chunks(CIPHER_AES256GCM, BLOCK_FLAG_FINE);
	check_chunks(CIPHER_CHACHA20POLY1305, 0);
	check_chunks(CIPHER_CHACHA20POLY1305, BLOCK_FLAG_FINE);
}

/* Whatever goes into the derivation makes another key. */
Test(seal, key_depends_on_all)
{
	uint8_t plain[16] = "plain", block[FRAME_LEN + 16 + SEAL_TAG_LEN], out[16];
	uint8_t other_key[LOG_KEY_LEN];
	struct segment_header h = header(CIPHER_AES256GCM), v[6];
	struct segment_key *k = make_key(&h), *other;
	struct frame f = data_frame(sizeof(plain));

	cr_assert_eq(seal_block(k, POS, &f, plain, sizeof(plain), block), 0);
	for (int i = 0; i < 6; i++)
		v[i] = h;
	v[0].volume[3] ^= 1;
	v[1].number++;
	v[2].key_generation++;
	v[3].cipher = CIPHER_CHACHA20POLY1305;
	v[4].salt[31] ^= 1;
	for (int i = 0; i < 5; i++) {
		other = make_key(&v[i]);
		cr_assert_eq(seal_open(other, POS, &f, block, out), -ERR_DAMAGED, "variant %d", i);
		/* The context must notice the change of key both ways. */
		cr_assert_eq(seal_open(k, POS, &f, block, out), 0);
		segment_key_free(other);
	}
	memcpy(other_key, log_key, sizeof(other_key));
	other_key[0] ^= 1;
	cr_assert_eq(segment_key_new(other_key, &v[5], &other), 0);
	cr_assert_eq(seal_open(other, POS, &f, block, out), -ERR_DAMAGED);
	segment_key_free(other);
	segment_key_free(k);
}

Test(seal, unknown_cipher)
{
	struct segment_header h = header(3);
	struct segment_key *k;

	cr_assert_eq(segment_key_new(log_key, &h, &k), -ERR_VERSION);
	h.cipher = 0;
	cr_assert_eq(segment_key_new(log_key, &h, &k), -ERR_VERSION);
	segment_key_free(NULL);
}

struct job {
	const struct segment_key *k[2];
	unsigned bad;
};

static void *many(void *arg)
{
	struct job *j = arg;
	uint8_t plain[100], block[FRAME_LEN + 100 + SEAL_TAG_LEN], out[100];
	struct frame f = data_frame(sizeof(plain));

	for (unsigned i = 0; i < 500; i++) {
		memset(plain, (int)i, sizeof(plain));
		if (seal_block(j->k[i & 1], i, &f, plain, sizeof(plain), block) != 0 ||
		    seal_open(j->k[i & 1], i, &f, block, out) != 0 ||
		    memcmp(plain, out, sizeof(out)) != 0)
			j->bad++;
	}
	return NULL;
}

Test(seal, threads)
{
	struct segment_header h = header(CIPHER_AES256GCM);
	struct segment_key *a = make_key(&h), *b;
	struct job jobs[4];
	pthread_t t[4];

	h.number++;
	b = make_key(&h);
	for (int i = 0; i < 4; i++) {
		jobs[i] = (struct job){.k = {a, b}};
		cr_assert_eq(pthread_create(&t[i], NULL, many, &jobs[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		cr_assert_eq(jobs[i].bad, 0);
	}
	segment_key_free(a);
	segment_key_free(b);
}

static void check_golden(uint32_t cipher, const char *want)
{
	static const char plain[] = "Tallinn";
	uint8_t block[FRAME_LEN + 7 + SEAL_TAG_LEN];
	char hex[2 * sizeof(block) + 1];
	struct segment_header h = header(cipher);
	struct segment_key *k = make_key(&h);
	struct frame f = data_frame(7);

	cr_assert_eq(seal_block(k, POS, &f, plain, 7, block), 0);
	for (size_t i = 0; i < sizeof(block); i++)
		snprintf(hex + 2 * i, 3, "%02x", block[i]);
	cr_assert_str_eq(hex, want);
	segment_key_free(k);
}

/* The example of proto/FORMAT.md. */
Test(seal, golden)
{
	check_golden(CIPHER_AES256GCM, "17000000030000008068fb14427a85e156ed2349"
				       "d88ec8910be5e461cbe4a1f1cfa698");
	check_golden(CIPHER_CHACHA20POLY1305, "17000000030000008068fb14a01b6c3a6e2699b8"
					      "90f9726305da0d4a20b057b7645f14");
}
