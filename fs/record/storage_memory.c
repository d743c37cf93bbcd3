/*
 * Volumes in memory.
 *
 * Key idea: a volume outlives its openings.  It counts epochs: each taker of the lease gets a new
 * one, and what comes with an older one is refused.  What a failed call left to be carried out
 * later waits in the volume, until dice, or the next take(), decide.
 *
 * Invariants:
 *  1. At most one struct opened holds a volume's lease, the one whose epoch is the volume's.
 *  2. The commit is durable when it is set, and so is every byte below its end.
 *  3. A late write has the newest epoch: take() leaves none.
 *
 * Locks: memory.mu is held over everything but the hooks, from enter() to leave().  A crash makes
 * the lock anew, since the thread that held it is dead.
 */

#include "memory_internal.h"

#include "kv_memory.h"
#include "locks.h"

#include "err.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One takes the lock and another drops it, which the analysis can't follow. */
static int enter(struct opened *o, const char *op) UNFOLLOWED;
static int enter_writer(struct opened *o, const char *op) UNFOLLOWED;
static void leave(struct opened *o) UNFOLLOWED;

static struct opened *opened_of(struct storage *s)
{
	return (struct opened *)s;
}

/* Making something durable takes its time: call the hook. */
static void take_time(struct memory *m, bool now)
{
	if (now && m->pause)
		m->pause(m->pause_ctx);
}

/*
 * Take the lock and check that ${o} is alive; ${op} NULL: the hook was asked before.  Returns 0; or
 * an error, and the lock is not held.
 */
static int enter(struct opened *o, const char *op)
{
	struct memory *m = o->memory;
	int rc = op ? memory_fault(m, op) : 0;

	if (rc != 0)
		return rc < 0 ? rc : -(rc & ~MEMORY_LATE);
	pthread_mutex_lock(&m->mu);
	if (o->life == m->life)
		return 0;
	pthread_mutex_unlock(&m->mu);
	return -EIO;
}

static void leave(struct opened *o)
{
	pthread_mutex_unlock(&o->memory->mu);
}

static int memory_read(struct storage *st, log_pos pos, size_t len, void *out)
{
	struct opened *o = opened_of(st);
	int rc = len > SEGMENT_SIZE - pos % SEGMENT_SIZE ? -ERR_ABSENT : enter(o, "read");

	if (rc < 0)
		return rc;
	rc = memory_read_at(o->volume, pos, len, out);
	leave(o);
	return rc;
}

static void memory_hint(struct storage *st, log_pos pos, size_t len)
{
	(void)st;
	(void)pos;
	(void)len;
}

static int memory_size(struct storage *st, segment_no number, uint64_t *out_len)
{
	struct opened *o = opened_of(st);
	const struct segment *s;
	int rc = enter(o, "size");

	if (rc < 0)
		return rc;
	s = memory_segment(o->volume, number);
	if (s)
		*out_len = s->bytes.len;
	leave(o);
	return s ? 0 : -ERR_ABSENT;
}

static int memory_next(struct storage *st, segment_no from, segment_no *out_number)
{
	struct opened *o = opened_of(st);
	size_t i;
	int rc = enter(o, "next");

	if (rc < 0)
		return rc;
	i = memory_rank(o->volume, from);
	if (i < o->volume->n_segments)
		*out_number = o->volume->segments[i]->number;
	else
		rc = -ERR_ABSENT;
	leave(o);
	return rc;
}

static int memory_last(struct storage *st, segment_no *out_number)
{
	struct opened *o = opened_of(st);
	const struct volume *v = o->volume;
	int rc = enter(o, "last");

	if (rc < 0)
		return rc;
	if (v->n_segments > 0)
		*out_number = v->segments[v->n_segments - 1]->number;
	else
		rc = -ERR_ABSENT;
	leave(o);
	return rc;
}

static int memory_get_conf(struct storage *st, size_t max, void **out, size_t *out_len)
{
	struct opened *o = opened_of(st);
	int rc = enter(o, "get_conf");

	if (rc < 0)
		return rc;
	rc = memory_blob_get(&o->volume->conf, max, out, out_len);
	leave(o);
	return rc;
}

static int memory_space(struct storage *st, uint64_t *out_bytes)
{
	int rc = enter(opened_of(st), "space");

	if (rc < 0)
		return rc;
	*out_bytes = UINT64_MAX / 2;
	leave(opened_of(st));
	return 0;
}

/* ---- the writer ---- */

static int memory_take(struct storage *st)
{
	struct opened *o = opened_of(st);
	struct volume *v = o->volume;
	int rc = v->repairing ? memory_fault(o->memory, "drain") : 0;

	if (rc == 0)
		rc = enter(o, "take");

	if (rc < 0)
		return rc;
	if (v->leased && o->epoch != v->epoch) {
		rc = err_say(-ERR_LOCKED, "%s: another server writes to it", o->name);
	} else {
		/* Late writes take effect before the new epoch begins, or never. */
		memory_finish_late(o->memory, v);
		if (o->epoch != v->epoch)
			kv_memory_let_go(v->index, false);
		if (v->repairing)
			memory_sync_all(v);
		o->epoch = ++v->epoch;
		v->leased = true;
	}
	leave(o);
	return rc;
}

/* As enter(), for what only the holder of the newest epoch may do. */
static int enter_writer(struct opened *o, const char *op)
{
	int rc = enter(o, op);

	if (rc < 0)
		return rc;
	assert(o->epoch > 0);
	if (o->epoch == o->volume->epoch)
		return 0;
	leave(o);
	return -ERR_STALE;
}

static int memory_newest(struct storage *st, struct storage_commit *out)
{
	struct opened *o = opened_of(st);
	int rc = enter_writer(o, "newest");

	if (rc < 0)
		return rc;
	*out = o->volume->commit;
	leave(o);
	return 0;
}

static int memory_drain(struct storage *st)
{
	struct opened *o = opened_of(st);
	bool first = sectors_dice(&o->memory->random) & 1;
	int rc;

	take_time(o->memory, first);
	rc = enter_writer(o, "drain");
	if (rc < 0)
		return rc;
	memory_sync_all(o->volume);
	leave(o);
	take_time(o->memory, !first);
	return 0;
}

static int memory_rewrite(struct storage *st, log_pos from)
{
	(void)from;
	return memory_drain(st);
}

static int memory_create(struct storage *st, segment_no number)
{
	struct opened *o = opened_of(st);
	int rc = enter_writer(o, "create");

	if (rc < 0)
		return rc;
	rc = memory_segment(o->volume, number) ? -EEXIST
					       : memory_segment_new(o->volume, number, NULL);
	leave(o);
	return rc;
}

/* The write is reported as failed, and may be carried out later. */
static int put_off(struct opened *o, int why, log_pos pos, const void *bytes, size_t len,
		   const struct storage_commit *commit)
{
	struct memory *m = o->memory;
	struct volume *v = o->volume;
	struct late *l;

	pthread_mutex_lock(&m->mu);
	if (o->life == m->life && o->epoch == v->epoch && v->n_late < LATE_MAX) {
		l = &v->late[v->n_late];
		*l = (struct late){.pos = pos, .has_commit = commit};
		if (commit)
			l->commit = *commit;
		if (memory_blob_set(&l->data, bytes, len) == 0)
			v->n_late++;
	}
	pthread_mutex_unlock(&m->mu);
	return why;
}

static int memory_write(struct storage *st, log_pos pos, const void *bytes, size_t len,
			const struct storage_commit *commit)
{
	const char *op = commit ? "commit" : "write";
	struct opened *o = opened_of(st);
	bool first = commit && sectors_dice(&o->memory->random) & 1;
	int late, rc;

	assert(pos % STORAGE_PAGE == 0 && len % STORAGE_PAGE == 0 && (len > 0 || commit));
	assert(len <= SEGMENT_SIZE - pos % SEGMENT_SIZE);
	late = memory_fault(o->memory, op);
	if (late > 0)
		return put_off(o, -(late & ~MEMORY_LATE), pos, bytes, len, commit);
	if (late < 0)
		return late;
	take_time(o->memory, first);
	rc = enter_writer(o, NULL);
	if (rc < 0)
		return rc;
	rc = memory_carry_out(o->memory, o->volume, pos, bytes, len, commit);
	leave(o);
	take_time(o->memory, commit && !first);
	return rc;
}

static int memory_truncate(struct storage *st, segment_no number, uint64_t len)
{
	struct opened *o = opened_of(st);
	struct segment *s;
	int rc = enter_writer(o, "truncate");

	if (rc < 0)
		return rc;
	s = memory_segment(o->volume, number);
	assert(!s || o->volume->commit.end <= segment_start(number) + len);
	if (s) {
		sectors_sync(&s->bytes);
		sectors_cut(&s->bytes, len);
	}
	leave(o);
	return s ? 0 : -ERR_ABSENT;
}

static int memory_remove(struct storage *st, segment_no number)
{
	struct opened *o = opened_of(st);
	struct segment *s;
	int rc = enter_writer(o, "remove");

	if (rc < 0)
		return rc;
	s = memory_segment(o->volume, number);
	if (s)
		memory_segment_drop(o->volume, s);
	leave(o);
	return s ? 0 : -ERR_ABSENT;
}

static bool blob_is(const struct blob *b, const void *bytes, size_t len)
{
	return b->len == len && memcmp(b->bytes, bytes, len) == 0;
}

static int memory_put_conf(struct storage *st, const void *old, size_t old_len, const void *new,
			   size_t new_len)
{
	struct opened *o = opened_of(st);
	struct blob *conf = &o->volume->conf;
	int rc = enter_writer(o, "put_conf");

	if (rc < 0)
		return rc;
	if (blob_is(conf, old, old_len) || blob_is(conf, new, new_len))
		rc = memory_blob_set(conf, new, new_len);
	else
		rc = -ERR_STALE;
	leave(o);
	return rc;
}

static int repair_piece(struct volume *v, const struct storage_piece *p)
{
	struct segment *s = memory_segment(v, segment_of(p->pos));
	int rc = s ? 0 : memory_segment_new(v, segment_of(p->pos), &s);

	return rc < 0 ? rc : sectors_put(&s->bytes, p->pos % SEGMENT_SIZE, p->bytes, p->len);
}

static int memory_repair(struct storage *st, const struct storage_piece *pieces, size_t n)
{
	struct opened *o = opened_of(st);
	int rc = enter_writer(o, "repair");

	if (rc < 0)
		return rc;
	o->volume->repairing = true;
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = repair_piece(o->volume, &pieces[i]);
	leave(o);
	return rc < 0 ? rc : memory_drain(st);
}

static int memory_put_note(struct storage *st, const void *bytes, size_t len)
{
	struct opened *o = opened_of(st);
	int rc = enter_writer(o, "put_note");

	if (rc < 0)
		return rc;
	rc = memory_blob_set(&o->volume->note, bytes, len);
	leave(o);
	return rc;
}

static int memory_get_note(struct storage *st, size_t max, void **out, size_t *out_len)
{
	struct opened *o = opened_of(st);
	const struct blob *note = &o->volume->note;
	int rc = enter(o, "get_note");

	if (rc < 0)
		return rc;
	rc = note->bytes ? memory_blob_get(note, max, out, out_len) : -ERR_ABSENT;
	leave(o);
	return rc;
}

/* ---- bytes that are gone ---- */

static int memory_put_leaves(struct storage *st, segment_no number, const void *bytes, size_t len)
{
	struct opened *o = opened_of(st);
	struct segment *s;
	int rc = enter_writer(o, "put_leaves");

	if (rc < 0)
		return rc;
	s = memory_segment(o->volume, number);
	rc = s ? memory_blob_set(&s->leaves, bytes, len) : -ERR_ABSENT;
	leave(o);
	return rc;
}

static int memory_get_leaves(struct storage *st, segment_no number, size_t max, void **out,
			     size_t *out_len)
{
	struct opened *o = opened_of(st);
	const struct segment *s;
	int rc = enter(o, "get_leaves");

	if (rc < 0)
		return rc;
	s = memory_segment(o->volume, number);
	rc = s && s->leaves.bytes ? memory_blob_get(&s->leaves, max, out, out_len) : -ERR_ABSENT;
	leave(o);
	return rc;
}

static int memory_punch(struct storage *st, log_pos pos, uint64_t len)
{
	struct opened *o = opened_of(st);
	uint64_t off = pos % SEGMENT_SIZE;
	struct segment *s;
	int rc = enter_writer(o, "punch");

	if (rc < 0)
		return rc;
	s = memory_segment(o->volume, segment_of(pos));
	if (s)
		sectors_zero(&s->bytes, off, off + len);
	leave(o);
	return s ? 0 : -ERR_ABSENT;
}

/* ---- the index ---- */

static int memory_index(struct storage *st, bool fresh, struct kv **out)
{
	struct opened *o = opened_of(st);
	int rc = enter(o, "index");

	if (rc < 0)
		return rc;
	leave(o);
	rc = kv_memory_open(o->volume->index, out);
	return rc == 0 && fresh ? kv_reopen(*out, true) : rc;
}

static void memory_close(struct storage *st)
{
	struct opened *o = opened_of(st);

	pthread_mutex_lock(&o->memory->mu);
	if (o->life == o->memory->life && o->epoch == o->volume->epoch)
		o->volume->leased = false;
	pthread_mutex_unlock(&o->memory->mu);
	free(o);
}

const struct storage_ops storage_memory_ops = {
	.read = memory_read,
	.hint = memory_hint,
	.size = memory_size,
	.next = memory_next,
	.last = memory_last,
	.get_conf = memory_get_conf,
	.space = memory_space,
	.take = memory_take,
	.newest = memory_newest,
	.rewrite = memory_rewrite,
	.create = memory_create,
	.write = memory_write,
	.drain = memory_drain,
	.truncate = memory_truncate,
	.remove = memory_remove,
	.put_conf = memory_put_conf,
	.repair = memory_repair,
	.put_note = memory_put_note,
	.get_note = memory_get_note,
	.put_leaves = memory_put_leaves,
	.get_leaves = memory_get_leaves,
	.punch = memory_punch,
	.index = memory_index,
	.close = memory_close,
};
