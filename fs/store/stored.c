/*
 * How many bytes lie between two positions of the log.
 *
 * A segment's positions go on where the next one begins, however short its file is, so positions
 * are no measure of bytes.  The lengths of segments that are finished do not change while a store
 * is open, but for what store_truncate() and store_remove() do: they are looked at once.
 *
 * Locks: sizes_mu, then numbers_mu.  It is held while lengths are looked at.
 */

#include "store_internal.h"

#include "err.h"
#include "file.h"
#include "frame.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

static int add_size_locked(struct store *st, segment_no number, uint64_t len)
	REQUIRES(st->sizes_mu);
static int look_locked(struct store *st, segment_no number) REQUIRES(st->sizes_mu);
static uint64_t below_locked(const struct store *st, segment_no number) REQUIRES(st->sizes_mu);
static uint64_t before_locked(const struct store *st, log_pos pos) REQUIRES(st->sizes_mu);

/* Without a handle of the table: whoever reads and writes needs those. */
static int length_of(struct store *st, segment_no number, uint64_t *out)
{
	char name[SEGMENT_NAME_LEN];
	int fd, rc;

	if (number > SEGMENT_NUMBER_MAX)
		return -ERR_ABSENT;
	store_segment_name(number, name);
	fd = file_open(st->dirfd, name, O_PATH, 0);
	if (fd < 0)
		return fd == -ENOENT ? -ERR_ABSENT : fd;
	rc = file_size(fd, out);
	file_close(fd);
	return rc;
}

static int add_size_locked(struct store *st, segment_no number, uint64_t len)
{
	struct stored *s = &st->stored;

	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 64;
		struct stored_size *more = realloc(s->sizes, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		s->sizes = more;
		s->cap = cap;
	}
	s->sizes[s->n] = (struct stored_size){
		.number = number,
		.sum = len + (s->n > 0 ? s->sizes[s->n - 1].sum : 0),
	};
	s->n++;
	return 0;
}

/* Know all segments below ${number}. */
static int look_locked(struct store *st, segment_no number)
{
	struct stored *s = &st->stored;

	while (s->next < number) {
		uint64_t len;
		segment_no found = s->next;
		int rc = length_of(st, found, &len);

		if (rc == -ERR_ABSENT) {
			rc = store_next(st, s->next, &found);
			if (rc == -ERR_ABSENT || (rc == 0 && found >= number))
				return 0;
			if (rc == 0)
				rc = length_of(st, found, &len);
		}
		if (rc == 0)
			rc = add_size_locked(st, found, len);
		if (rc < 0)
			return rc;
		s->next = found + 1;
	}
	return 0;
}

/* The bytes of all segments below ${number}, which are known. */
static uint64_t below_locked(const struct store *st, segment_no number)
{
	const struct stored *s = &st->stored;
	size_t from = 0, to = s->n;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (s->sizes[mid].number < number)
			from = mid + 1;
		else
			to = mid;
	}
	return from > 0 ? s->sizes[from - 1].sum : 0;
}

/* The bytes before a position, in all segments. */
static uint64_t before_locked(const struct store *st, log_pos pos)
{
	segment_no number = segment_of(pos);
	uint64_t below = below_locked(st, number);
	uint64_t len = below_locked(st, number + 1) - below;

	/* The last one is not looked at: all up to the position is there. */
	if (number >= st->stored.next || pos % SEGMENT_SIZE < len)
		len = pos % SEGMENT_SIZE;
	return below + len;
}

int store_bytes(struct store *st, log_pos from, log_pos to, uint64_t *out)
{
	int rc;

	*out = to > from ? to - from : 0;
	if (to <= from || segment_of(from) == segment_of(to))
		return 0;
	pthread_mutex_lock(&st->sizes_mu);
	rc = look_locked(st, segment_of(to));
	if (rc == 0)
		*out = before_locked(st, to) - before_locked(st, from);
	pthread_mutex_unlock(&st->sizes_mu);
	return rc;
}

void store_forget_sizes(struct store *st, segment_no number)
{
	struct stored *s = &st->stored;

	pthread_mutex_lock(&st->sizes_mu);
	while (s->n > 0 && s->sizes[s->n - 1].number >= number)
		s->n--;
	if (s->next > number)
		s->next = number;
	pthread_mutex_unlock(&st->sizes_mu);
}
