/*
 * Strict parsing of small text formats.
 *
 * Each value has exactly one accepted spelling.  So two files that mean the same are the same
 * bytes, and a signature over the bytes is a signature over the meaning.
 */

#include "text.h"

#include "buf.h"
#include "when.h"

#include <sodium.h>
#include <string.h>

bool text_line(struct text *t, struct text *out)
{
	const char *end = t->len > 0 ? memchr(t->p, '\n', t->len) : NULL;

	if (!end)
		return false;
	*out = text_of(t->p, (size_t)(end - t->p));
	t->len -= out->len + 1;
	t->p = end + 1;
	return true;
}

bool text_word(struct text *t, struct text *out)
{
	const char *end = t->len > 0 ? memchr(t->p, ' ', t->len) : NULL;
	size_t len = end ? (size_t)(end - t->p) : t->len;

	if (len == 0 || (end && len + 1 == t->len))
		return false;
	*out = text_of(t->p, len);
	len += end ? 1 : 0;
	t->p += len;
	t->len -= len;
	return true;
}

bool text_skip(struct text *t, const char *prefix)
{
	size_t len = strlen(prefix);

	if (t->len < len || memcmp(t->p, prefix, len) != 0)
		return false;
	t->p += len;
	t->len -= len;
	return true;
}

bool text_is(struct text t, const char *s)
{
	return t.len == strlen(s) && memcmp(t.p, s, t.len) == 0;
}

bool text_u64(struct text t, uint64_t *out)
{
	uint64_t v = 0;

	if (t.len == 0 || (t.p[0] == '0' && t.len > 1))
		return false;
	for (size_t i = 0; i < t.len; i++) {
		if (t.p[i] < '0' || t.p[i] > '9')
			return false;
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(t.p[i] - '0'), &v))
			return false;
	}
	*out = v;
	return true;
}

bool text_base64(struct text t, void *out, size_t len)
{
	const char *end;
	size_t n;

	if (t.len != sodium_base64_ENCODED_LEN(len, sodium_base64_VARIANT_ORIGINAL) - 1)
		return false;
	/* libsodium 1.0.18 accepts every byte above ASCII as a '/'. */
	for (size_t i = 0; i < t.len; i++)
		if ((unsigned char)t.p[i] > 0x7f)
			return false;
	return sodium_base642bin(out, len, t.p, t.len, NULL, &n, &end,
				 sodium_base64_VARIANT_ORIGINAL) == 0 &&
	       n == len && end == t.p + t.len;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool text_hex(struct text t, uint8_t *out, size_t len)
{
	if (t.len != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++) {
		int high = hex_digit(t.p[2 * i]), low = hex_digit(t.p[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

bool text_time(struct text t, int64_t *out_ns)
{
	char given[WHEN_TEXT_LEN], spelled[WHEN_TEXT_LEN];
	struct when when;

	if (t.len >= sizeof(given))
		return false;
	memcpy(given, t.p, t.len);
	given[t.len] = '\0';
	if (when_parse(given, 0, &when) < 0 || when.kind != WHEN_TIME)
		return false;
	when_format(when.time_ns, spelled);
	/*
	 * The lengths must be equal too: when_parse() stops at a NUL, behind which ${t} may go on.
	 */
	if (!text_is(t, spelled))
		return false;
	*out_ns = when.time_ns;
	return true;
}

bool text_printable(struct text t)
{
	for (size_t i = 0; i < t.len; i++)
		if ((unsigned char)t.p[i] < 0x20 || t.p[i] == 0x7f)
			return false;
	return true;
}

int buf_add_base64(struct buf *b, const void *p, size_t len)
{
	size_t text_len = sodium_base64_ENCODED_LEN(len, sodium_base64_VARIANT_ORIGINAL);
	int rc = buf_reserve(b, text_len);

	if (rc < 0)
		return rc;
	sodium_bin2base64((char *)b->p + b->len, text_len, p, len, sodium_base64_VARIANT_ORIGINAL);
	b->len += text_len - 1;
	return 0;
}
