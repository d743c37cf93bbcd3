/*
 * The changes of two overlays in a key span, made pending again in the upper one.
 *
 * Key idea: their net effect is gathered in a third overlay, which is then applied to the upper
 * one.  It includes the upper one's own changes there, so no newer change is lost.
 */

#include "overlay_internal.h"

#include <assert.h>

/* A key; NULL: no end. */
struct edge {
	const uint8_t *key;
	size_t len;
};

static bool before(const uint8_t *key, size_t len, const struct edge *end)
{
	return !end->key || key_cmp(key, len, end->key, end->len) < 0;
}

static struct edge span_end(const struct overlay_span *s)
{
	return s->to_len > 0 ? (struct edge){s->to, s->to_len} : (struct edge){0};
}

/* The start of a range, cut to the start of ${span}. */
static struct edge range_begin(const struct skip_node *r, const struct overlay_span *span)
{
	if (key_cmp(skip_key(r), r->key_len, span->from, span->from_len) < 0)
		return (struct edge){span->from, span->from_len};
	return (struct edge){skip_key(r), r->key_len};
}

/* A walk, in key order, over the entries and ranges of an overlay in a span. */
struct walk {
	const struct overlay_span *span;
	const struct skip_node *entry, *range; /* the next of each, or NULL */
};

static struct walk walk_of(const struct overlay *ov, const struct overlay_span *span)
{
	return (struct walk){
		.span = span,
		.entry = overlay_seek(ov, span->from, span->from_len),
		.range = overlay_seek_range(ov, span->from, span->from_len),
	};
}

static bool range_is_next(const struct walk *w)
{
	struct edge begin;

	if (!w->range)
		return false;
	if (!w->entry)
		return true;
	begin = range_begin(w->range, w->span);
	return key_cmp(begin.key, begin.len, skip_key(w->entry), w->entry->key_len) <= 0;
}

/* The key of the next entry or range; key NULL at the end. */
static struct edge walk_key(const struct walk *w)
{
	if (range_is_next(w))
		return range_begin(w->range, w->span);
	return w->entry ? (struct edge){skip_key(w->entry), w->entry->key_len} : (struct edge){0};
}

/* Advance; returns the maximum length of the record of what was passed. */
static size_t walk_on(struct walk *w)
{
	const struct skip_node *n = range_is_next(w) ? w->range : w->entry;

	if (n == w->range) {
		w->range = n->next[0];
		return RECORD_HEAD_MAX + 2 * (size_t)TREE_KEY_MAX;
	}
	w->entry = n->next[0];
	return entry_record_len(n);
}

size_t overlay_span_bytes(const struct overlay *ov, const struct overlay_span *span)
{
	struct edge end = span_end(span), at;
	struct walk w = walk_of(ov, span);
	size_t bytes = 0;

	while ((at = walk_key(&w)).key && before(at.key, at.len, &end))
		bytes += walk_on(&w) + sizeof(struct skip_node) + 2 * sizeof(void *);
	return bytes;
}

/* The key at which to stop, so that the records of the part take at most ${bytes_max}. */
static struct edge part_end(const struct overlay *a, const struct overlay *b,
			    const struct overlay_span *span, size_t bytes_max)
{
	struct walk w[2] = {walk_of(a, span), walk_of(b, span)};
	struct edge end = span_end(span);
	size_t bytes = 0;

	for (;;) {
		struct edge at = walk_key(&w[0]), other = walk_key(&w[1]);
		bool second = other.key &&
			      (!at.key || key_cmp(other.key, other.len, at.key, at.len) < 0);

		if (second)
			at = other;
		if (!at.key || !before(at.key, at.len, &end))
			return end;
		bytes += walk_on(&w[second]);
		if (bytes > bytes_max && key_cmp(at.key, at.len, span->from, span->from_len) > 0)
			return at;
	}
}

/* Apply the changes of ${ov}, from the span's beginning to ${end}, to ${net}. */
static int gather(struct overlay *net, const struct overlay *ov, const struct overlay_span *span,
		  const struct edge *end)
{
	const struct skip_node *r = overlay_seek_range(ov, span->from, span->from_len);
	const struct skip_node *e = overlay_seek(ov, span->from, span->from_len);
	int rc;

	for (; r && before(skip_key(r), r->key_len, end); r = r->next[0]) {
		struct edge from = range_begin(r, span), to = {r->value, r->value_len};

		if (!before(to.key, to.len, end))
			to = *end;
		rc = overlay_reserve(net, 1, from.len + to.len);
		if (rc < 0)
			return rc;
		overlay_change_range(net, from.key, from.len, to.key, to.len, false);
	}
	for (; e && before(skip_key(e), e->key_len, end); e = e->next[0]) {
		rc = overlay_reserve(net, 1, (size_t)e->key_len + e->value_len);
		if (rc < 0)
			return rc;
		overlay_change(net, skip_key(e), e->key_len, e->value, e->value_len,
			       e->flags & ENTRY_GONE, false);
	}
	return 0;
}

static void lay_over(struct overlay *ov, const struct overlay *net)
{
	for (const struct skip_node *r = net->ranges.head[0]; r; r = r->next[0])
		overlay_del_range(ov, skip_key(r), r->key_len, r->value, r->value_len);
	for (const struct skip_node *e = net->entries.head[0]; e; e = e->next[0]) {
		if (e->flags & ENTRY_GONE)
			overlay_del(ov, skip_key(e), e->key_len);
		else
			overlay_put(ov, skip_key(e), e->key_len, e->value, e->value_len);
	}
}

int overlay_renew(struct overlay *ov, const struct overlay *below, struct overlay_span *span,
		  size_t bytes_max)
{
	struct edge end = part_end(below, ov, span, bytes_max);
	bool last = !end.key ||
		    (span->to_len > 0 && key_cmp(end.key, end.len, span->to, span->to_len) == 0);
	struct overlay *net;
	int rc;

	rc = overlay_new(&net);
	if (rc < 0)
		return rc;
	rc = gather(net, below, span, &end);
	if (rc == 0)
		rc = gather(net, ov, span, &end);
	if (rc == 0)
		rc = overlay_reserve(ov, net->ranges.n + net->entries.n, overlay_bytes(net));
	if (rc < 0)
		goto free_net;
	lay_over(ov, net);
	if (!last) {
		assert(key_cmp(end.key, end.len, span->from, span->from_len) > 0);
		memcpy(span->from, end.key, end.len);
		span->from_len = end.len;
	}
	rc = !last;
free_net:
	overlay_free(net);
	return rc;
}
