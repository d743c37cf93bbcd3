/*
 * What embassies lack, read from a volume's folder.
 *
 * At home, bytes after the newest head belong to the volume too: a daemon that was killed left
 * synced data there, and the next mount goes on from it.  Only bytes after the last whole block are
 * a torn tail, which that mount cuts off.  In an embassy's copy, bytes that no head covers were
 * never acknowledged.
 */

#include "backlog.h"

#include "catalog.h"
#include "params.h"
#include "scan.h"
#include "source.h"
#include "store.h"

#include "err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reading {
	struct backlog *b;
	struct source *src;
	struct store *store;
	struct catalog *catalog;
};

static int pass(void *ctx, const struct scan_block *block)
{
	(void)ctx;
	(void)block;
	return SCAN_GO;
}

static int read_log(struct reading *r)
{
	struct backlog *b = r->b;
	struct scan_result scan;
	int rc = r->src->ops->head_at(r->src, INT64_MAX, &b->head);

	if (rc == -ERR_ABSENT || rc == -ERR_TOO_EARLY)
		memset(&b->head, 0, sizeof(b->head));
	else if (rc < 0)
		return rc;
	b->end = head_end(&b->head);
	/*
	 * A block that a live writer is just writing may look damaged.  No head covers it in either
	 * case.
	 */
	if (b->head.number != 0 && !b->copy &&
	    scan_blocks(store_storage(r->store), b->end, pass, NULL, &scan) == 0)
		b->end = scan.end;
	return store_bytes(r->store, 0, b->end, &b->bytes);
}

static int add(void *ctx, const char *address)
{
	struct reading *r = ctx;
	struct backlog *b = r->b;
	struct backlog_embassy *e;
	struct head first;
	size_t got = 0;
	int rc;

	e = realloc(b->list, (b->n + 1) * sizeof(*e));
	if (!e)
		return -ENOMEM;
	b->list = e;
	e += b->n;
	memset(e, 0, sizeof(*e));
	snprintf(e->address, sizeof(e->address), "%s", address);
	rc = record_get_acked(r->catalog, address, &e->acked);
	if (rc == -ERR_ABSENT)
		return 0; /* not one of ours */
	if (rc < 0)
		return rc;
	if (record_get_loss(r->catalog, address, &e->loss) < 0)
		e->loss = (struct loss){0};
	b->n++;
	if (e->acked.end >= b->end)
		return 0;
	rc = store_bytes(r->store, e->acked.end, b->end, &e->bytes);
	if (rc < 0 || e->acked.number >= b->head.number)
		return rc;
	e->heads = b->head.number - e->acked.number;
	if (r->src->ops->heads(r->src, e->acked.number + 1, 1, &first, &got) == 0 && got == 1)
		e->missing_time_ns = first.time_ns;
	return 0;
}

static int read_embassies(struct reading *r, const char *volume_dir)
{
	int rc = catalog_open(volume_dir, r->src->params->id, CATALOG_READ, &r->catalog);

	/*
	 * The log can be read, and that matters more: answer what can be answered without the
	 * catalog.
	 */
	if (rc < 0)
		return rc == -ENOMEM ? rc : 0;
	rc = record_addresses(r->catalog, add, r);
	/*
	 * A catalog that was rebuilt from the log alone knows of no embassies until the next mount.
	 */
	r->b->known = rc == 0 && (r->b->n > 0 || record_is_whole(r->catalog));
	catalog_close(r->catalog);
	return rc;
}

int backlog_read(const char *volume_dir, struct source *src, struct backlog *out)
{
	struct reading r = {.b = out, .src = src};
	int rc;

	memset(out, 0, sizeof(*out));
	rc = store_open(volume_dir, STORE_LOOK, &r.store);
	if (rc < 0)
		return rc;
	out->copy = store_is_copy(r.store);
	out->known = out->copy;
	rc = read_log(&r);
	if (rc == 0 && !out->copy)
		rc = read_embassies(&r, volume_dir);
	store_close(r.store);
	return rc;
}

void backlog_release(struct backlog *b)
{
	free(b->list);
	b->list = NULL;
	b->n = 0;
}
