/* See sectors.h. */

#include "sectors.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE SECTORS_PAGE
#define SECTOR ((size_t)512)

uint64_t sectors_dice(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static void set_kept(struct sectors_page *p)
{
	if (p->kept != p->seen)
		free(p->kept);
	p->kept = p->seen;
}

static void set_seen(struct sectors_page *p)
{
	if (p->seen != p->kept)
		free(p->seen);
	p->seen = p->kept;
}

void sectors_release(struct sectors *s)
{
	for (size_t i = 0; i < s->n_pages; i++) {
		set_kept(&s->pages[i]);
		free(s->pages[i].seen);
	}
	free(s->pages);
	*s = (struct sectors){0};
}

static int grow(struct sectors *s, size_t n)
{
	size_t more = n < 2 * s->n_pages ? 2 * s->n_pages : n;
	struct sectors_page *p;

	if (n <= s->n_pages)
		return 0;
	p = realloc(s->pages, more * sizeof(*p));
	if (!p)
		return -ENOMEM;
	memset(p + s->n_pages, 0, (more - s->n_pages) * sizeof(*p));
	s->pages = p;
	s->n_pages = more;
	return 0;
}

/* Give the page its own copy of what readers see, which is about to change. */
static int own(struct sectors_page *p)
{
	uint8_t *seen;

	if (p->seen != p->kept)
		return 0;
	seen = malloc(PAGE);
	if (!seen)
		return -ENOMEM;
	if (p->kept)
		memcpy(seen, p->kept, PAGE);
	else
		memset(seen, 0, PAGE);
	p->seen = seen;
	return 0;
}

int sectors_put(struct sectors *s, uint64_t off, const void *bytes, size_t len)
{
	const uint8_t *from = bytes;
	int rc = grow(s, (size_t)((off + len + PAGE - 1) / PAGE));

	while (rc == 0 && len > 0) {
		size_t at = off % PAGE, n = PAGE - at < len ? PAGE - at : len;
		struct sectors_page *p = &s->pages[off / PAGE];

		rc = own(p);
		if (rc < 0)
			break;
		memcpy(p->seen + at, from, n);
		from += n;
		off += n;
		len -= n;
		if (off > s->len)
			s->len = off;
	}
	return rc;
}

void sectors_get(const struct sectors *s, uint64_t off, void *out, size_t len)
{
	uint8_t *to = out;

	while (len > 0) {
		size_t at = off % PAGE, n = PAGE - at < len ? PAGE - at : len;
		const struct sectors_page *p = &s->pages[off / PAGE];

		if (off / PAGE < s->n_pages && p->seen)
			memcpy(to, p->seen + at, n);
		else
			memset(to, 0, n);
		to += n;
		off += n;
		len -= n;
	}
}

void sectors_sync(struct sectors *s)
{
	for (size_t i = 0; i < s->n_pages; i++)
		set_kept(&s->pages[i]);
	s->kept_len = s->len;
}

/* Zero bytes ${at} to ${end} of a page, in what readers see and in what is durable. */
static void clear(struct sectors_page *p, size_t at, size_t end)
{
	if (at == 0 && end == PAGE) {
		set_kept(p);
		free(p->seen);
		p->seen = p->kept = NULL;
		return;
	}
	if (p->seen)
		memset(p->seen + at, 0, end - at);
	if (p->kept && p->kept != p->seen)
		memset(p->kept + at, 0, end - at);
}

void sectors_cut(struct sectors *s, uint64_t len)
{
	for (size_t i = (size_t)(len / PAGE); i < s->n_pages; i++)
		clear(&s->pages[i], i == len / PAGE ? (size_t)(len % PAGE) : 0, PAGE);
	if (s->len > len)
		s->len = len;
	if (s->kept_len > len)
		s->kept_len = len;
}

void sectors_zero(struct sectors *s, uint64_t from, uint64_t to)
{
	for (size_t i = (size_t)(from / PAGE); i < to / PAGE && i < s->n_pages; i++)
		clear(&s->pages[i], 0, PAGE);
}

static void crash_page(struct sectors_page *p, uint64_t *random)
{
	static const uint8_t zeros[SECTOR];
	uint8_t *seen = p->seen;

	if (seen == p->kept)
		return;
	if (!random) {
		set_seen(p);
		return;
	}
	for (size_t at = 0; at < PAGE; at += SECTOR)
		if (sectors_dice(random) & 1)
			memcpy(seen + at, p->kept ? p->kept + at : zeros, SECTOR);
	set_kept(p);
}

void sectors_crash(struct sectors *s, uint64_t *random)
{
	uint64_t most = s->len;

	for (size_t i = 0; i < s->n_pages; i++)
		crash_page(&s->pages[i], random);
	s->len = s->kept_len;
	if (random && most > s->kept_len)
		s->len += sectors_dice(random) % (most - s->kept_len + 1);
	sectors_cut(s, s->len);
	s->kept_len = s->len;
}
