/*
 * Check, part 3, continued: relations between inodes.
 *
 *   names    Every inode but the root and orphans is named as often as its link count says, by
 *            entries of its type.  Entries are in the order of the folder, not of the inode, so
 *            they are counted in an array over a window of LINKS_WINDOW inode numbers; a bigger
 *            volume takes several passes.  Memory stays the same.
 *   parents  A folder is named once, by the folder that its attributes call its parent (which
 *            check_names.c compares).  A walk up from each folder, in the order of their numbers,
 *            must end at the root or at a folder already found good; a parent is nearly always
 *            older than its child.  Brent's method finds a cycle in constant memory.
 */

#include "check_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LINKS_WINDOW (UINT64_C(16) << 20) /* inodes counted in one pass, in 64 MiB */
#define LINK_COUNT_MASK UINT32_C(0x07ffffff)
#define LINK_MIXED UINT32_C(0x08000000) /* entries of different types */
#define LINK_TYPE_SHIFT 28

struct links {
	struct check *c;
	struct view *v;
	uint32_t *count; /* owned: for each inode of [lo, hi): type, flags, number of names */
	inode_no lo, hi;
	inode_no next;		 /* the first existing inode from hi on */
	uint64_t names, counted; /* all names; and those of inode numbers that may exist */
};

static int count_links(void *ctx, const uint8_t *key, size_t key_len, const uint8_t *value,
		       size_t len)
{
	struct links *l = ctx;
	enum item_type type;
	struct entry e;
	inode_no ino;
	size_t at = 0;

	if (item_key_decode(key, key_len, &ino, &type) < 0 || type != ITEM_ENTRY)
		return 0;
	while (item_entry_next(value, len, &at, &e) == 0) {
		bool never = e.ino >= l->v->counts.next_ino;
		uint32_t *link, kind = e.type >> 12;

		if (never && l->lo == 0)
			check_bad_inode(l->c, e.ino,
					"folder %" PRIu64 " names it, but it was never made", ino);
		l->names += l->lo == 0 && !never;
		if (e.ino < l->lo || e.ino >= l->hi)
			continue;
		l->counted++;
		link = &l->count[e.ino - l->lo];
		if ((*link & LINK_COUNT_MASK) != 0 && *link >> LINK_TYPE_SHIFT != kind)
			*link |= LINK_MIXED;
		if ((*link & LINK_COUNT_MASK) != LINK_COUNT_MASK)
			*link += 1;
		*link = (*link & ~(UINT32_C(0xf) << LINK_TYPE_SHIFT)) | kind << LINK_TYPE_SHIFT;
	}
	return 0;
}

/*
 * Walk up from ${ino}, to the root or to a folder with a lower number, which was found good before.
 */
static int check_way_up(struct links *l, inode_no ino)
{
	inode_no hare = ino, tortoise = ino;
	uint64_t steps = 0, limit = 1;
	struct attr a;
	int rc;

	for (;;) {
		rc = view_inode_locked(l->v, hare, NULL, &a);
		if (rc == -ENOENT || (rc == 0 && !S_ISDIR(a.mode))) {
			check_bad_inode(l->c, ino,
					"the way up to the root ends at inode %" PRIu64
					", no folder",
					hare);
			return 0;
		}
		if (rc < 0)
			return rc == -ERR_DAMAGED ? 0 : rc;
		hare = a.parent;
		if (hare == INO_ROOT || hare < ino)
			return 0;
		if (hare == tortoise) {
			check_bad_inode(l->c, ino,
					"the folder lies in a circle, apart from the root");
			return 0;
		}
		if (++steps == limit) {
			tortoise = hare;
			limit *= 2;
		}
	}
}

static int compare_links(void *ctx, const uint8_t *key, size_t key_len, const uint8_t *value,
			 size_t len)
{
	struct links *l = ctx;
	enum item_type type;
	uint32_t link, count;
	struct attr a;
	inode_no ino;

	if (item_key_decode(key, key_len, &ino, &type) < 0 || ino < l->lo)
		return 0;
	if (ino >= l->hi) {
		l->next = ino;
		return 1;
	}
	if (type != ITEM_INODE || item_inode_decode(value, len, ino, &a) < 0)
		return 0;
	link = l->count[ino - l->lo];
	count = link & LINK_COUNT_MASK;
	l->count[ino - l->lo] = 0;
	if (count != 0 && ((link & LINK_MIXED) || link >> LINK_TYPE_SHIFT != a.mode >> 12))
		check_bad_inode(l->c, ino, "its names say that it is of another type than it is");
	if (ino == INO_ROOT) {
		if (count != 0)
			check_bad_inode(l->c, ino, "a folder holds the root");
		return 0;
	}
	if (S_ISDIR(a.mode)) {
		if (count != (a.nlink != 0))
			check_bad_inode(l->c, ino, "the folder has %u names", count);
		return a.nlink != 0 ? check_way_up(l, ino) : 0;
	}
	if (count != a.nlink)
		check_bad_inode(l->c, ino, "its link count is %u, and it has %u names", a.nlink,
				count);
	/*
	 * Don't repair the count of an inode without a name: its last link must not be dropped.
	 * Nor a count that an unreadable entry may explain.
	 */
	if (count != a.nlink && count != 0 && count != LINK_COUNT_MASK && a.nlink != 0 &&
	    (count > a.nlink || !l->c->names_unsure))
		check_fix(l->c, ino, FIX_LINKS, a.nlink, count);
	return 0;
}

int check_links(struct check *c, struct view *v)
{
	struct links all = {.c = c, .v = v}, *l = &all;
	inode_no end = l->v->counts.next_ino;
	uint64_t width = end < LINKS_WINDOW ? end : LINKS_WINDOW;
	struct item_key start, low;
	int rc = 0;

	l->count = calloc(width, sizeof(*l->count));
	if (!l->count)
		return -ENOMEM;
	item_key(&start, INO_ROOT, ITEM_INODE);
	/*
	 * Skip ranges without inodes: nothing is there to compare, however many numbers were used.
	 */
	for (l->lo = 0; rc == 0 && l->lo < end; l->lo = l->next) {
		l->next = end;
		l->hi = end - l->lo < width ? end : l->lo + width;
		check_progress(l->c, "link counts", l->lo, end);
		memset(l->count, 0, width * sizeof(*l->count));
		rc = check_walk(v, &start, count_links, l);
		item_key(&low, l->lo, ITEM_INODE);
		if (rc == 0)
			rc = check_walk(v, &low, compare_links, l);
		for (inode_no i = l->lo; rc == 0 && i < l->hi; i++) {
			if ((l->count[i - l->lo] & LINK_COUNT_MASK) != 0)
				check_bad_inode(l->c, i,
						"a folder names it, and it does not exist");
		}
	}
	free(l->count);
	if (rc == 0 && l->counted < l->names)
		check_bad(c, -ERR_DAMAGED, "%" PRIu64 " names are of inodes that do not exist",
			  l->names - l->counted);
	return rc;
}
