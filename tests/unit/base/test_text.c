/* Strict text: every value has one spelling, everything else is refused. */

#include "text.h"

#include "buf.h"
#include "when.h"

#include <criterion/criterion.h>
#include <string.h>

static struct text of(const char *s)
{
	return text_of(s, strlen(s));
}

Test(text, lines)
{
	struct text t = of("one\n\ncut"), line;

	cr_assert(text_line(&t, &line) && text_is(line, "one"));
	cr_assert(text_line(&t, &line) && text_is(line, ""));
	cr_assert_not(text_line(&t, &line));
	cr_assert(text_is(t, "cut"));
}

Test(text, words)
{
	struct text t = of("a bc d"), word;

	cr_assert(text_word(&t, &word) && text_is(word, "a"));
	cr_assert(text_word(&t, &word) && text_is(word, "bc"));
	cr_assert(text_word(&t, &word) && text_is(word, "d"));
	cr_assert_not(text_word(&t, &word));
	t = of("a  b");
	cr_assert(text_word(&t, &word));
	cr_assert_not(text_word(&t, &word), "two spaces");
	t = of("a ");
	cr_assert_not(text_word(&t, &word), "trailing space");
}

Test(text, skip)
{
	struct text t = of("abc");

	cr_assert_not(text_skip(&t, "abcd"));
	cr_assert_not(text_skip(&t, "b"));
	cr_assert(text_skip(&t, "ab") && text_is(t, "c"));
}

Test(text, numbers)
{
	static const char *const bad[] = {"", "01", "00", "-1", "+1", " 1", "1 ", "1a", "0x1",
					  "18446744073709551616", "99999999999999999999999"};
	uint64_t n;

	cr_assert(text_u64(of("0"), &n) && n == 0);
	cr_assert(text_u64(of("18446744073709551615"), &n) && n == UINT64_MAX);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_not(text_u64(of(bad[i]), &n), "%s", bad[i]);
}

Test(text, base64)
{
	static const char *const bad[] = {"AQ",   "AQ=",	 "AQID",  "AR==", "AQ==\n",
					  "A Q==", "AQ==AQ==", "_w==", "",	  "===="};
	uint8_t out[1];

	cr_assert(text_base64(of("AQ=="), out, 1) && out[0] == 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_not(text_base64(of(bad[i]), out, 1), "%s", bad[i]);
}

Test(text, base64_takes_its_alphabet_only)
{
	uint8_t out[3];
	int n = 0;

	for (int c = 0; c < 256; c++) {
		char text[4] = {'A', (char)c, 'A', 'A'};

		n += text_base64(text_of(text, sizeof(text)), out, sizeof(out));
	}
	cr_assert_eq(n, 64);
}

Test(text, base64_round_trip)
{
	uint8_t in[50], out[50];
	struct buf b = {0};

	for (size_t len = 1; len <= sizeof(in); len++) {
		memset(in, (int)(0x51 * len), sizeof(in));
		buf_reset(&b);
		cr_assert_eq(buf_add_base64(&b, in, len), 0);
		cr_assert(text_base64(text_of(b.p, b.len), out, len));
		cr_assert_eq(memcmp(in, out, len), 0);
		cr_assert_not(text_base64(text_of(b.p, b.len), out, len - 1));
	}
	buf_release(&b);
}

Test(text, hex)
{
	uint8_t out[2];

	cr_assert(text_hex(of("0aff"), out, 2) && out[0] == 0x0a && out[1] == 0xff);
	cr_assert_not(text_hex(of("0aFF"), out, 2));
	cr_assert_not(text_hex(of("0af"), out, 2));
	cr_assert_not(text_hex(of("0affa"), out, 2));
	cr_assert_not(text_hex(of("0ag0"), out, 2));
}

Test(text, times)
{
	static const char *const bad[] = {"2026-11-24T10:00:05Z",
					  "2026-11-24T10:00:05.123Z",
					  "2026-11-24 10:00:05.123456789Z",
					  "2026-11-24T10:00:05.123456789+00:00",
					  "2026-11-24t10:00:05.123456789Z",
					  "now",
					  "2026-11-24T10:00:05.123456789Z and more text"};
	int64_t ns;

	cr_assert(text_time(of("2026-11-24T10:00:05.123456789Z"), &ns));
	cr_assert_eq(ns, INT64_C(1795514405123456789));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_not(text_time(of(bad[i]), &ns), "%s", bad[i]);
	/* Nor anything behind a NUL. */
	cr_assert_not(text_time(text_of("2026-11-24T10:00:05.123456789Z\0more", 35), &ns));
}

Test(text, printable)
{
	cr_assert(text_printable(of("Zürich ~")));
	cr_assert_not(text_printable(of("a\tb")));
	cr_assert_not(text_printable(of("a\x7f")));
	cr_assert_not(text_printable(text_of("a\0b", 3)));
}
