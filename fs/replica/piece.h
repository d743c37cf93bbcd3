#ifndef PIECE_H_
#define PIECE_H_

/*
 * Pieces of the log on their way to an embassy.  A piece is a number of whole adjacent blocks of
 * one segment, in one of a few buffers that are reused.
 */

#include "compiler.h"
#include "format.h"

#include <stdatomic.h>
#include <stddef.h>
#include <sys/queue.h>

/* A buffer can hold the largest block, so every block fits in a piece. */
#define PIECE_CAP BLOCK_STORED_MAX

/*
 * Buffers of one replicator: eight read ahead, one being sent, and a few that the transport has not
 * released yet.
 */
#define PIECES_MAX 12u

struct store;
struct piece_pool;

STAILQ_HEAD(piece_list, piece);

struct piece {
	struct piece_pool *pool;
	STAILQ_ENTRY(piece) entry; /* in the pool's free list, or in its owner's queue */
	atomic_bool handed;	   /* piece_hand_over() */
	log_pos pos;
	size_t len;
	uint8_t bytes[PIECE_CAP];
};

/*
 * piece_pool_new(freed, ctx, out): make an empty pool.  When a piece is given back, freed(ctx) is
 * called, from any thread, until piece_pool_close().  The pool's lock is held meanwhile, so freed()
 * must not call the pool.  Buffers are allocated when they are first needed.
 * Returns 0 or -ENOMEM.
 */
MUST_CHECK int piece_pool_new(void (*freed)(void *ctx), void *ctx, struct piece_pool **out);

/*
 * piece_pool_close(pool): no call of freed() from here on.  The memory is freed when the last piece
 * is given back.  NULL is a no-op.
 */
void piece_pool_close(struct piece_pool *pool);

/*
 * piece_get(pool): a piece, or NULL while PIECES_MAX are out or memory is short.
 * piece_put(p): give it back.  Any thread.
 */
struct piece *piece_get(struct piece_pool *pool);
void piece_put(struct piece *p);

/*
 * piece_hand_over(p): the caller no longer touches ${p}.  The thread that will put it back may
 * share nothing else with the caller's code, so this orders their accesses.
 */
void piece_hand_over(struct piece *p);

/*
 * piece_read(st, from, limit, p): fill ${p} with the blocks that follow ${from} (the start of a
 * block, or an end), but not beyond ${limit} > ${from} (an end).  If the segment's file ends at
 * ${from}, they come from the start of the next segment.
 * Returns 0 with p->pos and p->len > 0; -ERR_DAMAGED, with a detail, if the bytes are not blocks;
 * -ERR_ABSENT if this copy does not have them; or -errno.
 */
MUST_CHECK int piece_read(struct store *st, log_pos from, log_pos limit, struct piece *p);

#endif /* !PIECE_H_ */
