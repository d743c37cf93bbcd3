/*
 * Writing bytes to files.  Any number of threads first append the bytes to the log at once.  Then,
 * in one short step under the exclusive lock, the file's extents are made to point there.
 */

#include "volume_internal.h"

#include "log.h"
#include "params.h"

#include <assert.h>
#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define WRITE_MAX (4u << 20)
#define EXTENTS_PER_WRITE (WRITE_MAX / EXTENT_MAX + 1)
#define COPY_EXTENTS_MAX 1024u /* that one step of a copy may move */

struct writing {
	inode_no ino;
	uint64_t off, end;
	unsigned how; /* flags of volume_write() */
	struct change_stamp now; /* not used with WRITE_KEEP_TIMES */
	size_t n;
	const struct extent *e; /* in order, inside [off, end) */
	struct cut *cut;	/* what they replace */
	bool extend;		/* the size grows to end */
};

/* The new extents are inside the written range, in order, and do not overlap. */
static void writing_check(const struct writing *w)
{
	uint64_t at = w->off;

	for (size_t i = 0; i < w->n; i++) {
		assert(w->e[i].off >= at && w->e[i].len > 0);
		at = w->e[i].off + w->e[i].len;
	}
	assert(at <= w->end && w->end <= FILE_SIZE_MAX);
}

/*
 * Find the extents that the write replaces; ${*out_taken}: how many of their bytes ${a} counts.  An
 * append replaces nothing, because there are no extents beyond a file's size.
 */
static int find_cut(struct volume *v, struct need *need, const struct writing *w,
		    const struct attr *a, uint64_t *out_taken)
{
	int rc = 0;

	*out_taken = 0;
	if (a->size == 0) {
		rc = cut_find_lost(v, a, need, w->cut, out_taken);
	} else if (w->off < a->size) {
		rc = cut_find(v, w->ino, w->off, w->end, need, w->cut);
		*out_taken = w->cut->bytes;
	}
	return rc;
}

/*
 * Replace [off, end) of a file by the given extents; any part that they do not cover becomes a
 * hole.
 */
static int put_locked(struct volume *v, struct need *need, const struct writing *w)
{
	uint64_t added = 0, taken;
	struct attr a;
	int rc;

	rc = view_inode_locked(&v->view, w->ino, need, &a);
	if (rc < 0)
		return rc;
	if (!S_ISREG(a.mode))
		return S_ISDIR(a.mode) ? -EISDIR : -EINVAL;
	rc = find_cut(v, need, w, &a, &taken);
	if (rc < 0)
		return rc;
	if (change_reserve(v, w->n + 6, 0) < 0)
		return -ENOMEM;

	writing_check(w);
	if (w->off < a.size || a.size == 0)
		cut_apply(v, w->cut);
	for (size_t i = 0; i < w->n; i++) {
		extent_put(v, w->ino, &w->e[i]);
		added += w->e[i].len;
	}
	a.bytes += added - taken;
	v->view.counts.bytes += added - taken;
	if (w->extend && w->end > a.size)
		a.size = w->end;
	if (w->how & WRITE_KILL_PRIV)
		kill_priv(v, &a);
	if (!(w->how & WRITE_KEEP_TIMES))
		a.mtime = a.ctime = change_time(v, &w->now);
	change_inode(v, &a);
	return 0;
}

static int write_locked(struct volume *v, struct need *need, const void *in, void *out)
{
	(void)out;
	return put_locked(v, need, in);
}

int volume_write(struct volume *v, const struct caller *c, inode_no ino, uint64_t off, size_t len,
		 const void *data, unsigned how)
{
	struct extent e[EXTENTS_PER_WRITE];
	struct cut cut = {0};
	struct writing w = {.ino = ino,
			    .off = off,
			    .end = off + len,
			    .how = how,
			    .e = e,
			    .cut = &cut,
			    .extend = true};
	const uint8_t *p = data;
	int rc;

	if (len > WRITE_MAX)
		return -EINVAL;
	if (off > FILE_SIZE_MAX || len > FILE_SIZE_MAX - off)
		return -EFBIG;
	rc = change_begin(v);
	if (rc < 0)
		goto fail;
	/*
	 * Cut at multiples of EXTENT_MAX, so that a later write of the same range replaces whole
	 * extents.
	 */
	for (uint64_t at = off; at < w.end; at += e[w.n++].len) {
		uint64_t border = (at / EXTENT_MAX + 1) * EXTENT_MAX;
		uint32_t n = (uint32_t)((border < w.end ? border : w.end) - at);

		e[w.n] = (struct extent){.off = at, .len = n};
		rc = log_append(v->log, BLOCK_DATA, p + (at - off), n, v->cfg.params->compress,
				&e[w.n].ptr);
		if (rc < 0)
			goto fail;
	}
	scheduler_space_tried(v, 0);
	if (!(how & WRITE_KEEP_TIMES))
		w.now = change_stamp(v);
	rc = change_run(v, c, write_locked, &w, NULL, 0);
	if (rc == 0)
		figure_count(&v->written, len);
	return rc;

fail:
	scheduler_space_tried(v, rc);
	return rc;
}

/* Set the size to w->end if it is less; change nothing else. */
static int grow_locked(struct volume *v, struct need *need, const void *in, void *out)
{
	const struct writing *w = in;
	uint64_t taken = 0;
	struct attr a;
	int rc = view_inode_locked(&v->view, w->ino, need, &a);

	(void)out;
	if (rc < 0 || a.size >= w->end)
		return rc;
	if (a.size == 0)
		rc = cut_find_lost(v, &a, need, w->cut, &taken);
	if (rc < 0)
		return rc;
	if (change_reserve(v, 4, 0) < 0)
		return -ENOMEM;
	if (a.size == 0)
		cut_apply(v, w->cut);
	a.bytes -= taken;
	v->view.counts.bytes -= taken;
	a.size = w->end;
	a.mtime = a.ctime = change_time(v, &w->now);
	change_inode(v, &a);
	return 0;
}

/*
 * No space is reserved, but a request for more than the disk has is refused: programs call
 * fallocate to learn early that the disk is full.  Bytes that the range holds already are counted
 * again, because old blocks stay in the log.
 */
static int check_room(const struct volume *v, uint64_t len)
{
	uint64_t room;
	int rc = volume_disk_free(v, &room);

	return rc < 0 ? rc : len > room ? -ENOSPC : 0;
}

int volume_allocate(struct volume *v, const struct caller *c, inode_no ino, int mode, uint64_t off,
		    uint64_t len)
{
	struct cut cut = {0};
	struct writing w = {.ino = ino, .off = off, .end = off + len, .cut = &cut};
	struct attr a;
	int rc;

	if (len == 0)
		return -EINVAL;
	if (off > FILE_SIZE_MAX || len > FILE_SIZE_MAX - off)
		return -EFBIG;
	rc = view_getattr(&v->view, ino, &a);
	if (rc < 0)
		return rc;
	if (!S_ISREG(a.mode))
		return S_ISDIR(a.mode) ? -EISDIR : -ENODEV;
	switch (mode) {
	case 0:
	case FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_ZERO_RANGE:
		rc = check_room(v, len);
		break;
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (rc < 0 || mode == FALLOC_FL_KEEP_SIZE)
		return rc;
	w.extend = mode == FALLOC_FL_ZERO_RANGE;
	rc = change_begin(v);
	if (rc < 0)
		return rc;
	w.now = change_stamp(v);
	return change_run(v, c, mode == 0 ? grow_locked : write_locked, &w, NULL, 0);
}

struct copying {
	inode_no from;
	uint64_t from_off, end; /* end: in the source; nothing after it is copied */
	inode_no to;
	uint64_t to_off;
	uint64_t page; /* of volume_copy_pages(); 1: any byte range */
	struct change_stamp now;
	struct cut *cut;
};

/* The result of one step of a copy. */
struct copied {
	uint64_t limit; /* end of the source or of the caller's range */
	uint64_t end;	/* the step reached this position in the source */
	size_t n;
	struct extent e[COPY_EXTENTS_MAX]; /* at their offsets in the target */
};

/* Move the part of ${e} that is in [from_off, end) of the source to its place in the target. */
static struct extent moved(const struct copying *c, const struct copied *got, struct extent e)
{
	uint64_t e_end = e.off + e.len;

	if (e.off < c->from_off) {
		e.block_off += (uint32_t)(c->from_off - e.off);
		e.off = c->from_off;
	}
	if (e_end > got->end)
		e_end = got->end;
	e.len = (uint32_t)(e_end - e.off);
	e.off = e.off - c->from_off + c->to_off;
	return e;
}

static int take_extents(struct volume *v, struct need *need, const struct copying *c,
			struct copied *got)
{
	struct extent_walk w;
	struct extent e;
	int rc;

	got->end = got->limit;
	for (rc = extent_first(&w, &v->view, c->from, c->from_off, need, &e);
	     rc == 0 && e.off < got->end; rc = extent_next(&w, &e)) {
		if (got->n == COPY_EXTENTS_MAX) {
			got->end = e.off;
			break;
		}
		got->e[got->n++] = moved(c, got, e);
	}
	extent_walk_end(&w);
	return rc == -ENOENT ? 0 : rc;
}

/* Limit ${got} to pages of the target that the copy can replace as a whole. */
static int keep_to_pages(struct volume *v, struct need *need, const struct copying *c,
			 struct copied *got)
{
	uint64_t end = c->to_off + (got->limit - c->from_off);
	struct attr a;
	int rc = view_inode_locked(&v->view, c->to, need, &a);

	if (rc < 0)
		return rc;
	/*
	 * A last page that reaches beyond the end of the target is fine: there is nothing there to
	 * lose.
	 */
	if (end < a.size)
		end -= end % c->page;
	if (end <= c->to_off ||
	    (c->to_off % c->page != 0 && c->to_off - c->to_off % c->page < a.size))
		return -EXDEV;
	got->limit = c->from_off + (end - c->to_off);
	return 0;
}

/*
 * One step of a copy: extents of the source replace the target's, both as they are at this moment.
 */
static int copy_locked(struct volume *v, struct need *need, const void *in, void *out)
{
	const struct copying *c = in;
	struct copied *got = out;
	struct attr a;
	uint64_t len;
	int rc;

	rc = view_inode_locked(&v->view, c->from, need, &a);
	if (rc < 0)
		return rc;
	got->n = 0;
	got->limit = c->end < a.size ? c->end : a.size;
	if (got->limit <= c->from_off) {
		got->limit = got->end = c->from_off;
		return 0;
	}
	len = got->limit - c->from_off;
	if (c->to_off > FILE_SIZE_MAX || len > FILE_SIZE_MAX - c->to_off)
		return -EFBIG;
	if (c->from == c->to && c->from_off < c->to_off + len && c->to_off < c->from_off + len)
		return -EINVAL;
	rc = keep_to_pages(v, need, c, got);
	if (rc == 0)
		rc = take_extents(v, need, c, got);
	if (rc < 0)
		return rc;
	return put_locked(v, need,
			  &(struct writing){.ino = c->to,
					    .off = c->to_off,
					    .end = c->to_off + (got->end - c->from_off),
					    .n = got->n,
					    .e = got->e,
					    .now = c->now,
					    .cut = c->cut,
					    .extend = true});
}

int volume_copy_range(struct volume *v, const struct caller *caller, inode_no from,
		      uint64_t from_off, inode_no to, uint64_t to_off, uint64_t len,
		      uint64_t *out_len)
{
	return volume_copy_pages(v, caller, from, from_off, to, to_off, len, 1, out_len);
}

int volume_copy_pages(struct volume *v, const struct caller *caller, inode_no from,
		      uint64_t from_off, inode_no to, uint64_t to_off, uint64_t len, uint64_t page,
		      uint64_t *out_len)
{
	struct cut cut = {0};
	struct copying c = {.from = from,
			    .from_off = from_off,
			    .end = from_off + len,
			    .to = to,
			    .to_off = to_off,
			    .page = page,
			    .cut = &cut};
	struct copied *got;
	int rc;

	*out_len = 0;
	if (from_off > FILE_SIZE_MAX || len == 0)
		return 0;
	if (len > FILE_SIZE_MAX - from_off)
		c.end = FILE_SIZE_MAX;
	got = malloc(sizeof(*got));
	if (!got)
		return -ENOMEM;
	do {
		rc = change_begin(v);
		c.now = change_stamp(v);
		if (rc == 0)
			rc = change_run(v, caller, copy_locked, &c, got, sizeof(*got));
		if (rc < 0)
			break;
		*out_len += got->end - c.from_off;
		c.to_off += got->end - c.from_off;
		c.from_off = got->end;
		/* If source and target are one file, do not copy what the copy itself adds. */
		c.end = got->limit;
		/*
		 * The first step has limited the end to whole pages.  Later steps may begin
		 * anywhere.
		 */
		c.page = 1;
	} while (c.from_off < c.end);
	free(got);
	return *out_len > 0 ? 0 : rc;
}
