#ifndef STORE_H_
#define STORE_H_

/*
 * The segment files of one volume: VOLUME/log/<number, 16 hex digits>.seg.  A byte's offset in
 * its file is its position minus the segment's start.  Sees ciphertext only, never a key.
 * A file may be absent or short: that is -ERR_ABSENT, not damage.  What is allocated and not
 * written reads as zeros, which are no block.  Keeps at most STORE_OPEN_MAX descriptors.  All
 * functions: any thread.
 */

#include "compiler.h"
#include "format.h"

#include <stdbool.h>
#include <stddef.h>

#define STORE_OPEN_MAX 64

struct storage;
struct store;

enum {
	STORE_WRITABLE = 1, /* makes VOLUME/log where missing, makes durable the names in it, and
			       writes again what store_note() tells of */
	STORE_COPY = 2,	    /* it is an embassy's copy; else a home */
	STORE_LOOK = 4,	    /* the caller does not know: it is a copy if it has a file "owner" */
	STORE_AROUND = 8,   /* a page that the disk can't give is read as bytes that are no block and no
			       zeros, and told, so that what lies around it is found: to check and heal */
};

/*
 * store_open(volume_dir, how, out): open VOLUME/log; ${how}: STORE_* together.
 * Returns 0, -ERR_NO_VOLUME or -errno.  store_close(NULL) is a no-op.
 */
MUST_CHECK int store_open(const char *volume_dir, unsigned how, struct store **out);
void store_close(struct store *st);

/*
 * store_storage(st): the same volume as storage.h has it, borrowed: for whoever reads a log, whatever
 * keeps it.  Of a store that is not writable, what reads alone may be called.
 */
struct storage *store_storage(struct store *st);

/*
 * store_is_copy(st): whether the folder is an embassy's copy, as store_open() was told or found:
 * whose last segment's file grows as it receives; a home's has its whole length from the
 * start and is cut, durably, at its last block when it is closed.
 */
bool store_is_copy(const struct store *st);

/*
 * store_folder_is_copy(volume_dir): whether a folder that is not open has a file "owner": 1, 0 or
 * -errno.
 */
MUST_CHECK int store_folder_is_copy(const char *volume_dir);

/*
 * store_met_unreadable(st): whether one opened with STORE_AROUND has met such a page since it was last
 * asked.
 * store_wipe(st, pos, len): make zeros of the pages of these positions that can't be read.  A disk takes a
 * whole page for one that it has lost, but no part of it.  Returns 0, -ERR_ABSENT or -errno.
 */
bool store_met_unreadable(struct store *st);
MUST_CHECK int store_wipe(struct store *st, log_pos pos, size_t len);

/*
 * store_read(st, pos, len, out): exactly ${len} bytes that lie in one segment, through the page
 * cache.
 * Returns 0; -ERR_ABSENT if the file or that part of it is not there, or the range leaves the
 * segment; or -errno.
 */
MUST_CHECK int store_read(struct store *st, log_pos pos, size_t len, void *out);

/* store_hint(st, pos, len): these bytes will be read soon (posix_fadvise WILLNEED). */
void store_hint(struct store *st, log_pos pos, size_t len);

/* store_forget(st, pos, len): these bytes will not be read again soon (DONTNEED). */
void store_forget(struct store *st, log_pos pos, size_t len);

/* store_size(st, number, out): the length of a segment's file, or -ERR_ABSENT. */
MUST_CHECK int store_size(struct store *st, segment_no number, uint64_t *out_len);

/*
 * store_bytes(st, from, to, out): how many bytes of the log lie between two positions; between two
 * segments there are none.  All segments below that of ${to} are finished.  Looks at each of them
 * once, and is cheap from then on.
 * Returns 0; or -ENOMEM or -errno, and ${*out} is the difference, which is no less.
 */
MUST_CHECK int store_bytes(struct store *st, log_pos from, log_pos to, uint64_t *out);

/* store_next(st, from, out): the lowest existing segment number >= ${from}, or -ERR_ABSENT. */
MUST_CHECK int store_next(struct store *st, segment_no from, segment_no *out_number);

/* store_last(st, out): the highest existing segment number, or -ERR_ABSENT if there is none. */
MUST_CHECK int store_last(struct store *st, segment_no *out_number);

#define STORE_SPARE_MIN (UINT64_C(2) << 20) /* a shorter spare is none */
#define STORE_SPARE_STEP STORE_SPARE_MIN
#define STORE_SPARE_SHORT (SEGMENT_SIZE / 4) /* kept while no writer has the volume open */

/*
 * For a writer: VOLUME/log/spare is space allocated ahead for the segment to come.
 *
 * store_make_spare(st, out_len): have a spare of SEGMENT_SIZE allocated bytes, durably; or, where
 * the disk has less, of up to STORE_SPARE_SHORT.  One that exists and is shorter is lengthened.
 * ${*out_len}: how long it is.
 * store_take_spare(st, number): make it segment ${number}, durably in name, with a file of
 * SEGMENT_SIZE bytes; made first where there is none.  Of a short one only STORE_SPARE_MIN bytes go
 * into the segment, which store_allocate() adds to; the rest is free for the next spare.
 * Both return 0, -ENOSPC (not even STORE_SPARE_MIN), -EEXIST (take: that segment exists already) or
 * -errno; nothing is changed on error.
 *
 * store_rest_spare(st): the volume is closed: leave STORE_SPARE_SHORT of it, or what there is room
 * for.
 * store_shrink_spare(st, least): give STORE_SPARE_STEP of it back to the disk, for what else must
 * be written, if ${least} bytes stay.  False: there is none, or not enough.
 * store_spare_was_shrunk(st): that was done since the store was opened.
 */
MUST_CHECK int store_make_spare(struct store *st, uint64_t *out_len);
MUST_CHECK int store_take_spare(struct store *st, segment_no number);
void store_rest_spare(struct store *st);
bool store_shrink_spare(struct store *st, uint64_t least);
bool store_spare_was_shrunk(const struct store *st);

/*
 * store_allocate(st, number, from, to): space on the disk for these positions of a segment that a
 * short spare became.  Nothing else may be writing there.
 * Returns 0, -ENOSPC, -ERR_ABSENT or -errno.
 */
MUST_CHECK int store_allocate(struct store *st, segment_no number, log_pos from, log_pos to);

/*
 * store_create(st, number): an empty segment file (for a copy that grows as it receives),
 * durable in name.  0, -EEXIST or -errno.
 */
MUST_CHECK int store_create(struct store *st, segment_no number);

/*
 * store_write(st, pos, buf, len, direct): write inside one existing segment.  ${direct}:
 * O_DIRECT; ${buf}, ${pos} and ${len} are then multiples of 4096 (falls back to buffered where
 * the filesystem refuses O_DIRECT).
 * Returns 0; -ERR_ABSENT if there is no such segment; or -errno, part of it written.
 */
MUST_CHECK int store_write(struct store *st, log_pos pos, const void *buf, size_t len, bool direct);

/* store_sync(st, number): fdatasync of a segment's file.  Returns 0, -ERR_ABSENT or -errno. */
MUST_CHECK int store_sync(struct store *st, segment_no number);

/*
 * store_rewrite(st, from): make durable what readers see of the last segment from position ${from}
 * on, whatever went before: it is written again, but for zeros, and synced.  After a sync that
 * failed, readers see bytes that are not on the disk, and the next sync may not write them, since
 * the kernel takes them for clean.  For a recovery, before it believes such bytes.  An earlier
 * segment was durable before the next was begun.
 * Returns 0, also where there is nothing; -ENOMEM; or -errno.
 */
MUST_CHECK int store_rewrite(struct store *st, log_pos from);

/*
 * store_rewrite_segment(st, number, off): the same for one segment, from offset ${off} of its file on: for
 * the one before the last, where a process died before it was finished.
 * Returns 0; -ERR_ABSENT; -ENOMEM; or -errno.
 */
MUST_CHECK int store_rewrite_segment(struct store *st, segment_no number, uint64_t off);

/*
 * For who heals a segment below the log's end, where nothing is written twice otherwise:
 *
 * store_note(st, number): before its first byte is written in place: note that, durably, in the place of
 * an earlier note, whose segment the caller has synced.  Until store_unnote(), which is called after the
 * sync that covers all that was written, each store_open() for writing writes the segment again.
 * store_rewrite_noted(st): does so.
 * All return 0, also where there is nothing to do, or -errno.
 */
MUST_CHECK int store_note(struct store *st, segment_no number);
MUST_CHECK int store_unnote(struct store *st);
MUST_CHECK int store_rewrite_noted(struct store *st);

/*
 * store_truncate(st, number, len): cut or extend a segment's file and make that durable.
 * Returns 0, -ERR_ABSENT or -errno.
 */
MUST_CHECK int store_truncate(struct store *st, segment_no number, uint64_t len);

/*
 * store_punch(st, pos, len): give back the space of a range in one segment's file, which keeps its
 * length; it reads as zeros.  Returns 0, -ERR_ABSENT, -EOPNOTSUPP or -errno.
 */
MUST_CHECK int store_punch(struct store *st, log_pos pos, uint64_t len);

/* store_remove(st, number): delete a segment's file, durably.  Returns 0, -ERR_ABSENT or -errno. */
MUST_CHECK int store_remove(struct store *st, segment_no number);

#endif /* !STORE_H_ */
