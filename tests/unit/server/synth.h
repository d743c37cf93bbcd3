#ifndef SYNTH_H_
#define SYNTH_H_

/*
 * A log made up in memory: blocks of random bytes with good frames, and heads signed by a writer of
 * our own.
 */

#include "buf.h"
#include "format.h"
#include "merkle.h"

#include <stdbool.h>

#define SYNTH_SEGMENTS_MAX 64u
#define SYNTH_BLOCKS_MAX 65536u
#define SYNTH_HEADS_MAX 1024u
#define SYNTH_EPOCHS_MAX 4u

struct synth_place {
	uint64_t pos;
	size_t len;
};

struct synth {
	uint64_t random;
	uint8_t authority[32], authority_secret[64];
	uint8_t writer[SYNTH_EPOCHS_MAX][32], writer_secret[SYNTH_EPOCHS_MAX][64];
	uint8_t id[VOLUME_ID_LEN];
	struct buf segments[SYNTH_SEGMENTS_MAX]; /* by segment number; empty: not there */
	struct synth_place *blocks;
	size_t n_blocks;
	struct synth_place heads[SYNTH_HEADS_MAX]; /* [n - 1]: head number n */
	size_t n_heads;
	struct merkle merkle;
	uint64_t end, epoch, number, parent_pos;
	int64_t time_ns;
};

/* synth_init(s, seed): keys from the seed, an empty log, epoch 1.  All here abort on trouble. */
void synth_init(struct synth *s, uint64_t seed);
void synth_release(struct synth *s);

/*
 * synth_conf(s, serial, n_epochs, out): a signed volume.conf that grants epochs 1 to ${n_epochs}.
 */
void synth_conf(const struct synth *s, uint64_t serial, unsigned n_epochs, struct buf *out);

/* Extend the log: a segment number ${number}'s header; a data block; a head. */
void synth_segment(struct synth *s, uint64_t number);
void synth_block(struct synth *s, size_t body_len);
void synth_head(struct synth *s);

/* synth_lying_head(s, what): a head that is signed and lies in one place. */
enum synth_lie {
	LIE_NUMBER,
	LIE_PARENT,
	LIE_TIME,
	LIE_EPOCH,
	LIE_COUNT,
	LIE_ROOT,
	LIE_POS,
	LIE_KEY,
	LIE_END
};
void synth_lying_head(struct synth *s, enum synth_lie what);

/* synth_grow(s, bytes): blocks of 64 KiB, in as many segments as it takes, and a head. */
void synth_grow(struct synth *s, uint64_t bytes);

/* synth_bytes(s, pos): the log's bytes there, to the end of its segment. */
const uint8_t *synth_bytes(const struct synth *s, uint64_t pos);

/*
 * synth_piece(s, pos, max, out_len): whole blocks from ${pos} on, or from the next segment's start;
 * returns where.  len 0: no more.
 */
uint64_t synth_piece(const struct synth *s, uint64_t pos, size_t max, size_t *out_len);

/* synth_head_end(s, number): where head ${number} ends; 0 for 0. */
uint64_t synth_head_end(const struct synth *s, uint64_t number);

#endif /* !SYNTH_H_ */
