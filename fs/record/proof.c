/*
 * Inclusion proofs for several leaves at once.
 *
 * Key idea: who makes a proof and who checks it go down the same tree in the same order, since both
 * know how many leaves there are and which are in question.  So a proof is nothing but hashes, and
 * one hash too many or too few is found by counting.
 *
 * Invariants: both recursions are at most 64 deep; the checker hashes once for each hash of the
 * proof and each leaf at most, so a hostile proof costs no more than its length.
 */

#include "proof.h"

#include "buf.h"
#include "err.h"
#include "merkle.h"
#include "tile.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The leaves in question, and how many of them lie left of where the recursion stands. */
struct questions {
	const leaf_no *index;
	size_t k, done;
};

static bool ascend_below(leaf_no n, const leaf_no *index, size_t k)
{
	if (k == 0 || k > PROOF_LEAVES_MAX)
		return false;
	for (size_t i = 1; i < k; i++)
		if (index[i - 1] >= index[i])
			return false;
	return index[k - 1] < n;
}

/* Whether one of them is among the ${size} leaves from ${lo} on, where the recursion stands. */
static bool asked_within(const struct questions *q, leaf_no lo, uint64_t size)
{
	return q->done < q->k && q->index[q->done] - lo < size;
}

/* How many of ${size} > 1 leaves are on the left: the largest power of two below it. */
static uint64_t left_of(uint64_t size)
{
	return UINT64_C(1) << (63 - __builtin_clzll(size - 1));
}

/* ---- making ---- */

struct maker {
	struct questions q;
	const struct tile_io *io;
	struct buf *out;
	/* Of each level the tile that was used last: a proof goes through them left to right. */
	bool have[TILE_LEVELS];
	uint64_t index[TILE_LEVELS];
	struct tile tile[TILE_LEVELS];
};

static int load_tile(struct maker *m, unsigned level, uint64_t index)
{
	int rc;

	if (m->have[level] && m->index[level] == index)
		return 0;
	m->have[level] = false;
	rc = m->io->get(m->io->ctx, level, index, &m->tile[level]);
	if (rc < 0)
		return rc;
	m->have[level] = true;
	m->index[level] = index;
	return 0;
}

/* The root of 2^${height} leaves from ${lo} on: of some hashes side by side in one tile. */
static int whole_root(struct maker *m, leaf_no lo, unsigned height, uint8_t out[HASH_LEN])
{
	unsigned level = height / 8, n = 1u << height % 8;
	uint64_t first = lo >> 8 * level;
	int rc = load_tile(m, level, first / TILE_WIDTH);

	return rc < 0 ? rc : tile_root(&m->tile[level], first % TILE_WIDTH, n, out);
}

static int range_root(struct maker *m, leaf_no lo, uint64_t size, uint8_t out[HASH_LEN])
{
	uint8_t left[HASH_LEN], right[HASH_LEN];
	uint64_t k;
	int rc;

	if ((size & (size - 1)) == 0)
		return whole_root(m, lo, (unsigned)__builtin_ctzll(size), out);
	k = left_of(size);
	rc = range_root(m, lo, k, left);
	if (rc == 0)
		rc = range_root(m, lo + k, size - k, right);
	if (rc == 0)
		merkle_node(left, right, out);
	return rc;
}

static int make(struct maker *m, leaf_no lo, uint64_t size)
{
	uint8_t hash[HASH_LEN];
	uint64_t k;
	int rc;

	if (!asked_within(&m->q, lo, size)) {
		rc = range_root(m, lo, size, hash);
		return rc < 0 ? rc : buf_add(m->out, hash, sizeof(hash));
	}
	if (size == 1) {
		m->q.done++;
		return 0;
	}
	k = left_of(size);
	rc = make(m, lo, k);
	return rc < 0 ? rc : make(m, lo + k, size - k);
}

int proof_make(leaf_no n, const leaf_no *index, size_t k, const struct tile_io *io, struct buf *out)
{
	size_t before = out->len;
	struct maker *m;
	int rc;

	if (!ascend_below(n, index, k))
		return -EINVAL;
	m = malloc(sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->q = (struct questions){.index = index, .k = k};
	m->io = io;
	m->out = out;
	memset(m->have, 0, sizeof(m->have));
	rc = make(m, 0, n);
	free(m);
	if (rc < 0)
		out->len = before;
	return rc;
}

/* ---- checking ---- */

struct checker {
	struct questions q;
	const uint8_t (*leaf)[HASH_LEN];
	const uint8_t *p; /* the rest of the proof */
	size_t left;	  /* hashes */
};

/* The root of what the proof says is there; false if the proof is too short. */
static bool rebuild(struct checker *c, leaf_no lo, uint64_t size, uint8_t out[HASH_LEN])
{
	uint8_t left[HASH_LEN], right[HASH_LEN];
	uint64_t k;

	if (!asked_within(&c->q, lo, size)) {
		if (c->left == 0)
			return false;
		memcpy(out, c->p, HASH_LEN);
		c->p += HASH_LEN;
		c->left--;
		return true;
	}
	if (size == 1) {
		memcpy(out, c->leaf[c->q.done++], HASH_LEN);
		return true;
	}
	k = left_of(size);
	if (!rebuild(c, lo, k, left) || !rebuild(c, lo + k, size - k, right))
		return false;
	merkle_node(left, right, out);
	return true;
}

int proof_check(leaf_no n, const uint8_t root[HASH_LEN], const leaf_no *index,
		const uint8_t (*leaf)[HASH_LEN], size_t k, const void *proof, size_t len)
{
	struct checker c = {
		.q = {.index = index, .k = k}, .leaf = leaf, .p = proof, .left = len / HASH_LEN};
	uint8_t mine[HASH_LEN];

	if (len % HASH_LEN != 0 || !ascend_below(n, index, k))
		return -ERR_TAMPERED;
	if (!rebuild(&c, 0, n, mine) || c.left != 0 || memcmp(mine, root, HASH_LEN) != 0)
		return -ERR_TAMPERED;
	return 0;
}
