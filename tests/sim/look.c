/* See look.h. */

#include "look.h"

#include "blocks.h"
#include "cache.h"
#include "conf.h"
#include "model.h"
#include "source.h"
#include "source_folder.h"
#include "view.h"
#include "view_state.h"
#include "world.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CACHE_BYTES ((size_t)1 << 20)
#define INODES_MAX 65536u

typedef unsigned long long ull;

struct walk {
	struct view *v;
	const char *who;
	struct model_parts *parts; /* NULL: not wanted */
	uint64_t digest;
	uint64_t dirs[1024]; /* still to be read */
	size_t n_dirs;
	uint8_t seen[INODES_MAX / 8];
	uint64_t ino; /* the folder being read */
	/* its entries */
	struct {
		uint64_t ino;
		unsigned name;
	} e[256];
	size_t n_e;
	uint8_t bytes[MODEL_CELLS_MAX * MODEL_CELL], want[MODEL_CELL];
};

static int take_entry(void *ctx, const struct view_entry *e)
{
	struct walk *w = ctx;

	if (e->name[0] == '.')
		return 0;
	assert(w->n_e < sizeof(w->e) / sizeof(w->e[0]));
	w->e[w->n_e].ino = e->ino;
	if (sscanf(e->name, "n%u", &w->e[w->n_e++].name) != 1)
		fail("%s: folder %llu has a name '%s', which nobody made", w->who, (ull)w->ino,
		     e->name);
	return 0;
}

/* The seeds of a file's cells. */
static int read_cells(struct walk *w, struct model_inode *in, const struct attr *a)
{
	uint64_t data = 0;
	size_t len;
	int rc;

	if (a->size % MODEL_CELL != 0 || a->size > sizeof(w->bytes))
		fail("%s: inode %llu has %llu bytes", w->who, (ull)a->ino, (ull)a->size);
	in->size = (uint32_t)(a->size / MODEL_CELL);
	rc = view_read(w->v, a->ino, 0, sizeof(w->bytes), w->bytes, &len);
	if (rc < 0)
		return rc;
	if (len != a->size)
		fail("%s: inode %llu has %llu bytes, read were %zu", w->who, (ull)a->ino,
		     (ull)a->size, len);
	for (uint32_t i = 0; i < in->size; i++) {
		const uint8_t *p = w->bytes + i * MODEL_CELL;

		memcpy(&in->cells[i], p, 8);
		if (in->cells[i])
			model_cell(w->want, MODEL_CELL, in->cells[i]);
		else
			memset(w->want, 0, MODEL_CELL);
		if (memcmp(p, w->want, MODEL_CELL) != 0)
			fail("%s: cell %u of inode %llu is not what anybody wrote", w->who, i,
			     (ull)a->ino);
		data += in->cells[i] != 0;
	}
	if (a->bytes != data * MODEL_CELL)
		fail("%s: inode %llu says that it has %llu bytes of data, there are %llu", w->who,
		     (ull)a->ino, (ull)a->bytes, (ull)data * MODEL_CELL);
	return 0;
}

static int read_xattr(struct walk *w, struct model_inode *in)
{
	uint8_t value[4096], want[4096];
	size_t len;
	int rc = view_getxattr(w->v, in->ino, "user.a", value, sizeof(value), &len);

	if (rc == -ENODATA)
		return 0;
	if (rc < 0)
		return rc;
	if (len < 8)
		fail("%s: the attribute of inode %llu has %zu bytes", w->who, (ull)in->ino, len);
	memcpy(&in->xattr, value, 8);
	model_cell(want, len, in->xattr);
	if (len != model_xattr_len(in->xattr) || memcmp(value, want, len) != 0)
		fail("%s: the attribute of inode %llu is not what anybody set", w->who,
		     (ull)in->ino);
	return 0;
}

static int read_target(struct walk *w, struct model_inode *in)
{
	char text[SYMLINK_LEN_MAX + 1];
	ull seed;
	int rc = view_readlink(w->v, in->ino, text);

	if (rc < 0)
		return rc;
	if (sscanf(text, "t%llx", &seed) != 1)
		fail("%s: link %llu leads to '%s'", w->who, (ull)in->ino, text);
	in->target = seed;
	return 0;
}

static int look_at_inode(struct walk *w, uint64_t ino)
{
	struct model_inode in = {.ino = ino};
	struct attr a;
	int rc = view_getattr(w->v, ino, &a);

	if (rc < 0)
		return rc;
	in.mode = a.mode;
	in.nlink = a.nlink;
	if (S_ISREG(a.mode)) {
		rc = read_cells(w, &in, &a);
	} else if (S_ISLNK(a.mode)) {
		rc = read_target(w, &in);
	} else {
		in.size = (uint32_t)a.size;
		in.dir = a.parent;
		assert(w->n_dirs < sizeof(w->dirs) / sizeof(w->dirs[0]));
		w->dirs[w->n_dirs++] = ino;
	}
	if (rc == 0)
		rc = read_xattr(w, &in);
	w->digest += model_inode_digest(&in);
	if (w->parts && rc == 0)
		model_part_inode(w->parts, &in);
	return rc;
}

static int look_at_folder(struct walk *w, uint64_t ino)
{
	int rc;

	w->ino = ino;
	w->n_e = 0;
	rc = view_readdir(w->v, ino, 0, false, take_entry, w);
	for (size_t i = 0; rc == 0 && i < w->n_e; i++) {
		uint64_t child = w->e[i].ino;

		w->digest += model_entry_digest(ino, w->e[i].name, child);
		if (w->parts)
			model_part_entry(w->parts, ino, w->e[i].name, child);
		assert(child < INODES_MAX);
		if (w->seen[child / 8] & 1u << child % 8)
			continue;
		w->seen[child / 8] |= (uint8_t)(1u << child % 8);
		rc = look_at_inode(w, child);
	}
	return rc;
}

static int take_snapshot(void *ctx, const struct snapshot *s)
{
	struct walk *w = ctx;
	unsigned name;

	if (sscanf(s->name, "s%u", &name) != 1)
		fail("%s: a snapshot '%s', which nobody made", w->who, s->name);
	w->digest += model_snapshot_digest(name, s->head);
	if (w->parts)
		model_part_snapshot(w->parts, name, s->head);
	return 0;
}

int look_view(struct view *v, const char *who, struct model_parts *parts, uint64_t *out_digest)
{
	struct walk *w = calloc(1, sizeof(*w));
	int rc;

	assert(w);
	w->v = v;
	w->who = who;
	w->parts = parts;
	rc = look_at_inode(w, INO_ROOT);
	while (rc == 0 && w->n_dirs > 0)
		rc = look_at_folder(w, w->dirs[--w->n_dirs]);
	if (rc == 0)
		rc = view_snapshots(v, take_snapshot, w);
	*out_digest = w->digest;
	free(w);
	return rc;
}

static int look_at_source(struct source *src, const char *who, uint64_t *out_head,
			  uint64_t *out_digest)
{
	struct view_config vc = {.source = src, .name_key = conf_name_key()};
	struct block_io io;
	struct head newest;
	struct view *v;
	int rc = blocks_new(src, conf_log_key(), &vc.blocks);

	if (rc < 0)
		return rc;
	io = blocks_io(vc.blocks);
	rc = node_cache_new(CACHE_BYTES, &io, &vc.cache);
	assert(rc == 0);
	rc = src->ops->head_at(src, INT64_MAX, &newest);
	if (rc == 0)
		rc = view_open(&vc, &newest, &v);
	if (rc == 0) {
		*out_head = newest.number;
		rc = look_view(v, who, NULL, out_digest);
		view_close(v);
	}
	node_cache_free(vc.cache);
	blocks_free(vc.blocks);
	return rc;
}

int look_folder(const char *dir, const char *who, uint64_t *out_head, uint64_t *out_digest)
{
	struct source *src;
	int rc = source_open_folder(dir, &src);

	if (rc < 0)
		return rc;
	rc = look_at_source(src, who, out_head, out_digest);
	source_free(src);
	return rc;
}
