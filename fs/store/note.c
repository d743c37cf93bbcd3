/*
 * The note of a segment that is written in place.
 *
 * Key idea: below the log's end bytes are written only to repair them.  Until they are synced, readers see
 * them, and they equal what belongs there, so that nobody would write them again; and after a sync that
 * failed no later one carries them over.  So the segment's number is on the disk before the first such
 * write, and goes after the sync that covers the last; whoever opens the log for writing, and finds it,
 * writes the segment again.
 *
 * Invariant: at most one segment is noted: the one before it was synced.
 */

#include "store_internal.h"

#include "err.h"
#include "file.h"
#include "msg.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOTE "healing"
#define NOTE_MAX 64u

int store_note(struct store *st, segment_no number)
{
	char name[SEGMENT_NAME_LEN];

	store_segment_name(number, name);
	return file_replace(st->dirfd, NOTE, name, strlen(name), 0600);
}

int store_unnote(struct store *st)
{
	int rc = file_unlink(st->dirfd, NOTE);

	if (rc == -ENOENT)
		return 0;
	return rc < 0 ? rc : file_sync(st->dirfd);
}

int store_rewrite_noted(struct store *st)
{
	segment_no number;
	void *text;
	size_t len;
	int rc = file_read_all(st->dirfd, NOTE, NOTE_MAX, &text, &len);

	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return rc;
	/* It is replaced as a whole, so what is no name was never a note. */
	if (store_segment_parse(text, &number)) {
		msg_event(MSG_WARN, "segment-rewritten",
			  "segment %016llx: was being healed when that was cut short; writing it "
			  "again",
			  (unsigned long long)number);
		rc = store_rewrite_around(st, number);
	}
	free(text);
	if (rc < 0 && rc != -ERR_ABSENT)
		return rc;
	return store_unnote(st);
}
