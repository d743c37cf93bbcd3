/*
 * Making durable what readers see of a segment.
 *
 * Key idea: after a sync that failed, readers see bytes that are not on the disk, and the kernel
 * takes them for clean, so that no later sync writes them.  Written again they are dirty once more,
 * and the next sync carries them over.
 *
 * Invariant: what is written is what was just read at that place, so a crash in between changes
 * nothing; long zeros are not written, and so what is allocated only, or punched out, stays so.
 */

#include "store_internal.h"

#include "err.h"
#include "file.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REWRITE_LEN (UINT32_C(1) << 20) /* read at once */

/* Write what is at ${off} again, but for long zeros, which are no block. */
static int write_again(int fd, uint64_t off, const uint8_t *buf, size_t len)
{
	static const uint8_t zeros[DIRECT_ALIGN];
	int rc = 0;

	for (size_t at = 0, n; rc == 0 && at < len; at += n) {
		/* A page at a time, so that one that was passed over is left alone. */
		n = DIRECT_ALIGN - (off + at) % DIRECT_ALIGN;
		if (n > len - at)
			n = len - at;
		if (memcmp(buf + at, zeros, n) != 0)
			rc = file_write_at(fd, buf + at, n, off + at);
	}
	return rc;
}

/* ${around}: what can't be read is passed over, as zeros are: it is healed, or given up. */
static int rewrite_file(int fd, segment_no number, uint64_t off, bool around)
{
	uint8_t *buf = malloc(REWRITE_LEN);
	int rc = buf ? 0 : -ENOMEM;
	uint64_t first = UINT64_MAX;
	ssize_t n = 0;

	do {
		if (rc == 0)
			n = file_read_at(fd, buf, REWRITE_LEN, off);
		if (rc == 0 && n == -EIO && around)
			n = store_read_around(fd, buf, REWRITE_LEN, off, 0, &first);
		if (rc == 0 && n < 0)
			rc = store_say_unreadable(number, off, (int)n);
		if (rc == 0)
			rc = write_again(fd, off, buf, (size_t)n);
		off += REWRITE_LEN;
	} while (rc == 0 && n == REWRITE_LEN);
	free(buf);
	return rc < 0 ? rc : file_sync_data(fd);
}

static int rewrite_segment(struct store *st, segment_no number, uint64_t off, bool around)
{
	struct handle *h;
	int rc;

	assert(st->writable);
	rc = store_acquire(st, number, false, &h);
	if (rc < 0)
		return rc;
	rc = rewrite_file(h->fd, number, off, around);
	store_release(st, h);
	return rc;
}

int store_rewrite_segment(struct store *st, segment_no number, uint64_t off)
{
	return rewrite_segment(st, number, off, st->around);
}

int store_rewrite_around(struct store *st, segment_no number)
{
	return rewrite_segment(st, number, 0, true);
}

int store_rewrite(struct store *st, log_pos from)
{
	segment_no last;
	log_pos start;
	int rc = store_last(st, &last);

	if (rc < 0)
		return rc == -ERR_ABSENT ? 0 : rc;
	start = segment_start(last);
	return store_rewrite_segment(st, last, from > start ? from - start : 0);
}
