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

struct store;

/*
 * store_open(volume_dir, writable, out): open VOLUME/log; ${writable} makes it where missing.
 * Returns 0, -ERR_NO_VOLUME or -errno.  store_close(NULL) is a no-op.
 */
MUST_CHECK int store_open(const char *volume_dir, bool writable, struct store **out);
void store_close(struct store *st);

/*
 * store_read(st, pos, len, out): exactly ${len} bytes that lie in one segment, through the page
 * cache.
 * Returns 0; -ERR_ABSENT if the file or that part of it is not there, or the range leaves the
 * segment; or -errno.
 */
MUST_CHECK int store_read(struct store *st, uint64_t pos, size_t len, void *out);

/* store_hint(st, pos, len): these bytes will be read soon (posix_fadvise WILLNEED). */
void store_hint(struct store *st, uint64_t pos, size_t len);

/* store_forget(st, pos, len): these bytes will not be read again soon (DONTNEED). */
void store_forget(struct store *st, uint64_t pos, size_t len);

/* store_size(st, number, out): the length of a segment's file, or -ERR_ABSENT. */
MUST_CHECK int store_size(struct store *st, uint64_t number, uint64_t *out_len);

/* store_next(st, from, out): the lowest existing segment number >= ${from}, or -ERR_ABSENT. */
MUST_CHECK int store_next(struct store *st, uint64_t from, uint64_t *out_number);

/* store_last(st, out): the highest existing segment number, or -ERR_ABSENT if there is none. */
MUST_CHECK int store_last(struct store *st, uint64_t *out_number);

/*
 * For a writer: store_make_spare() makes VOLUME/log/spare, of SEGMENT_SIZE allocated bytes,
 * durably, unless it exists.
 * store_take_spare() renames it to segment ${number} and makes the name durable; if no spare
 * exists it is made first.  Both return 0, -ENOSPC, -EEXIST (take: that segment exists already)
 * or -errno; nothing is changed on error.
 * store_drop_spare() removes it (clean unmount).
 */
MUST_CHECK int store_make_spare(struct store *st);
MUST_CHECK int store_take_spare(struct store *st, uint64_t number);
void store_drop_spare(struct store *st);
bool store_has_spare(struct store *st);

/*
 * store_create(st, number): an empty segment file (for a copy that grows as it receives),
 * durable in name.  0, -EEXIST or -errno.
 */
MUST_CHECK int store_create(struct store *st, uint64_t number);

/*
 * store_write(st, pos, buf, len, direct): write inside one existing segment.  ${direct}:
 * O_DIRECT; ${buf}, ${pos} and ${len} are then multiples of 4096 (falls back to buffered where
 * the filesystem refuses O_DIRECT).
 * Returns 0; -ERR_ABSENT if there is no such segment; or -errno, part of it written.
 */
MUST_CHECK int store_write(struct store *st, uint64_t pos, const void *buf, size_t len,
			   bool direct);

/* store_sync(st, number): fdatasync of a segment's file.  Returns 0, -ERR_ABSENT or -errno. */
MUST_CHECK int store_sync(struct store *st, uint64_t number);

/*
 * store_truncate(st, number, len): cut or extend a segment's file and make that durable.
 * Returns 0, -ERR_ABSENT or -errno.
 */
MUST_CHECK int store_truncate(struct store *st, uint64_t number, uint64_t len);

/* store_remove(st, number): delete a segment's file, durably.  Returns 0, -ERR_ABSENT or -errno. */
MUST_CHECK int store_remove(struct store *st, uint64_t number);

#endif /* !STORE_H_ */
