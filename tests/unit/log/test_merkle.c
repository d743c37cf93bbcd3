/* The Merkle tree, and the same out of tiles: RFC 6962's vectors, and a naive tree as the judge. */

#include "merkle.h"

#include "err.h"
#include "hash.h"
#include "tile.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The inputs and roots that Certificate Transparency's own tests use. */
static const struct {
	const char *leaf;
	size_t len;
} rfc_leaves[] = {
	{"", 0},		     {"\x00", 1},
	{"\x10", 1},		     {"\x20\x21", 2},
	{"\x30\x31", 2},	     {"\x40\x41\x42\x43", 4},
	{"\x50\x51\x52\x53\x54\x55\x56\x57", 8},
	{"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f", 16},
};

static const char *const rfc_roots[] = {
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
	"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
	"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
	"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
	"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
	"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
	"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
	"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
};

static void assert_root(const struct merkle *m, const char *hex)
{
	uint8_t root[HASH_LEN];
	char text[2 * HASH_LEN + 1];

	merkle_root(m, root);
	for (unsigned i = 0; i < HASH_LEN; i++)
		snprintf(text + (size_t)2 * i, 3, "%02x", root[i]);
	cr_assert_str_eq(text, hex, "after %llu leaves", (unsigned long long)m->n);
}

Test(merkle, rfc_6962_vectors)
{
	static const uint8_t prefix = 0;
	struct merkle m;

	merkle_init(&m);
	assert_root(&m, rfc_roots[0]);
	for (unsigned i = 0; i < 8; i++) {
		uint8_t leaf[HASH_LEN];

		sha256_parts(&prefix, 1, rfc_leaves[i].leaf, rfc_leaves[i].len, NULL, 0, leaf);
		merkle_add(&m, leaf);
		assert_root(&m, rfc_roots[i + 1]);
	}
}

static void make_leaf(uint64_t i, uint8_t out[HASH_LEN])
{
	sha256_parts("leaf", 4, &i, sizeof(i), NULL, 0, out);
}

/* RFC 6962 word by word: split at the largest power of two below n. */
static void naive_root(const uint8_t (*leaf)[HASH_LEN], size_t n, uint8_t out[HASH_LEN])
{
	uint8_t left[HASH_LEN], right[HASH_LEN];
	size_t k = 1;

	if (n == 1) {
		memcpy(out, leaf[0], HASH_LEN);
		return;
	}
	while (2 * k < n)
		k *= 2;
	naive_root(leaf, k, left);
	naive_root(leaf + k, n - k, right);
	merkle_node(left, right, out);
}

Test(merkle, equals_naive)
{
	static uint8_t leaf[300][HASH_LEN];
	struct merkle m;

	merkle_init(&m);
	for (size_t n = 1; n <= 300; n++) {
		uint8_t want[HASH_LEN], got[HASH_LEN];

		make_leaf(n, leaf[n - 1]);
		merkle_add(&m, leaf[n - 1]);
		naive_root((const uint8_t(*)[HASH_LEN])leaf, n, want);
		merkle_root(&m, got);
		cr_assert_arr_eq(got, want, HASH_LEN);
	}
}

/* Tiles in memory: three levels are more than the tests fill. */
#define MEM_TILES 600u

struct mem {
	struct tile tile[3][MEM_TILES];
	unsigned puts;
	int fail;
};

static int mem_get(void *ctx, unsigned level, uint64_t index, struct tile *out)
{
	struct mem *mem = ctx;

	if (level > 2 || index >= MEM_TILES || mem->tile[level][index].n == 0)
		return -ERR_ABSENT;
	*out = mem->tile[level][index];
	return 0;
}

static int mem_put(void *ctx, unsigned level, uint64_t index, const struct tile *t)
{
	struct mem *mem = ctx;

	if (mem->fail)
		return mem->fail;
	cr_assert(level <= 2 && index < MEM_TILES);
	/* Tiles only grow, and keep what they hold. */
	cr_assert_geq(t->n, mem->tile[level][index].n);
	cr_assert_arr_eq(t->hash, mem->tile[level][index].hash,
			 (size_t)mem->tile[level][index].n * HASH_LEN);
	mem->tile[level][index].n = t->n;
	memcpy(mem->tile[level][index].hash, t->hash, (size_t)t->n * HASH_LEN);
	mem->puts++;
	return 0;
}

static void assert_same(const struct merkle *a, const struct merkle *b)
{
	uint8_t x[HASH_LEN], y[HASH_LEN];

	cr_assert_eq(a->n, b->n);
	merkle_root(a, x);
	merkle_root(b, y);
	cr_assert_arr_eq(x, y, HASH_LEN);
	for (unsigned i = 0; i < 64; i++)
		if (a->n >> i & 1)
			cr_assert_arr_eq(a->peak[i], b->peak[i], HASH_LEN);
}

Test(tile, every_state_can_be_had)
{
	enum { N = 256 * 256 + 3 * 256 + 77 };
	static const size_t steps[] = {1, 2, 5, 250, 256, 257, 513, 3, 1000, 60000};
	struct mem *mem = calloc(1, sizeof(*mem));
	struct tile_io io = {.get = mem_get, .put = mem_put, .ctx = mem};
	struct tile_edge *edge = calloc(1, sizeof(*edge));
	uint8_t (*leaf)[HASH_LEN] = calloc(N, HASH_LEN);
	struct merkle want, got;
	uint64_t done = 0;

	cr_assert(mem && edge && leaf);
	for (uint64_t i = 0; i < N; i++)
		make_leaf(i, leaf[i]);
	for (unsigned s = 0; done < N; s++) {
		size_t n = steps[s % 10] < N - done ? steps[s % 10] : N - done;

		cr_assert_eq(tile_append(edge, (const uint8_t(*)[HASH_LEN])leaf + done, n, &io), 0);
		done += n;
		/* As after a restart. */
		cr_assert_eq(tile_edge_load(edge, done, &io), 0);
	}

	merkle_init(&want);
	for (uint64_t n = 0; n <= N; n++) {
		if (n < 1200 || n % 251 == 0 || n > N - 300) {
			cr_assert_eq(tile_merkle(n, &io, &got), 0, "%llu", (unsigned long long)n);
			assert_same(&got, &want);
		}
		if (n < N)
			merkle_add(&want, leaf[n]);
	}
	cr_assert_eq(tile_merkle(N + 1, &io, &got), -ERR_ABSENT);
	cr_assert_eq(tile_merkle(2 * 65536 + 1, &io, &got), -ERR_ABSENT);
	cr_assert_eq(tile_merkle(UINT64_MAX, &io, &got), -ERR_ABSENT);
	free(leaf);
	free(edge);
	free(mem);
}

Test(tile, puts_what_changed_and_passes_errors_on)
{
	struct mem *mem = calloc(1, sizeof(*mem));
	struct tile_io io = {.get = mem_get, .put = mem_put, .ctx = mem};
	struct tile_edge *edge = calloc(1, sizeof(*edge));
	static uint8_t leaf[256][HASH_LEN];

	cr_assert(mem && edge);
	memset(leaf, 1, sizeof(leaf)); /* no hash is zero */
	cr_assert_eq(tile_append(edge, (const uint8_t(*)[HASH_LEN])leaf, 0, &io), 0);
	cr_assert_eq(mem->puts, 0);
	cr_assert_eq(tile_append(edge, (const uint8_t(*)[HASH_LEN])leaf, 255, &io), 0);
	cr_assert_eq(mem->puts, 1);
	/* Fills level 0's tile and starts one of level 1. */
	cr_assert_eq(tile_append(edge, (const uint8_t(*)[HASH_LEN])leaf, 1, &io), 0);
	cr_assert_eq(mem->puts, 3);
	/* Level 1 is as it was. */
	cr_assert_eq(tile_append(edge, (const uint8_t(*)[HASH_LEN])leaf, 1, &io), 0);
	cr_assert_eq(mem->puts, 4);
	mem->fail = -5;
	cr_assert_eq(tile_append(edge, (const uint8_t(*)[HASH_LEN])leaf, 1, &io), -5);
	cr_assert_eq(tile_append(edge, (const uint8_t(*)[HASH_LEN])leaf, 256, &io), -5);
	free(edge);
	free(mem);
}
