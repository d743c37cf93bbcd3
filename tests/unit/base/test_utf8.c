/* UTF-8: every code point, what is none, and what is shown of it. */

#include "utf8.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static size_t put(uint32_t c, char *s)
{
	size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};

	for (size_t i = len; i-- > 1; c >>= 6)
		s[i] = (char)(0x80 | (c & 0x3f));
	s[0] = (char)(first[len] | c);
	s[len] = '\0';
	return len;
}

Test(utf8, every_code_point)
{
	char s[5];
	uint32_t c;

	for (uint32_t want = 1; want < 0x1fffff; want++) {
		size_t len = put(want, s);
		bool valid = want <= 0x10ffff && (want < 0xd800 || want > 0xdfff);

		cr_assert_eq(utf8_char(s, &c), valid ? len : 0, "U+%x", want);
		cr_assert(!valid || c == want, "U+%x", want);
		/* Without its last byte it is none. */
		s[len - 1] = '\0';
		cr_assert_eq(utf8_char(s, &c), 0, "U+%x cut", want);
	}
}

Test(utf8, what_is_no_character)
{
	static const char *const none[] = {
		"",		"\x80",		    "\xbf",	       "\xc0\x80",	  "\xc1\xbf",
		"\xe0\x80\x80", "\xe0\x9f\xbf",	    "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf", "\xf5\x80\x80\x80",
		"\xfe",		"\xff",		    "\xc3(",	       "\xe2\x82(",	  "\xed\xa0\x80",
	};
	uint32_t c;

	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		cr_expect_eq(utf8_char(none[i], &c), 0, "%zu", i);
}

Test(utf8, what_is_shown)
{
	static const struct {
		const char *text, *shown;
	} table[] = {
		{"", ""},
		{"plain", "plain"},
		{"Z\xc3\xbcrich \xe2\x82\xac \xf0\x9f\x8f\x9b", "Z\xc3\xbcrich \xe2\x82\xac \xf0\x9f\x8f\x9b"},
		{"a\nb\t\x1b[2J\x7f", "a\\x0ab\\x09\\x1b[2J\\x7f"},
		/* Latin-1's CSI, an override, a line separator. */
		{"\xc2\x9b" "2J", "\\xc2\\x9b2J"},
		{"\xe2\x80\xae" "abc", "\\xe2\\x80\\xae" "abc"},
		{"\xe2\x80\xa8", "\\xe2\\x80\\xa8"},
		{"\xff\xc3", "\\xff\\xc3"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char *shown = utf8_shown(table[i].text);

		cr_expect_str_eq(shown, table[i].shown);
		free(shown);
	}
}
