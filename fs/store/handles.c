/*
 * The open descriptors of a volume's segment files.
 *
 * Key idea: they are kept in a small table, where the one longest unused makes room; one that is in
 * use is never closed, and who finds all in use waits for the first that is released.
 *
 * Invariant: a descriptor in the table belongs to the file that has the name now, or is stale:
 * stale ones are never given out again and go with their last user.
 *
 * Locks: mu guards the table.  It is held over open and close, never over reads, writes or syncs.
 */

#include "store_internal.h"

#include "err.h"
#include "file.h"
#include "frame.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>

static struct handle *find_handle_locked(struct store *st, segment_no number, bool direct)
	REQUIRES(st->mu);
static int open_handle_locked(struct store *st, struct handle *h, segment_no number, bool direct)
	REQUIRES(st->mu);

/*
 * The handle that has segment ${number} open, or else the one to open it with, or NULL: all are
 * in use.
 */
static struct handle *find_handle_locked(struct store *st, segment_no number, bool direct)
{
	struct handle *oldest = NULL;

	for (unsigned i = 0; i < STORE_OPEN_MAX; i++) {
		struct handle *h = &st->handles[i];

		if (h->fd >= 0 && !h->stale && h->number == number && h->direct == direct)
			return h;
		if (h->refs > 0)
			continue;
		if (!oldest || h->fd < 0 || (oldest->fd >= 0 && h->used < oldest->used))
			oldest = h;
	}
	return oldest;
}

static int open_handle_locked(struct store *st, struct handle *h, segment_no number, bool direct)
{
	char name[SEGMENT_NAME_LEN];
	int fd;

	if (number > SEGMENT_NUMBER_MAX)
		return -ERR_ABSENT;
	store_segment_name(number, name);
	fd = file_open(st->dirfd, name,
		       (st->writable ? O_RDWR : O_RDONLY) | (direct ? O_DIRECT : 0), 0);
	if (fd < 0)
		return fd == -ENOENT ? -ERR_ABSENT : fd;
	file_close(h->fd);
	*h = (struct handle){.number = number, .fd = fd, .direct = direct};
	return 0;
}

int store_acquire(struct store *st, segment_no number, bool direct, struct handle **out)
{
	struct handle *h;
	int rc = 0;

	pthread_mutex_lock(&st->mu);
	while (!(h = find_handle_locked(st, number, direct)))
		pthread_cond_wait(&st->released, &st->mu);
	if (h->fd < 0 || h->stale || h->number != number || h->direct != direct)
		rc = open_handle_locked(st, h, number, direct);
	if (rc == 0) {
		h->refs++;
		h->used = ++st->clock;
		*out = h;
	}
	pthread_mutex_unlock(&st->mu);
	return rc;
}

void store_release(struct store *st, struct handle *h)
{
	pthread_mutex_lock(&st->mu);
	assert(h->refs > 0);
	if (--h->refs == 0) {
		if (h->stale) {
			file_close(h->fd);
			h->fd = -1;
		}
		pthread_cond_signal(&st->released);
	}
	pthread_mutex_unlock(&st->mu);
}

void store_forget_handles(struct store *st, segment_no number)
{
	pthread_mutex_lock(&st->mu);
	for (unsigned i = 0; i < STORE_OPEN_MAX; i++) {
		struct handle *h = &st->handles[i];

		if (h->fd < 0 || h->number != number)
			continue;
		h->stale = true;
		if (h->refs == 0) {
			file_close(h->fd);
			h->fd = -1;
		}
	}
	pthread_mutex_unlock(&st->mu);
}
