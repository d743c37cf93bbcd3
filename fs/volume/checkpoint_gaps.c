/*
 * A checkpoint of a volume in which some nodes can't be read.
 *
 * If a change falls into a damaged node, the merge leaves that node in the tree as it is, and
 * applies everything else.  The changes that it left out are put into the live overlay, below any
 * newer changes there, and become pending.  So they are in deltas that are newer than all that the
 * checkpoint covers, and that lie before the checkpoint in the log.  Recovery and views need no
 * special rule.
 *
 *	killed				the log has
 *	between two of these deltas	the old checkpoint and all deltas since; these repeat some
 *					changes of older ones, which is harmless
 *	before the checkpoint		the same
 *	after the checkpoint		a tree without these changes, and the deltas that have them
 *
 * Changes that are left out stay in memory, checkpoint after checkpoint, as long as the damage
 * lasts.  They do not become more: an operation reads before it changes, and fails there with the
 * node's error; and new inodes sort after every key that the damaged node may hold.
 */

#include "volume_internal.h"

#include "item.h"

#include <assert.h>

#define RENEW_BYTES (DELTA_FLUSH_BYTES / 2) /* per delta */
/* One key may exceed that: it may have a value and a range in each overlay. */
#define RENEW_JOURNAL_BYTES (RENEW_BYTES + 4 * OVERLAY_RECORD_MAX + JOURNAL_ENTRY_LEN)

_Static_assert(RENEW_JOURNAL_BYTES < JOURNAL_HIGH_BYTES, "the journal has room for it");

/* How much of an overlay's memory the left-out changes may take. */
static size_t bytes_max(const struct volume *v)
{
	return v->overlay_max / 4;
}

int gaps_merge(struct volume *v, const struct block_io *io)
{
	struct checkpoint_gaps *g = &v->gaps;
	bool around = g->tree.n > 0; /* the last one had gaps: expect some again */
	const struct overlay *frozen = v->view.map.frozen;
	const struct tree_root *base = &v->view.map.base;
	struct item_key end;
	int rc;

	tree_gaps_release(&g->tree);
	g->at = 0;
	g->renewed = 0;
	if (!around) {
		rc = tree_merge(v->cache, io, base, frozen, &v->merged_root);
		if (!tree_unreadable(rc))
			return rc;
	}
	/* Read without a lock: only the checkpointer changes it. */
	item_key(&end, v->view.base_end, ITEM_INODE);
	rc = tree_merge_around(v->cache, io, base, frozen, end.b, end.len, &g->tree,
			       &v->merged_root);
	if (rc < 0)
		tree_gaps_release(&g->tree);
	return rc;
}

static int too_much(const struct tree_gaps *t)
{
	return err_say(t->rc,
		       "%s; more was changed there than memory has room for: heal it ('embassy "
		       "check --repair --from'), or mount with a larger memory=",
		       t->detail);
}

/* Fail unless memory may hold all left-out changes. */
static int check_size(struct volume *v)
{
	const struct tree_gaps *t = &v->gaps.tree;
	size_t bytes = 0;

	for (size_t i = 0; i < t->n; i++)
		bytes += overlay_span_bytes(v->view.map.frozen, &t->gap[i].span);
	return bytes > bytes_max(v) ? too_much(t) : 0;
}

/*
 * Renew the beginning of a span, as one operation.  Returns 1 if something is left, 0, or -ENOMEM.
 */
static int renew_part(struct volume *v, struct overlay_span *span)
{
	struct overlay *live;
	uint64_t before;
	int rc = 1;

	change_lock(v);
	/*
	 * Keep to the journal space of an admitted operation.  If others filled it meanwhile,
	 * return 1, so that the caller flushes and tries again.
	 */
	if (journal_used(&v->journal) + RENEW_JOURNAL_BYTES <= JOURNAL_HIGH_BYTES) {
		live = v->view.map.live;
		before = overlay_changes(live);
		rc = overlay_renew(live, v->view.map.frozen, span, RENEW_BYTES);
		v->gaps.renewed += overlay_changes(live) - before;
	}
	change_unlock(v, NULL);
	return rc;
}

/* Renew the beginning of a span, and append it as a delta. */
static int renew_in_delta(struct volume *v, struct overlay_span *span)
{
	int rc, more = 0;

	rc = commit_heads_keep_up(v);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&v->flush_mu);
	rc = commit_flush_locked(v, false);
	if (rc == 0)
		rc = more = renew_part(v, span);
	if (rc >= 0)
		rc = commit_flush_locked(v, false);
	pthread_mutex_unlock(&v->flush_mu);
	return rc < 0 ? rc : more;
}

int gaps_renew(struct volume *v)
{
	struct checkpoint_gaps *g = &v->gaps;
	int rc = 0;

	assert(v->view.map.frozen);
	if (g->at == 0 && g->tree.n > 0)
		rc = check_size(v);
	while (rc >= 0 && g->at < g->tree.n) {
		rc = renew_in_delta(v, &g->tree.gap[g->at].span);
		if (rc == 0)
			g->at++;
	}
	return rc;
}

int gaps_say(const struct volume *v)
{
	const struct tree_gaps *t = &v->gaps.tree;

	if (t->n == 0)
		return 0;
	return err_say(t->rc, "parts of the tree that can't be read: %zu, the first: %s", t->n,
		       t->detail);
}
