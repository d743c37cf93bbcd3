/*
 * The spare: space on the disk that is the log's before it is needed.
 *
 * Key idea: a file named "spare" whose length says how much of it is allocated.  It stays while no
 * writer has the volume open, so that a mount can begin its segment on a disk that others have
 * filled since.  It is whole, or, on a disk that is nearly full, short: enough for names, sizes and
 * deletions, little enough to leave alone what others may be about to use.
 *
 * Invariants:
 *  1. All below the spare's length is allocated and reads as zeros.  (A copy of it may have holes:
 *     then writes to the segment meet the full disk themselves.)
 *  2. A short spare that is made a segment, and so longer than what is allocated, is called "taken"
 *     until it has the segment's name.  One that is found, since a process died or a rename failed, is
 *     cut to what it has, and a spare again.
 *  3. A segment's file has its whole length until it is closed, whatever of it is allocated:
 *     tail_judge() relies on that.
 */

#include "file.h"
#include "format.h"
#include "frame.h"
#include "store_internal.h"

#include "err.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define SPARE "spare"
#define TAKEN "taken"
#define FILL_LEN (UINT32_C(1) << 20)
#define PAGE_LEN UINT64_C(4096)
#define CATALOG_ROOM (UINT64_C(4) << 20)

_Static_assert(STORE_SPARE_MIN > BLOCK_STORED_MAX + (64 << 10), "any block fits a short segment");
_Static_assert(STORE_SPARE_SHORT >= STORE_SPARE_MIN && STORE_SPARE_SHORT < SEGMENT_SIZE,
	       "a short spare is one, and is short");

/* Zeros all over, where the filesystem cannot allocate without writing. */
static int fill_with_zeros(int fd, uint64_t from, uint64_t to)
{
	uint8_t *zeros = calloc(1, FILL_LEN);
	int rc = zeros ? 0 : -ENOMEM;

	for (uint64_t off = from; rc == 0 && off < to; off += FILL_LEN)
		rc = file_write_at(fd, zeros, to - off < FILL_LEN ? to - off : FILL_LEN, off);
	free(zeros);
	return rc;
}

/* Have the bytes ${from} to ${to}, which are holes or zeros, allocated, durably. */
static int allocate(int fd, uint64_t from, uint64_t to)
{
	int rc = file_allocate(fd, from, to - from);

	if (rc == -EOPNOTSUPP)
		rc = fill_with_zeros(fd, from, to);
	return rc < 0 ? rc : file_sync(fd);
}

/* The spare, and how long it is.  Returns its descriptor or -errno. */
static int open_spare(struct store *st, int flags, uint64_t *out_len)
{
	int fd = file_open(st->dirfd, SPARE, O_RDWR | flags, 0600), rc;

	if (fd < 0)
		return fd;
	rc = file_size(fd, out_len);
	if (rc == 0)
		return fd;
	file_close(fd);
	return rc;
}

/* From ${len} to ${goal} bytes, durably; the name too, which may be new. */
static int lengthen(struct store *st, int fd, uint64_t len, uint64_t goal)
{
	int rc = allocate(fd, 0, goal);

	if (rc == 0)
		rc = file_sync(st->dirfd);
	/* Whatever became of it: what was there before stays. */
	if (rc < 0)
		(void)!file_truncate(fd, len);
	return rc;
}

/* How long a spare of ${len} bytes, which is to have ${want}, can be. */
static int find_goal(int fd, uint64_t len, uint64_t want, uint64_t *out)
{
	uint64_t room, leave = want == SEGMENT_SIZE ? CATALOG_ROOM : 0;
	int rc = file_free_space(fd, &room);

	if (rc < 0)
		return rc;
	if (len + room < want + leave)
		want = len + room < STORE_SPARE_SHORT ? (len + room) & ~(PAGE_LEN - 1)
						      : STORE_SPARE_SHORT;
	*out = want;
	return 0;
}

/* What is left of a short spare that was to be a segment is a spare, if there is no other. */
static int put_back_taken(struct store *st)
{
	int fd = file_open(st->dirfd, TAKEN, O_RDWR, 0), rc;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	rc = file_truncate(fd, STORE_SPARE_MIN);
	/* Before its name says that all of it is allocated. */
	if (rc == 0)
		rc = file_sync(fd);
	file_close(fd);
	if (rc == 0)
		rc = file_exists(st->dirfd, SPARE);
	if (rc < 0)
		return rc;
	return rc == 0 ? file_rename(st->dirfd, TAKEN, SPARE) : file_unlink(st->dirfd, TAKEN);
}

/* Have a spare of ${want} bytes, or a short one. */
static int make_spare(struct store *st, uint64_t want, uint64_t *out_len)
{
	uint64_t len = 0, goal = 0;
	int fd, rc;

	assert(st->writable);
	rc = put_back_taken(st);
	if (rc < 0)
		return rc;
	fd = open_spare(st, O_CREAT, &len);
	if (fd < 0)
		return fd;
	if (len < want)
		rc = find_goal(fd, len, want, &goal);
	if (rc == 0 && goal > len && goal >= STORE_SPARE_MIN) {
		rc = lengthen(st, fd, len, goal);
		if (rc == 0)
			len = goal;
		/* Others were faster: as long as it was, it is still good. */
		if (rc == -ENOSPC)
			rc = 0;
	}
	file_close(fd);
	if (rc == 0 && len < STORE_SPARE_MIN)
		rc = -ENOSPC;
	if (len == 0)
		(void)!file_unlink(st->dirfd, SPARE);
	*out_len = len;
	return rc;
}

int store_make_spare(struct store *st, uint64_t *out_len)
{
	return make_spare(st, SEGMENT_SIZE, out_len);
}

/* The first part of a short spare, in a file as long as a segment. */
static int cut_out_segment(struct store *st)
{
	int fd, rc = file_rename(st->dirfd, SPARE, TAKEN);

	if (rc == 0)
		rc = file_sync(st->dirfd);
	if (rc < 0)
		return rc;
	fd = file_open(st->dirfd, TAKEN, O_RDWR, 0);
	if (fd < 0)
		return fd;
	rc = file_truncate(fd, STORE_SPARE_MIN);
	if (rc == 0)
		rc = file_truncate(fd, SEGMENT_SIZE);
	if (rc == 0)
		rc = file_sync(fd);
	file_close(fd);
	return rc;
}

int store_take_spare(struct store *st, segment_no number)
{
	const char *from = SPARE;
	char name[SEGMENT_NAME_LEN];
	uint64_t len;
	int rc;

	assert(st->writable && number <= SEGMENT_NUMBER_MAX);
	rc = store_size(st, number, &len);
	if (rc == 0)
		return -EEXIST;
	if (rc != -ERR_ABSENT)
		return rc;
	rc = store_make_spare(st, &len);
	if (rc < 0)
		return rc;
	if (len < SEGMENT_SIZE) {
		from = TAKEN;
		rc = cut_out_segment(st);
	}
	store_segment_name(number, name);
	if (rc == 0)
		rc = file_rename(st->dirfd, from, name);
	if (rc < 0)
		goto put_back;
	rc = file_sync(st->dirfd);
	if (rc < 0)
		goto name_back;
	store_forget_numbers(st);
	return 0;

name_back:
	/* If that fails too, the caller's next attempt gets -EEXIST, never a second file. */
	(void)!file_rename(st->dirfd, name, from);
put_back:
	/* If that fails, the next that wants a spare does it. */
	(void)!put_back_taken(st);
	return rc;
}

void store_rest_spare(struct store *st)
{
	uint64_t len;
	int fd;

	if (make_spare(st, STORE_SPARE_SHORT, &len) < 0 || len <= STORE_SPARE_SHORT)
		return;
	fd = file_open(st->dirfd, SPARE, O_RDWR, 0);
	if (fd >= 0)
		(void)!file_truncate(fd, STORE_SPARE_SHORT);
	file_close(fd);
}

bool store_shrink_spare(struct store *st, uint64_t least)
{
	uint64_t len;
	bool shrunk;
	int fd;

	if (put_back_taken(st) < 0)
		return false;
	fd = open_spare(st, 0, &len);
	if (fd < 0)
		return false;
	shrunk = len >= least + STORE_SPARE_STEP && file_truncate(fd, len - STORE_SPARE_STEP) == 0;
	file_close(fd);
	st->spare_shrunk |= shrunk;
	return shrunk;
}

bool store_spare_was_shrunk(const struct store *st)
{
	return st->spare_shrunk;
}

int store_allocate(struct store *st, segment_no number, log_pos from, log_pos to)
{
	char name[SEGMENT_NAME_LEN];
	log_pos start = segment_start(number);
	int fd, rc;

	assert(st->writable && number <= SEGMENT_NUMBER_MAX);
	store_segment_name(number, name);
	fd = file_open(st->dirfd, name, O_RDWR, 0);
	if (fd < 0)
		return fd == -ENOENT ? -ERR_ABSENT : fd;
	rc = allocate(fd, from - start, to - start);
	file_close(fd);
	return rc;
}
