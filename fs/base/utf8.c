/*
 * UTF-8 (RFC 3629).
 */

#include "utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t utf8_char(const char *s, uint32_t *out)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *p = (const unsigned char *)s;
	size_t len = *p < 0x80 ? 1 : *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : 2;
	uint32_t c;

	if (*p == '\0' || (*p >= 0x80 && *p < 0xc2) || *p > 0xf4)
		return 0;
	c = len == 1 ? *p : *p & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		/* This also stops at the final NUL, which is not a continuation byte. */
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3fu);
	}
	if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*out = c;
	return len;
}

/* Line separators, and characters that change the direction of text. */
static bool is_layout(uint32_t c)
{
	return c == 0x61c || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2066 && c <= 0x2069);
}

bool utf8_is_plain(uint32_t c)
{
	return !utf8_is_control(c) && !is_layout(c);
}

size_t utf8_show(const char *s, char out[UTF8_SHOWN_LEN])
{
	uint32_t c = 0;
	size_t len = utf8_char(s, &c);

	if (len > 0 && utf8_is_plain(c)) {
		memcpy(out, s, len);
		out[len] = '\0';
		return len;
	}
	snprintf(out, UTF8_SHOWN_LEN, "\\x%02x", (unsigned char)*s);
	return 1;
}

char *utf8_shown(const char *s)
{
	char *out = malloc(strlen(s) * (UTF8_SHOWN_LEN - 1) + 1), *at = out;

	if (!out)
		return NULL;
	*at = '\0';
	while (*s) {
		s += utf8_show(s, at);
		at += strlen(at);
	}
	return out;
}
