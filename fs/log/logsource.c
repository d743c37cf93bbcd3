/*
 * The live log as a source: what is in the ring comes from there, the rest from the segment files.
 *
 * Invariant: a byte below the ring's range is on disk in a page that is never written again, so it
 * can be read without the lock.  The ring's range begins a ring's size before the newest
 * reservation: the thread that made it may overwrite lower bytes at any moment.
 */

#include "catalog.h"
#include "err.h"
#include "judge.h"
#include "log.h"
#include "log_internal.h"
#include "store.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static log_pos ring_low(const struct log *log) REQUIRES(log->mu);

static struct log *log_of(struct source *s)
{
	return ((struct log_source *)s)->log;
}

static log_pos ring_low(const struct log *log)
{
	log_pos end = log->reserved;
	log_pos low = end > log->ring.size ? end - log->ring.size : 0;

	return low > log->first ? low : log->first;
}

static int read_op(struct source *s, log_pos pos, size_t len, void *out)
{
	struct log *log = log_of(s);
	log_pos end = pos + len, low;
	bool absent;

	if (end < pos)
		return -ERR_ABSENT;
	pthread_mutex_lock(&log->mu);
	low = ring_low(log);
	if (low < pos)
		low = pos;
	if (low > end)
		low = end;
	absent = end > log->reserved ||
		 (log->has_segment && end > log->gap_from && pos < segment_start(log->segment));
	if (!absent && low < end)
		ring_copy_out(&log->ring, low, end - low, (uint8_t *)out + (low - pos));
	pthread_mutex_unlock(&log->mu);
	if (absent)
		return -ERR_ABSENT;
	return low > pos ? store_read(log->store, pos, low - pos, out) : 0;
}

static void hint_op(struct source *s, log_pos pos, size_t len)
{
	struct log *log = log_of(s);
	log_pos low;

	pthread_mutex_lock(&log->mu);
	low = ring_low(log);
	pthread_mutex_unlock(&log->mu);
	if (pos < low)
		store_hint(log->store, pos, len);
}

/*
 * The header is not proven again.  Recovery judged what lies above the catalog's newest head, and
 * that the catalog's leaves give that head's root; this mount wrote what came since.  What lies
 * below is proven by 'embassy check' and by a mount of the past (source_folder.c).
 */
static int header_op(struct source *s, segment_no number, uint8_t out[SEGMENT_BLOCK_LEN])
{
	return read_op(s, segment_start(number), SEGMENT_BLOCK_LEN, out);
}

static void hint_header_op(struct source *s, segment_no number)
{
	hint_op(s, segment_start(number), SEGMENT_BLOCK_LEN);
}

static int read_any(void *from, log_pos pos, size_t len, void *out)
{
	return read_op(from, pos, len, out);
}

/* Read and judge the head at ${r}, whose block may be in the ring. */
static int load_head(struct log *log, const struct head_ref *r, struct head *out)
{
	const struct head_known k = {.params = log->params, .ref = r};
	uint8_t block[HEAD_BLOCK_MAX];

	return head_read(&k, read_any, &log->source.source, block, out);
}

static int head_at_op(struct source *s, int64_t time_ns, struct head *out)
{
	struct log *log = log_of(s);
	struct head_ref r;
	struct head newest;
	int rc;

	log_newest_head(log, &newest);
	if (newest.number == 0)
		return -ERR_ABSENT;
	if (newest.time_ns <= time_ns) {
		*out = newest;
		return 0;
	}
	rc = catalog_head_at(log->catalog, time_ns, &r);
	if (rc == -ERR_ABSENT)
		return -ERR_TOO_EARLY;
	return rc < 0 ? rc : load_head(log, &r, out);
}

static int heads_op(struct source *s, head_no first, size_t n, struct head *out, size_t *out_n)
{
	struct log *log = log_of(s);
	struct head_ref r;
	size_t got = 0;
	int rc = 0;

	assert(n >= 1);
	while (got < n) {
		rc = catalog_head(log->catalog, first + got, &r);
		if (rc == 0)
			rc = load_head(log, &r, &out[got]);
		if (rc < 0)
			break;
		got++;
	}
	if (rc < 0 && !(rc == -ERR_ABSENT && got > 0))
		return rc;
	*out_n = got;
	return 0;
}

/* The source is part of the log, and ends with it. */
static void free_op(struct source *s)
{
	(void)s;
}

static const struct source_ops log_source_ops = {
	.read = read_op,
	.hint = hint_op,
	.header = header_op,
	.hint_header = hint_header_op,
	.head_at = head_at_op,
	.heads = heads_op,
	.free = free_op,
};

void log_source_init(struct log *log)
{
	log->source.source.ops = &log_source_ops;
	log->source.source.params = log->params;
	log->source.log = log;
}
