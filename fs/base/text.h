#ifndef TEXT_H_
#define TEXT_H_

/*
 * Strict reading of small text formats: lines, words, numbers, base64.  A span is borrowed
 * bytes without a NUL; nothing here reads past its end.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

struct text {
	const char *p;
	size_t len;
};

static inline struct text text_of(const void *p, size_t len)
{
	return (struct text){.p = p, .len = len};
}

/*
 * text_line(t, out): cut the first line off ${t}; its newline is not in ${out}.  Returns false and
 * changes nothing if there is no newline.
 */
bool text_line(struct text *t, struct text *out);

/*
 * text_word(t, out): cut the bytes before the next space, or before the end, off ${t}, together
 * with that space.  Returns false if there are none, or if the space is the last byte.
 */
bool text_word(struct text *t, struct text *out);

/*
 * text_skip(t, prefix): if ${t} begins with ${prefix}, cut that off; else return false and change
 * nothing.
 */
bool text_skip(struct text *t, const char *prefix);

bool text_is(struct text t, const char *s);

/*
 * text_u64(t, out): parse a decimal number without a sign or leading zeros; nothing may follow it.
 */
bool text_u64(struct text t, uint64_t *out);

/*
 * text_base64(t, out, len): decode standard base64 with padding to exactly ${len} bytes; its unused
 * bits must be zero.
 */
bool text_base64(struct text t, void *out, size_t len);

/* text_hex(t, out, len): decode exactly ${len} bytes of lower-case hex. */
bool text_hex(struct text t, uint8_t *out, size_t len);

/* text_time(t, out_ns): parse a time, spelled exactly as when_format() does. */
bool text_time(struct text t, int64_t *out_ns);

/*
 * text_printable(t): contains ${t} no control characters?  UTF-8 beyond ASCII is allowed, and not
 * checked.
 */
bool text_printable(struct text t);

/* buf_add_base64(b, p, len): append standard base64 with padding.  Returns 0 or -ENOMEM. */
MUST_CHECK int buf_add_base64(struct buf *b, const void *p, size_t len);

#endif /* !TEXT_H_ */
