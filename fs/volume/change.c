/*
 * The steps that every operation on a live volume consists of.
 */

#include "volume_internal.h"

#include "clock.h"
#include "hash.h"
#include "restart.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define ITEM_ROOM 512u /* reserved for each change: the longest key and a usual value */

void change_lock(struct volume *v)
{
	view_wrlock(&v->view);
}

void change_unlock(struct volume *v, const struct caller *c)
{
	uint64_t tag = c ? c->tag : 0;
	uint64_t number = journal_publish(&v->journal, tag, &v->view.counts);

	if (number != 0) {
		inode_no next = v->view.counts.next_ino;

		/*
		 * Note the change before a delta can take it from the journal: if we are killed in
		 * between, the successor finds the journal's entry and notes the change itself.
		 */
		if (tag != 0 && c->note)
			note_change(c->note, tag, number, next > v->next_ino ? next - 1 : 0);
		v->next_ino = next;
	}
	view_unlock(&v->view);
}

int change_begin(struct volume *v)
{
	int rc;

	/*
	 * Append first a delta that failed to be appended: no further changes may pile up behind
	 * it.
	 */
	if (atomic_load(&v->blocked) || journal_used(&v->journal) > JOURNAL_HIGH_BYTES) {
		rc = commit_flush(v);
		if (rc < 0)
			return rc;
	}
	rc = commit_heads_keep_up(v);
	return rc < 0 ? rc : scheduler_admit(v);
}

int change_end(struct volume *v, int rc)
{
	bool full;

	if (rc < 0)
		return rc;
	view_rdlock(&v->view);
	full = overlay_pending_bytes(v->view.map.live) > DELTA_FLUSH_BYTES ||
	       journal_used(&v->journal) > JOURNAL_FLUSH_BYTES;
	view_unlock(&v->view);
	/*
	 * If the flush fails, the change is still made and stays pending.  The next operation, or
	 * the next fsync, tries again and reports the error.
	 */
	if (full && commit_flush(v) < 0)
		atomic_store(&v->blocked, true);
	return rc;
}

static bool same_counts(const struct volume_counts *a, const struct volume_counts *b)
{
	return a->next_ino == b->next_ino && a->inodes == b->inodes && a->bytes == b->bytes;
}

int change_run(struct volume *v, const struct caller *c, change_attempt *attempt, const void *in,
	       void *out, size_t out_len)
{
	return change_run_late(v, c, attempt, in, out, out_len, false);
}

int change_run_late(struct volume *v, const struct caller *c, change_attempt *attempt,
		    const void *in, void *out, size_t out_len, bool late)
{
	struct view *view = &v->view;
	struct change_stamp later;
	struct restarts r;
	int rc;

	restarts_begin(&r);
	do {
		struct volume_counts counts;
		uint64_t changes;

		if (late)
			later = change_stamp(v);
		change_lock(v);
		v->later = late ? &later : NULL;
		counts = view->counts;
		changes = overlay_changes(view->map.live);
		rc = attempt(v, &r.need, in, out);
		if (rc < 0)
			assert(overlay_changes(view->map.live) == changes &&
			       same_counts(&counts, &view->counts));
		v->later = NULL;
		change_unlock(v, c);
		/* Loading a node may have taken long, so the next attempt takes a later time. */
		late = true;
	} while (restarts_again(view, &r, out, out_len, &rc));
	restarts_end(view, &r);
	return change_end(v, rc);
}

int change_reserve(struct volume *v, size_t n_items, size_t extra_bytes)
{
	return overlay_reserve(v->view.map.live, n_items, n_items * ITEM_ROOM + extra_bytes);
}

void change_inode(struct volume *v, const struct attr *a)
{
	uint8_t value[ITEM_INODE_LEN];
	struct item_key key;

	item_key(&key, a->ino, ITEM_INODE);
	item_inode_encode(a, value);
	overlay_put(v->view.map.live, key.b, key.len, value, sizeof(value));
}

void change_bucket(struct volume *v, const struct bucket *b)
{
	if (b->len == 0)
		overlay_del(v->view.map.live, b->key.b, b->key.len);
	else
		overlay_put(v->view.map.live, b->key.b, b->key.len, b->value, b->len);
}

int bucket_insert(struct bucket *b, const char *name, inode_no ino, uint32_t type)
{
	struct entry e = {.ino = ino, .type = type, .name = name, .name_len = strlen(name)};

	if (b->len + ENTRY_LEN_MAX > sizeof(b->value))
		return -ENOSPC;
	b->len += item_entry_encode(&e, b->value + b->len);
	return 0;
}

void bucket_erase(struct bucket *b, const char *name)
{
	struct entry e;
	size_t start = 0, at = 0, name_len = strlen(name);

	while (item_entry_next(b->value, b->len, &at, &e) == 0) {
		if (e.name_len == name_len && memcmp(e.name, name, name_len) == 0) {
			memmove(b->value + start, b->value + at, b->len - at);
			b->len -= at - start;
			return;
		}
		start = at;
	}
	assert(!"the name is in its bucket");
}

struct change_stamp change_stamp(const struct volume *v)
{
	uint64_t seen = atomic_load(&v->n_times);

	return (struct change_stamp){.at = clock_stamp(), .seen = seen};
}

static bool is_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/*
 * If the stamp is earlier than the newest time, there are two cases.  Either it is stale: another
 * change took a later time after this stamp was asked for; then the newest time counts.  Or the
 * clock was set back in between; then the stamp counts.
 */
struct timespec change_time(struct volume *v, const struct change_stamp *s)
{
	uint64_t n = atomic_load_explicit(&v->n_times, memory_order_relaxed);

	if (v->later)
		s = v->later;
	assert(s->seen <= n);
	if (s->seen < n && is_before(&s->at, &v->newest_time))
		return v->newest_time;
	v->newest_time = s->at;
	atomic_store(&v->n_times, n + 1);
	return s->at;
}
