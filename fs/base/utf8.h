#ifndef UTF8_H_
#define UTF8_H_

/* UTF-8: which text is valid, and which is safe to show on a terminal. */

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * utf8_char(s, out): decode the first character of ${s}, and return its length in bytes.  It must
 * be valid UTF-8: in its shortest form, no surrogate, at most U+10FFFF.  Returns 0 if it is not,
 * and at the end of ${s}.  Reads no byte beyond the NUL.
 */
size_t utf8_char(const char *s, uint32_t *out);

/* utf8_is_control(c): is it a control character of ASCII or Latin-1? */
static inline bool utf8_is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0);
}

/*
 * utf8_is_plain(c): is the character safe in a terminal or a log?  It is if it neither controls a
 * terminal, nor ends the line, nor changes the direction of the text.
 */
bool utf8_is_plain(uint32_t c);

/*
 * utf8_show(s, out): copy the first character of ${s}, which is not empty, to ${out} in a form that
 * is safe for a terminal or a log: as it is or, if it is not valid or not plain, its first byte as
 * \xHH.  Returns how many bytes of ${s} were used.
 */
#define UTF8_SHOWN_LEN 5u
size_t utf8_show(const char *s, char out[UTF8_SHOWN_LEN]);

/* utf8_shown(s): the whole of ${s} in that form; owned by the caller; NULL if out of memory. */
char *utf8_shown(const char *s);

#endif /* !UTF8_H_ */
