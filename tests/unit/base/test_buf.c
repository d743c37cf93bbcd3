/* A growable buffer: what is appended is there, growth and failure keep what was. */

#include "buf.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

Test(buf, integers_are_little_endian)
{
	static const uint8_t expected[] = {1, 2, 1, 4, 3, 2, 1, 8, 7, 6, 5, 4, 3, 2, 1};
	struct buf b = {0};

	cr_assert_eq(buf_add_u8(&b, 1), 0);
	cr_assert_eq(buf_add_le16(&b, 0x0102), 0);
	cr_assert_eq(buf_add_le32(&b, 0x01020304), 0);
	cr_assert_eq(buf_add_le64(&b, 0x0102030405060708), 0);
	cr_assert_eq(b.len, sizeof(expected));
	cr_assert_eq(memcmp(b.p, expected, b.len), 0);
	buf_release(&b);
}

Test(buf, grows_and_keeps_its_bytes)
{
	struct buf b = {0};

	for (unsigned i = 0; i < 100000; i++)
		cr_assert_eq(buf_add_u8(&b, (uint8_t)(i * 7)), 0);
	cr_assert_eq(b.len, 100000);
	cr_assert_leq(b.len, b.cap);
	for (unsigned i = 0; i < 100000; i++)
		cr_assert_eq(b.p[i], (uint8_t)(i * 7));
	buf_release(&b);
	cr_assert_null(b.p);
	cr_assert_eq(b.cap, 0);
}

Test(buf, formatted_text_has_an_uncounted_nul)
{
	struct buf b = {0};

	cr_assert_eq(buf_printf(&b, "%s-%d", "a", 12), 0);
	cr_assert_eq(b.len, 4);
	cr_assert_str_eq((char *)b.p, "a-12");
	cr_assert_eq(buf_printf(&b, "!"), 0);
	cr_assert_str_eq((char *)b.p, "a-12!");
	buf_release(&b);
}

Test(buf, reset_keeps_memory)
{
	struct buf b = {0};
	uint8_t *p;

	cr_assert_eq(buf_add(&b, "abc", 3), 0);
	p = b.p;
	buf_reset(&b);
	cr_assert_eq(b.len, 0);
	cr_assert_eq(b.p, p);
	cr_assert_eq(buf_add(&b, NULL, 0), 0);
	buf_release(&b);
}

Test(buf, too_much_changes_nothing)
{
	struct buf b = {0};

	cr_assert_eq(buf_add(&b, "abc", 3), 0);
	cr_assert_eq(buf_reserve(&b, SIZE_MAX), -ENOMEM);
	cr_assert_eq(buf_reserve(&b, SIZE_MAX / 2), -ENOMEM);
	cr_assert_eq(b.len, 3);
	cr_assert_eq(memcmp(b.p, "abc", 3), 0);
	buf_release(&b);
}
