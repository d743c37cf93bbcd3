/*
 * Item changes in memory.
 *
 * Key idea: two ordered sets, entries and deleted ranges.  A range deletion first removes the
 * entries that it covers.  So an entry inside a range is always newer than the range, and a look-up
 * tries the entries first.
 *
 * Invariants:
 *  1. Ranges are disjoint and none ends where the next begins.
 *  2. An entry inside a range overrides the range.
 *  3. The pending ranges, then the live entries of the pending list, are the net effect of all
 *     changes since the last delta: an entry that a pending range covers was changed after it.
 *  4. pending_bytes is the total length of the records of the pending list's live entries.
 */

#include "overlay_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int overlay_new(struct overlay **out)
{
	struct overlay *ov = calloc(1, sizeof(*ov));

	if (!ov)
		return -ENOMEM;
	skip_init(&ov->entries);
	skip_init(&ov->ranges);
	skip_init(&ov->pending_ranges);
	*out = ov;
	return 0;
}

void overlay_free(struct overlay *ov)
{
	if (!ov)
		return;
	skip_release(&ov->entries);
	skip_release(&ov->ranges);
	skip_release(&ov->pending_ranges);
	free(ov);
}

int overlay_reserve(struct overlay *ov, size_t n, size_t bytes)
{
	int rc;

	rc = skip_reserve(&ov->entries, n, bytes);
	if (rc == 0)
		rc = skip_reserve(&ov->ranges, n, bytes);
	if (rc == 0)
		rc = skip_reserve(&ov->pending_ranges, n, bytes);
	return rc;
}

const struct skip_node *overlay_seek_range(const struct overlay *ov, const void *key, size_t len)
{
	const struct skip_node *r = skip_floor(&ov->ranges, key, len);

	if (!r)
		return ov->ranges.head[0];
	if (key_cmp(r->value, r->value_len, key, len) > 0)
		return r;
	return r->next[0];
}

static bool in_range(const struct overlay *ov, const void *key, size_t len)
{
	const struct skip_node *r = skip_floor(&ov->ranges, key, len);

	return r && key_cmp(r->value, r->value_len, key, len) > 0;
}

void overlay_change(struct overlay *ov, const void *key, size_t key_len, const void *value,
		    size_t value_len, bool gone, bool pending)
{
	struct skip_path path;
	struct skip_node *n;

	assert(key_len >= 1 && key_len <= TREE_KEY_MAX && value_len <= TREE_VALUE_MAX);
	n = skip_find(&ov->entries, key, key_len, &path);
	if (!n || key_cmp(skip_key(n), n->key_len, key, key_len) != 0) {
		/* Deleted by a range and not put since: a tombstone would change nothing. */
		if (gone && in_range(ov, key, key_len))
			return;
		n = skip_insert(&ov->entries, &path, key, key_len, value, value_len);
	} else {
		if (n->flags & ENTRY_PENDING)
			ov->pending_bytes -= entry_record_len(n);
		skip_set_value(&ov->entries, n, value, value_len);
	}
	n->flags = (uint8_t)((n->flags & ~ENTRY_GONE) | (gone ? ENTRY_GONE : 0));

	if (pending && !(n->flags & ENTRY_PENDING)) {
		n->flags |= ENTRY_PENDING;
		n->pending = ov->pending;
		ov->pending = n;
		ov->n_pending++;
	}
	if (n->flags & ENTRY_PENDING)
		ov->pending_bytes += entry_record_len(n);
}

/* Add [from, to) to a set of ranges, merged with all ranges that it overlaps or touches. */
static void add_range(struct skip *ranges, const void *from, size_t from_len, const void *to,
		      size_t to_len)
{
	struct skip_node *into, *after;
	struct skip_path path;

	(void)skip_find_after(ranges, from, from_len, &path);
	into = path.before;
	if (into && key_cmp(into->value, into->value_len, from, from_len) >= 0) {
		if (key_cmp(into->value, into->value_len, to, to_len) < 0)
			skip_set_value(ranges, into, to, to_len);
		/* The path stands after this node on all levels, since it was passed last. */
	} else {
		into = skip_insert(ranges, &path, from, from_len, to, to_len);
		skip_step(&path, into);
	}

	while ((after = into->next[0]) &&
	       key_cmp(skip_key(after), after->key_len, into->value, into->value_len) <= 0) {
		if (key_cmp(after->value, after->value_len, into->value, into->value_len) > 0)
			skip_move_value(ranges, into, after);
		skip_unlink(ranges, &path);
	}
}

void overlay_change_range(struct overlay *ov, const void *from, size_t from_len, const void *to,
			  size_t to_len, bool pending)
{
	struct skip_path path;
	struct skip_node *n;

	assert(from_len >= 1 && from_len <= TREE_KEY_MAX);
	assert(to_len >= 1 && to_len <= TREE_KEY_MAX);
	if (key_cmp(from, from_len, to, to_len) >= 0)
		return;

	n = skip_find(&ov->entries, from, from_len, &path);
	while (n && key_cmp(skip_key(n), n->key_len, to, to_len) < 0) {
		struct skip_node *next = n->next[0];

		if (n->flags & ENTRY_PENDING) {
			ov->pending_bytes -= entry_record_len(n);
			n->flags |= ENTRY_DEAD;
		}
		skip_unlink(&ov->entries, &path);
		n = next;
	}

	add_range(&ov->ranges, from, from_len, to, to_len);
	if (pending)
		add_range(&ov->pending_ranges, from, from_len, to, to_len);
}

void overlay_put(struct overlay *ov, const void *key, size_t key_len, const void *value,
		 size_t value_len)
{
	ov->n_changes++;
	overlay_change(ov, key, key_len, value, value_len, false, true);
	if (ov->trace)
		overlay_trace_record(ov, RECORD_PUT, key, key_len, value, value_len);
}

void overlay_del(struct overlay *ov, const void *key, size_t key_len)
{
	ov->n_changes++;
	overlay_change(ov, key, key_len, NULL, 0, true, true);
	if (ov->trace)
		overlay_trace_record(ov, RECORD_DEL, key, key_len, NULL, 0);
}

void overlay_del_range(struct overlay *ov, const void *from, size_t from_len, const void *to,
		       size_t to_len)
{
	ov->n_changes++;
	overlay_change_range(ov, from, from_len, to, to_len, true);
	/* An empty range has no record. */
	if (ov->trace && key_cmp(from, from_len, to, to_len) < 0)
		overlay_trace_record(ov, RECORD_RANGE, from, from_len, to, to_len);
}

void overlay_trace(struct overlay *ov, struct overlay_trace *t)
{
	ov->trace = t;
}

enum overlay_hit overlay_get(const struct overlay *ov, const void *key, size_t key_len,
			     const uint8_t **out_value, size_t *out_len)
{
	const struct skip_node *n = skip_seek(&ov->entries, key, key_len);

	if (n && key_cmp(skip_key(n), n->key_len, key, key_len) == 0) {
		if (n->flags & ENTRY_GONE)
			return OVERLAY_GONE;
		*out_value = n->value;
		*out_len = n->value_len;
		return OVERLAY_FOUND;
	}
	return in_range(ov, key, key_len) ? OVERLAY_GONE : OVERLAY_MISS;
}

size_t overlay_bytes(const struct overlay *ov)
{
	return ov->entries.bytes + ov->ranges.bytes + ov->pending_ranges.bytes;
}

uint64_t overlay_changes(const struct overlay *ov)
{
	return ov->n_changes;
}

size_t overlay_pending_bytes(const struct overlay *ov)
{
	const struct skip *ranges = &ov->pending_ranges;

	return ov->pending_bytes + ranges->payload + RECORD_HEAD_MAX * ranges->n;
}
