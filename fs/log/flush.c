/*
 * The log's I/O: writing the ring out, group commit, finishing a segment, zeroing ahead.
 *
 * Key idea: a thread that needs I/O, and finds no other thread doing any, does it for all.  A lone
 * caller of fsync thus never waits for another thread to be scheduled; of many callers, one leads
 * and the others find their bytes durable when it is done.
 *
 * Writes are whole pages with O_DIRECT.  A sync also writes the last, partial page, padded with
 * zeros; the next write begins with that page again, longer.  The bytes that were in it are the
 * same, so whichever sectors of it a crash keeps, the bytes that were promised are there.
 *
 * Overwriting disk blocks that were written before needs no commit of the filesystem's journal;
 * filling preallocated ones does.  So while syncs are many and small, zeros are written a little
 * ahead of them.
 */

#include "log.h"
#include "log_internal.h"
#include "msg.h"
#include "seal.h"
#include "store.h"

#include "err.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* These write to segment files.  Only the I/O owner, the thread that set io_active, calls them. */
static int finish_old_segment(struct log *log) REQUIRES(log->mu);
static int finish_roll(struct log *log) REQUIRES(log->mu);
static bool roll_can_finish(const struct log *log) REQUIRES(log->mu);
static int write_batch(struct log *log) REQUIRES(log->mu);
static log_pos zero_target(struct log *log, log_pos to) REQUIRES(log->mu);
static int write_and_sync(struct log *log) REQUIRES(log->mu);

int log_stop_locked(struct log *log, int rc, const char *what)
{
	if (!log->stuck)
		msg_event(MSG_ERROR, "log-failed",
			  "log: %s failed: %s; no more writes until the volume is mounted again",
			  what, err_detail(rc));
	log->stuck = true;
	pthread_cond_broadcast(&log->io_free);
	pthread_cond_broadcast(&log->filled_up);
	return rc;
}

/* A write that fails, but not for lack of space, is tried once more: it writes the same bytes. */
static int write_pages(struct log *log, log_pos pos, const void *buf, size_t len)
{
	int rc = store_write(log->store, pos, buf, len, true);

	if (rc < 0 && rc != -ENOSPC)
		rc = store_write(log->store, pos, buf, len, true);
	return rc;
}

/*
 * Write [from, to), which lies in one segment.  If ${to} is not a page's end, the last page is
 * padded.  That page is written from a copy, together with the little that lies before it, since a
 * small sync waits for the disk once for each write.
 */
static int write_range(struct log *log, log_pos from, log_pos to)
{
	log_pos pos = page_down(from), whole = page_down(to);
	uint64_t tail;
	int rc;

	if (whole < to)
		whole = whole - pos < LOG_TAIL_MAX ? pos : whole;

	while (pos < whole) {
		uint64_t len = whole - pos;

		if (len > ring_run(&log->ring, pos))
			len = ring_run(&log->ring, pos);
		rc = write_pages(log, pos, ring_at(&log->ring, pos), len);
		if (rc < 0)
			return rc;
		pos += len;
	}
	if (whole == to)
		return 0;
	/*
	 * In the ring, bytes from ${to} on may already be another thread's: pad a copy, never the
	 * ring.
	 */
	tail = page_down(to - whole + RING_PAGE - 1);
	ring_copy_out(&log->ring, whole, to - whole, log->tail);
	memset(log->tail + (to - whole), 0, tail - (to - whole));
	return write_pages(log, whole, log->tail, tail);
}

/*
 * Finish the old segment: write all of it, sync it, and cut its file to the length of its blocks.
 */
static int finish_old_segment(struct log *log)
{
	log_pos from = log->written, end = log->old_end;
	segment_no number = segment_of(end - 1);
	const char *what = "writing a segment's end";
	int rc;

	pthread_mutex_unlock(&log->mu);
	rc = write_range(log, from, end);
	if (rc == 0) {
		what = "finishing a segment";
		rc = store_sync(log->store, number);
		if (rc == 0)
			rc = store_truncate(log->store, number, end - segment_start(number));
		if (rc == -ENOSPC)
			rc = -EIO;
	}
	pthread_mutex_lock(&log->mu);
	if (rc < 0)
		return rc == -ENOSPC ? rc : log_stop_locked(log, rc, what);

	segment_key_free(log->old_key);
	log->old_key = NULL;
	log_set_written(log, segment_start(log->segment));
	log_set_old_end(log, 0);
	log->durable = log->written;
	return 0;
}

/*
 * Finish the old segment before the new one gets its name: after a crash, recovery takes a segment
 * that has a successor and is not whole for damage.
 */
static int finish_roll(struct log *log)
{
	segment_no number = log->segment;
	int rc;

	if (log->old_end) {
		rc = finish_old_segment(log);
		if (rc < 0)
			return rc;
	}
	pthread_mutex_unlock(&log->mu);
	rc = store_take_spare(log->store, number);
	pthread_mutex_lock(&log->mu);
	if (rc < 0)
		return rc == -ENOSPC ? rc : log_stop_locked(log, rc, "naming a new segment");

	log->rolling = false;
	log->zeroed_end = 0;
	/*
	 * Look for the next segment's space now, so that on a full disk data is refused before
	 * metadata.
	 */
	if (!log->making_spare)
		(void)!log_make_spare_locked(log);
	log_check_locked(log);
	return 0;
}

static bool roll_can_finish(const struct log *log)
{
	return log->rolling && log->filled > log->old_end;
}

bool log_flush_useful_locked(const struct log *log)
{
	return roll_can_finish(log) || page_down(log->filled) > page_down(log->written);
}

static int write_batch(struct log *log)
{
	log_pos from = log->written, to = page_down(log->filled);
	int rc;

	if (to <= page_down(from))
		return 0;
	if (to - page_down(from) > LOG_BATCH_MAX)
		to = page_down(from) + LOG_BATCH_MAX;
	pthread_mutex_unlock(&log->mu);
	rc = write_range(log, from, to);
	pthread_mutex_lock(&log->mu);
	if (rc < 0)
		return rc == -ENOSPC ? rc : log_stop_locked(log, rc, "writing");
	log_set_written(log, to);
	return 0;
}

/*
 * Up to where zeros should be written after ${to}: at most LOG_ZERO_AHEAD of them; 0: write none.
 */
static log_pos zero_target(struct log *log, log_pos to)
{
	log_pos after = page_down(to + RING_PAGE - 1);
	log_pos end = log->allocated;

	if (to - log->durable >= LOG_SMALL_SYNC)
		log->small_syncs = 0;
	else if (log->small_syncs < LOG_SMALL_SYNCS)
		log->small_syncs++;
	if (log->small_syncs < LOG_SMALL_SYNCS || log->no_zeroing || log->rolling ||
	    log->zeroed_end >= after + LOG_ZERO_LOW || log->zeroed_end == end || after == end)
		return 0;
	return after + LOG_ZERO_AHEAD < end ? after + LOG_ZERO_AHEAD : end;
}

static int write_and_sync(struct log *log)
{
	log_pos from = log->written, to = log->filled;
	log_pos zero_from, zero_to;
	int rc, zero_rc = 0;

	if (to == log->durable)
		return 0;
	zero_to = zero_target(log, to);
	zero_from = page_down(to + RING_PAGE - 1);
	if (zero_from < log->zeroed_end)
		zero_from = log->zeroed_end;
	pthread_mutex_unlock(&log->mu);
	rc = from < to ? write_range(log, from, to) : 0;
	if (rc == 0 && zero_to)
		zero_rc = store_write(log->store, zero_from, log->zeros, zero_to - zero_from, true);
	if (rc == 0) {
		rc = store_sync(log->store, segment_of(to - 1));
		/* A sync that lacked space is not retried: which bytes it lost is not known. */
		if (rc == -ENOSPC)
			rc = -EIO;
	}
	pthread_mutex_lock(&log->mu);
	if (rc < 0)
		return rc == -ENOSPC ? rc : log_stop_locked(log, rc, "writing and syncing");

	if (zero_rc < 0)
		log->no_zeroing = true;
	else if (zero_to)
		log->zeroed_end = zero_to;
	log_set_written(log, to);
	log->durable = to;
	return 0;
}

int log_flush_locked(struct log *log, bool sync)
{
	int rc = 0;

	assert(!log->io_active);
	if (log->stuck)
		return -ERR_STUCK;
	log->io_active = true;
	if (roll_can_finish(log))
		rc = finish_roll(log);
	if (rc == 0)
		rc = sync ? write_and_sync(log) : write_batch(log);
	log->io_active = false;
	log_check_locked(log);
	pthread_cond_broadcast(&log->io_free);
	return rc;
}

int log_sync(struct log *log, log_pos upto)
{
	log_pos target;
	int rc = 0;

	if (upto <= log->durable)
		return 0;
	pthread_mutex_lock(&log->mu);
	target = upto < log->reserved ? upto : log->reserved;
	while (rc == 0 && log->durable < target) {
		if (log->stuck)
			rc = -ERR_STUCK;
		else if (log->io_active)
			pthread_cond_wait(&log->io_free, &log->mu);
		else if (log->filled < target)
			pthread_cond_wait(&log->filled_up, &log->mu);
		else
			rc = log_flush_locked(log, true);
	}
	/* The bytes asked for became durable with the old segment; only the new one had no room. */
	if (rc == -ENOSPC && log->durable >= target)
		rc = 0;
	pthread_mutex_unlock(&log->mu);
	return rc;
}
