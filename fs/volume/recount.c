/*
 * Correct counts of inodes and of the volume: see recount.h.
 *
 * Each correction is an ordinary change.  So a crash leaves only whole corrections, and heads and
 * embassies get them like any other change.
 */

#include "recount.h"

#include "volume_internal.h"

#include <errno.h>
#include <sys/stat.h>

struct fixing {
	const struct fix *fix;
	struct cut *cut;
};

/* Sets ${out}, a bool: was the number still wrong? */
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

/*
 * Every delta contains the volume's totals.  Put the root's inode unchanged, so that a delta is
 * made.
 */
static int totals_locked(struct volume *v, struct need *need, const void *in, void *out)
{
	const struct fix_totals *f = in;
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

int volume_recount(struct volume *v, const struct fix *fix, bool *out_fixed)
{
	struct cut cut = {0};
	struct fixing x = {.fix = fix, .cut = &cut};
	int rc;

	*out_fixed = false;
	rc = change_begin(v);
	if (rc < 0)
		return rc;
	return change_run(v, NULL, fix_locked, &x, out_fixed, sizeof(*out_fixed));
}

int volume_recount_totals(struct volume *v, const struct fix_totals *totals)
{
	int rc = change_begin(v);

	return rc < 0 ? rc : change_run(v, NULL, totals_locked, totals, NULL, 0);
}
