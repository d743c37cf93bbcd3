#ifndef BLOCKS_H_
#define BLOCKS_H_

/*
 * Plaintext blocks out of a source: read, open, decompress.  Keeps a bounded cache of segment
 * keys (headers are read through the source).  Every thread may use one reader at once.
 */

#include "block.h"
#include "compiler.h"

#include <stddef.h>

struct source;
struct blocks;

#define BLOCKS_KEYS_MAX 256u	      /* segment keys kept */
#define BLOCKS_RUN_MAX ((size_t)2 << 20) /* stored bytes fetched by one source read */

/*
 * blocks_new(src, log_key, out): borrows ${src}; copies the key into locked memory.
 * Returns 0 or -ENOMEM.  blocks_free(NULL) is a no-op; nobody may be reading.
 */
MUST_CHECK int blocks_new(struct source *src, const uint8_t log_key[32], struct blocks **out);
void blocks_free(struct blocks *b);

/*
 * blocks_read(b, ptr, kind, out): the ${ptr->plain_len} plaintext bytes of one block of ${kind}.
 * What is in ${out} after an error means nothing.
 * Returns 0; -ERR_DAMAGED with a detail naming position and what is wrong (frame, kind, length,
 * seal, compression); -ERR_TAMPERED (its segment's header is not what was signed); -ERR_ABSENT;
 * -ERR_UNREACHABLE; -errno.
 */
MUST_CHECK int blocks_read(struct blocks *b, const struct block_ptr *ptr, enum block_kind kind,
			   void *out);

/*
 * blocks_hint(b, ptr): the block will be read soon: lets the source fetch it, and the segment
 * header that opening it takes, meanwhile.
 */
void blocks_hint(struct blocks *b, const struct block_ptr *ptr);

/* A slice of a data block's plaintext, wanted at ${out}. */
struct block_slice {
	struct block_ptr ptr;
	uint32_t off, len; /* inside the plaintext */
	uint8_t *out;
	int rc; /* result of this slice */
};

/*
 * blocks_read_slices(b, s, n): file reads.  ${s} in file order; blocks adjacent in the log are
 * fetched by one source read (up to BLOCKS_RUN_MAX); a whole-block slice is opened straight into
 * its place; consecutive slices of one block open it once, and of a block by itself that is not
 * compressed only the chunks that they touch are read.  A slice that does not lie inside
 * its block's plaintext is -ERR_DAMAGED.
 * Sets each s[i].rc, as blocks_read(); returns 0 if all are 0, else the first that is not.
 */
MUST_CHECK int blocks_read_slices(struct blocks *b, struct block_slice *s, size_t n);

/* blocks_io(b): a block_io (append NULL) over this reader; valid as long as ${b}. */
struct block_io blocks_io(struct blocks *b);

#endif /* !BLOCKS_H_ */
