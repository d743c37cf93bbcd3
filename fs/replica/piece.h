#ifndef PIECE_H_
#define PIECE_H_

/*
 * Pieces of the log on their way to an embassy: whole adjacent blocks of one segment, in buffers
 * that are few and reused.
 */

#include "compiler.h"
#include "format.h"

#include <stdatomic.h>
#include <stddef.h>
#include <sys/queue.h>

/* One buffer holds the largest block, so every block fits some piece. */
#define PIECE_CAP BLOCK_STORED_MAX

/*
 * Buffers of one replicator: eight read ahead, one being sent, and a few that the transport has
 * not let go of.
 */
#define PIECES_MAX 12u

struct store;
struct piece_pool;

STAILQ_HEAD(piece_list, piece);

struct piece {
	struct piece_pool *pool;
	STAILQ_ENTRY(piece) entry; /* in the pool's free list, or in its owner's queue */
	atomic_bool handed;	   /* piece_hand_over() */
	uint64_t pos;
	size_t len;
	uint8_t bytes[PIECE_CAP];
};

/*
 * piece_pool_new(freed, ctx, out): an empty pool; freed(ctx) is called from any thread, no lock
 * held, when a piece came back, until piece_pool_close().  Buffers are allocated when first wanted.
 * Returns 0 or -ENOMEM.
 */
MUST_CHECK int piece_pool_new(void (*freed)(void *ctx), void *ctx, struct piece_pool **out);

/*
 * piece_pool_close(pool): no more calls of freed() from here on; the memory goes when the last
 * piece came back.  NULL is a no-op.
 */
void piece_pool_close(struct piece_pool *pool);

/*
 * piece_get(pool): a piece, or NULL while PIECES_MAX are out or memory is short.  piece_put(p):
 * give it back; any thread.
 */
struct piece *piece_get(struct piece_pool *pool);
void piece_put(struct piece *p);

/*
 * piece_hand_over(p): the caller touches ${p} no more; whoever puts it back may be a thread that
 * the caller's code shares nothing else with.
 */
void piece_hand_over(struct piece *p);

/*
 * piece_read(st, from, limit, p): fill ${p} with the blocks that follow ${from} (a block's start or
 * an end), not beyond ${limit} > ${from} (an end); where a segment's file ends there, with those
 * from the start of the next segment.
 * Returns 0 with p->pos and p->len > 0; -ERR_DAMAGED, with a detail, if the bytes are no blocks;
 * -ERR_ABSENT if they are not in this copy; or -errno.
 */
MUST_CHECK int piece_read(struct store *st, uint64_t from, uint64_t limit, struct piece *p);

#endif /* !PIECE_H_ */
