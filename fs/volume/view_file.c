/*
 * Reading files.  The extents are taken under the lock, the bytes fetched without it: positions
 * never change meaning, so what was found stays readable whatever is written meanwhile.
 */

#include "view_internal.h"

#include "blocks.h"
#include "bytes.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define SLICES_MAX 256u

/* A stretch of a file as slices of blocks, in order; the gaps between them are holes. */
struct stretch {
	uint64_t end; /* file offset up to which the slices are complete */
	size_t n;
	struct block_slice slice[SLICES_MAX];
	uint64_t off[SLICES_MAX]; /* of each slice in the file */
};

static int next_extent(struct map_cursor *mc, const struct item_key *prefix, struct extent *out)
{
	if (mc->top < 0 || mc->key_len != 17 || memcmp(mc->key, prefix->b, 9) != 0)
		return -ENOENT;
	return item_extent_decode(mc->value, mc->value_len, get_be64(mc->key + 9), out);
}

/* An extent is at most EXTENT_MAX long, so what covers ${off} begins less than that before it. */
static int seek_extent(struct map_cursor *mc, uint64_t ino, uint64_t off, struct item_key *key)
{
	item_key_num(key, ino, ITEM_EXTENT, off < EXTENT_MAX ? 0 : off - EXTENT_MAX + 1);
	return map_seek(mc, key->b, key->len);
}

static int collect_locked(struct view *v, uint64_t ino, uint64_t off, uint64_t end, uint8_t *out,
			  struct need *need, struct stretch *s)
{
	struct map_cursor mc;
	struct item_key key;
	struct extent e;
	int rc;

	s->n = 0;
	s->end = end;
	map_cursor_init(&mc, &v->map, need);
	for (rc = seek_extent(&mc, ino, off, &key); rc == 0; rc = map_next(&mc)) {
		uint64_t from, to;

		rc = next_extent(&mc, &key, &e);
		if (rc == -ENOENT || (rc == 0 && e.off >= end)) {
			rc = 0;
			break;
		}
		if (rc < 0)
			break;
		if (e.off + e.len <= off)
			continue;
		if (s->n == SLICES_MAX) {
			s->end = e.off;
			break;
		}
		from = e.off > off ? e.off : off;
		to = e.off + e.len < end ? e.off + e.len : end;
		s->off[s->n] = from;
		s->slice[s->n++] = (struct block_slice){
			.ptr = e.ptr,
			.off = e.block_off + (uint32_t)(from - e.off),
			.len = (uint32_t)(to - from),
			.out = out + (from - off),
		};
	}
	map_cursor_release(&mc);
	return rc;
}

static void zero_holes(const struct stretch *s, uint64_t off, uint8_t *out)
{
	uint64_t at = off;

	for (size_t i = 0; i < s->n; i++) {
		memset(out + (at - off), 0, s->off[i] - at);
		at = s->off[i] + s->slice[i].len;
	}
	memset(out + (at - off), 0, s->end - at);
}

static int size_locked(struct view *v, uint64_t ino, struct need *need, uint64_t *out)
{
	struct attr a;
	int rc = view_inode_locked(v, ino, need, &a);

	if (rc == 0 && !S_ISREG(a.mode))
		return S_ISDIR(a.mode) ? -EISDIR : -EINVAL;
	*out = rc == 0 ? a.size : 0;
	return rc;
}

int view_read(struct view *v, uint64_t ino, uint64_t off, size_t len, void *out, size_t *out_len)
{
	uint64_t size = 0, at = off, end;
	struct stretch s;
	struct need need;
	uint8_t *p = out;
	int rc;

	*out_len = 0;
	do {
		do {
			view_rdlock(v);
			rc = size_locked(v, ino, &need, &size);
			end = off >= size ? off : (size - off < len ? size : off + len);
			if (rc == 0 && at < end)
				rc = collect_locked(v, ino, at, end, p + (at - off), &need, &s);
			view_unlock(v);
		} while (view_again(v, &need, &rc));
		if (rc < 0)
			return rc;
		if (at >= end)
			break;
		zero_holes(&s, at, p + (at - off));
		rc = blocks_read_slices(v->cfg.blocks, s.slice, s.n);
		if (rc < 0)
			return rc;
		at = s.end;
	} while (at < end);
	*out_len = end - off;
	return 0;
}

/*
 * From ${*at}, which lies in data or a hole, to the next of the other kind, as far as one pass
 * under the lock goes.
 */
static int seek_locked(struct view *v, uint64_t ino, uint64_t *at, bool hole, struct need *need)
{
	struct map_cursor mc;
	struct item_key key;
	struct extent e;
	uint64_t size;
	int rc;

	rc = size_locked(v, ino, need, &size);
	if (rc < 0)
		return rc;
	if (*at >= size)
		return -ENXIO;
	map_cursor_init(&mc, &v->map, need);
	for (rc = seek_extent(&mc, ino, *at, &key); rc == 0; rc = map_next(&mc)) {
		rc = next_extent(&mc, &key, &e);
		if (rc < 0 || e.off >= size)
			break;
		if (e.off + e.len <= *at)
			continue;
		if (!hole) {
			*at = e.off > *at ? e.off : *at;
			break;
		}
		if (e.off > *at)
			break;
		*at = e.off + e.len;
	}
	if (rc == -ENOENT || (rc == 0 && e.off >= size)) {
		rc = hole ? 0 : -ENXIO;
		if (hole && *at > size)
			*at = size;
	}
	map_cursor_release(&mc);
	return rc;
}

int view_seek(struct view *v, uint64_t ino, uint64_t off, bool hole, uint64_t *out)
{
	struct need need;
	int rc;

	*out = off;
	/* A pass that meets a missing node has moved ${*out} along; the next goes on from there. */
	do {
		view_rdlock(v);
		rc = seek_locked(v, ino, out, hole, &need);
		view_unlock(v);
	} while (view_again(v, &need, &rc));
	if (rc == -ENXIO && hole && *out > off)
		rc = 0;
	return rc;
}
