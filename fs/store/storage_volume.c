/*
 * A volume's folder as a storage (storage.h).
 *
 * Key idea: a write goes past the page cache, and is durable after a sync of its segment.  At most one
 * segment has writes that no sync covers: before another is written to, the first is synced.
 *
 * Invariant: unsynced is 1 + the number of that segment, or 0.
 */

#include "store_internal.h"

#include "err.h"
#include "file.h"
#include "kv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAVES_NAME_LEN 24u /* 16 hex digits, ".leaves", NUL */

static struct store *store_of(struct storage *s)
{
	return (struct store *)s;
}

static int door_read(struct storage *s, log_pos pos, size_t len, void *out)
{
	return store_read(store_of(s), pos, len, out);
}

static void door_hint(struct storage *s, log_pos pos, size_t len)
{
	store_hint(store_of(s), pos, len);
}

static int door_size(struct storage *s, segment_no number, uint64_t *out_len)
{
	return store_size(store_of(s), number, out_len);
}

static int door_next(struct storage *s, segment_no from, segment_no *out_number)
{
	return store_next(store_of(s), from, out_number);
}

static int door_last(struct storage *s, segment_no *out_number)
{
	return store_last(store_of(s), out_number);
}

static int door_get_conf(struct storage *s, size_t max, void **out, size_t *out_len)
{
	int rc = file_read_all(store_of(s)->volume_fd, "volume.conf", max, out, out_len);

	return rc == -ENOENT ? -ERR_NO_VOLUME : rc;
}

static int door_space(struct storage *s, uint64_t *out_bytes)
{
	return file_free_space(store_of(s)->volume_fd, out_bytes);
}

static int door_newest(struct storage *s, struct storage_commit *out)
{
	(void)s;
	(void)out;
	return -ERR_ABSENT;
}

static int door_rewrite(struct storage *s, log_pos from)
{
	return store_rewrite(store_of(s), from);
}

static int door_create(struct storage *s, segment_no number)
{
	return store_create(store_of(s), number);
}

static int door_drain(struct storage *s)
{
	struct store *st = store_of(s);
	int rc = st->unsynced > 0 ? store_sync(st, st->unsynced - 1) : 0;

	if (rc == 0)
		st->unsynced = 0;
	return rc;
}

static int door_write(struct storage *s, log_pos pos, const void *bytes, size_t len,
		      const struct storage_commit *commit)
{
	struct store *st = store_of(s);
	segment_no segment = segment_of(pos);
	int rc = 0;

	if (len > 0 && st->unsynced > 0 && st->unsynced != segment + 1)
		rc = door_drain(s);
	if (rc == 0 && len > 0) {
		st->unsynced = segment + 1;
		rc = store_write(st, pos, bytes, len, true);
	}
	if (rc == 0 && commit)
		rc = door_drain(s);
	return rc;
}

static int door_truncate(struct storage *s, segment_no number, uint64_t len)
{
	struct store *st = store_of(s);
	int rc = store_truncate(st, number, len);

	if (rc == 0 && st->unsynced == number + 1)
		st->unsynced = 0;
	return rc;
}

static int door_remove(struct storage *s, segment_no number)
{
	struct store *st = store_of(s);

	if (st->unsynced == number + 1)
		st->unsynced = 0;
	return store_remove(st, number);
}

/* What is stored: 1 if it is ${text}, 0 if not. */
static int conf_is(struct store *st, const void *text, size_t len)
{
	void *stored;
	size_t stored_len;
	int rc = file_read_all(st->volume_fd, "volume.conf", len, &stored, &stored_len);

	if (rc < 0)
		return rc == -EFBIG ? 0 : rc;
	rc = stored_len == len && memcmp(stored, text, len) == 0;
	free(stored);
	return rc;
}

static int door_put_conf(struct storage *s, const void *old, size_t old_len, const void *new,
			 size_t new_len)
{
	struct store *st = store_of(s);
	int rc = conf_is(st, old, old_len);

	if (rc == 0)
		rc = conf_is(st, new, new_len);
	if (rc <= 0)
		return rc < 0 ? rc : -ERR_STALE;
	/* Also where it is there already: it may not be durable. */
	return file_replace(st->volume_fd, "volume.conf", new, new_len, 0600);
}

/* What lies beside it in a page that can't be read is mended in its turn. */
static int write_piece(struct store *st, const struct storage_piece *p)
{
	int rc = store_write(st, p->pos, p->bytes, p->len, false);

	if (rc != -EIO)
		return rc;
	rc = store_wipe(st, p->pos, p->len);
	return rc < 0 ? rc : store_write(st, p->pos, p->bytes, p->len, false);
}

static int write_pieces(struct store *st, const struct storage_piece *pieces, size_t n)
{
	segment_no segment = segment_of(pieces[0].pos);
	uint64_t size;
	int rc = store_size(st, segment, &size);

	if (rc == -ERR_ABSENT)
		rc = store_create(st, segment);
	if (rc == 0)
		rc = store_note(st, segment);
	st->noted = st->noted || rc == 0;
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = write_piece(st, &pieces[i]);
	if (rc == 0)
		rc = store_sync(st, segment);
	return rc;
}

static int rewrite_noted(struct store *st)
{
	int rc = st->noted ? store_rewrite_noted(st) : 0;

	if (rc == 0)
		st->noted = false;
	return rc;
}

/* The lock of the pool, or of whoever opened the store, is the lease. */
static int door_take(struct storage *s)
{
	store_of(s)->unsynced = 0;
	return rewrite_noted(store_of(s));
}

static int door_repair(struct storage *s, const struct storage_piece *pieces, size_t n)
{
	struct store *st = store_of(s);
	int rc = rewrite_noted(st);

	if (rc < 0 || n == 0)
		return rc;
	rc = write_pieces(st, pieces, n);
	if (rc == 0)
		rc = store_unnote(st);
	if (rc == 0)
		st->noted = false;
	return rc;
}

static int door_put_note(struct storage *s, const void *bytes, size_t len)
{
	return file_replace(store_of(s)->volume_fd, STORAGE_NOTE, bytes, len, 0600);
}

static int door_get_note(struct storage *s, size_t max, void **out, size_t *out_len)
{
	int rc = file_read_all(store_of(s)->volume_fd, STORAGE_NOTE, max, out, out_len);

	return rc == -ENOENT ? -ERR_ABSENT : rc;
}

static void leaves_name(segment_no number, char out[LEAVES_NAME_LEN])
{
	snprintf(out, LEAVES_NAME_LEN, "%016llx.leaves", (unsigned long long)number);
}

static int door_put_leaves(struct storage *s, segment_no number, const void *bytes, size_t len)
{
	char name[LEAVES_NAME_LEN];

	leaves_name(number, name);
	return file_replace(store_of(s)->dirfd, name, bytes, len, 0600);
}

static int door_get_leaves(struct storage *s, segment_no number, size_t max, void **out,
			   size_t *out_len)
{
	char name[LEAVES_NAME_LEN];
	int rc;

	leaves_name(number, name);
	rc = file_read_all(store_of(s)->dirfd, name, max, out, out_len);
	return rc == -ENOENT ? -ERR_ABSENT : rc;
}

static int door_punch(struct storage *s, log_pos pos, uint64_t len)
{
	return store_punch(store_of(s), pos, len);
}

static int door_index(struct storage *s, bool fresh, struct kv **out)
{
	struct store *st = store_of(s);
	char *path;
	int was, rc;

	if (asprintf(&path, "%s/catalog", st->dir) < 0)
		return -ENOMEM;
	rc = fresh ? kv_remove(path) : 0;
	if (rc < 0)
		err_say(rc, "%s: can't be removed: %s", path, err_text(rc));
	was = file_exists(st->volume_fd, "catalog");
	if (rc == 0)
		rc = kv_open(path, true, out);
	free(path);
	if (rc < 0 || was == 1)
		return rc;
	/* One that was there is durable in name since the store was opened. */
	rc = file_sync(st->volume_fd);
	if (rc < 0)
		kv_close(*out);
	return rc;
}

static void door_close(struct storage *s)
{
	store_close(store_of(s));
}

const struct storage_ops storage_folder_ops = {
	.read = door_read,
	.hint = door_hint,
	.size = door_size,
	.next = door_next,
	.last = door_last,
	.get_conf = door_get_conf,
	.space = door_space,
	.take = door_take,
	.newest = door_newest,
	.rewrite = door_rewrite,
	.create = door_create,
	.write = door_write,
	.drain = door_drain,
	.truncate = door_truncate,
	.remove = door_remove,
	.put_conf = door_put_conf,
	.repair = door_repair,
	.put_note = door_put_note,
	.get_note = door_get_note,
	.put_leaves = door_put_leaves,
	.get_leaves = door_get_leaves,
	.punch = door_punch,
	.index = door_index,
	.close = door_close,
};
