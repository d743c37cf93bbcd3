/*
 * Check: from damaged inodes to paths.
 *
 * An inode does not know its names, so one pass over all entries finds a folder and a name for each
 * of the (few) damaged inodes.  Folders know their parents; their names are looked up on the way to
 * the root.  The pass works on a damaged tree too: it reads what is readable.
 */

#include "check_internal.h"

#include "buf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_DEPTH_MAX 256u /* names shown of a path; a deeper path begins with "..." */

struct named {
	inode_no ino, parent;
	char name[NAME_LEN_MAX + 1];
	bool found;
};

struct paths {
	struct check *c;
	struct view *v;
	struct named *named; /* n of them, ascending by ino */
	size_t n;
};

static int by_ino(const void *a, const void *b)
{
	const struct named *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static struct named *find(struct paths *p, inode_no ino)
{
	struct named key = {.ino = ino};

	return bsearch(&key, p->named, p->n, sizeof(*p->named), by_ino);
}

static int on_item(void *ctx, const uint8_t *key, size_t key_len, const uint8_t *value,
		   size_t value_len)
{
	struct paths *p = ctx;
	enum item_type type;
	struct named *named;
	struct entry e;
	inode_no ino;
	size_t at = 0;

	if (item_key_decode(key, key_len, &ino, &type) < 0 || type != ITEM_ENTRY)
		return 0;
	while (item_entry_next(value, value_len, &at, &e) == 0) {
		named = find(p, e.ino);
		if (!named || named->found)
			continue;
		named->found = true;
		named->parent = ino;
		memcpy(named->name, e.name, e.name_len);
		named->name[e.name_len] = '\0';
	}
	return 0;
}

/* Walk what lies over the tree: the deltas after the checkpoint. */
static int walk_overlay(struct paths *p)
{
	struct map top = {.cache = p->v->map.cache, .live = p->v->map.live};
	struct map_cursor mc;
	int rc;

	map_cursor_init(&mc, &top, NULL);
	for (rc = map_seek(&mc, "", 0); rc == 0 && mc.top >= 0; rc = map_next(&mc))
		rc = on_item(p, mc.key, mc.key_len, mc.value, mc.value_len);
	map_cursor_release(&mc);
	return rc;
}

struct search {
	inode_no ino;
	char name[NAME_LEN_MAX + 1];
};

static int is_it(void *ctx, const struct view_entry *e)
{
	struct search *s = ctx;

	if (e->ino != s->ino || strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
		return 0;
	snprintf(s->name, sizeof(s->name), "%s", e->name);
	return 1;
}

/* Write the path of ${folder}/${name} backwards, so that it ends at the end of ${out}. */
static const char *path_of(struct paths *p, const struct named *named, char *out, size_t cap)
{
	struct search s = {.ino = named->parent};
	const char *name = named->name;
	inode_no folder = named->parent;
	char *at = out + cap - 1;
	struct attr a;

	*at = '\0';
	for (unsigned depth = 0;; depth++) {
		size_t len = strlen(name);

		if (len + 5 > (size_t)(at - out) || depth == PATH_DEPTH_MAX)
			break;
		at -= len;
		memcpy(at, name, len);
		*--at = '/';
		if (folder == INO_ROOT)
			return at;
		s = (struct search){.ino = folder};
		if (view_getattr(p->v, folder, &a) < 0 || !S_ISDIR(a.mode) ||
		    view_readdir(p->v, a.parent, 0, false, is_it, &s) < 0 || s.name[0] == '\0')
			break;
		name = s.name;
		folder = a.parent;
	}
	at -= 3;
	memcpy(at, "...", 3);
	return at;
}

static void tell(struct paths *p, const struct hurt *h, char *buf, size_t cap)
{
	const struct named *named = find(p, h->ino);
	const char *path = "(no name found)";

	if (h->ino == INO_ROOT)
		path = "/";
	else if (named && named->found)
		path = path_of(p, named, buf, cap);
	if (h->to > h->from)
		check_note(p->c, "damaged: %s (inode %" PRIu64 "), bytes %" PRIu64 " to %" PRIu64,
			   path, h->ino, h->from, h->to - 1);
	else
		check_note(p->c, "damaged: %s (inode %" PRIu64 "), its attributes or contents",
			   path, h->ino);
}

int check_paths(struct check *c, struct view *v)
{
	struct paths p = {.c = c, .v = v};
	size_t cap = PATH_DEPTH_MAX * 8;
	char *buf;
	int rc = -ENOMEM;

	if (c->n_hurts == 0)
		return 0;
	p.named = calloc(c->n_hurts, sizeof(*p.named));
	buf = malloc(cap);
	if (!p.named || !buf)
		goto out;
	for (size_t i = 0; i < c->n_hurts; i++) {
		if (i == 0 || c->hurts[i].ino != c->hurts[i - 1].ino)
			p.named[p.n++].ino = c->hurts[i].ino;
	}
	qsort(p.named, p.n, sizeof(*p.named), by_ino);
	rc = tree_walk(v->map.cache, &v->map.base, NULL, on_item, &p);
	if (rc == 0)
		rc = walk_overlay(&p);
	for (size_t i = 0; rc == 0 && i < c->n_hurts; i++)
		tell(&p, &c->hurts[i], buf, cap);
out:
	free(buf);
	free(p.named);
	return rc;
}
