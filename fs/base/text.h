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
 * text_line(t, out): cut the first line off ${t}, its newline not in ${out}; false, nothing
 * changed, if there is no newline.
 */
bool text_line(struct text *t, struct text *out);

/*
 * text_word(t, out): cut the bytes before the next space or the end off ${t}, with that space.
 * False if there are none, or if the space is the last byte.
 */
bool text_word(struct text *t, struct text *out);

/*
 * text_skip(t, prefix): if ${t} starts with ${prefix}, cut that off; else false, nothing changed.
 */
bool text_skip(struct text *t, const char *prefix);

bool text_is(struct text t, const char *s);

/* text_u64(t, out): a decimal number, without a sign, leading zeros or anything else. */
bool text_u64(struct text t, uint64_t *out);

/*
 * text_base64(t, out, len): standard base64 with padding of exactly ${len} bytes, its unused bits
 * zero.
 */
bool text_base64(struct text t, void *out, size_t len);

/* text_hex(t, out, len): ${len} bytes in lower-case hex. */
bool text_hex(struct text t, uint8_t *out, size_t len);

/* text_time(t, out_ns): a time exactly as when_format() spells it. */
bool text_time(struct text t, int64_t *out_ns);

/* text_printable(t): no control characters (UTF-8 beyond ASCII is allowed, and not checked). */
bool text_printable(struct text t);

/* buf_add_base64(b, p, len): append standard base64 with padding.  Returns 0 or -ENOMEM. */
MUST_CHECK int buf_add_base64(struct buf *b, const void *p, size_t len);

#endif /* !TEXT_H_ */
