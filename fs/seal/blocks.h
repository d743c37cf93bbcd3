#ifndef BLOCKS_H_
#define BLOCKS_H_

/*
 * Reads plaintext blocks from a source: read, decrypt, decompress.  Keeps a bounded cache of
 * segment keys (segment_keys.h).  Any number of threads may use one reader.
 */

#include "block.h"
#include "compiler.h"

#include <stddef.h>

struct source;
struct blocks;

#define BLOCKS_RUN_MAX ((size_t)2 << 20) /* stored bytes fetched by one source read */

/*
 * blocks_new(src, log_key, out): borrows ${src}; copies the key into locked memory.
 * Returns 0 or -ENOMEM.  blocks_free(NULL) is a no-op; nobody may be reading.
 */
MUST_CHECK int blocks_new(struct source *src, const uint8_t log_key[32], struct blocks **out);
void blocks_free(struct blocks *b);

/*
 * blocks_read(b, ptr, kind, out): read the ${ptr->plain_len} plaintext bytes of one block of
 * ${kind}.  After an error the contents of ${out} are undefined.
 * Returns 0; -ERR_DAMAGED with a detail naming position and what is wrong (frame, kind, length,
 * seal, compression); -ERR_TAMPERED (its segment's header is not what was signed); -ERR_ABSENT;
 * -ERR_UNREACHABLE; -errno.
 */
MUST_CHECK int blocks_read(struct blocks *b, const struct block_ptr *ptr, enum block_kind kind,
			   void *out);

/*
 * blocks_hint(b, ptr): the caller will read the block soon: lets the source fetch it, and the
 * segment header needed to open it, in the meantime.
 */
void blocks_hint(struct blocks *b, const struct block_ptr *ptr);

/* A slice of a data block's plaintext, wanted at ${out}. */
struct block_slice {
	struct block_ptr ptr;
	uint32_t off, len; /* inside the plaintext */
	uint8_t *out;
	int rc; /* this slice's result */
};

/*
 * blocks_read_slices(b, s, n): read parts of files.  ${s} is in file order.  Blocks adjacent in the
 * log are fetched by one source read of up to BLOCKS_RUN_MAX.  A slice that is a whole block is
 * decrypted straight into place.  Consecutive slices of one block open it once.  Of an uncompressed
 * block outside a run, only the chunks that the slices touch are read.  A slice that does not lie
 * inside its block's plaintext is -ERR_DAMAGED.
 * Sets each s[i].rc, as blocks_read(); returns 0 if all are 0, else the first that is not.
 */
MUST_CHECK int blocks_read_slices(struct blocks *b, struct block_slice *s, size_t n);

/* blocks_io(b): a block_io (append NULL) over this reader; valid as long as ${b}. */
struct block_io blocks_io(struct blocks *b);

#endif /* !BLOCKS_H_ */
