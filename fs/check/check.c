/*
 * Check: the order of the parts, and the reporting of problems.
 *
 * The log is checked first, since the namespace is read from it.  Findings are reported at once;
 * the worst one is the result.  Nothing that is read is trusted, and nothing but the catalog is
 * written.
 */

#include "check_internal.h"
#include "volume.h"

#include "blocks.h"
#include "cache.h"
#include "file.h"
#include "keys.h"
#include "source.h"
#include "source_folder.h"
#include "store.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_BYTES ((size_t)16 << 20)
#define REPORT_LEN 1536

void check_bad(struct check *c, int rc, const char *fmt, ...)
{
	char text[REPORT_LEN];
	va_list ap;

	/* Tampering is worse than damage: a failing disk cannot cause it. */
	if (c->worst == 0 || rc == -ERR_TAMPERED)
		c->worst = rc == -ERR_TAMPERED ? rc : -ERR_DAMAGED;
	if (++c->counts->problems > CHECK_REPORTS_MAX) {
		if (c->counts->problems == CHECK_REPORTS_MAX + 1)
			check_note(c, "further problems are counted, not told");
		return;
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->cfg->report(c->cfg->ctx, CHECK_BAD, text);
}

void check_note(struct check *c, const char *fmt, ...)
{
	char text[REPORT_LEN];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->cfg->report(c->cfg->ctx, CHECK_NOTE, text);
}

void check_progress(struct check *c, const char *what, uint64_t done, uint64_t total)
{
	if (c->cfg->progress)
		c->cfg->progress(c->cfg->ctx, what, done < total ? done : total, total);
}

bool check_block_is_damaged(const struct check *c, log_pos pos)
{
	size_t lo = 0, hi = c->n_blocks;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (c->blocks[mid] == pos)
			return true;
		if (c->blocks[mid] < pos)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

void check_hurt(struct check *c, inode_no ino, uint64_t from, uint64_t to)
{
	struct hurt *last = c->n_hurts > 0 ? &c->hurts[c->n_hurts - 1] : NULL;

	if (last && last->ino == ino && last->to == from && to > from && last->to > last->from)
		last->to = to;
	else if (c->n_hurts < CHECK_HURT_MAX)
		c->hurts[c->n_hurts++] = (struct hurt){.ino = ino, .from = from, .to = to};
}

/*
 * Open what the namespace is read through: a source, blocks, a node cache, a view, in this order.
 */
static int names_of_head(struct check *c, struct source *src)
{
	struct view_config vc = {.source = src, .name_key = c->cfg->keys->name_key};
	struct block_io io;
	struct head newest;
	struct view *v;
	int rc;

	rc = blocks_new(src, c->cfg->keys->log_key, &vc.blocks);
	if (rc < 0)
		return rc;
	io = blocks_io(vc.blocks);
	rc = node_cache_new(CACHE_BYTES, &io, &vc.cache);
	if (rc < 0)
		goto free_blocks;
	rc = src->ops->head_at(src, INT64_MAX, &newest);
	if (rc == 0)
		rc = view_open(&vc, &newest, &v);
	if (rc < 0)
		goto free_cache;
	rc = check_names(c, v);
	if (rc == 0)
		rc = check_paths(c, v);
	view_close(v);

free_cache:
	node_cache_free(vc.cache);
free_blocks:
	blocks_free(vc.blocks);
	return rc;
}

static bool is_damage(int rc)
{
	return rc == -ERR_DAMAGED || rc == -ERR_TAMPERED || rc == -ERR_ABSENT ||
	       rc == -ERR_FORMAT || rc == -EIO;
}

static int check_namespace(struct check *c)
{
	struct source *src;
	int rc;

	/* Damage at the log's end was reported before. */
	rc = source_open_folder_partial(c->cfg->dir, &src);
	if (rc == 0) {
		rc = names_of_head(c, src);
		source_free(src);
	}
	if (rc == 0 || !is_damage(rc))
		return rc;
	check_bad(c, rc, "the namespace can't be read: %s", err_detail(rc));
	return 0;
}

int volume_check(const struct check_config *cfg, struct check_counts *out)
{
	struct check c = {.cfg = cfg, .counts = out};
	int lock, rc;
	bool log_is_sound = false;

	memset(out, 0, sizeof(*out));
	rc = params_load(cfg->dir, &c.params);
	if (rc < 0)
		return rc;
	rc = volume_lock_to_read(cfg->dir, &lock);
	if (rc < 0)
		goto release_params;
	if (lock < 0)
		check_note(&c,
			   "its lock can't be taken by this user; if it is mounted somewhere, what "
			   "is being written meanwhile may look like damage");
	rc = store_open(cfg->dir, STORE_LOOK | STORE_AROUND, &c.store);
	if (rc < 0)
		goto unlock;
	c.blocks = malloc(CHECK_BLOCKS_MAX * sizeof(*c.blocks));
	c.hurts = malloc(CHECK_HURT_MAX * sizeof(*c.hurts));
	rc = c.blocks && c.hurts ? check_log(&c) : -ENOMEM;
	log_is_sound = rc == 0 && c.worst == 0;
	if (rc == 0 && cfg->keys)
		rc = check_namespace(&c);
	if (rc == 0)
		rc = c.worst;

	free(c.hurts);
	free(c.blocks);
	store_close(c.store);
unlock:
	file_close(lock);
	/* The repair opens the volume as a writer, which takes the lock itself. */
	if (rc == -ERR_DAMAGED && (c.fixes.n > 0 || c.fixes.wrong_totals)) {
		int fix_rc = log_is_sound ? check_recount(&c) : 0;

		if (!log_is_sound)
			check_note(&c, "no count is set right before the log is healed");
		if (fix_rc < 0)
			rc = fix_rc;
	}
	free(c.fixes.p);
release_params:
	params_release(&c.params);
	return rc;
}
