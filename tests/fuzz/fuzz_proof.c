/*
 * What a server sends as proofs and segment headers: the first bytes say how many leaves there are, and
 * which are in question.  And the other way round: each proof that is made of a tree verifies, and no
 * other bytes in its place do.
 */

#include "anchor.h"
#include "buf.h"
#include "bytes.h"
#include "err.h"
#include "frame.h"
#include "fuzz.h"
#include "merkle.h"
#include "proof.h"
#include "tile.h"

#include <string.h>

#define LEAVES 300u

static struct tile tiles[2];
static struct tile_edge edge;

static int get(void *ctx, unsigned level, uint64_t index, struct tile *out)
{
	(void)ctx;
	if (level == 0 && index < 2 && tiles[index].n > 0)
		*out = tiles[index];
	else if (level == 1 && index == 0)
		*out = edge.level[1];
	else
		return -ERR_ABSENT;
	return 0;
}

static int put(void *ctx, unsigned level, uint64_t index, const struct tile *t)
{
	(void)ctx;
	if (level == 0)
		tiles[index] = *t;
	return 0;
}

static const struct tile_io io = {.get = get, .put = put};
static uint8_t leaves[LEAVES][HASH_LEN];

static void make_tree(void)
{
	if (edge.n > 0)
		return;
	for (unsigned i = 0; i < LEAVES; i++)
		put_le32(leaves[i], i + 1); /* zeros are no hash: tile.h */
	MUST_HOLD(tile_append(&edge, (const uint8_t(*)[HASH_LEN])leaves, LEAVES, &io) == 0);
}

/* Leaves that the bytes choose: each says how many are passed over. */
static size_t choose(const uint8_t *bytes, size_t len, uint64_t *index, uint8_t (*leaf)[HASH_LEN])
{
	uint64_t at = 0;
	size_t k = 0;

	for (size_t i = 0; i < len && k < 16; i++, at++) {
		at += bytes[i] % 64;
		if (at >= LEAVES)
			break;
		memcpy(leaf[k], leaves[at], HASH_LEN);
		index[k++] = at;
	}
	return k;
}

static void try_both_ways(const uint8_t *bytes, size_t len)
{
	uint64_t index[16], n;
	uint8_t leaf[16][HASH_LEN], root[HASH_LEN];
	const uint8_t(*l)[HASH_LEN] = (const uint8_t(*)[HASH_LEN])leaf;
	struct merkle m;
	struct buf made = {0};
	size_t k;

	make_tree();
	k = choose(bytes + 1, len - 1 < 16 ? len - 1 : 16, index, leaf);
	if (k == 0)
		return;
	n = index[k - 1] + 1 + bytes[0] % (LEAVES - index[k - 1]);
	MUST_HOLD(tile_merkle(n, &io, &m) == 0);
	merkle_root(&m, root);
	MUST_HOLD(proof_make(n, index, k, &io, &made) == 0);
	MUST_HOLD(proof_check(n, root, index, l, k, made.p, made.len) == 0);
	if (made.len != len || (len > 0 && memcmp(made.p, bytes, len) != 0))
		MUST_HOLD(proof_check(n, root, index, l, k, bytes, len) == -ERR_TAMPERED);
	if (made.len > 0) {
		made.p[bytes[0] % made.len] ^= 1;
		MUST_HOLD(proof_check(n, root, index, l, k, made.p, made.len) == -ERR_TAMPERED);
	}
	buf_release(&made);
}

void fuzz_one(const uint8_t *bytes, size_t len)
{
	static const uint8_t volume[VOLUME_ID_LEN];
	static const uint64_t numbers[] = {0};
	uint64_t index[4];
	uint8_t leaf[4][HASH_LEN] = {{0}};
	struct anchor a = {.number = 1};

	if (len < 9 + sizeof(index))
		return;
	for (size_t i = 0; i < 4; i++)
		index[i] = get_le64(bytes + 9 + 8 * i);
	a.n_blocks = get_le64(bytes);
	MUST_HOLD(proof_check(a.n_blocks, a.root, index, (const uint8_t(*)[HASH_LEN])leaf,
			      bytes[8] % 5, bytes + 41, len - 41) == -ERR_TAMPERED);
	if (len >= 8 + SEGMENT_BLOCK_LEN)
		MUST_HOLD(anchor_check_headers(&a, volume, numbers, 1, bytes + 8,
					       bytes + 8 + SEGMENT_BLOCK_LEN,
					       len - 8 - SEGMENT_BLOCK_LEN) < 0);
	try_both_ways(bytes, len);
}
