/*
 * Check, part 3: the namespace at the newest head.
 *
 * All items of an inode are neighbours, so one pass in key order judges each inode by itself:
 * attributes, entries, extents, and the sums that the attributes state.  check_contents.c
 * checks what leads to data blocks, and check_links.c the relations between inodes.
 *
 * If nodes of the tree are damaged, nothing below them can be walked: the damage is reported with
 * the inodes that it may affect, and the rest of part 3 is skipped.
 *
 * The view belongs to this thread alone, so its lock is not taken.
 */

#include "check_names_internal.h"

#include "source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PROGRESS_ITEMS 65536u

int check_walk(struct view *v, const struct item_key *from, check_item_fn *fn, void *ctx)
{
	struct map_cursor mc;
	int rc;

	map_cursor_init(&mc, &v->map, NULL);
	for (rc = map_seek(&mc, from->b, from->len); rc == 0 && mc.top >= 0; rc = map_next(&mc)) {
		rc = fn(ctx, mc.key, mc.key_len, mc.value, mc.value_len);
		if (rc != 0)
			break;
	}
	map_cursor_release(&mc);
	return rc < 0 ? rc : 0;
}

static int get_item(struct names *n, const struct item_key *key, void *value, size_t cap,
		    size_t *out_len)
{
	return map_get(&n->v->map, key->b, key->len, NULL, value, cap, out_len);
}

static int get_inode(struct names *n, inode_no ino, struct attr *out)
{
	return view_inode_locked(n->v, ino, NULL, out);
}

static int check_orphan(struct names *n, inode_no ino)
{
	uint8_t value[TREE_VALUE_MAX];
	struct item_key key;
	size_t len;
	int rc;

	item_key_num(&key, 0, ITEM_ORPHAN, ino);
	rc = get_item(n, &key, value, sizeof(value), &len);
	if (rc == -ENOENT) {
		bad_inode(n, ino, "it has no name and is not listed as an orphan");
		return 0;
	}
	return rc;
}

static void end_folder(struct names *n, const struct group *g)
{
	if (g->entries != g->attr.size)
		bad_inode(n, g->ino, "the folder states %" PRIu64 " entries and has %" PRIu64,
			  g->attr.size, g->entries);
	if (g->entries != g->attr.size && !g->unsure)
		check_fix(n->c, g->ino, FIX_ENTRIES, g->attr.size, g->entries);
	if (g->attr.nlink != 0 && g->attr.nlink != g->folders + 2)
		bad_inode(n, g->ino, "the folder's link count is %u and should be %" PRIu64,
			  g->attr.nlink, g->folders + 2);
	if (g->attr.nlink != 0 && g->attr.nlink != g->folders + 2 && !g->unsure)
		check_fix(n->c, g->ino, FIX_LINKS, g->attr.nlink, g->folders + 2);
	if (g->bytes != 0)
		bad_inode(n, g->ino, "a folder has file extents");
}

static int end_group(struct names *n)
{
	const struct group *g = &n->g;

	if (g->ino == 0)
		return 0;
	if (!g->have) {
		bad_inode(n, g->ino, "it has contents and no attributes");
		return 0;
	}
	n->inodes++;
	n->bytes += g->attr.bytes;
	n->next_ino = g->ino + 1;
	if (S_ISDIR(g->attr.mode))
		end_folder(n, g);
	else if (g->entries != 0)
		bad_inode(n, g->ino, "it has entries and is no folder");
	if (S_ISLNK(g->attr.mode) && !g->target)
		bad_inode(n, g->ino, "the symbolic link has no target");
	check_contents_end(n, g);
	return g->attr.nlink == 0 ? check_orphan(n, g->ino) : 0;
}

static void take_inode(struct names *n, size_t key_len, const uint8_t *value, size_t len)
{
	struct group *g = &n->g;
	uint32_t type;
	int rc;

	rc = item_inode_decode(value, len, g->ino, &g->attr);
	if (rc < 0 || key_len != ITEM_PREFIX_LEN) {
		bad_inode(n, g->ino, "its attributes are malformed");
		return;
	}
	g->have = true;
	type = g->attr.mode & S_IFMT;
	if (type != S_IFREG && type != S_IFDIR && type != S_IFLNK && type != S_IFCHR &&
	    type != S_IFBLK && type != S_IFIFO && type != S_IFSOCK)
		bad_inode(n, g->ino, "its type %o is unknown", type);
	if (g->ino == INO_ROOT && (type != S_IFDIR || g->attr.parent != INO_ROOT))
		bad_inode(n, g->ino, "the root is not a folder that holds itself");
}

static bool name_is_good(const struct entry *e)
{
	if (e->name_len <= 2 && memcmp(e->name, "..", e->name_len) == 0)
		return false;
	return !memchr(e->name, '/', e->name_len) && !memchr(e->name, '\0', e->name_len) &&
	       e->type != 0;
}

/* The folder that an entry names must state the entry's folder as its parent. */
static int check_parent(struct names *n, const struct entry *e)
{
	struct attr a;
	int rc = get_inode(n, e->ino, &a);

	/* A missing inode is reported when names are counted. */
	if (rc == -ENOENT || rc == -ERR_DAMAGED)
		return 0;
	if (rc == 0 && a.parent != n->g.ino)
		bad_inode(n, e->ino,
			  "folder %" PRIu64 " holds it, but it says that %" PRIu64 " does",
			  n->g.ino, a.parent);
	return rc;
}

static int take_entries(struct names *n, const uint8_t *key, size_t key_len, const uint8_t *value,
			size_t len)
{
	struct group *g = &n->g;
	struct entry e;
	size_t at = 0;
	int rc;

	if (key_len != ITEM_KEY_NUM_LEN || len == 0) {
		bad_inode(n, g->ino, "an entry of the folder is malformed");
		g->unsure = n->c->names_unsure = true;
		return 0;
	}
	while ((rc = item_entry_next(value, len, &at, &e)) == 0) {
		g->entries++;
		n->c->counts->entries++;
		if (!name_is_good(&e) ||
		    item_entry_hash(n->v->cfg.name_key, e.name, e.name_len) != item_key_number(key))
			bad_inode(n, g->ino,
				  "the folder's entry for inode %" PRIu64
				  " has a name that can't be or is in the wrong place",
				  e.ino);
		if (!S_ISDIR(e.type))
			continue;
		g->folders++;
		rc = check_parent(n, &e);
		if (rc < 0)
			return rc;
	}
	if (rc == -ERR_DAMAGED) {
		bad_inode(n, g->ino, "an entry of the folder is malformed");
		g->unsure = n->c->names_unsure = true;
	}
	return 0;
}

static int take_orphan(struct names *n, const uint8_t *key, size_t key_len)
{
	struct attr a;
	int rc;

	if (key_len != ITEM_KEY_NUM_LEN) {
		check_bad(n->c, -ERR_DAMAGED, "an orphan's item is malformed");
		return 0;
	}
	rc = get_inode(n, item_key_number(key), &a);
	if (rc == -ENOENT) {
		bad_inode(n, item_key_number(key), "it is listed as an orphan and does not exist");
		return 0;
	}
	if (rc == 0 && a.nlink != 0)
		bad_inode(n, a.ino, "it is listed as an orphan and has %u names", a.nlink);
	return rc == -ERR_DAMAGED ? 0 : rc;
}

static int take_snapshot(struct names *n, const uint8_t *key, size_t key_len, const uint8_t *value,
			 size_t len)
{
	struct source *src = n->v->cfg.source;
	struct snapshot s;
	struct head h;
	struct attr root;
	struct view *v;
	size_t got = 0;
	int rc;

	n->c->counts->snapshots++;
	if (key_len <= ITEM_PREFIX_LEN || key_len - ITEM_PREFIX_LEN > NAME_LEN_MAX ||
	    item_snapshot_decode(value, len, &s) < 0) {
		check_bad(n->c, -ERR_DAMAGED, "a snapshot's item is malformed");
		return 0;
	}
	memcpy(s.name, key + ITEM_PREFIX_LEN, key_len - ITEM_PREFIX_LEN);
	s.name[key_len - ITEM_PREFIX_LEN] = '\0';
	rc = src->ops->heads(src, s.head, 1, &h, &got);
	if (rc == 0 && got == 0)
		rc = -ERR_ABSENT;
	if (rc == 0)
		rc = view_open(&n->v->cfg, &h, &v);
	if (rc == 0) {
		rc = view_getattr(v, INO_ROOT, &root);
		view_close(v);
	}
	if (rc == -ENOMEM)
		return rc;
	if (rc < 0)
		check_bad(n->c, rc, "snapshot '%s' can't be opened: %s", s.name, err_detail(rc));
	return 0;
}

static int take_item(void *ctx, const uint8_t *key, size_t key_len, const uint8_t *value,
		     size_t len)
{
	struct names *n = ctx;
	enum item_type type;
	inode_no ino;
	int rc;

	if (n->n_items++ % PROGRESS_ITEMS == 0)
		check_progress(n->c, "names", n->inodes, n->v->counts.inodes);
	if (item_key_decode(key, key_len, &ino, &type) < 0 || ino >= INO_MAX ||
	    (ino == 0) != (type == ITEM_ORPHAN || type == ITEM_SNAPSHOT)) {
		check_bad(n->c, -ERR_DAMAGED, "an item's key is malformed");
		n->c->names_unsure = true;
		return 0;
	}
	if (ino != n->g.ino) {
		rc = end_group(n);
		if (rc < 0)
			return rc;
		n->g = (struct group){.ino = ino};
	}
	switch (type) {
	case ITEM_INODE:
		take_inode(n, key_len, value, len);
		return 0;
	case ITEM_XATTR:
		return check_contents_xattr(n, key_len, value, len);
	case ITEM_SYMLINK:
		n->g.target = true;
		if (!n->g.have || !S_ISLNK(n->g.attr.mode) || len != n->g.attr.size)
			bad_inode(n, ino, "a symbolic link's target does not fit its attributes");
		return 0;
	case ITEM_ENTRY:
		return take_entries(n, key, key_len, value, len);
	case ITEM_EXTENT:
		return check_contents_extent(n, key, key_len, value, len);
	case ITEM_ORPHAN:
		return take_orphan(n, key, key_len);
	case ITEM_SNAPSHOT:
		return take_snapshot(n, key, key_len, value, len);
	}
	return 0;
}

static void check_sums(struct names *n)
{
	const struct volume_counts *c = &n->v->counts;

	if (n->inodes != c->inodes)
		check_bad(n->c, -ERR_DAMAGED,
			  "the volume states %" PRIu64 " inodes and has %" PRIu64, c->inodes,
			  n->inodes);
	if (n->bytes != c->bytes)
		check_bad(n->c, -ERR_DAMAGED,
			  "the volume states %" PRIu64 " bytes and has %" PRIu64, c->bytes,
			  n->bytes);
	if (n->next_ino > c->next_ino)
		check_bad(n->c, -ERR_DAMAGED,
			  "the volume would make inode %" PRIu64 " next and has %" PRIu64
			  " already",
			  c->next_ino, n->next_ino - 1);
	if (n->c->cfg->recount)
		n->c->fixes.wrong_totals = n->inodes != c->inodes || n->bytes != c->bytes ||
				     n->next_ino > c->next_ino;
	n->c->fixes.totals.inodes = n->inodes - c->inodes;
	n->c->fixes.totals.bytes = n->bytes - c->bytes;
	n->c->fixes.totals.next_ino = n->next_ino;
}

/*
 * The tree's structure.  Damaged nodes are reported here, with the inodes that may lie below them.
 */
struct shape {
	struct check *c;
	uint64_t damaged;
};

static int on_node(void *ctx, const struct tree_walk_node *node)
{
	struct shape *s = ctx;
	inode_no ino = 0;
	enum item_type type;

	if (node->rc == 0)
		return 0;
	if (node->rc == -ENOMEM)
		return node->rc;
	s->damaged++;
	if (node->from_len > 0 && item_key_decode(node->from, node->from_len, &ino, &type) < 0)
		ino = 0;
	check_bad(s->c, node->rc,
		  "a node of the tree at position %" PRIu64 " is damaged (%s); what "
		  "begins at inode %" PRIu64 " can't be read",
		  node->ptr.pos, err_detail(node->rc), ino);
	if (ino != 0)
		check_hurt(s->c, ino, 0, 0);
	return 0;
}

int check_names(struct check *c, struct view *v)
{
	struct names n = {.c = c, .v = v};
	struct shape shape = {.c = c};
	struct item_key start;
	struct attr root;
	int rc;

	rc = tree_walk(v->map.cache, &v->map.base, on_node, NULL, &shape);
	if (rc < 0)
		return rc;
	if (shape.damaged > 0) {
		check_note(c, "the tree is damaged, so names, links and extents are not compared");
		return 0;
	}
	item_key(&start, 0, ITEM_INODE);
	rc = check_walk(v, &start, take_item, &n);
	if (rc == 0)
		rc = end_group(&n);
	if (rc == 0 && get_inode(&n, INO_ROOT, &root) == -ENOENT)
		check_bad(c, -ERR_DAMAGED, "there is no root folder");
	if (rc == 0)
		rc = check_links(c, v);
	if (rc < 0)
		return rc;
	check_sums(&n);
	c->counts->inodes = n.inodes;
	c->counts->names_checked = true;
	return 0;
}
