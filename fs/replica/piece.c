/*
 * Pieces of the log.
 *
 * Key idea: the log's clear frames tell where blocks end, so pieces can be cut without a key.  The
 * pool outlives its owner: the transport may hold a buffer for a while after a stream has ended.
 *
 * Invariants: at most PIECES_MAX buffers exist per pool; n_out + length of the free list = n_made.
 */

#include "piece.h"

#include "err.h"
#include "frame.h"
#include "store.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct piece_pool {
	/* held while freed() is called, so that close waits for it; freed() must not call back */
	pthread_mutex_t mu;
	/* Guarded by mu. */
	void (*freed)(void *ctx);
	void *ctx;
	struct piece_list free_list;
	unsigned n_made;
	unsigned n_out;
	bool closed;
};

int piece_pool_new(void (*freed)(void *ctx), void *ctx, struct piece_pool **out)
{
	struct piece_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return -ENOMEM;
	pthread_mutex_init(&pool->mu, NULL);
	STAILQ_INIT(&pool->free_list);
	pool->freed = freed;
	pool->ctx = ctx;
	*out = pool;
	return 0;
}

static void pool_destroy(struct piece_pool *pool)
{
	struct piece *p;

	while ((p = STAILQ_FIRST(&pool->free_list)) != NULL) {
		STAILQ_REMOVE_HEAD(&pool->free_list, entry);
		free(p);
	}
	pthread_mutex_destroy(&pool->mu);
	free(pool);
}

void piece_pool_close(struct piece_pool *pool)
{
	bool last;

	if (!pool)
		return;
	pthread_mutex_lock(&pool->mu);
	assert(!pool->closed);
	pool->closed = true;
	last = pool->n_out == 0;
	pthread_mutex_unlock(&pool->mu);
	if (last)
		pool_destroy(pool);
}

struct piece *piece_get(struct piece_pool *pool)
{
	struct piece *p;

	pthread_mutex_lock(&pool->mu);
	p = STAILQ_FIRST(&pool->free_list);
	if (p) {
		STAILQ_REMOVE_HEAD(&pool->free_list, entry);
	} else if (pool->n_made < PIECES_MAX) {
		p = malloc(sizeof(*p));
		if (p)
			pool->n_made++;
	}
	if (p) {
		pool->n_out++;
		p->pool = pool;
		p->pos = p->len = 0;
		atomic_store_explicit(&p->handed, false, memory_order_relaxed);
	}
	pthread_mutex_unlock(&pool->mu);
	return p;
}

void piece_hand_over(struct piece *p)
{
	atomic_store_explicit(&p->handed, true, memory_order_release);
}

void piece_put(struct piece *p)
{
	struct piece_pool *pool;
	bool last;

	(void)atomic_load_explicit(&p->handed, memory_order_acquire);
	pool = p->pool;
	pthread_mutex_lock(&pool->mu);
	assert(pool->n_out > 0);
	STAILQ_INSERT_HEAD(&pool->free_list, p, entry);
	pool->n_out--;
	last = pool->closed && pool->n_out == 0;
	if (!pool->closed)
		pool->freed(pool->ctx);
	pthread_mutex_unlock(&pool->mu);
	if (last)
		pool_destroy(pool);
}

/*
 * How many of the ${len} bytes at ${pos} are whole blocks?  0 if not even the first block is whole.
 */
static size_t whole_blocks(const uint8_t *bytes, size_t len, log_pos pos)
{
	size_t at = 0;

	while (len - at >= FRAME_LEN) {
		struct frame f;

		if (frame_decode(bytes + at, pos + at, &f) < 0)
			break;
		if (f.body_len > len - at - FRAME_LEN)
			break;
		at += FRAME_LEN + f.body_len;
	}
	return at;
}

/*
 * Find the position of the next bytes at or after ${*pos}, and their number: in the same segment,
 * or from the start of the next segment that exists.
 */
static int locate(struct store *st, log_pos *pos, log_pos limit, uint64_t *out_len)
{
	segment_no number = segment_of(*pos);
	uint64_t size = 0;
	int rc;

	rc = store_size(st, number, &size);
	if (rc < 0 && rc != -ERR_ABSENT)
		return rc;
	/* Only between two segments may missing segments be skipped. */
	if (rc == -ERR_ABSENT && *pos != segment_start(number))
		return rc;
	if (rc == -ERR_ABSENT || *pos - segment_start(number) >= size) {
		rc = store_next(st, rc == -ERR_ABSENT ? number : number + 1, &number);
		if (rc < 0)
			return rc;
		*pos = segment_start(number);
		rc = store_size(st, number, &size);
		if (rc < 0)
			return rc;
	}
	if (*pos >= limit || size <= *pos - segment_start(number))
		return -ERR_ABSENT;
	*out_len = segment_start(number) + size - *pos;
	if (*out_len > limit - *pos)
		*out_len = limit - *pos;
	return 0;
}

int piece_read(struct store *st, log_pos from, log_pos limit, struct piece *p)
{
	uint64_t len = 0;
	int rc;

	assert(from < limit);
	p->pos = from;
	rc = locate(st, &p->pos, limit, &len);
	if (rc < 0)
		return rc;
	if (len > PIECE_CAP)
		len = PIECE_CAP;
	rc = store_read(st, p->pos, (size_t)len, p->bytes);
	if (rc < 0)
		return rc;
	p->len = whole_blocks(p->bytes, (size_t)len, p->pos);
	if (p->len > 0)
		return 0;
	return err_say(-ERR_DAMAGED,
		       "the log of this home has no block at position %llu; run 'embassy "
		       "check'",
		       (unsigned long long)p->pos);
}
