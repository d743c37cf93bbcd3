/* JSON: what is written is well-formed and is read back; what is not JSON is refused. */

#include "err.h"
#include "json.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct json parse(const char *text)
{
	struct json j;

	cr_assert_eq(json_check(text, strlen(text), &j), 0, "%s", text);
	return j;
}

Test(json, well_formed)
{
	static const char *const good[] = {
		"{}",
		"[]",
		" {\"a\": 1} ",
		"[1, -2.5e3, true, false, null, \"\"]",
		"{\"a\": {\"b\": [[], {}]}, \"c\": \"x\\\"y\\\\\"}",
		"\"\\u0041\"",
		"7",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		parse(good[i]);
}

Test(json, malformed)
{
	static const char *const bad[] = {
		"",	      " ",	     "{",     "[",     "{\"a\"}",
		"{\"a\": }",  "{\"a\": 1,}", "[1,]",  "[1 2]", "\"open",
		"\"back\\",   "{1: 2}",	     "{} {}", "]",     "\"new\nline\"",
		"{\"a\": 1]", "?",
	};
	struct json j;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(json_check(bad[i], strlen(bad[i]), &j), -ERR_FORMAT, "%s", bad[i]);
}

Test(json, every_prefix_of_a_text_is_malformed)
{
	static const char text[] =
		"{\"a\": [1, \"two\", {\"three\": null}], \"b\": \"\\u0041\\n\"}";
	struct json j;

	for (size_t len = 0; len < sizeof(text) - 1; len++)
		cr_assert_eq(json_check(text, len, &j), -ERR_FORMAT, "%zu", len);
	parse(text);
}

Test(json, depth_is_bounded)
{
	char text[2 * JSON_DEPTH_MAX + 16];
	struct json j;
	size_t n = JSON_DEPTH_MAX + 1;

	memset(text, '[', n);
	memset(text + n, ']', n);
	cr_assert_eq(json_check(text, 2 * n, &j), 0);
	n++;
	memset(text, '[', n);
	memset(text + n, ']', n);
	cr_assert_eq(json_check(text, 2 * n, &j), -ERR_FORMAT);
}

Test(json, values)
{
	struct json j = parse("{\"n\": 18446744073709551615, \"neg\": -1, \"d\": 0.25,\n"
			      " \"s\": \"a\\\"b\\\\c\\n\\u0041\\u00e9\", \"o\": {\"n\": 2}, \"l\": "
			      "[3, \"4\", []]}");
	struct json o, v;
	char text[32];
	size_t at = 0;

	cr_assert_eq(json_u64(&j, "n"), UINT64_MAX);
	cr_assert_eq(json_u64(&j, "neg"), 0);
	cr_assert_eq(json_u64(&j, "absent"), 0);
	cr_assert_eq(json_u64(&j, "s"), 0);
	cr_assert_eq(json_double(&j, "d"), 0.25);
	json_string(&j, "s", text, sizeof(text));
	cr_assert_str_eq(text, "a\"b\\c\nA?");
	json_string(&j, "s", text, 4);
	cr_assert_str_eq(text, "a\"b");
	json_string(&j, "n", text, sizeof(text));
	cr_assert_str_eq(text, "");
	cr_assert(json_get(&j, "o", &o));
	cr_assert_eq(json_u64(&o, "n"), 2);
	cr_assert_not(json_get(&o, "o", &v));
	cr_assert(json_get(&j, "l", &o));
	for (size_t i = 0; i < 3; i++)
		cr_assert(json_next(&o, &at, &v));
	cr_assert_eq(v.len, 2);
	cr_assert_not(json_next(&o, &at, &v));
	at = 0;
	cr_assert_not(json_next(&j, &at, &v));
}

Test(json, written_text_is_read_back)
{
	static const char hostile[] =
		"quote\" back\\ tab\t bell\a \xc3\xa9 \xff \xc0\xaf \xed\xa0\x80";
	struct json_out j = {0};
	struct json whole;
	char text[1024];
	FILE *out = tmpfile();
	ssize_t len;

	cr_assert_not_null(out);
	cr_assert_geq(dup2(fileno(out), STDOUT_FILENO), 0);

	json_open(&j, NULL, '{');
	json_put_string(&j, "h", hostile);
	json_put_u64(&j, "n", UINT64_MAX);
	json_put_bool(&j, "b", true);
	json_put_time(&j, "t", 1);
	json_open(&j, "l", '[');
	json_put_u64(&j, NULL, 1);
	json_put_u64(&j, NULL, 2);
	json_close(&j, ']');
	json_close(&j, '}');
	cr_assert_eq(json_check((const char *)j.buf.p, j.buf.len, &whole), 0);
	cr_assert_eq(json_end(&j), 0);
	cr_assert_eq(fflush(stdout), 0);
	len = pread(fileno(out), text, sizeof(text) - 1, 0);
	cr_assert_gt(len, 0);
	text[len] = '\0';
	cr_assert_str_eq(text,
			 "{\"h\": \"quote\\\" back\\\\ tab\\u0009 bell\\u0007 \xc3\xa9 \\ufffd "
			 "\\ufffd\\ufffd \\ufffd\\ufffd\\ufffd\", "
			 "\"n\": 18446744073709551615, \"b\": true, "
			 "\"t\": \"1970-01-01T00:00:00.000000001Z\", \"l\": [1, 2]}\n");
	fclose(out);
	json_out_release(&j);
}
