/*
 * Reading files.  Extents are collected under the lock, and their bytes are read without it: a log
 * position never changes its contents, so what was found stays readable whatever is written
 * meanwhile.
 */

#include "view_state.h"

#include "blocks.h"
#include "bytes.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define SLICES_MAX 256u
#define NEAR_MAX 32u	       /* extents passed one by one before the one looked for */
#define SEEK_EXTENTS_MAX 1024u /* extents examined in one attempt */

/* A range of a file as slices of blocks, in order; gaps between the slices are holes. */
struct stretch {
	uint64_t end; /* file offset up to which the slices are complete */
	bool more;    /* it ends because there is no room for more slices */
	size_t n;
	struct block_slice slice[SLICES_MAX];
	uint64_t off[SLICES_MAX]; /* of each slice in the file */
};

/* Decode the extent at the cursor, with the checks that arithmetic with extents relies on. */
static int walk_item(struct extent_walk *w, struct extent *out)
{
	const struct map_cursor *mc = &w->mc;
	int rc;

	if (mc->top < 0 || !item_key_is_of(&w->key, mc->key, mc->key_len))
		return -ENOENT;
	if (mc->key_len != ITEM_KEY_NUM_LEN)
		return err_say(-ERR_DAMAGED, "inode %llu: an extent has a malformed key",
			       (unsigned long long)get_be64(w->key.b));
	rc = item_extent_decode(mc->value, mc->value_len, item_key_number(mc->key), out);
	if (rc < 0)
		return rc;
	if (out->off < w->end)
		return err_say(-ERR_DAMAGED, "inode %llu: extents overlap at byte %llu",
			       (unsigned long long)get_be64(w->key.b),
			       (unsigned long long)out->off);
	w->end = out->off + out->len;
	return 0;
}

/*
 * From the seek's key to the first extent that ends after ${off}.  ${*n}: extents passed.  Returns
 * 1 if there are more than NEAR_MAX before it.
 */
static int walk_to(struct extent_walk *w, uint64_t off, struct extent *out, unsigned *n)
{
	int rc = map_seek(&w->mc, w->key.b, w->key.len);

	w->end = 0;
	for (*n = 0; rc == 0; ++*n) {
		rc = walk_item(w, out);
		if (rc < 0 || w->end > off)
			return rc;
		if (*n == NEAR_MAX)
			return 1;
		rc = map_next(&w->mc);
	}
	return rc;
}

/*
 * An extent is at most EXTENT_MAX long, so one that reaches ${off} begins less than that before it.
 * Where many extents begin there, a binary search finds the last of them: none begins within
 * ${near} of ${off}, many do within ${far}.
 */
int extent_first(struct extent_walk *w, struct view *v, inode_no ino, uint64_t off,
		 struct need *need, struct extent *out)
{
	uint64_t near = 0, far = EXTENT_MAX - 1, back = far;
	unsigned n;
	int rc;

	map_cursor_init(&w->mc, &v->map, need);
	for (;; back = near + (far - near) / 2) {
		item_key_num(&w->key, ino, ITEM_EXTENT, off < back ? 0 : off - back);
		rc = walk_to(w, off, out, &n);
		if (rc == 1)
			far = back;
		else if ((rc < 0 && rc != -ENOENT) || n > 0 || back == EXTENT_MAX - 1 ||
			 off <= back || (rc == 0 && out->off <= off))
			return rc;
		else
			near = back;
	}
}

int extent_next(struct extent_walk *w, struct extent *out)
{
	int rc = map_next(&w->mc);

	return rc < 0 ? rc : walk_item(w, out);
}

void extent_walk_end(struct extent_walk *w)
{
	map_cursor_release(&w->mc);
}

/* A read of [off, end), or what the file has of it, into ${out}. */
struct reading {
	inode_no ino;
	uint64_t off, end;
	uint8_t *out;
};

static void add_slice(struct stretch *s, const struct reading *r, const struct extent *e,
		      uint64_t end)
{
	uint64_t from = e->off > r->off ? e->off : r->off;
	uint64_t to = e->off + e->len < end ? e->off + e->len : end;

	s->off[s->n] = from;
	s->slice[s->n++] = (struct block_slice){
		.ptr = e->ptr,
		.off = e->block_off + (uint32_t)(from - e->off),
		.len = (uint32_t)(to - from),
		.out = r->out + (from - r->off),
	};
}

static int size_locked(struct view *v, inode_no ino, struct need *need, uint64_t *out)
{
	struct attr a;
	int rc = view_inode_locked(v, ino, need, &a);

	if (rc == 0 && !S_ISREG(a.mode))
		return S_ISDIR(a.mode) ? -EISDIR : -EINVAL;
	*out = rc == 0 ? a.size : 0;
	return rc;
}

static int collect_locked(struct view *v, struct need *need, const void *in, void *out)
{
	const struct reading *r = in;
	struct stretch *s = out;
	struct extent_walk w;
	struct extent e;
	uint64_t size;
	int rc;

	rc = size_locked(v, r->ino, need, &size);
	if (rc < 0)
		return rc;
	s->n = 0;
	s->more = false;
	s->end = r->end < size ? r->end : size;
	if (s->end <= r->off) {
		s->end = r->off;
		return 0;
	}
	for (rc = extent_first(&w, v, r->ino, r->off, need, &e); rc == 0 && e.off < s->end;
	     rc = extent_next(&w, &e)) {
		if (s->n == SLICES_MAX) {
			s->end = e.off;
			s->more = true;
			break;
		}
		add_slice(s, r, &e, s->end);
	}
	extent_walk_end(&w);
	return rc == -ENOENT ? 0 : rc;
}

static void zero_holes(const struct stretch *s, uint64_t off, uint8_t *out)
{
	uint64_t at = off;

	for (size_t i = 0; i < s->n; i++) {
		/* extent_next() refuses extents that overlap. */
		assert(s->off[i] >= at);
		memset(out + (at - off), 0, s->off[i] - at);
		at = s->off[i] + s->slice[i].len;
	}
	assert(at <= s->end);
	memset(out + (at - off), 0, s->end - at);
}

int view_read(struct view *v, inode_no ino, uint64_t off, size_t len, void *out, size_t *out_len)
{
	struct reading r = {
		.ino = ino,
		.off = off,
		.end = len < FILE_SIZE_MAX - off ? off + len : FILE_SIZE_MAX,
		.out = out,
	};
	struct stretch s;
	int rc;

	*out_len = 0;
	if (off >= FILE_SIZE_MAX)
		r.end = off;
	do {
		rc = view_run(v, collect_locked, &r, &s, sizeof(s));
		if (rc < 0)
			return rc;
		zero_holes(&s, r.off, r.out);
		rc = blocks_read_slices(v->cfg.blocks, s.slice, s.n);
		if (rc < 0)
			return rc;
		r.out += s.end - r.off;
		r.off = s.end;
	} while (s.more);
	*out_len = r.off - off;
	return 0;
}

struct seeking {
	inode_no ino;
	uint64_t at;
	bool hole;
};

struct sought {
	uint64_t at;
	bool done; /* false: up to ${at} there is data, and nobody has looked further */
};

/*
 * From ${in}, which lies in data or a hole, go to the next of the other kind, or as far as
 * SEEK_EXTENTS_MAX extents reach.
 */
static int seek_locked(struct view *v, struct need *need, const void *in, void *out)
{
	const struct seeking *s = in;
	struct sought *found = out;
	struct extent_walk w;
	struct extent e;
	uint64_t size;
	unsigned n = 0;
	int rc;

	rc = size_locked(v, s->ino, need, &size);
	if (rc < 0)
		return rc;
	if (s->at >= size)
		return -ENXIO;
	*found = (struct sought){.at = s->at, .done = true};
	for (rc = extent_first(&w, v, s->ino, s->at, need, &e); rc == 0 && e.off < size;
	     rc = extent_next(&w, &e)) {
		if (!s->hole || e.off > found->at)
			break;
		found->at = e.off + e.len;
		if (++n == SEEK_EXTENTS_MAX) {
			found->done = false;
			break;
		}
	}
	extent_walk_end(&w);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (s->hole) {
		found->at = found->at < size ? found->at : size;
		return 0;
	}
	if (rc == -ENOENT || e.off >= size)
		return -ENXIO;
	found->at = e.off > s->at ? e.off : s->at;
	return 0;
}

int view_seek(struct view *v, inode_no ino, uint64_t off, bool hole, uint64_t *out)
{
	struct seeking s = {.ino = ino, .at = off, .hole = hole};
	struct sought found;
	int rc;

	do {
		rc = view_run(v, seek_locked, &s, &found, sizeof(found));
		/* The file was cut where data was seen a moment ago: its new end is a hole. */
		if (rc == -ENXIO && s.at > off)
			break;
		if (rc < 0)
			return rc;
		s.at = found.at;
	} while (!found.done);
	*out = s.at;
	return 0;
}
