/* JSON: what is written is one line that is read back as it was meant. */

#include "buf.h"
#include "jsontext.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What libjansson reads from the line that ${value} became; it is taken. */
static json_t *again(json_t *value)
{
	struct buf b = {0};
	json_t *out;

	cr_assert_eq(jsontext_line(value, &b), 0);
	cr_assert_eq(memchr(b.p, '\n', b.len), b.p + b.len - 1);
	out = json_loadb((const char *)b.p, b.len, 0, NULL);
	cr_assert_not_null(out, "%.*s", (int)b.len, (const char *)b.p);
	buf_release(&b);
	return out;
}

Test(jsontext, numbers)
{
	json_t *j = again(json_pack("{s:I, s:I, s:I, s:i, s:f}", "most", jsontext_u64(INT64_MAX),
				    "more", jsontext_u64(UINT64_C(1) << 63), "all",
				    jsontext_u64(UINT64_MAX), "negative", -1, "part", 0.1));

	cr_expect_eq(jsontext_get_u64(j, "most"), INT64_MAX);
	cr_expect_eq(jsontext_get_u64(j, "more"), INT64_MAX);
	cr_expect_eq(jsontext_get_u64(j, "all"), INT64_MAX);
	cr_expect_eq(jsontext_get_u64(j, "negative"), 0);
	cr_expect_eq(jsontext_get_u64(j, "part"), 0);
	cr_expect_eq(jsontext_get_u64(j, "absent"), 0);
	cr_expect_eq(jsontext_get_u64(NULL, "most"), 0);
	cr_expect_str_eq(jsontext_get(j, "most"), "");
	cr_expect_eq(json_real_value(json_object_get(j, "part")), 0.1);
	json_decref(j);
}

static void expect_text(const char *given, const char *meant)
{
	json_t *j = again(json_pack("{s:o}", "s", jsontext_string(given)));

	cr_expect_str_eq(jsontext_get(j, "s"), meant);
	json_decref(j);
}

#define NONE "\xef\xbf\xbd"

Test(jsontext, strings)
{
	expect_text("", "");
	expect_text("quote\" back\\ tab\t line\n bell\a \x7f",
		    "quote\" back\\ tab\t line\n bell\a \x7f");
	expect_text("\xc3\xa9 \xf0\x9f\x94\x91", "\xc3\xa9 \xf0\x9f\x94\x91");
	expect_text("\xff", NONE);
	expect_text("\xc3\xa9\xff\xc3\xa9", "\xc3\xa9" NONE "\xc3\xa9");
	expect_text("overlong \xc0\xaf", "overlong " NONE NONE);
	expect_text("surrogate \xed\xa0\x80.", "surrogate " NONE NONE NONE ".");
	expect_text("beyond \xf4\x90\x80\x80", "beyond " NONE NONE NONE NONE);
	expect_text("cut \xf0\x9f\x94", "cut " NONE NONE NONE);
}

/* What would do something to a terminal is escaped, in keys too; all else stays legible. */
Test(jsontext, a_terminal_may_have_it)
{
	static const char plain[] =
		"\xc3\xa9 \xe2\x80\x8b \xe2\x80\xa7 \xe2\x80\xaf \xf0\x9f\x94\x91";
	static const struct {
		const char *given, *text;
	} table[] = {
		{"\x1b[2J\n", "\\u001B[2J\\n"},
		{"\x7f", "\\u007F"},
		{"\xc2\x80\xc2\x9b\xc2\x9f\xc2\xa0", "\\u0080\\u009B\\u009F\xc2\xa0"},
		{"\xe2\x80\xa8\xe2\x80\xa9", "\\u2028\\u2029"},
		{"a\xe2\x80\xae"
		 "b\xe2\x81\xa6",
		 "a\\u202Eb\\u2066"},
		{"\xd8\x9c\xe2\x80\x8e\xe2\x80\x8f", "\\u061C\\u200E\\u200F"},
		{plain, plain},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const char *given = table[i].given;
		struct buf want = {0}, b = {0};

		cr_assert_eq(buf_printf(&want, "{\"%s\": \"%s\"}\n", table[i].text, table[i].text),
			     0);
		cr_assert_eq(jsontext_line(json_pack("{s:s}", given, given), &b), 0);
		cr_expect(b.len == want.len && memcmp(b.p, want.p, b.len) == 0, "%.*s", (int)b.len,
			  (const char *)b.p);
		expect_text(given, given);
		buf_release(&want);
		buf_release(&b);
	}
}

Test(jsontext, a_name_is_told_exactly)
{
	json_t *o = json_object(), *j;

	cr_assert_eq(jsontext_set_name(o, "good", "n\xc3\xa9"), 0);
	cr_assert_eq(jsontext_set_name(o, "bad", "n\xe9\xff"), 0);
	j = again(o);
	cr_expect_str_eq(jsontext_get(j, "good"), "n\xc3\xa9");
	cr_expect_null(json_object_get(j, "good_hex"));
	cr_expect_str_eq(jsontext_get(j, "bad"), "n" NONE NONE);
	cr_expect_str_eq(jsontext_get(j, "bad_hex"), "6ee9ff");
	json_decref(j);
}

Test(jsontext, without_memory_there_is_no_line)
{
	struct buf b = {0};

	cr_expect_eq(jsontext_line(NULL, &b), -ENOMEM);
	cr_expect_eq(jsontext_print(json_pack("{s:o}", "s", NULL)), -ENOMEM);
	cr_expect_eq(jsontext_set_name(NULL, "name", "n"), -ENOMEM);
	buf_release(&b);
}

Test(jsontext, printed)
{
	FILE *out = tmpfile();
	char text[128] = "";

	cr_assert_not_null(out);
	cr_assert_geq(dup2(fileno(out), STDOUT_FILENO), 0);
	cr_assert_eq(jsontext_print(json_pack("{s:o, s:[I, I]}", "t", jsontext_time(1), "l",
					      jsontext_u64(1), jsontext_u64(2))),
		     0);
	cr_assert_eq(fflush(stdout), 0);
	cr_assert_gt(pread(fileno(out), text, sizeof(text) - 1, 0), 0);
	cr_expect_str_eq(text, "{\"t\": \"1970-01-01T00:00:00.000000001Z\", \"l\": [1, 2]}\n");
	fclose(out);
}
