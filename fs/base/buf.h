#ifndef BUF_H_
#define BUF_H_

/* A growable byte buffer.  A zeroed struct is an empty buffer; release with buf_release(). */

#include "compiler.h"

#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *p;
	size_t len; /* bytes in use */
	size_t cap;
};

/*
 * buf_reserve(b, more): make room for ${more} further bytes.  Returns 0 or -ENOMEM, nothing
 * changed.
 */
MUST_CHECK int buf_reserve(struct buf *b, size_t more);

/* buf_add(b, p, len): append bytes.  Returns 0 or -ENOMEM, nothing changed. */
MUST_CHECK int buf_add(struct buf *b, const void *p, size_t len);
MUST_CHECK int buf_add_u8(struct buf *b, uint8_t v);
MUST_CHECK int buf_add_le16(struct buf *b, uint16_t v);
MUST_CHECK int buf_add_le32(struct buf *b, uint32_t v);
MUST_CHECK int buf_add_le64(struct buf *b, uint64_t v);

/*
 * buf_printf(b, fmt, ...): append formatted text, with a NUL after it that ${len} does not count.
 */
MUST_CHECK int buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* buf_reset(b): empty it, keep its memory. */
void buf_reset(struct buf *b);

/* buf_release(b): free its memory; ${b} is an empty buffer again. */
void buf_release(struct buf *b);

#endif /* !BUF_H_ */
