#ifndef SEAL_H_
#define SEAL_H_

/*
 * Sealing: AES-256-GCM or ChaCha20-Poly1305 (RFC 8439) by libcrypto.  A segment's key is derived
 * from the volume's log key and the segment's salt, so one key seals one segment written by one
 * mount.  A block is sealed in chunks of seal_chunk_len() bytes, each followed by its tag, so that
 * a few bytes of a large block can be read without the rest.  A chunk's nonce is the block's
 * position plus the chunk's number (u64 LE, then 4 zero bytes); it is used once under that key.
 * The associated data are the volume id, the position and the first 8 bytes of the frame.  The
 * frame's length is among them, so a block that lost its last chunks does not open.  The server
 * does not link this.
 */

#include "compiler.h"
#include "format.h"
#include "frame.h"

#include <stddef.h>

#define LOG_KEY_LEN 32u

struct segment_key; /* a derived key, ready for use; immutable, any number of threads */

/*
 * segment_key_new(log_key, h, out): derive the key of segment ${h}: BLAKE2b-256 keyed by
 * ${log_key} over "embassyfs segment" || volume || number || key_generation || cipher || salt.
 * Returns 0, -ENOMEM, -ERR_VERSION (unknown cipher).  segment_key_free(NULL) is a no-op; wipes.
 */
MUST_CHECK int segment_key_new(const uint8_t log_key[LOG_KEY_LEN], const struct segment_header *h,
			       struct segment_key **out);
void segment_key_free(struct segment_key *k);

/*
 * seal_ready(): create this thread's cipher context now, so that seal_block() cannot fail for want
 * of memory.  Any thread.  Returns 0 or -ENOMEM.
 */
MUST_CHECK int seal_ready(void);

/*
 * seal_block(k, pos, f, plain, plain_len, out): write the whole block (frame, ciphertext, tags) to
 * ${out}; f->body_len must be sealed_len(plain_len, f->flags).  ${plain} is already compressed if
 * the frame is flagged so.  ${out} must not overlap ${plain}.  The caller seals only once per key
 * and position: a second plaintext under the same nonce would reveal both.
 * Any thread; keeps a cipher context per thread.  Returns 0; -EIO (libcrypto failed); -ENOMEM.
 */
MUST_CHECK int seal_block(const struct segment_key *k, log_pos pos, const struct frame *f,
			  const void *plain, size_t plain_len, uint8_t *out);

/*
 * seal_open(k, pos, f, block, out): verify the whole block at ${block}, whose frame decodes to
 * ${f}, and decrypt its opened_len(body_len, flags) bytes into ${out}, which is zeroed on failure.
 * Any thread.  Returns 0; -ERR_DAMAGED (no detail: the caller knows which block it is); -EIO
 * (libcrypto failed); or -ENOMEM.
 */
MUST_CHECK int seal_open(const struct segment_key *k, log_pos pos, const struct frame *f,
			 const uint8_t *block, void *out);

/*
 * seal_open_chunks(k, pos, f, first, n, sealed, out): as seal_open(), for up to ${n} chunks from
 * number ${first} on, which must exist.  ${sealed} points to the stored bytes of chunk ${first}.
 */
MUST_CHECK int seal_open_chunks(const struct segment_key *k, log_pos pos, const struct frame *f,
				uint32_t first, uint32_t n, const uint8_t *sealed, void *out);

#endif /* !SEAL_H_ */
