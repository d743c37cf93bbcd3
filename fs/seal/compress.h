#ifndef COMPRESS_H_
#define COMPRESS_H_

/* zstd for blocks; the only file that includes it.  Contexts and buffers are kept per thread. */

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * compress_block(plain, len, level, out, out_len): compress at ${level} and say whether it gains at
 * least 1/16.  If so, ${*out} is borrowed from the thread until its next call here.  False also
 * where memory lacks, and without a try where a sample of it looks random: the block is then stored
 * as it is.  Any thread.
 */
bool compress_block(const void *plain, size_t len, int level, const void **out, size_t *out_len);

/*
 * compress_plain_len(frame, len, out): the plaintext length that the zstd frame ${frame} states.
 * Returns 0, or -ERR_DAMAGED if it states none or more than BLOCK_PLAIN_MAX.
 */
MUST_CHECK int compress_plain_len(const void *frame, size_t len, uint32_t *out);

/*
 * decompress_block(frame, len, out, out_len): decompress to exactly ${out_len} bytes.
 * Returns 0, -ERR_DAMAGED or -ENOMEM.  Any thread.
 */
MUST_CHECK int decompress_block(const void *frame, size_t len, void *out, size_t out_len);

#endif /* !COMPRESS_H_ */
