/*
 * A growable byte buffer.
 *
 * Memory doubles, so that appending n bytes one by one costs O(n).
 * Invariants: len <= cap; p is NULL exactly if cap is 0; a failed call changes nothing.
 */

#include "buf.h"

#include "bytes.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BUF_CAP_MIN 64u

int buf_reserve(struct buf *b, size_t more)
{
	size_t need, cap;
	uint8_t *p;

	if (more <= b->cap - b->len)
		return 0;
	if (__builtin_add_overflow(b->len, more, &need) || need > SIZE_MAX / 2)
		return -ENOMEM;

	cap = b->cap > BUF_CAP_MIN ? b->cap : BUF_CAP_MIN;
	while (cap < need)
		cap *= 2;
	p = realloc(b->p, cap);
	if (!p)
		return -ENOMEM;
	b->p = p;
	b->cap = cap;
	return 0;
}

int buf_add(struct buf *b, const void *p, size_t len)
{
	int rc = buf_reserve(b, len);

	if (rc < 0)
		return rc;
	if (len > 0)
		memcpy(b->p + b->len, p, len);
	b->len += len;
	return 0;
}

int buf_add_u8(struct buf *b, uint8_t v)
{
	return buf_add(b, &v, 1);
}

int buf_add_le16(struct buf *b, uint16_t v)
{
	uint8_t bytes[2];

	put_le16(bytes, v);
	return buf_add(b, bytes, sizeof(bytes));
}

int buf_add_le32(struct buf *b, uint32_t v)
{
	uint8_t bytes[4];

	put_le32(bytes, v);
	return buf_add(b, bytes, sizeof(bytes));
}

int buf_add_le64(struct buf *b, uint64_t v)
{
	uint8_t bytes[8];

	put_le64(bytes, v);
	return buf_add(b, bytes, sizeof(bytes));
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int len, rc;

	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (len < 0)
		return -ENOMEM;

	rc = buf_reserve(b, (size_t)len + 1);
	if (rc < 0)
		return rc;
	va_start(ap, fmt);
	vsnprintf((char *)b->p + b->len, (size_t)len + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)len;
	return 0;
}

void buf_reset(struct buf *b)
{
	b->len = 0;
}

void buf_release(struct buf *b)
{
	free(b->p);
	*b = (struct buf){0};
}
