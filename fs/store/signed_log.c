/*
 * What the heads of a volume's folder were signed over.
 *
 * Key idea: the catalog is not trusted.  A proof made from its tiles either verifies against the
 * root that a head states, or it does not.  Blocks above the catalog's newest head were walked when
 * the folder was opened, and judged then; for those, the leaf hash found by that walk decides.
 *
 * Invariant: the anchor only ever becomes a later head whose tree holds it.
 */

#include "signed_log.h"

#include "buf.h"
#include "catalog.h"
#include "err.h"
#include "params.h"
#include "proof.h"
#include "scan.h"
#include "storage.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long long ull;

void signed_log_init(struct signed_log *l, const struct params *params, struct storage *storage)
{
	memset(l, 0, sizeof(*l));
	l->params = params;
	l->storage = storage;
	pthread_mutex_init(&l->mu, NULL);
}

void signed_log_release(struct signed_log *l)
{
	free(l->walked);
	l->walked = NULL;
	l->n_walked = l->cap_walked = 0;
	pthread_mutex_destroy(&l->mu);
}

void signed_log_forget(struct signed_log *l)
{
	l->n_walked = 0;
}

int signed_log_walked(struct signed_log *l, const struct scan_block *b)
{
	size_t cap = l->cap_walked ? 2 * l->cap_walked : 16;
	void *p;

	if (b->frame.kind != BLOCK_SEGMENT)
		return 0;
	if (l->n_walked == l->cap_walked) {
		p = realloc(l->walked, cap * sizeof(*l->walked));
		if (!p)
			return -ENOMEM;
		l->walked = p;
		l->cap_walked = cap;
	}
	l->walked[l->n_walked].number = segment_of(b->pos);
	memcpy(l->walked[l->n_walked++].leaf, b->leaf, HASH_LEN);
	return 0;
}

static int say_catalog(void)
{
	return err_say(-ERR_DAMAGED,
		       "catalog: lacks leaves that its newest head states; remove the folder's "
		       "'catalog', which is made anew from the log");
}

static int admit_locked(struct signed_log *l, struct catalog *c, const struct anchor *heads,
			const leaf_no *n_blocks, size_t n, leaf_no *index)
{
	struct buf proof = {0};
	leaf_no n_leaves;
	size_t k;
	int rc = 0;

	n_leaves = anchor_leaves(l->anchor.number ? l->anchor.n_blocks : 0, n_blocks, n, index, &k);
	if (k > 0)
		rc = catalog_prove(c, n_leaves, index, k, &proof);
	if (rc == -EINVAL) /* the heads' block counts do not ascend */
		rc = -ERR_TAMPERED;
	if (rc == 0)
		rc = anchor_admit(&l->anchor, heads, n, proof.p, proof.len);
	buf_release(&proof);
	if (rc == -ERR_ABSENT)
		return say_catalog();
	if (rc == -ERR_TAMPERED)
		return err_say(
			rc,
			"log: heads %llu to %llu are not of one history with head %llu; the "
			"folder is a mixture of two logs, or was tampered with: run 'embassy "
			"check' on it",
			(ull)heads[0].number, (ull)heads[n - 1].number, (ull)l->anchor.number);
	return rc;
}

int signed_log_admit(struct signed_log *l, struct catalog *c, const struct anchor *heads, size_t n)
{
	leaf_no *numbers;
	int rc = 0;

	if (n == 0)
		return 0;
	numbers = malloc((2 * PROOF_LEAVES_MAX) * sizeof(*numbers));
	if (!numbers)
		return -ENOMEM;
	pthread_mutex_lock(&l->mu);
	for (size_t i = 0, part; rc == 0 && i < n; i += part) {
		part = n - i < PROOF_LEAVES_MAX - 1 ? n - i : PROOF_LEAVES_MAX - 1;
		for (size_t j = 0; j < part; j++)
			numbers[j] = heads[i + j].n_blocks;
		rc = admit_locked(l, c, heads + i, numbers, part, numbers + PROOF_LEAVES_MAX);
	}
	pthread_mutex_unlock(&l->mu);
	free(numbers);
	return rc;
}

/* The walk met them in the order of their numbers. */
static const struct walked_header *find_walked(const struct signed_log *l, segment_no number)
{
	size_t low = 0, high = l->n_walked;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (l->walked[mid].number < number)
			low = mid + 1;
		else
			high = mid;
	}
	return low < l->n_walked && l->walked[low].number == number ? &l->walked[low] : NULL;
}

static int prove(struct signed_log *l, struct catalog *c, const struct segment_header *h,
		 const uint8_t block[SEGMENT_BLOCK_LEN])
{
	struct buf proof = {0};
	struct anchor a;
	int rc;

	pthread_mutex_lock(&l->mu);
	a = l->anchor;
	pthread_mutex_unlock(&l->mu);
	rc = catalog_prove(c, a.n_blocks, &h->n_blocks_before, 1, &proof);
	/* The header claims a block number that is not below the newest head. */
	if (rc == -EINVAL)
		rc = -ERR_TAMPERED;
	if (rc == 0)
		rc = anchor_check_headers(&a, l->params->id, &h->number, 1, block, proof.p,
					  proof.len);
	buf_release(&proof);
	return rc == -ERR_ABSENT ? say_catalog() : rc;
}

int signed_log_header(struct signed_log *l, struct catalog *c, segment_no number,
		      uint8_t out[SEGMENT_BLOCK_LEN])
{
	const struct walked_header *w = find_walked(l, number);
	uint8_t leaf[HASH_LEN];
	struct segment_header h;
	int rc = storage_read(l->storage, segment_start(number), SEGMENT_BLOCK_LEN, out);

	if (rc == -ERR_ABSENT)
		return err_say(rc, "log: segment %016llx is not in this copy", (ull)number);
	if (rc < 0)
		return rc;
	rc = segment_header_decode(out, number, &h);
	if (rc == 0 && memcmp(h.volume, l->params->id, VOLUME_ID_LEN) != 0)
		rc = -ERR_DAMAGED;
	if (rc == -ERR_DAMAGED)
		return err_say(rc, "segment %016llx: its header is not what was written",
			       (ull)number);
	if (rc < 0)
		return rc;
	if (w) {
		leaf_hash(segment_start(number), out, SEGMENT_BLOCK_LEN, leaf);
		rc = memcmp(leaf, w->leaf, HASH_LEN) == 0 ? 0 : -ERR_TAMPERED;
	} else {
		rc = prove(l, c, &h, out);
	}
	if (rc == -ERR_TAMPERED)
		return err_say(rc,
			       "segment %016llx: its header is not what the heads of this log were "
			       "signed over: the folder is a mixture of two logs, or was tampered "
			       "with, or its disk changed it; 'embassy check --repair --from' "
			       "another copy heals it",
			       (ull)number);
	return rc;
}
