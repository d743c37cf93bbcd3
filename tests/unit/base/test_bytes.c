/* Stored integers, and a reader that cannot be led past its input's end. */

#include "bytes.h"

#include <criterion/criterion.h>

Test(bytes, round_trips)
{
	uint8_t b[8];

	put_le16(b, 0xfedc);
	cr_assert_eq(get_le16(b), 0xfedc);
	cr_assert_eq(b[0], 0xdc);
	put_le32(b, 0xfedcba98);
	cr_assert_eq(get_le32(b), 0xfedcba98);
	cr_assert_eq(b[0], 0x98);
	put_le64(b, UINT64_C(0xfedcba9876543210));
	cr_assert_eq(get_le64(b), UINT64_C(0xfedcba9876543210));
	cr_assert_eq(b[0], 0x10);
	put_be64(b, UINT64_C(0xfedcba9876543210));
	cr_assert_eq(get_be64(b), UINT64_C(0xfedcba9876543210));
	cr_assert_eq(b[0], 0xfe);
}

Test(bytes, big_endian_orders_as_memcmp_does)
{
	uint8_t a[8], b[8];

	put_be64(a, 0x00ff);
	put_be64(b, 0x0100);
	cr_assert_lt(memcmp(a, b, 8), 0);
}

Test(bytes, reader_reads_all_kinds)
{
	static const uint8_t in[] = {1, 2, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0,
				     0, 0, 0, 0, 0, 0, 0, 5, 9};
	struct reader r = reader_of(in, sizeof(in));

	cr_assert_eq(reader_u8(&r), 1);
	cr_assert_eq(reader_le16(&r), 2);
	cr_assert_eq(reader_le32(&r), 3);
	cr_assert_eq(reader_le64(&r), 4);
	cr_assert_eq(reader_be64(&r), 5);
	cr_assert_eq(r.left, 1);
	cr_assert_eq(*reader_take(&r, 1), 9);
	cr_assert_not(r.bad);
}

Test(bytes, reader_stays_bad_after_an_overrun)
{
	static const uint8_t in[] = {1, 2, 3};
	struct reader r = reader_of(in, sizeof(in));

	cr_assert_eq(reader_le32(&r), 0);
	cr_assert(r.bad);
	/* The bytes that are there are no longer given. */
	cr_assert_eq(reader_u8(&r), 0);
	cr_assert_null(reader_take(&r, 0));
	cr_assert(r.bad);
}

Test(bytes, reader_refuses_huge_lengths)
{
	static const uint8_t in[] = {1, 2, 3};
	struct reader r = reader_of(in, sizeof(in));

	cr_assert_null(reader_take(&r, SIZE_MAX));
	cr_assert(r.bad);
}
