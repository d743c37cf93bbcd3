/*
 * JSON, written and read.
 *
 * The reader first checks a whole text (json_check); after that, finding a value can't fail for its
 * form, so the accessors are simple.  It never allocates, and its depth is bounded.
 */

#include "json.h"

#include "err.h"
#include "when.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(struct json_out *j, const void *p, size_t len)
{
	if (j->rc == 0)
		j->rc = buf_add(&j->buf, p, len);
}

static void put_text(struct json_out *j, const char *text)
{
	put(j, text, strlen(text));
}

/*
 * The length of the UTF-8 sequence at ${p}, or 0 if it is none (overlong and surrogates
 * included).
 */
static size_t utf8_len(const unsigned char *p)
{
	size_t len;
	uint32_t c;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		len = 2;
	else if (p[0] >= 0xe0 && p[0] <= 0xef)
		len = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		len = 4;
	else
		return 0;
	c = p[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3fu);
	}
	if ((len == 3 && c < 0x800) || (len == 4 && (c < 0x10000 || c > 0x10ffff)) ||
	    (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return len;
}

static void put_quoted(struct json_out *j, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	char esc[8];

	put(j, "\"", 1);
	while (*p != '\0') {
		size_t len = utf8_len(p);

		if (len == 0) {
			put_text(j, "\\ufffd");
			len = 1;
		} else if (*p == '"' || *p == '\\') {
			esc[0] = '\\';
			esc[1] = (char)*p;
			put(j, esc, 2);
		} else if (*p < 0x20 || *p == 0x7f) {
			snprintf(esc, sizeof(esc), "\\u%04x", *p);
			put_text(j, esc);
		} else {
			put(j, p, len);
		}
		p += len;
	}
	put(j, "\"", 1);
}

static void put_key(struct json_out *j, const char *key)
{
	if (j->comma)
		put(j, ", ", 2);
	if (key != NULL) {
		put_quoted(j, key);
		put(j, ": ", 2);
	}
	j->comma = true;
}

void json_open(struct json_out *j, const char *key, char bracket)
{
	put_key(j, key);
	put(j, &bracket, 1);
	j->comma = false;
}

void json_close(struct json_out *j, char bracket)
{
	put(j, &bracket, 1);
	j->comma = true;
}

void json_put_string(struct json_out *j, const char *key, const char *value)
{
	put_key(j, key);
	put_quoted(j, value);
}

void json_put_u64(struct json_out *j, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	put_key(j, key);
	put_text(j, text);
}

void json_put_bool(struct json_out *j, const char *key, bool value)
{
	put_key(j, key);
	put_text(j, value ? "true" : "false");
}

void json_put_time(struct json_out *j, const char *key, int64_t time_ns)
{
	char text[WHEN_TEXT_LEN];

	when_format(time_ns, text);
	json_put_string(j, key, text);
}

int json_end(struct json_out *j)
{
	int rc = j->rc;

	put(j, "\n", 1);
	if (rc == 0 && fwrite(j->buf.p, 1, j->buf.len, stdout) != j->buf.len)
		rc = -EIO;
	buf_reset(&j->buf);
	j->comma = false;
	j->rc = 0;
	return rc;
}

void json_out_release(struct json_out *j)
{
	buf_release(&j->buf);
}

static void skip_space(struct json *in)
{
	while (in->len > 0 &&
	       (*in->p == ' ' || *in->p == '\t' || *in->p == '\n' || *in->p == '\r')) {
		in->p++;
		in->len--;
	}
}

static bool take(struct json *in, char c)
{
	if (in->len == 0 || *in->p != c)
		return false;
	in->p++;
	in->len--;
	return true;
}

static bool skip_string(struct json *in)
{
	if (!take(in, '"'))
		return false;
	while (in->len > 0 && *in->p != '"') {
		if ((unsigned char)*in->p < 0x20)
			return false;
		if (take(in, '\\') && in->len == 0)
			return false;
		in->p++;
		in->len--;
	}
	return take(in, '"');
}

/* Numbers and the three words; what they spell is left to whoever reads the value. */
static bool skip_plain(struct json *in)
{
	size_t n = 0;

	while (n < in->len &&
	       strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzE", in->p[n]) != NULL &&
	       in->p[n] != '\0')
		n++;
	in->p += n;
	in->len -= n;
	return n > 0;
}

static bool skip_value(struct json *in, unsigned depth);

static bool skip_members(struct json *in, char closing, unsigned depth)
{
	skip_space(in);
	if (take(in, closing))
		return true;
	do {
		skip_space(in);
		if (closing == '}') {
			if (!skip_string(in))
				return false;
			skip_space(in);
			if (!take(in, ':'))
				return false;
		}
		if (!skip_value(in, depth + 1))
			return false;
		skip_space(in);
	} while (take(in, ','));
	return take(in, closing);
}

static bool skip_value(struct json *in, unsigned depth)
{
	skip_space(in);
	if (depth > JSON_DEPTH_MAX || in->len == 0)
		return false;
	if (*in->p == '"')
		return skip_string(in);
	if (take(in, '{'))
		return skip_members(in, '}', depth);
	if (take(in, '['))
		return skip_members(in, ']', depth);
	return skip_plain(in);
}

/* The next value, without the space around it. */
static bool take_value(struct json *in, struct json *out)
{
	skip_space(in);
	out->p = in->p;
	if (!skip_value(in, 0))
		return false;
	out->len = (size_t)(in->p - out->p);
	skip_space(in);
	return true;
}

int json_check(const char *text, size_t len, struct json *out)
{
	struct json in = {.p = text, .len = len};

	return take_value(&in, out) && in.len == 0 ? 0 : -ERR_FORMAT;
}

bool json_get(const struct json *object, const char *key, struct json *out)
{
	struct json in = *object, name;
	size_t key_len = strlen(key);

	if (!take(&in, '{'))
		return false;
	skip_space(&in);
	while (take_value(&in, &name) && take(&in, ':') && take_value(&in, out)) {
		if (name.len == key_len + 2 && memcmp(name.p + 1, key, key_len) == 0)
			return true;
		if (!take(&in, ','))
			return false;
	}
	return false;
}

bool json_next(const struct json *array, size_t *at, struct json *out)
{
	struct json in = {.p = array->p + *at, .len = array->len - *at};

	if (*at == 0 ? !take(&in, '[') : !take(&in, ','))
		return false;
	skip_space(&in);
	if (in.len > 0 && *in.p == ']')
		return false;
	if (!take_value(&in, out))
		return false;
	*at = (size_t)(in.p - array->p);
	return true;
}

static bool number_text(const struct json *object, const char *key, char *out, size_t cap)
{
	struct json v;

	if (!json_get(object, key, &v) || v.len >= cap)
		return false;
	memcpy(out, v.p, v.len);
	out[v.len] = '\0';
	return true;
}

uint64_t json_u64(const struct json *object, const char *key)
{
	char text[32];

	if (!number_text(object, key, text, sizeof(text)) || text[0] < '0' || text[0] > '9')
		return 0;
	return strtoull(text, NULL, 10);
}

double json_double(const struct json *object, const char *key)
{
	char text[64];

	return number_text(object, key, text, sizeof(text)) ? strtod(text, NULL) : 0;
}

/* The character that an escape stands for; ${in} is after the backslash. */
static char unescape(struct json *in)
{
	char c = *in->p;
	unsigned code;
	char hex[5];

	in->p++;
	in->len--;
	switch (c) {
	case 'b':
		return '\b';
	case 'f':
		return '\f';
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	case 'u':
		if (in->len < 4)
			return '?';
		memcpy(hex, in->p, 4);
		hex[4] = '\0';
		in->p += 4;
		in->len -= 4;
		code = (unsigned)strtoul(hex, NULL, 16);
		return code > 0 && code < 0x80 ? (char)code : '?';
	default:
		return c;
	}
}

void json_string(const struct json *object, const char *key, char *out, size_t cap)
{
	struct json v;
	size_t n = 0;

	if (json_get(object, key, &v) && v.len >= 2 && *v.p == '"') {
		v.p++;
		v.len -= 2;
		while (v.len > 0 && n + 1 < cap) {
			if (take(&v, '\\')) {
				out[n++] = unescape(&v);
			} else {
				out[n++] = *v.p++;
				v.len--;
			}
		}
	}
	out[n] = '\0';
}
