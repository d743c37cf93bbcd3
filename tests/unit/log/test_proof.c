/*
 * Inclusion proofs: RFC 9162 word by word as the judge, golden bytes, each bit flipped, and heads that
 * are anchored in one another.
 */

#include "anchor.h"
#include "proof.h"

#include "buf.h"
#include "err.h"
#include "frame.h"
#include "hash.h"
#include "merkle.h"
#include "tile.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t hash[HASH_LEN];
typedef const uint8_t (*hashes)[HASH_LEN];

/* Tiles in memory. */
#define LEAVES (256u * 256u + 700u)

struct tree {
	hash leaf[LEAVES];
	struct tile tile[2][LEAVES / 256 + 1];
	struct tile top;
	struct tile_edge edge;
};

static int get(void *ctx, unsigned level, uint64_t index, struct tile *out)
{
	struct tree *t = ctx;
	const struct tile *from;

	if (level > 2 || index > (level == 2 ? 0 : LEAVES / 256))
		return -ERR_ABSENT;
	from = level == 2 ? &t->top : &t->tile[level][index];
	if (from->n == 0)
		return -ERR_ABSENT;
	*out = *from;
	return 0;
}

static int put(void *ctx, unsigned level, uint64_t index, const struct tile *tile)
{
	struct tree *t = ctx;

	cr_assert(level <= 2 && index <= LEAVES / 256);
	*(level == 2 ? &t->top : &t->tile[level][index]) = *tile;
	return 0;
}

static struct tile_io io_of(struct tree *t)
{
	return (struct tile_io){.get = get, .put = put, .ctx = t};
}

static struct tree *tree_new(void)
{
	struct tree *t = calloc(1, sizeof(*t));
	struct tile_io io;

	cr_assert(t);
	io = io_of(t);
	for (uint64_t i = 0; i < LEAVES; i++)
		sha256_parts("leaf", 4, &i, sizeof(i), NULL, 0, t->leaf[i]);
	cr_assert_eq(tile_append(&t->edge, (hashes)t->leaf, LEAVES, &io), 0);
	return t;
}

static size_t split(size_t n)
{
	size_t k = 1;

	while (2 * k < n)
		k *= 2;
	return k;
}

static void naive_root(hashes leaf, size_t n, hash out)
{
	hash left, right;
	size_t k = split(n);

	if (n == 1) {
		memcpy(out, leaf[0], HASH_LEN);
		return;
	}
	naive_root(leaf, k, left);
	naive_root(leaf + k, n - k, right);
	merkle_node(left, right, out);
}

/* RFC 9162, 2.1.3.1: PATH(m, D_n), from the leaf to the root. */
static size_t naive_path(size_t m, hashes leaf, size_t n, hash *out)
{
	size_t k = split(n), len;

	if (n == 1)
		return 0;
	if (m < k) {
		len = naive_path(m, leaf, k, out);
		naive_root(leaf + k, n - k, out[len]);
	} else {
		len = naive_path(m - k, leaf + k, n - k, out);
		naive_root(leaf, k, out[len]);
	}
	return len + 1;
}

/* RFC 9162, 2.1.3.2, step by step. */
static bool rfc_verifies(uint64_t index, uint64_t n, const hash leaf, hash *path, size_t len,
			 const hash root)
{
	uint64_t fn = index, sn = n - 1;
	hash r;

	memcpy(r, leaf, HASH_LEN);
	for (size_t i = 0; i < len; i++) {
		if (sn == 0)
			return false;
		if (fn % 2 == 1 || fn == sn) {
			merkle_node(path[i], r, r);
			while (fn % 2 == 0 && fn != 0) {
				fn >>= 1;
				sn >>= 1;
			}
		} else {
			merkle_node(r, path[i], r);
		}
		fn >>= 1;
		sn >>= 1;
	}
	return sn == 0 && memcmp(r, root, HASH_LEN) == 0;
}

/* The audit path in a proof's order: what lies left from the root down, then right from the leaf up. */
static void in_order(uint64_t index, size_t n, hash *path, size_t len, hash *out)
{
	bool right[64];
	size_t size = n, depth = 0, at = 0;

	for (uint64_t i = index; size > 1; depth++) {
		size_t k = split(size);

		right[depth] = i >= k;
		i = right[depth] ? i - k : i;
		size = right[depth] ? size - k : k;
	}
	cr_assert_eq(depth, len);
	for (size_t d = 0; d < len; d++)
		if (right[d])
			memcpy(out[at++], path[len - 1 - d], HASH_LEN);
	for (size_t d = len; d > 0; d--)
		if (!right[d - 1])
			memcpy(out[at++], path[len - d], HASH_LEN);
}

static void check_one(struct tree *t, uint64_t n, uint64_t index)
{
	struct tile_io io = io_of(t);
	struct buf got = {0};
	hash path[64], want[64], root;
	size_t len = naive_path(index, (hashes)t->leaf, n, path);

	naive_root((hashes)t->leaf, n, root);
	cr_assert(rfc_verifies(index, n, t->leaf[index], path, len, root));
	in_order(index, n, path, len, want);
	cr_assert_eq(proof_make(n, &index, 1, &io, &got), 0);
	cr_assert_eq(got.len, len * HASH_LEN);
	cr_assert(len == 0 || memcmp(got.p, want, got.len) == 0);
	cr_assert_eq(proof_check(n, root, &index, (hashes)&t->leaf[index], 1, got.p, got.len), 0);
	buf_release(&got);
}

Test(proof, one_leaf_is_the_rfcs_path)
{
	static const uint64_t sizes[] = {255, 256, 257, 511, 513, 600, 65535, 65536, 65537, LEAVES};
	struct tree *t = tree_new();

	for (uint64_t n = 1; n <= 40; n++)
		for (uint64_t i = 0; i < n; i++)
			check_one(t, n, i);
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		uint64_t n = sizes[s];
		const uint64_t some[] = {0, 1, n / 3, n / 2, n - 2, n - 1};

		for (size_t i = 0; i < 6; i++)
			check_one(t, n, some[i]);
	}
	free(t);
}

/* Some leaves out of n; returns how many. */
static size_t choose(uint64_t n, unsigned one_in, uint64_t *out)
{
	size_t k = 0;

	for (uint64_t i = 0; i < n && k < PROOF_LEAVES_MAX; i++)
		if ((unsigned)random() % one_in == 0)
			out[k++] = i;
	if (k == 0)
		out[k++] = (uint64_t)random() % n;
	return k;
}

Test(proof, any_leaves_of_any_tree)
{
	static uint64_t index[PROOF_LEAVES_MAX];
	static hash leaf[PROOF_LEAVES_MAX];
	struct tree *t = tree_new();
	struct tile_io io = io_of(t);
	struct buf got = {0};

	srandom(7);
	for (unsigned round = 0; round < 600; round++) {
		uint64_t n = 1 + (uint64_t)random() % (round % 20 == 0 ? LEAVES : 1500);
		size_t k = choose(n, 1 + (unsigned)random() % 40, index);
		struct merkle m;
		hash root;

		for (size_t i = 0; i < k; i++)
			memcpy(leaf[i], t->leaf[index[i]], HASH_LEN);
		cr_assert_eq(tile_merkle(n, &io, &m), 0);
		merkle_root(&m, root);
		buf_reset(&got);
		cr_assert_eq(proof_make(n, index, k, &io, &got), 0);
		cr_assert_eq(proof_check(n, root, index, (hashes)leaf, k, got.p, got.len), 0);
		/* One hash, or a part of one, too few or too many; another leaf. */
		cr_assert_eq(buf_reserve(&got, HASH_LEN), 0);
		memset(got.p + got.len, 0, HASH_LEN);
		for (size_t d = 1; d <= HASH_LEN; d += HASH_LEN - 1) {
			cr_assert_eq(
				proof_check(n, root, index, (hashes)leaf, k, got.p, got.len + d),
				-ERR_TAMPERED);
			if (got.len > 0)
				cr_assert_eq(proof_check(n, root, index, (hashes)leaf, k, got.p,
							 got.len - d),
					     -ERR_TAMPERED);
		}
		leaf[(size_t)random() % k][random() % HASH_LEN] ^= 1;
		cr_assert_eq(proof_check(n, root, index, (hashes)leaf, k, got.p, got.len),
			     -ERR_TAMPERED);
	}
	buf_release(&got);
	free(t);
}

static void unhex(const char *text, uint8_t *out)
{
	for (; *text; text += 2, out++)
		cr_assert_eq(sscanf(text, "%2hhx", out), 1);
}

/* Computed by another program, from the words of RFC 9162 (proto/PROTOCOL.md, "Proofs"). */
Test(proof, golden)
{
	static const char *const leaves[] = {"",
					     "00",
					     "10",
					     "2021",
					     "3031",
					     "40414243",
					     "5051525354555657",
					     "606162636465666768696a6b6c6d6e6f"};
	static const char *const want[] = {
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7",
		"bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
		"ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
	};
	static const uint64_t index[] = {2, 5};
	struct tree *t = calloc(1, sizeof(*t));
	struct tile_io io = io_of(t);
	struct buf got = {0};
	hash root, some[2];

	for (size_t i = 0; i < 8; i++) {
		uint8_t input[17] = {0};

		unhex(leaves[i], input + 1);
		sha256_parts(input, 1 + strlen(leaves[i]) / 2, NULL, 0, NULL, 0, t->leaf[i]);
	}
	cr_assert_eq(tile_append(&t->edge, (hashes)t->leaf, 8, &io), 0);
	cr_assert_eq(proof_make(8, index, 2, &io, &got), 0);
	cr_assert_eq(got.len, sizeof(want) / sizeof(want[0]) * HASH_LEN);
	for (size_t i = 0; i < got.len / HASH_LEN; i++) {
		hash h;

		unhex(want[i], h);
		cr_expect_arr_eq(got.p + i * HASH_LEN, h, HASH_LEN, "hash %zu", i);
	}
	unhex("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328", root);
	memcpy(some[0], t->leaf[2], HASH_LEN);
	memcpy(some[1], t->leaf[5], HASH_LEN);
	cr_expect_eq(proof_check(8, root, index, (hashes)some, 2, got.p, got.len), 0);
	for (size_t bit = 0; bit < got.len * 8; bit++) {
		got.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_assert_eq(proof_check(8, root, index, (hashes)some, 2, got.p, got.len),
			     -ERR_TAMPERED);
		got.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	buf_release(&got);
	free(t);
}

Test(proof, what_cannot_be_asked)
{
	static uint64_t many[PROOF_LEAVES_MAX + 1];
	static hash leaf[PROOF_LEAVES_MAX + 1];
	static const uint64_t same[] = {3, 3}, down[] = {4, 3}, high[] = {5, 10};
	struct tree *t = tree_new();
	struct tile_io io = io_of(t);
	struct buf out = {0};
	const uint64_t one = 0;

	for (size_t i = 0; i <= PROOF_LEAVES_MAX; i++)
		many[i] = i;
	cr_expect_eq(proof_make(10, same, 2, &io, &out), -EINVAL);
	cr_expect_eq(proof_make(10, down, 2, &io, &out), -EINVAL);
	cr_expect_eq(proof_make(10, high, 2, &io, &out), -EINVAL);
	cr_expect_eq(proof_make(0, &one, 1, &io, &out), -EINVAL);
	cr_expect_eq(proof_make(10, &one, 0, &io, &out), -EINVAL);
	cr_expect_eq(proof_make(5000, many, PROOF_LEAVES_MAX + 1, &io, &out), -EINVAL);
	cr_expect_eq(proof_make(5000, many, PROOF_LEAVES_MAX, &io, &out), 0);
	out.len = 7;
	cr_expect_eq(proof_make(LEAVES + 1, &one, 1, &io, &out), -ERR_ABSENT);
	cr_expect_eq(proof_make(UINT64_MAX, &one, 1, &io, &out), -ERR_ABSENT);
	cr_expect_eq(out.len, 7);
	cr_expect_eq(proof_check(5000, leaf[0], many, (hashes)leaf, PROOF_LEAVES_MAX + 1, out.p, 0),
		     -ERR_TAMPERED);
	cr_expect_eq(proof_check(10, leaf[0], many, (hashes)leaf, 0, NULL, 0), -ERR_TAMPERED);
	cr_expect_eq(proof_check(UINT64_MAX, leaf[0], many, (hashes)leaf, 1, NULL, 0),
		     -ERR_TAMPERED);
	buf_release(&out);
	free(t);
}

/* ---- heads in one another ---- */

static struct anchor head_at(struct tree *t, uint64_t number, uint64_t n_blocks)
{
	struct anchor a = {.number = number, .n_blocks = n_blocks};
	struct tile_io io = io_of(t);
	struct merkle m;

	cr_assert_eq(tile_merkle(n_blocks, &io, &m), 0);
	merkle_root(&m, a.root);
	memcpy(a.leaf, t->leaf[n_blocks], HASH_LEN);
	return a;
}

/* The proof that a server would give, and what the reader makes of it. */
static int admit(struct tree *t, struct anchor *a, const struct anchor *heads, size_t n, int change)
{
	uint64_t blocks[8], index[9], n_leaves;
	struct tile_io io = io_of(t);
	struct buf proof = {0};
	size_t k;
	int rc;

	for (size_t i = 0; i < n; i++)
		blocks[i] = heads[i].n_blocks;
	n_leaves = anchor_leaves(a->number ? a->n_blocks : 0, blocks, n, index, &k);
	if (k > 0)
		cr_assert_eq(proof_make(n_leaves, index, k, &io, &proof), 0);
	if (change > 0)
		cr_assert_eq(buf_add(&proof, t->leaf[0], HASH_LEN), 0);
	if (change < 0 && proof.len > 0)
		proof.len -= HASH_LEN;
	rc = anchor_admit(a, heads, n, proof.p, proof.len);
	buf_release(&proof);
	return rc;
}

Test(anchor, heads_before_and_after_it)
{
	struct tree *t = tree_new();
	struct anchor a = {0}, was;
	struct anchor h[5];

	for (unsigned i = 0; i < 5; i++)
		h[i] = head_at(t, 10 + i, 1000 + (uint64_t)i * 300);
	/* Nothing known; a proof of nothing is empty. */
	cr_expect_eq(admit(t, &a, &h[2], 1, 1), -ERR_TAMPERED);
	cr_expect_eq(a.number, 0);
	cr_assert_eq(admit(t, &a, &h[2], 1, 0), 0);
	cr_expect_eq(a.number, 12);
	/* The same again, those before, those around it, those after. */
	cr_expect_eq(admit(t, &a, &h[2], 1, 0), 0);
	cr_expect_eq(admit(t, &a, h, 2, 0), 0);
	cr_expect_eq(a.number, 12);
	was = a;
	for (int change = -1; change <= 1; change += 2) {
		cr_expect_eq(admit(t, &a, h, 4, change), -ERR_TAMPERED);
		cr_expect_eq(admit(t, &a, &h[3], 2, change), -ERR_TAMPERED);
		cr_expect_arr_eq(&a, &was, sizeof(a));
	}
	cr_expect_eq(admit(t, &a, h, 4, 0), 0);
	cr_expect_eq(a.number, 13);
	cr_expect_eq(admit(t, &a, &h[4], 1, 0), 0);
	cr_expect_eq(a.number, 14);
	free(t);
}

Test(anchor, another_history)
{
	struct tree *t = tree_new(), *u = tree_new();
	struct tile_io io = io_of(u);
	struct anchor a = {0}, mine[3], theirs[3];

	/* They part at leaf 1100. */
	memset(&u->edge, 0, sizeof(u->edge));
	for (size_t i = 1100; i < LEAVES; i++)
		u->leaf[i][0] ^= 1;
	cr_assert_eq(tile_append(&u->edge, (hashes)u->leaf, LEAVES, &io), 0);
	for (unsigned i = 0; i < 3; i++) {
		mine[i] = head_at(t, 10 + i, 1000 + (uint64_t)i * 300);
		theirs[i] = head_at(u, 10 + i, 1000 + (uint64_t)i * 300);
	}
	cr_assert_eq(admit(t, &a, &mine[1], 1, 0), 0);
	cr_expect_eq(admit(u, &a, &theirs[1], 1, 0), -ERR_TAMPERED);
	cr_expect_eq(admit(u, &a, &theirs[2], 1, 0), -ERR_TAMPERED);
	cr_expect_eq(admit(t, &a, &theirs[2], 1, 0), -ERR_TAMPERED);
	/* What both have in common is common. */
	cr_expect_eq(admit(t, &a, &theirs[0], 1, 0), 0);
	/* A chain with one of theirs in it. */
	cr_expect_eq(admit(t, &a, (struct anchor[]){mine[0], theirs[1], mine[2]}, 3, 0),
		     -ERR_TAMPERED);
	mine[2].number = 11;
	cr_expect_eq(admit(t, &a, &mine[2], 1, 0), -ERR_TAMPERED);
	cr_expect_eq(a.number, 11);
	free(t);
	free(u);
}

/* ---- headers under it ---- */

static void put_header(struct tree *t, uint64_t number, uint64_t before, uint8_t *block)
{
	struct segment_header h = {.number = number,
				   .epoch = 1,
				   .n_blocks_before = before,
				   .cipher = CIPHER_AES256GCM,
				   .volume = "sixteen letters"};

	memset(h.salt, (int)number, sizeof(h.salt));
	segment_header_encode(&h, block);
	leaf_hash(segment_start(number), block, SEGMENT_BLOCK_LEN, t->leaf[before]);
}

Test(anchor, headers)
{
	static const uint8_t volume[VOLUME_ID_LEN] = "sixteen letters", other[VOLUME_ID_LEN] = "";
	static const uint64_t numbers[] = {1, 4, 7}, wrong[] = {1, 5, 7}, index[] = {10, 300, 301};
	uint8_t blocks[3 * SEGMENT_BLOCK_LEN];
	struct tree *t = tree_new();
	struct tile_io io = io_of(t);
	struct anchor a;
	struct buf proof = {0};

	for (size_t i = 0; i < 3; i++)
		put_header(t, numbers[i], index[i], blocks + i * SEGMENT_BLOCK_LEN);
	memset(&t->edge, 0, sizeof(t->edge));
	cr_assert_eq(tile_append(&t->edge, (hashes)t->leaf, LEAVES, &io), 0);
	a = head_at(t, 5, 900);
	cr_assert_eq(proof_make(900, index, 3, &io, &proof), 0);
	cr_expect_eq(anchor_check_headers(&a, volume, numbers, 3, blocks, proof.p, proof.len), 0);
	cr_expect_eq(anchor_check_headers(&a, other, numbers, 3, blocks, proof.p, proof.len),
		     -ERR_TAMPERED);
	cr_expect_eq(anchor_check_headers(&a, volume, wrong, 3, blocks, proof.p, proof.len),
		     -ERR_TAMPERED);
	cr_expect_eq(anchor_check_headers(&a, volume, numbers, 2, blocks, proof.p, proof.len),
		     -ERR_TAMPERED);
	for (size_t i = 0; i < sizeof(blocks); i++) {
		blocks[i] ^= 1;
		cr_assert_lt(
			anchor_check_headers(&a, volume, numbers, 3, blocks, proof.p, proof.len), 0,
			"byte %zu", i);
		blocks[i] ^= 1;
	}
	/* Above the head. */
	a = head_at(t, 4, 301);
	cr_expect_eq(anchor_check_headers(&a, volume, numbers, 3, blocks, proof.p, proof.len),
		     -ERR_TAMPERED);
	buf_release(&proof);
	free(t);
}

/* Where of some runs only the root is known, proofs are the same, and of what is inside there is none. */
Test(proof, runs_of_which_the_root_is_known)
{
	enum { N = 3000 };
	static const unsigned heights[] = {3, 1, 0, 0, 9, 2, 0, 8, 0, 5, 10, 7};
	struct tree *whole = tree_new(), *holed = calloc(1, sizeof(*holed));
	struct tile_io whole_io = io_of(whole), holed_io = io_of(holed);
	static hash row_hash[N];
	static bool in_run[N + 1], inside[N + 1]; /* inside: and not its first */
	static struct leaf_run runs[N];
	struct leaf_row row = {.hash = (hashes)row_hash, .runs = runs};
	unsigned n_proofs = 0, n_absent = 0;

	cr_assert_not_null(holed);
	for (size_t i = 0, next = 0; i < N; next++) {
		unsigned height = heights[next % 12];

		while (height > 0 && (i % (1u << height) != 0 || i + (1u << height) > N))
			height--;
		naive_root((hashes)whole->leaf + i, (size_t)1 << height, row_hash[row.n]);
		if (height > 0)
			runs[row.n_runs++] = (struct leaf_run){.at = row.n, .height = height};
		for (size_t j = 0; height > 0 && j < (size_t)1 << height; j++) {
			in_run[i + j] = true;
			inside[i + j] = j > 0;
		}
		row.n++;
		i += (size_t)1 << height;
	}
	cr_assert_eq(leaf_row_count(&row), N);
	cr_assert_eq(tile_append_row(&holed->edge, &row, &holed_io), 0);
	for (uint64_t n = 1; n <= N; n += n < 40 ? 1 : 97) {
		if (inside[n])
			continue;
		for (uint64_t i = 0; i < n; i += 1 + n / 100) {
			struct buf want = {0}, got = {0};
			int rc = proof_make(n, &i, 1, &holed_io, &got);

			cr_assert_eq(proof_make(n, &i, 1, &whole_io, &want), 0);
			cr_assert_eq(rc, in_run[i] ? -ERR_ABSENT : 0, "leaf %llu of %llu: %d",
				     (unsigned long long)i, (unsigned long long)n, rc);
			if (rc == 0) {
				cr_assert_eq(got.len, want.len);
				cr_assert_arr_eq(got.p, want.p, want.len);
			}
			n_proofs += rc == 0;
			n_absent += rc != 0;
			buf_release(&want);
			buf_release(&got);
		}
	}
	cr_assert(n_proofs > 50 && n_absent > 50, "%u and %u", n_proofs, n_absent);
	free(holed);
	free(whole);
}
