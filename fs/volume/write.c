/*
 * Writing file bytes: into the log first, by any number of threads at once; then, in one short
 * step, the file's extents point there.
 */

#include "volume_internal.h"

#include "log.h"
#include "bytes.h"
#include "params.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define WRITE_MAX (4u << 20)
#define EXTENTS_PER_WRITE (WRITE_MAX / EXTENT_MAX + 1)
#define COPY_EXTENTS_MAX 1024u /* moved in one step by a copy */

struct writing {
	uint64_t ino;
	uint64_t off, end;
	unsigned how; /* as volume_write() */
	size_t n;
	const struct extent *e; /* in order, inside [off, end) */
	struct cut cut;
	bool extend; /* the size grows to end */
};

/* Replace [off, end) of a file by the given extents; what they leave out becomes a hole. */
static int put_locked(struct volume *v, struct writing *w, struct need *need)
{
	uint64_t added = 0;
	struct attr a;
	int rc;

	rc = view_inode_locked(&v->view, w->ino, need, &a);
	if (rc < 0)
		return rc;
	if (!S_ISREG(a.mode))
		return S_ISDIR(a.mode) ? -EISDIR : -EINVAL;
	/* Nothing lies beyond a file's size: an append has nothing to replace. */
	if (w->off < a.size) {
		rc = cut_find(v, w->ino, need, &w->cut);
		if (rc < 0)
			return rc;
	}
	if (change_reserve(v, w->n + 6, 0) < 0)
		return -ENOMEM;

	cut_apply(v, w->ino, &w->cut);
	for (size_t i = 0; i < w->n; i++) {
		extent_put(v, w->ino, &w->e[i]);
		added += w->e[i].len;
	}
	a.bytes += added - w->cut.bytes;
	v->view.counts.bytes += added - w->cut.bytes;
	if (w->extend && w->end > a.size)
		a.size = w->end;
	if (w->how & WRITE_KILL_PRIV)
		kill_priv(v, &a);
	if (!(w->how & WRITE_KEEP_TIMES))
		a.mtime = a.ctime = change_now();
	change_inode(v, &a);
	return 0;
}

static int put(struct volume *v, struct writing *w)
{
	struct need need;
	int rc;

	cut_init(&w->cut, w->off, w->end);
	do {
		change_lock(v);
		rc = put_locked(v, w, &need);
		change_unlock(v);
	} while (view_again(&v->view, &need, &rc));
	return rc;
}

int volume_write(struct volume *v, uint64_t ino, uint64_t off, size_t len, const void *data,
		 unsigned how)
{
	struct extent e[EXTENTS_PER_WRITE];
	struct writing w = {
		.ino = ino, .off = off, .end = off + len, .how = how, .e = e, .extend = true};
	const uint8_t *p = data;
	int rc;

	if (len > WRITE_MAX)
		return -EINVAL;
	if (off > FILE_SIZE_MAX || len > FILE_SIZE_MAX - off)
		return -EFBIG;
	rc = change_begin(v);
	if (rc < 0)
		return rc;
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
			return rc;
	}
	return change_end(v, put(v, &w));
}

/* The size grows, and nothing else. */
static int grow(struct volume *v, uint64_t ino, uint64_t size)
{
	struct attr a, want = {.size = size};
	int rc = view_getattr(&v->view, ino, &a);

	if (rc < 0 || a.size >= size)
		return rc;
	return volume_setattr(v, ino, SET_SIZE, &want, &a);
}

/*
 * Space is not set aside, but what could never be had is refused: programs ask for it to learn
 * early that the disk is full.  What the range holds already counts again: old blocks stay.
 */
static int check_room(const struct volume *v, uint64_t len)
{
	uint64_t room;
	int rc = volume_disk_free(v, &room);

	return rc < 0 ? rc : len > room ? -ENOSPC : 0;
}

int volume_allocate(struct volume *v, uint64_t ino, int mode, uint64_t off, uint64_t len)
{
	struct writing w = {.ino = ino, .off = off, .end = off + len};
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
	if (mode == 0)
		return grow(v, ino, w.end);
	w.extend = mode == FALLOC_FL_ZERO_RANGE;
	rc = change_begin(v);
	return rc < 0 ? rc : change_end(v, put(v, &w));
}

/* What a copy takes along in one step. */
struct copying {
	uint64_t from, from_off, end; /* end: in the source, after which nothing is taken */
	uint64_t to_off;
	size_t n;
	struct extent e[COPY_EXTENTS_MAX]; /* at their new offsets */
};

static int collect_locked(struct volume *v, struct copying *c, struct need *need)
{
	struct map_cursor mc;
	struct item_key key;
	struct extent e;
	int rc;

	c->n = 0;
	item_key_num(&key, c->from, ITEM_EXTENT,
		     c->from_off < EXTENT_MAX ? 0 : c->from_off - EXTENT_MAX + 1);
	map_cursor_init(&mc, &v->view.map, need);
	for (rc = map_seek(&mc, key.b, key.len); rc == 0; rc = map_next(&mc)) {
		uint64_t e_end;

		if (mc.top < 0 || mc.key_len != 17 || memcmp(mc.key, key.b, 9) != 0)
			break;
		rc = item_extent_decode(mc.value, mc.value_len, get_be64(mc.key + 9), &e);
		if (rc < 0 || e.off >= c->end)
			break;
		e_end = e.off + e.len;
		if (e_end <= c->from_off)
			continue;
		if (c->n == COPY_EXTENTS_MAX) {
			c->end = e.off;
			break;
		}
		if (e.off < c->from_off) {
			e.block_off += (uint32_t)(c->from_off - e.off);
			e.off = c->from_off;
		}
		if (e_end > c->end)
			e_end = c->end;
		e.len = (uint32_t)(e_end - e.off);
		e.off = e.off - c->from_off + c->to_off;
		c->e[c->n++] = e;
	}
	map_cursor_release(&mc);
	return rc;
}

/*
 * One step: extents of the source, up to COPY_EXTENTS_MAX, take the place of what the target has
 * there.
 */
static int copy_step(struct volume *v, struct copying *c, uint64_t to)
{
	struct writing w = {.ino = to, .off = c->to_off, .e = c->e, .extend = true};
	struct need need;
	int rc;

	rc = change_begin(v);
	if (rc < 0)
		return rc;
	do {
		view_rdlock(&v->view);
		rc = collect_locked(v, c, &need);
		view_unlock(&v->view);
	} while (view_again(&v->view, &need, &rc));
	if (rc == 0) {
		w.n = c->n;
		w.end = c->to_off + (c->end - c->from_off);
		rc = put(v, &w);
	}
	return change_end(v, rc);
}

int volume_copy_range(struct volume *v, uint64_t from, uint64_t from_off, uint64_t to,
		      uint64_t to_off, uint64_t len, uint64_t *out_len)
{
	struct copying *c;
	struct attr a;
	uint64_t end;
	int rc;

	*out_len = 0;
	rc = view_getattr(&v->view, from, &a);
	if (rc < 0 || from_off >= a.size || len == 0)
		return rc;
	if (len > a.size - from_off)
		len = a.size - from_off;
	if (to_off > FILE_SIZE_MAX || len > FILE_SIZE_MAX - to_off)
		return -EFBIG;
	if (from == to && from_off < to_off + len && to_off < from_off + len)
		return -EINVAL;
	c = malloc(sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	end = from_off + len;
	*c = (struct copying){.from = from, .from_off = from_off, .to_off = to_off};
	while (rc == 0 && c->from_off < end) {
		c->end = end;
		rc = copy_step(v, c, to);
		if (rc < 0)
			break;
		*out_len += c->end - c->from_off;
		c->to_off += c->end - c->from_off;
		c->from_off = c->end;
	}
	free(c);
	return *out_len > 0 ? 0 : rc;
}
