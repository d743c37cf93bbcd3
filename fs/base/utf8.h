#ifndef UTF8_H_
#define UTF8_H_

/* UTF-8: what is valid, and what a terminal may be shown. */

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * utf8_char(s, out): how many bytes the character at the beginning of ${s} takes, and which it is:
 * valid UTF-8, so in its shortest form, no surrogate, at most U+10FFFF.  0 if there is none, or at
 * the end of ${s}.  Reads no byte behind the NUL.
 */
size_t utf8_char(const char *s, uint32_t *out);

/* utf8_is_control(c): a control character of ASCII or Latin-1. */
static inline bool utf8_is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0);
}

/*
 * utf8_is_plain(c): it neither controls a terminal, nor ends the line, nor turns the direction of the
 * text, so that a terminal or a log may have it as it is.
 */
bool utf8_is_plain(uint32_t c);

/*
 * utf8_show(s, out): put the first character of ${s}, which is not empty, into ${out} as a terminal
 * or a log may have it: as it is, or, of what is no character or not plain, its first byte as \xHH.
 * Returns how many bytes of ${s} that was.
 */
#define UTF8_SHOWN_LEN 5u
size_t utf8_show(const char *s, char out[UTF8_SHOWN_LEN]);

/* utf8_shown(s): all of it; owned by the caller; NULL: no memory. */
char *utf8_shown(const char *s);

#endif /* !UTF8_H_ */
