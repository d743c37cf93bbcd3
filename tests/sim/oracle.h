#ifndef ORACLE_H_
#define ORACLE_H_

/*
 * What must be true: remembers what the home and the embassies have promised, and compares it
 * with what lies on their disks.  Anything else ends the history (fail()).
 *
 * A line is the log as it was signed, up to the newest head that anybody was told of.  A home
 * that is restored from a backup goes on on a line of its own.
 */

#include "format.h"
#include "net.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct head;
struct log;
struct log_tail;
struct store;

#define ORACLE_BLOCKS_MAX 4u /* of data that one operation points to */

/* An operation: what a delta says; its bytes follow from its number. */
struct op_block {
	struct block_ptr ptr;
	uint64_t seed; /* of the bytes in it */
	enum block_kind kind;
};

struct op {
	uint64_t number;
	uint32_t n_blocks;
	struct op_block blocks[ORACLE_BLOCKS_MAX];
	uint32_t filler; /* bytes behind */
	struct block_ptr
		ptr; /* of the delta itself; where it lies is known after it was appended */
};

/* oracle_fill(out, len, seed): the bytes of a block. */
void oracle_fill(uint8_t *out, size_t len, uint64_t seed);

/* oracle_op_encode(op, out): the delta's plaintext; returns its length. */
#define ORACLE_OP_MAX (4096u + ORACLE_BLOCKS_MAX * 40u)
size_t oracle_op_encode(const struct op *op, uint8_t out[ORACLE_OP_MAX]);

/*
 * oracle_op_begin(op): is about to be appended; sets op->number.  oracle_synced(number): is
 * durable.
 */
void oracle_op_begin(struct op *op);
void oracle_op_undo(void);
void oracle_synced(uint64_t number);
uint64_t oracle_n_ops(void);

/*
 * oracle_heads(log): the home may be told of all heads that the log has now, so they must stay; any
 * number of times.
 */
void oracle_heads(struct log *log);

/*
 * oracle_log_opened(log, head): its newest head is ${head}, and all heads that anybody was told of
 * are where they were.
 */
void oracle_log_opened(struct log *log, uint64_t head);

/* oracle_opened(log, store, tail): what recovery found at home is what it must find. */
void oracle_opened(struct log *log, struct store *store, const struct log_tail *tail);

/* oracle_acknowledged(e, head, end): a server said so. */
void oracle_acknowledged(unsigned embassy, uint64_t head, uint64_t end);

/* oracle_published(e, head, end): from now on the embassy serves all up to there. */
void oracle_published(unsigned embassy, uint64_t head, uint64_t end);

/* oracle_booked(e, head, end): the home believes that the embassy holds it. */
void oracle_booked(unsigned embassy, uint64_t head, uint64_t end);
void oracle_books_opened(void);

/* oracle_crashed(e): after a crash, before anything runs: what was acknowledged is on the disk. */
void oracle_crashed(unsigned embassy);

/*
 * oracle_copy(e, head, end, whole): the embassy's copy stands there; it must be the log up to that
 * head, compared from where the last comparison ended, or as a whole.
 */
void oracle_copy(unsigned embassy, uint64_t head, uint64_t end, bool whole);

/* oracle_copy_fits(e): whether the copy, as it was last seen, is the home's log up to some head. */
bool oracle_copy_fits(unsigned embassy);
bool oracle_copy_is_newest(unsigned embassy); /* ... and it is the newest */
uint64_t oracle_copy_head(unsigned embassy);

/* oracle_wiped(e): the embassy has a new disk. */
void oracle_wiped(unsigned embassy);

/* A moment that a backup of the home is of. */
struct oracle_moment;
struct oracle_moment *oracle_moment(void);
void oracle_back_to(const struct oracle_moment *m);

#endif /* !ORACLE_H_ */
