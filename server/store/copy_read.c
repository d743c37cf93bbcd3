/*
 * What is served of a copy: ranges of the log, and heads.
 *
 * Invariant: no byte at or after the committed end, as it was when the call began, leaves here; so
 * an appender may write and cut there at any time.
 */

#include "copy_internal.h"

#include "catalog.h"
#include "err.h"
#include "frame.h"
#include "judge.h"
#include "locks.h"
#include "storage.h"

#include <errno.h>
#include <stdlib.h>

int copy_clip(struct copy *c, log_pos pos, uint64_t len, uint64_t *out_len)
{
	segment_no number = segment_of(pos);
	uint64_t size;
	log_pos limit;
	struct copy_committed s;
	int rc;

	copy_get_committed(c, &s);
	if (len == 0 || len > SEGMENT_SIZE - (pos - segment_start(number)))
		return err_say(-EINVAL,
			       "%llu bytes at position %llu: not a range inside one segment",
			       (unsigned long long)len, (unsigned long long)pos);
	if (pos >= s.end)
		return err_say(-ERR_ABSENT, "position %llu: this copy ends at %llu",
			       (unsigned long long)pos, (unsigned long long)s.end);
	rc = storage_size(c->storage, number, &size);
	if (rc < 0 && rc != -ERR_ABSENT)
		return rc;
	/*
	 * A segment's file may be longer than what is verified of it, but not the other way round.
	 */
	limit = rc == 0 ? segment_start(number) + size : pos;
	if (limit > s.end)
		limit = s.end;
	if (pos >= limit)
		return err_say(-ERR_ABSENT, "position %llu: this copy has no bytes there",
			       (unsigned long long)pos);
	*out_len = limit - pos < len ? limit - pos : len;
	return 0;
}

int copy_read(struct copy *c, log_pos pos, size_t len, void *out)
{
	int rc;

	if (atomic_load(&c->unsynced) == segment_of(pos) + 1)
		return err_say(
			-EIO,
			"position %llu of volume folder %s: bytes that were healed there could "
			"not be made durable; heal it again",
			(unsigned long long)pos, c->name);
	rc = storage_read(c->storage, pos, len, out);
	if (rc == 0 || rc == -ENOMEM)
		return rc;
	return err_say(rc, "position %llu of volume folder %s: %s", (unsigned long long)pos,
		       c->name, err_text(rc));
}

void copy_hint(struct copy *c, log_pos pos, uint64_t len)
{
	storage_hint(c->storage, pos, len);
}

/* Hand one head's note to the caller's function. */
struct walk {
	struct copy *copy;
	struct conf *conf; /* a reference */
	log_pos end;
	copy_head_fn *fn;
	void *ctx;
	uint8_t block[HEAD_BLOCK_MAX];
};

static int disagree(struct walk *w, const struct head_ref *r)
{
	return err_say(-ERR_DAMAGED,
		       "%s: damaged: head %llu is no longer at position %llu, where it was "
		       "verified; stop the server and heal the folder with 'embassy check %s "
		       "--log-only --repair --from' another copy",
		       w->copy->name, (unsigned long long)r->number, (unsigned long long)r->pos,
		       w->copy->name);
}

static int visit(void *ctx, const struct head_ref *r)
{
	struct walk *w = ctx;
	const struct head_known k = {.params = &w->conf->params, .ref = r, .signature_known = true};
	struct copy_head h;
	struct head head;
	int rc;

	/*
	 * A head that was just put into the catalog is served only once its committed state is
	 * published.
	 */
	if (r->pos >= w->end)
		return 1;
	rc = head_read(&k, head_from_storage, w->copy->storage, w->block, &head);
	if (rc == -ERR_ABSENT || rc == -ERR_DAMAGED || rc == -ERR_TAMPERED)
		return disagree(w, r);
	if (rc < 0)
		return rc;
	h = (struct copy_head){r->pos, r->stored_len, w->block + FRAME_LEN,
			       r->stored_len - FRAME_LEN, head.n_blocks};
	return w->fn(w->ctx, &h);
}

static struct walk *walk_new(struct copy *c, copy_head_fn *fn, void *ctx)
{
	struct walk *w = malloc(sizeof(*w));
	struct copy_committed s;

	if (w) {
		copy_get_committed(c, &s);
		w->copy = c;
		w->conf = copy_conf(c);
		w->end = s.end;
		w->fn = fn;
		w->ctx = ctx;
	}
	return w;
}

static void walk_free(struct walk *w)
{
	conf_put(w->conf);
	free(w);
}

int copy_enter(struct copy *c)
{
	pthread_rwlock_rdlock(&c->gate);
	if (c->catalog)
		return 0;
	pthread_rwlock_unlock(&c->gate);
	/*
	 * Recover here: a home asks before it appends, so nothing else would ever reopen the
	 * catalog.
	 */
	copy_revive(c);
	pthread_rwlock_rdlock(&c->gate);
	if (c->catalog)
		return 0;
	return err_say(-EIO,
		       "%s: the catalog can't be opened since an error; look at the server's disk",
		       c->name);
}

void copy_leave(struct copy *c)
{
	pthread_rwlock_unlock(&c->gate);
}

int copy_heads(struct copy *c, head_no first, copy_head_fn *fn, void *ctx)
{
	struct walk *w;
	int rc = copy_await_recovery(c);

	if (rc < 0)
		return rc;
	w = walk_new(c, fn, ctx);
	if (!w)
		return -ENOMEM;
	rc = copy_enter(c);
	if (rc == 0)
		rc = catalog_heads(c->catalog, first, visit, w);
	copy_leave(c);
	walk_free(w);
	return rc < 0 ? rc : 0;
}

int copy_head_at(struct copy *c, int64_t time_ns, copy_head_fn *fn, void *ctx)
{
	struct walk *w;
	struct head_ref ref;
	int rc = copy_await_recovery(c);

	if (rc < 0)
		return rc;
	w = walk_new(c, fn, ctx);
	if (!w)
		return -ENOMEM;
	rc = copy_enter(c);
	if (rc == 0)
		rc = catalog_head_at(c->catalog, time_ns, &ref);
	/* The catalog may be a head or more ahead of what is served. */
	while (rc == 0 && ref.pos >= w->end && ref.number > 1)
		rc = catalog_head(c->catalog, ref.number - 1, &ref);
	if (rc == 0)
		rc = visit(w, &ref);
	copy_leave(c);
	walk_free(w);
	return rc < 0 && rc != -ERR_ABSENT ? rc : 0;
}
