#ifndef SYNTHETIC_LOG_H_
#define SYNTHETIC_LOG_H_

/*
 * A volume whose log is made of random bytes in right frames, with rightly signed heads: for
 * tests without a cipher.
 */

#include "format.h"
#include "head.h"
#include "merkle.h"
#include "params.h"
#include "scan.h"

struct store;

#define SYNTHETIC_EPOCHS 2u

struct synthetic_log {
	char dir[256];
	struct params params;
	uint8_t writer_secret[SYNTHETIC_EPOCHS][64]; /* of epochs 1 and 2 */
	uint8_t authority_secret[64];
	struct store *store;
	struct merkle merkle;
	uint64_t pos;	    /* the next block begins here */
	uint64_t next;	    /* number of the next segment */
	uint64_t epoch;
	struct head newest; /* number 0: none */
	uint32_t seed;
	uint8_t *bytes;	    /* of the newest block */
	struct scan_block block;
};

/*
 * synthetic_log_init(s): a new folder with volume.conf and an empty log.  Any failure fails the
 * test.
 */
void synthetic_log_init(struct synthetic_log *s);
void synthetic_log_release(struct synthetic_log *s);

/*
 * Make the next block in s->block: it is not part of the log until synthetic_take().
 * make_head() uses ${h} as it is, signed by the writer of ${h->epoch}; synthetic_next_head()
 * gives the right one.
 */
void synthetic_make_segment(struct synthetic_log *s);
void synthetic_make_data(struct synthetic_log *s, uint32_t body_len);
void synthetic_make_head(struct synthetic_log *s, const struct head *h, const uint8_t secret[64]);
struct head synthetic_next_head(const struct synthetic_log *s);

/* synthetic_take(s): count s->block and write it to the store. */
void synthetic_take(struct synthetic_log *s);

/* make and take */
void synthetic_segment(struct synthetic_log *s);
void synthetic_data(struct synthetic_log *s, uint32_t body_len);
void synthetic_head(struct synthetic_log *s);

/*
 * synthetic_grow(s, n_segments, n_heads, n_data): segments, each with heads, each after so many
 * small blocks.
 */
void synthetic_grow(struct synthetic_log *s, unsigned n_segments, unsigned n_heads,
		    unsigned n_data);

#endif /* !SYNTHETIC_LOG_H_ */
