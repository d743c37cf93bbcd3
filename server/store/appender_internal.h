#ifndef APPENDER_INTERNAL_H_
#define APPENDER_INTERNAL_H_

/* What appender*.c share. */

#include "appender.h"
#include "copy_internal.h"
#include "history.h"

#define APPENDER_PAGE STORAGE_PAGE
#define APPENDER_BATCH ((size_t)4 << 20) /* written at once */
/* a batch not yet full, and one step */
#define APPENDER_MEM_LEN (APPENDER_BATCH + APPENDER_DATA_MAX)

struct appender {
	struct copy *copy;
	struct copy_lock lock;
	epoch_no epoch;
	struct conf *conf; /* what history.params points into */
	struct history history;

	uint8_t *mem;  /* APPENDER_MEM_LEN bytes */
	uint8_t *page; /* the last page as it is written, padded */
	log_pos base, end;
	segment_no segment;
	bool in_segment; /* mem mirrors a segment; else the next block begins one */
	bool has_file;	 /* that segment's file exists */
	/* bytes after end that appender_room() gave out and that are not judged yet */
	size_t room;

	struct head *heads; /* verified, not committed; in order */
	size_t n_heads;
	uint64_t first_head_ns; /* when the first of them verified */
	log_pos committed_end;	/* the committed end */
	leaf_no committed_blocks;
	unsigned n_segments; /* begun since the commit */
	bool failed;	     /* nothing more is judged */
	bool disk_failed;    /* nothing more is written */
};

/* appender_check(a): abort unless the invariants in appender.c hold. */
void appender_check(const struct appender *a);

/*
 * appender_write_out(a): write the whole pages below end.
 * appender_finish_segment(a): all of it, durably, and the segment cut to its exact length.
 * Both return 0; -ENOSPC or -EIO, with a detail: nothing is judged or committed from then on.
 */
MUST_CHECK int appender_write_out(struct appender *a);
MUST_CHECK int appender_finish_segment(struct appender *a);

#endif /* !APPENDER_INTERNAL_H_ */
