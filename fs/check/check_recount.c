/*
 * Check: repair of wrong numbers.
 *
 * What an inode states about itself can be recounted: bytes from extents, entries and links from
 * names.  So can what the volume states, from its inodes.  Only such numbers are changed, never
 * what they count.  The one exception is extents in files of length 0, which nobody could read.
 *
 * The volume is opened for this (recount.h).  For a moment nobody held its lock, and opening it
 * drops orphans.  So each number is changed only if it is still what the check saw, and the
 * volume's sums are changed by differences.
 */

#include "check_internal.h"
#include "volume.h"

#include <assert.h>
#include <stdlib.h>

#define FIXES_FIRST 64u

void check_fix(struct check *c, inode_no ino, enum fix_kind kind, uint64_t was, uint64_t is)
{
	struct fixes *f = &c->fixes;

	if (!c->cfg->recount || f->n == FIXES_MAX)
		return;
	if (f->n == f->cap) {
		size_t cap = f->cap ? 2 * f->cap : FIXES_FIRST;
		struct fix *p = realloc(f->p, cap * sizeof(*p));

		/* A repair that can't be remembered now is found by the next check. */
		if (!p)
			return;
		f->p = p;
		f->cap = cap;
	}
	f->p[f->n++] = (struct fix){.ino = ino, .kind = kind, .was = was, .is = is};
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
	for (size_t i = 0; i < c->fixes.n; i++) {
		bool fixed;
		int rc = volume_recount(v, &c->fixes.p[i], &fixed);

		if (rc < 0)
			return rc;
		tell(c, &c->fixes.p[i], fixed);
	}
	if (c->fixes.wrong_totals) {
		int rc = volume_recount_totals(v, &c->fixes.totals);

		if (rc < 0)
			return rc;
		c->counts->recounted++;
		check_note(c, "the volume's sums are set right");
	}
	return 0;
}

int check_recount(struct check *c)
{
	struct volume_config cfg = {.dir = c->cfg->dir, .params = &c->params, .keys = c->cfg->keys};
	struct volume *v;
	int rc, close_rc;

	assert(c->cfg->recount && c->cfg->keys);
	rc = volume_open(&cfg, &v);
	if (rc < 0)
		return rc;
	rc = fix_all(c, v);
	close_rc = volume_close(v);
	return rc < 0 ? rc : close_rc;
}
