/*
 * An overlay's changes, encoded as delta records and decoded again.
 *
 * Key idea: a record says what a key or a range becomes, never how it changes.  So applying the
 * same records again, in order, is harmless.  Ranges go first because entries override them.
 * proto/FORMAT.md, "Delta records".
 */

#include "overlay_internal.h"

#include "buf.h"
#include "bytes.h"
#include "err.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static uint8_t *put_bytes(uint8_t *p, const void *bytes, size_t len)
{
	if (len > 0)
		memcpy(p, bytes, len);
	return p + len;
}

/* A put and a range have the same form. */
static uint8_t *write_pair(uint8_t *p, uint8_t type, const struct skip_node *n)
{
	*p = type;
	put_le16(p + 1, n->key_len);
	put_le16(p + 3, n->value_len);
	p = put_bytes(p + 5, skip_key(n), n->key_len);
	return put_bytes(p, n->value, n->value_len);
}

static uint8_t *write_entry(uint8_t *p, const struct skip_node *n)
{
	if (!(n->flags & ENTRY_GONE))
		return write_pair(p, RECORD_PUT, n);
	*p = RECORD_DEL;
	put_le16(p + 1, n->key_len);
	return put_bytes(p + 3, skip_key(n), n->key_len);
}

void overlay_trace_record(const struct overlay *ov, uint8_t type, const void *key, size_t key_len,
			  const void *value, size_t value_len)
{
	struct overlay_trace *t = ov->trace;
	uint8_t *p = t->p + t->len;

	assert(t->len + RECORD_HEAD_MAX + key_len + value_len <= t->cap);
	*p++ = type;
	put_le16(p, (uint16_t)key_len);
	p += 2;
	if (type != RECORD_DEL) {
		put_le16(p, (uint16_t)value_len);
		p += 2;
	}
	p = put_bytes(p, key, key_len);
	p = put_bytes(p, value, value_len);
	t->len = (size_t)(p - t->p);
}

static int by_key(const void *a, const void *b)
{
	const struct skip_node *x = *(const struct skip_node *const *)a;
	const struct skip_node *y = *(const struct skip_node *const *)b;

	return key_cmp(skip_key(x), x->key_len, skip_key(y), y->key_len);
}

/* The live entries of the pending list, sorted by key; most often they were changed in that order. */
static size_t sorted_pending(const struct overlay *ov, struct skip_node **list)
{
	size_t at = ov->n_pending, n;
	bool sorted = true;

	for (struct skip_node *e = ov->pending; e; e = e->pending) {
		if (!(e->flags & ENTRY_DEAD))
			list[--at] = e;
	}
	n = ov->n_pending - at;
	if (n == 0)
		return 0;
	memmove(list, list + at, n * sizeof(*list));
	for (size_t i = 1; i < n && sorted; i++)
		sorted = by_key(&list[i - 1], &list[i]) < 0;
	if (!sorted)
		qsort(list, n, sizeof(*list), by_key);
	return n;
}

static void nothing_pending(struct overlay *ov)
{
	struct skip_node *next;

	for (struct skip_node *e = ov->pending; e; e = next) {
		next = e->pending;
		e->pending = NULL;
		e->flags &= (uint8_t)~ENTRY_PENDING;
	}
	ov->pending = NULL;
	ov->n_pending = 0;
	ov->pending_bytes = 0;
	skip_reset(&ov->pending_ranges);
}

int overlay_take_delta(struct overlay *ov, struct buf *out)
{
	size_t len = overlay_pending_bytes(ov), n;
	struct skip_node **list = NULL;
	uint8_t *p, *begin;
	int rc;

	rc = buf_reserve(out, len);
	if (rc < 0)
		return rc;
	if (ov->n_pending > 0) {
		list = malloc(ov->n_pending * sizeof(struct skip_node *));
		if (!list)
			return -ENOMEM;
	}
	n = list ? sorted_pending(ov, list) : 0;

	if (len > 0) {
		p = begin = out->p + out->len;
		for (const struct skip_node *r = ov->pending_ranges.head[0]; r; r = r->next[0])
			p = write_pair(p, RECORD_RANGE, r);
		for (size_t i = 0; i < n; i++)
			p = write_entry(p, list[i]);
		assert((size_t)(p - begin) == len);
		out->len += len;
	}
	nothing_pending(ov);
	free(list);
	return 0;
}

static int malformed(size_t at, const char *what)
{
	return err_say(-ERR_FORMAT, "delta record at byte %zu: %s; use another copy", at, what);
}

static bool key_len_ok(size_t len)
{
	return len >= 1 && len <= TREE_KEY_MAX;
}

static int apply_range(struct overlay *ov, struct reader *r, size_t at, bool pending)
{
	size_t from_len = reader_le16(r), to_len = reader_le16(r);
	const uint8_t *from = reader_take(r, from_len);
	const uint8_t *to = reader_take(r, to_len);
	int rc;

	if (r->bad)
		return malformed(at, "cut short");
	if (!key_len_ok(from_len) || !key_len_ok(to_len))
		return malformed(at, "a key of bad length");
	if (key_cmp(from, from_len, to, to_len) >= 0)
		return malformed(at, "an empty range");
	rc = overlay_reserve(ov, 1, from_len + to_len);
	if (rc == 0)
		overlay_change_range(ov, from, from_len, to, to_len, pending);
	return rc;
}

static int apply_entry(struct overlay *ov, struct reader *r, size_t at, bool gone, bool pending)
{
	size_t key_len = reader_le16(r);
	size_t value_len = gone ? 0 : reader_le16(r);
	const uint8_t *key = reader_take(r, key_len);
	const uint8_t *value = reader_take(r, value_len);
	int rc;

	if (r->bad)
		return malformed(at, "cut short");
	if (!key_len_ok(key_len))
		return malformed(at, "a key of bad length");
	if (value_len > TREE_VALUE_MAX)
		return malformed(at, "a value too long");
	rc = overlay_reserve(ov, 1, key_len + value_len);
	if (rc == 0)
		overlay_change(ov, key, key_len, value, value_len, gone, pending);
	return rc;
}

static int apply(struct overlay *ov, const void *records, size_t len, bool pending)
{
	struct reader r = reader_of(records, len);
	int rc = 0;

	while (rc == 0 && r.left > 0) {
		size_t at = len - r.left;

		switch (reader_u8(&r)) {
		case RECORD_PUT:
			rc = apply_entry(ov, &r, at, false, pending);
			break;
		case RECORD_DEL:
			rc = apply_entry(ov, &r, at, true, pending);
			break;
		case RECORD_RANGE:
			rc = apply_range(ov, &r, at, pending);
			break;
		default:
			rc = malformed(at, "of a kind that is not known");
		}
	}
	return rc;
}

int overlay_apply(struct overlay *ov, const void *records, size_t len)
{
	return apply(ov, records, len, false);
}

int overlay_replay(struct overlay *ov, const void *records, size_t len)
{
	return apply(ov, records, len, true);
}

/*
 * Where encoding stands.  A range that crosses the end of a piece continues in the next one:
 * ${cut}, an entry or a range, is the node at whose key the piece ended.
 */
struct place {
	const struct skip_node *range, *entry; /* the first that is not wholly in a piece yet */
	const struct skip_node *cut;	       /* where ${range} continues; NULL: at its own key */
};

static int cmp_nodes(const struct skip_node *a, const struct skip_node *b)
{
	return key_cmp(skip_key(a), a->key_len, skip_key(b), b->key_len);
}

/* The node at whose key a piece of ${max} bytes, beginning at ${at}, must end; NULL: all fits. */
static const struct skip_node *find_end(const struct place *at, size_t max)
{
	const struct skip_node *r = at->range, *e = at->entry, *begin = at->cut ? at->cut : r;
	size_t len = TREE_KEY_MAX, add; /* room in case the cut gives a range a longer end key */

	while (r || e) {
		bool is_range = r && (!e || cmp_nodes(begin, e) <= 0);

		add = is_range ? (size_t)RECORD_HEAD_MAX + begin->key_len + r->value_len
			       : entry_record_len(e);
		if (len + add > max)
			return is_range ? begin : e;
		len += add;
		if (is_range)
			begin = r = r->next[0];
		else
			e = e->next[0];
	}
	return NULL;
}

/* Write the records of the keys from ${at} to the key of ${end}, ranges first; advances ${at}. */
static uint8_t *write_piece(uint8_t *p, struct place *at, const struct skip_node *end)
{
	const struct skip_node *begin = at->cut ? at->cut : at->range;

	while (at->range && (!end || cmp_nodes(begin, end) < 0)) {
		const struct skip_node *r = at->range;
		bool cut = end && key_cmp(r->value, r->value_len, skip_key(end), end->key_len) > 0;
		const void *to = cut ? skip_key(end) : r->value;
		uint16_t to_len = cut ? end->key_len : r->value_len;

		*p = RECORD_RANGE;
		put_le16(p + 1, begin->key_len);
		put_le16(p + 3, to_len);
		p = put_bytes(p + 5, skip_key(begin), begin->key_len);
		p = put_bytes(p, to, to_len);
		at->cut = cut ? end : NULL;
		if (cut)
			break;
		begin = at->range = r->next[0];
	}
	for (; at->entry && (!end || cmp_nodes(at->entry, end) < 0); at->entry = at->entry->next[0])
		p = write_entry(p, at->entry);
	return p;
}

int overlay_encode(const struct overlay *ov, size_t piece_max,
		   int (*fn)(void *ctx, const void *records, size_t len), void *ctx)
{
	struct place at = {.range = ov->ranges.head[0], .entry = ov->entries.head[0]};
	uint8_t *piece;
	int rc = 0;

	assert(piece_max >= OVERLAY_PIECE_MIN);
	piece = malloc(piece_max);
	if (!piece)
		return -ENOMEM;
	while (rc == 0 && (at.range || at.entry)) {
		const struct skip_node *end = find_end(&at, piece_max);
		size_t len = (size_t)(write_piece(piece, &at, end) - piece);

		assert(len > 0 && len <= piece_max);
		rc = fn(ctx, piece, len);
	}
	free(piece);
	return rc;
}
