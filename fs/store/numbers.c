/*
 * Which segment comes next.
 *
 * Key idea: the folder alone says which segments there are, and it lists them in no order.  So a
 * listing keeps the lowest numbers that it met, in order, and the gaps that a walk meets after it
 * are answered from those.
 *
 * Invariants:
 *  1. What this store names or removes is forgotten at once.
 *  2. What another process does meanwhile is seen where it matters: a segment that it added behind
 *     all that are kept (a writer adds no other), since the folder is listed there again, and one
 *     that it removed.  One that it puts back into a gap, as a healing does, is met by the walk
 *     after the next listing.
 *
 * Locks: numbers_mu may be taken while sizes_mu is held.  It is held while the folder is listed.
 */

#include "store_internal.h"

#include "err.h"
#include "file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_MAX ((size_t)8192) /* numbers; a listing has room for twice as many */

static int list_locked(struct store *st, segment_no from) REQUIRES(st->numbers_mu);
static const segment_no *find_locked(const struct store *st, segment_no from)
	REQUIRES(st->numbers_mu);

static int compare(const void *a, const void *b)
{
	segment_no x = *(const segment_no *)a, y = *(const segment_no *)b;

	return x < y ? -1 : x > y;
}

/* Keep the lowest. */
static void trim(struct numbers *s)
{
	qsort(s->kept, s->n, sizeof(*s->kept), compare);
	if (s->n > KEPT_MAX)
		s->n = KEPT_MAX;
}

static int make_room(struct numbers *s)
{
	size_t cap = s->cap ? 2 * s->cap : 64;
	segment_no *more;

	if (s->n == 2 * KEPT_MAX)
		trim(s);
	if (s->n < s->cap)
		return 0;
	more = realloc(s->kept, cap * sizeof(*more));
	if (!more)
		return -ENOMEM;
	s->kept = more;
	s->cap = cap;
	return 0;
}

static int take_name(void *ctx, const char *name)
{
	struct numbers *s = ctx;
	segment_no number;
	int rc;

	if (!store_segment_parse(name, &number) || number < s->from)
		return 0;
	rc = make_room(s);
	if (rc == 0)
		s->kept[s->n++] = number;
	return rc;
}

static int list_locked(struct store *st, segment_no from)
{
	struct numbers *s = &st->numbers;
	int rc;

	s->from = from;
	s->n = 0;
	rc = file_list(st->dirfd, ".", take_name, s);
	if (rc < 0)
		s->n = 0;
	else if (s->n > 0)
		trim(s);
	return rc;
}

/* The lowest kept number >= ${from}; NULL: none is known. */
static const segment_no *find_locked(const struct store *st, segment_no from)
{
	const struct numbers *s = &st->numbers;
	size_t low = 0, high = s->n;

	if (from < s->from)
		return NULL;
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->kept[mid] < from)
			low = mid + 1;
		else
			high = mid;
	}
	return low < s->n ? &s->kept[low] : NULL;
}

/* Whether the segment is still there.  Without a handle of the table: a walk needs those. */
static int is_there(const struct store *st, segment_no number)
{
	char name[SEGMENT_NAME_LEN];

	store_segment_name(number, name);
	return file_exists(st->dirfd, name);
}

int store_find_next(struct store *st, segment_no from, segment_no *out)
{
	const segment_no *found;
	int rc = 0;

	pthread_mutex_lock(&st->numbers_mu);
	found = find_locked(st, from);
	if (found)
		rc = is_there(st, *found);
	if (rc == 0) {
		rc = list_locked(st, from);
		found = find_locked(st, from);
	}
	if (rc >= 0 && found)
		*out = *found;
	pthread_mutex_unlock(&st->numbers_mu);
	if (rc < 0)
		return rc;
	return found ? 0 : -ERR_ABSENT;
}

void store_forget_numbers(struct store *st)
{
	pthread_mutex_lock(&st->numbers_mu);
	st->numbers.n = 0;
	pthread_mutex_unlock(&st->numbers_mu);
}
