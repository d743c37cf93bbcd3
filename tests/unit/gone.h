#ifndef GONE_H_
#define GONE_H_

/*
 * Logs with holes, for tests: what a log consisted of is noted while it is whole, the bytes of blocks
 * are then lost, and a table (holes.h) tells what stood there.
 */

#include "holes.h"

#include <stdbool.h>

struct storage;

struct gone_block {
	uint64_t pos;
	size_t len;
	uint8_t kind, flags;
	uint8_t leaf[HASH_LEN];
};

struct gone {
	struct gone_block *block; /* all of the log, in order: block i is leaf i */
	size_t n, cap;
};

/* gone_note(st, g): note all blocks of ${st}, which is whole. */
void gone_note(struct storage *st, struct gone *g);
void gone_release(struct gone *g);

/* gone_can(g, i, height): whether the 2^height blocks from ${i} on are an aligned run that may go. */
bool gone_can(const struct gone *g, size_t i, unsigned height);

/* gone_of(g, i, height): what stands for them, true or not. */
struct hole gone_of(const struct gone *g, size_t i, unsigned height);

/*
 * gone_fill(g, max_height, step, to, t): a table of all that may go below position ${to}, each as large a run
 * as there is up to ${max_height}; but each ${step}th of what it would hold stays (0: none does).
 */
void gone_fill(const struct gone *g, unsigned max_height, unsigned step, uint64_t to,
	       struct holes *t);

/* gone_lose(t, write, ctx): zeros in the place of all that ${t} tells of. */
void gone_lose(const struct holes *t,
	       void (*write)(void *ctx, uint64_t pos, const void *bytes, size_t len), void *ctx);

#endif /* !GONE_H_ */
