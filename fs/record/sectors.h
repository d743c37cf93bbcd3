#ifndef SECTORS_H_
#define SECTORS_H_

/*
 * Bytes as a disk has them: those that readers see, those that are durable, and what a crash makes
 * of the difference, sector by sector.  For storage_memory.c.  No locks.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECTORS_PAGE ((size_t)4096)

struct sectors_page {
	uint8_t *seen, *kept; /* NULL: zeros; the same memory while they are the same */
};

struct sectors {
	struct sectors_page *pages;
	size_t n_pages;
	uint64_t len, kept_len;
};

/* All zeros is a fresh one.  sectors_release(s): free its memory. */
void sectors_release(struct sectors *s);

/*
 * sectors_put(s, off, bytes, len): write these bytes; readers see them.  Returns 0; or -ENOMEM:
 * readers see some of them.
 */
MUST_CHECK int sectors_put(struct sectors *s, uint64_t off, const void *bytes, size_t len);

/* sectors_get(s, off, out, len): what readers see, which all lies below ${s->len}. */
void sectors_get(const struct sectors *s, uint64_t off, void *out, size_t len);

/* sectors_sync(s): make durable what readers see. */
void sectors_sync(struct sectors *s);

/* sectors_cut(s, len): remove what lies from ${len} on, durably. */
void sectors_cut(struct sectors *s, uint64_t len);

/* sectors_zero(s, from, to): make whole pages read as zeros, durably. */
void sectors_zero(struct sectors *s, uint64_t from, uint64_t to);

/*
 * sectors_crash(s, random): crash.  Each sector of what is not durable survives, and is durable
 * then, if ${*random} says so; NULL: none survives.  Needs no memory.
 */
void sectors_crash(struct sectors *s, uint64_t *random);

/* sectors_dice(state): the next number of a generator (splitmix64). */
uint64_t sectors_dice(uint64_t *state);

#endif /* !SECTORS_H_ */
