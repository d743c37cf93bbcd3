/*
 * A catalog made, or brought up to date, from the log alone.
 *
 * Key idea: history_step() judges each block as it does for a writer or a server; each head that
 * passes goes into the catalog.  When something stops the walk in the last segment, tail_judge()
 * decides whether it is damage.
 *
 * The walk may run beside a live writer, whose newest bytes may be half there when they are read.
 * So what looks like damage in the last segment is looked at again, from the newest good head, and
 * counts only if it is still in the same place.
 *
 * Invariant: only heads that history_step() accepted, with all that they cover, get into the
 * catalog.
 */

#include "catalog.h"
#include "history.h"
#include "params.h"
#include "scan.h"
#include "storage.h"
#include "tail.h"

#include "err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRESS_STEP (UINT64_C(16) << 20)
#define TRIES_MAX 8u
#define WHY_MAX 1024u
#define CURSOR_MAX 256u /* bytes of a cursor that is kept; all of ours are shorter */

struct catch_up {
	struct catalog *catalog;
	struct storage *storage;
	const struct params *params;
	void (*progress)(void *ctx, log_pos pos);
	void *ctx;
	log_pos reported;
	struct history history;
	/* The block that does not belong to the log: why_rc is 0 if there was none. */
	int why_rc;
	char why[WHY_MAX];
	log_pos bad_pos;
};

static void report(struct catch_up *u, log_pos pos)
{
	if (!u->progress || pos - u->reported < PROGRESS_STEP)
		return;
	u->reported = pos;
	u->progress(u->ctx, pos);
}

static int take_block(void *ctx, const struct scan_block *b)
{
	struct catch_up *u = ctx;
	bool is_head;
	int rc = history_step(&u->history, b, &is_head);

	if (rc == -ERR_DAMAGED || rc == -ERR_TAMPERED) {
		u->why_rc = rc;
		snprintf(u->why, sizeof(u->why), "%s", err_detail(rc));
		u->bad_pos = b->pos;
		return SCAN_STOP;
	}
	if (rc < 0)
		return rc;
	report(u, b->pos);
	return is_head ? history_commit(&u->history, u->catalog) : SCAN_GO;
}

/* Returns 0 if the walk ended at the log's end, whether a bad block or anything else ended it. */
static int judge_end(struct catch_up *u)
{
	struct tail_end end = tail_of_history(&u->history, u->why_rc ? u->why : NULL, u->bad_pos);
	int rc = tail_judge(u->params, u->storage, &end);

	/* A lying head is not a disk's fault: keep the error with which the walk refused it. */
	return rc == -ERR_DAMAGED && u->why_rc ? err_say(u->why_rc, "%s", err_detail(rc)) : rc;
}

static int walk_once(struct catch_up *u)
{
	struct scan_result result;
	int rc;

	history_init(&u->history, u->params);
	u->why_rc = 0;
	rc = history_resume(&u->history, u->catalog, u->storage);
	if (rc == 0)
		rc = scan_blocks(u->storage, u->history.end, take_block, u, &result);
	if (rc == 0)
		rc = judge_end(u);
	history_release(&u->history);
	return rc;
}

int catalog_catch_up(struct catalog *c, const struct params *p, struct storage *st,
		     void (*progress)(void *ctx, log_pos pos), void *ctx)
{
	struct catch_up *u = calloc(1, sizeof(*u));
	log_pos end_before = 0;
	int rc = 0;

	if (!u)
		return -ENOMEM;
	u->catalog = c;
	u->storage = st;
	u->params = p;
	u->progress = progress;
	u->ctx = ctx;
	for (unsigned i = 0; i < TRIES_MAX; i++) {
		rc = walk_once(u);
		if ((rc != -ERR_DAMAGED && rc != -ERR_TAMPERED) ||
		    (i > 0 && u->history.end == end_before))
			break;
		end_before = u->history.end;
		/* A fault that moves on each time is no damage: the log is being written there. */
		rc = 0;
	}
	free(u);
	return rc;
}

struct cursor {
	struct cursor *next;
	size_t len;
	uint8_t value[CURSOR_MAX];
	char name[]; /* NUL-terminated */
};

struct cursors {
	struct catalog *catalog;
	struct cursor *first;
	bool lost; /* some could not be read */
};

static int take_cursor(void *ctx, const char *name)
{
	struct cursors *all = ctx;
	size_t len = strlen(name) + 1;
	struct cursor *c = malloc(sizeof(*c) + len);

	if (!c)
		return -ENOMEM;
	memcpy(c->name, name, len);
	c->len = sizeof(c->value);
	if (catalog_get_cursor(all->catalog, name, c->value, &c->len) < 0) {
		all->lost = true;
		free(c);
		return 0;
	}
	c->next = all->first;
	all->first = c;
	return 0;
}

/* Read those of the catalog's cursors that can be read. */
static int take_cursors(const char *volume_dir, const uint8_t id[VOLUME_ID_LEN],
			struct cursors *all)
{
	int rc = catalog_open(volume_dir, id, CATALOG_READ, &all->catalog);

	if (rc == 0) {
		rc = catalog_cursors(all->catalog, "", take_cursor, all);
		all->lost = all->lost || rc < 0;
		catalog_close(all->catalog);
	}
	return rc == -ENOMEM ? rc : 0;
}

static int put_cursors(const char *volume_dir, const uint8_t id[VOLUME_ID_LEN],
		       const struct cursors *all)
{
	struct catalog *to;
	int rc;

	if (!all->first)
		return 0;
	rc = catalog_open(volume_dir, id, CATALOG_WRITE, &to);
	if (rc < 0)
		return rc;
	/* CURSOR_BEGUN says that no cursor was ever lost: drop it if one was. */
	for (const struct cursor *c = all->first; rc == 0 && c; c = c->next)
		if (!all->lost || strcmp(c->name, CURSOR_BEGUN) != 0)
			rc = catalog_put_cursor(to, c->name, c->value, c->len);
	catalog_close(to);
	return rc;
}

int catalog_clear(const char *volume_dir, const uint8_t id[VOLUME_ID_LEN])
{
	struct cursors all = {0};
	int rc = take_cursors(volume_dir, id, &all);

	if (rc == 0)
		rc = catalog_remove(volume_dir);
	if (rc == 0)
		rc = put_cursors(volume_dir, id, &all);
	while (all.first) {
		struct cursor *next = all.first->next;

		free(all.first);
		all.first = next;
	}
	return rc;
}

int catalog_rebuild(const char *volume_dir, const struct params *p, struct storage *st,
		    void (*progress)(void *ctx, log_pos pos), void *ctx)
{
	struct catalog *c;
	int rc = catalog_clear(volume_dir, p->id);

	if (rc == 0)
		rc = catalog_open(volume_dir, p->id, CATALOG_WRITE, &c);
	if (rc < 0)
		return rc;
	rc = catalog_catch_up(c, p, st, progress, ctx);
	catalog_close(c);
	return rc;
}
