/*
 * JSON helpers that libjansson does not have.
 */

#include "jsontext.h"

#include "buf.h"
#include "utf8.h"
#include "when.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Digits for json_dumps(): callers round fractions to six digits, and these are enough for that. */
#define FLAGS JSON_REAL_PRECISION(15)

json_int_t jsontext_u64(uint64_t n)
{
	return n > INT64_MAX ? INT64_MAX : (json_int_t)n;
}

json_t *jsontext_string(const char *s)
{
	json_t *out = json_string(s);
	struct buf b = {0};
	int rc = 0;

	if (out)
		return out;
	while (rc == 0 && *s) {
		uint32_t c;
		size_t len = utf8_char(s, &c);

		rc = len ? buf_add(&b, s, len) : buf_add(&b, "\xef\xbf\xbd", 3);
		s += len ? len : 1;
	}
	if (rc == 0)
		out = json_stringn((const char *)b.p, b.len);
	buf_release(&b);
	return out;
}

int jsontext_set_name(json_t *object, const char *key, const char *name)
{
	size_t len = strlen(name), cap = 2 * len + 1;
	json_t *exact = json_string(name);
	char hex_key[64], *hex;
	int rc;

	if (exact)
		return json_object_set_new(object, key, exact) < 0 ? -ENOMEM : 0;
	hex = malloc(cap);
	if (!hex)
		return -ENOMEM;
	sodium_bin2hex(hex, cap, (const uint8_t *)name, len);
	snprintf(hex_key, sizeof(hex_key), "%s_hex", key);
	rc = json_object_set_new(object, key, jsontext_string(name)) < 0 ||
			     json_object_set_new(object, hex_key, json_string(hex)) < 0
		     ? -ENOMEM
		     : 0;
	free(hex);
	return rc;
}

json_t *jsontext_time(int64_t time_ns)
{
	char text[WHEN_TEXT_LEN];

	when_format(time_ns, text);
	return json_string(text);
}

const char *jsontext_get(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : "";
}

uint64_t jsontext_get_u64(const json_t *object, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(object, key));

	return n > 0 ? (uint64_t)n : 0;
}

static int add(const char *text, size_t len, void *b)
{
	return buf_add(b, text, len);
}

/*
 * Append the JSON text ${s}, with characters that are not plain escaped.  libjansson escapes the
 * control characters of ASCII except DEL.  DEL and all others that are not plain can only be inside
 * a string, so they can be escaped here.
 */
static int add_escaped(const char *s, struct buf *out)
{
	int rc = 0;

	while (rc == 0 && *s) {
		uint32_t c;
		size_t len = utf8_char(s, &c);

		assert(len > 0); /* libjansson only makes strings of valid UTF-8 */
		rc = utf8_is_plain(c) ? buf_add(out, s, len) : buf_printf(out, "\\u%04X", c);
		s += len;
	}
	return rc;
}

int jsontext_line(json_t *value, struct buf *out)
{
	struct buf text = {0};
	int rc = json_dump_callback(value, add, &text, FLAGS) < 0 ? -ENOMEM
								  : buf_add_u8(&text, '\0');

	if (rc == 0)
		rc = add_escaped((const char *)text.p, out);
	if (rc == 0)
		rc = buf_add_u8(out, '\n');
	buf_release(&text);
	json_decref(value);
	return rc;
}

int jsontext_print(json_t *value)
{
	struct buf b = {0};
	int rc = jsontext_line(value, &b);

	if (rc == 0 && fwrite(b.p, 1, b.len, stdout) != b.len)
		rc = -EIO;
	buf_release(&b);
	return rc;
}
