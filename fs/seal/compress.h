#ifndef COMPRESS_H_
#define COMPRESS_H_

/* zstd for blocks; only compress.c includes zstd.h.  Contexts and buffers are kept per thread. */

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * compress_block(plain, len, level, out, out_len): compress at ${level}.  Returns true if that
 * saves at least 1/16; ${*out} is then borrowed until the thread's next call here.  Returns false
 * also without memory, and, without a try, where a sample of the data looks random; the caller
 * stores the block uncompressed.  Any thread.
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
