/*
 * Check: numbers that are wrong are set right.
 *
 * What an inode states of itself can be counted anew from what there is: bytes from extents, entries
 * and links from names; and what the volume states, from its inodes.  Only such numbers are changed,
 * never what they count, but for extents in files of no length, which nobody could read.
 *
 * It is done by a writer like any other, in a volume that is open: so a crash in the middle leaves
 * whole changes, heads state them, and embassies get them.  Nobody held the volume for a moment, and
 * opening it drops orphans: so each number is changed only where it still is what the check saw, and the
 * volume's sums by differences.
 */

#include "check_internal.h"
#include "volume_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FIXES_FIRST 64u

void check_fix(struct check *c, uint64_t ino, enum fix_kind kind, uint64_t was, uint64_t is)
{
	struct fixes *f = &c->fixes;

	if (!c->cfg->recount || f->n == FIXES_MAX)
		return;
	if (f->n == f->cap) {
		size_t cap = f->cap ? 2 * f->cap : FIXES_FIRST;
		struct fix *p = realloc(f->p, cap * sizeof(*p));

		/* What can't be remembered now is found again by the next check. */
		if (p == NULL)
			return;
		f->p = p;
		f->cap = cap;
	}
	f->p[f->n++] = (struct fix){.ino = ino, .kind = kind, .was = was, .is = is};
}

struct fixing {
	const struct fix *fix;
	struct cut *cut;
};

/* Sets ${out}, a bool: whether the number was still wrong. */
static int fix_locked(struct volume *v, struct need *need, const void *in, void *out)
{
	const struct fixing *x = in;
	const struct fix *f = x->fix;
	bool *fixed = out;
	struct attr a;
	int rc;

	*fixed = false;
	rc = view_inode_locked(&v->view, f->ino, need, &a);
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	switch (f->kind) {
	case FIX_BYTES:
	case FIX_CUT:
		*fixed = a.bytes == f->was;
		break;
	case FIX_ENTRIES:
		*fixed = S_ISDIR(a.mode) && a.size == f->was;
		break;
	case FIX_LINKS:
		*fixed = a.nlink == f->was;
		break;
	}
	if (f->kind == FIX_CUT && *fixed && a.size == 0)
		rc = cut_find(v, f->ino, 0, FILE_SIZE_MAX, need, x->cut);
	else if (f->kind == FIX_CUT)
		*fixed = false;
	if (rc < 0 || !*fixed)
		return rc;
	if (change_reserve(v, 4, 0) < 0)
		return -ENOMEM;

	if (f->kind == FIX_CUT)
		cut_apply(v, x->cut);
	if (f->kind == FIX_BYTES || f->kind == FIX_CUT) {
		v->view.counts.bytes += f->is - a.bytes;
		a.bytes = f->is;
	} else if (f->kind == FIX_ENTRIES) {
		a.size = f->is;
	} else {
		a.nlink = (uint32_t)f->is;
	}
	change_inode(v, &a);
	return 0;
}

/* The volume's sums go with each delta; the root is put as it is, so that there is one. */
static int totals_locked(struct volume *v, struct need *need, const void *in, void *out)
{
	const struct fixes *f = in;
	struct volume_counts *counts = &v->view.counts;
	struct attr root;
	int rc;

	(void)out;
	rc = view_inode_locked(&v->view, INO_ROOT, need, &root);
	if (rc < 0)
		return rc;
	if (change_reserve(v, 1, 0) < 0)
		return -ENOMEM;
	counts->inodes += f->inodes;
	counts->bytes += f->bytes;
	if (counts->next_ino < f->next_ino)
		counts->next_ino = f->next_ino;
	change_inode(v, &root);
	return 0;
}

static void tell(struct check *c, const struct fix *f, bool fixed)
{
	static const char *const what[] = {
		[FIX_BYTES] = "bytes of data",
		[FIX_CUT] = "bytes of data, and what lay in a file of no length went",
		[FIX_ENTRIES] = "entries",
		[FIX_LINKS] = "links",
	};

	if (!fixed) {
		check_note(c, "inode %" PRIu64 ": it changed meanwhile, and is left as it is",
			   f->ino);
		return;
	}
	if (++c->counts->recounted <= CHECK_REPORTS_MAX)
		check_note(c,
			   "inode %" PRIu64 ": set right: %" PRIu64 " %s (it stated %" PRIu64 ")",
			   f->ino, f->is, what[f->kind], f->was);
}

static int fix_all(struct check *c, struct volume *v)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < c->fixes.n; i++) {
		struct cut cut = {0};
		struct fixing x = {.fix = &c->fixes.p[i], .cut = &cut};
		bool fixed = false;

		rc = change_begin(v);
		if (rc == 0)
			rc = change_run(v, fix_locked, &x, &fixed, sizeof(fixed));
		if (rc == 0)
			tell(c, x.fix, fixed);
	}
	if (rc == 0 && c->fixes.totals)
		rc = change_begin(v);
	if (rc == 0 && c->fixes.totals)
		rc = change_run(v, totals_locked, &c->fixes, NULL, 0);
	if (rc == 0 && c->fixes.totals) {
		c->counts->recounted++;
		check_note(c, "the volume's sums are set right");
	}
	return rc;
}

int check_recount(struct check *c)
{
	struct volume_config cfg = {.dir = c->cfg->dir, .params = &c->params, .keys = c->cfg->keys};
	struct volume *v;
	int rc, close_rc;

	assert(c->cfg->recount && c->cfg->keys != NULL);
	rc = volume_open(&cfg, &v);
	if (rc < 0)
		return rc;
	rc = fix_all(c, v);
	close_rc = volume_close(v);
	return rc < 0 ? rc : close_rc;
}
