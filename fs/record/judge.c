/*
 * The judge of heads, and the one search for them.
 *
 * Key idea: a note begins with its origin, so heads are found by their text, without walking the
 * blocks before them; and a note states the position where it lies, so bytes of a head that were
 * copied elsewhere prove nothing.
 */

#include "judge.h"

#include "catalog.h"
#include "holes.h"
#include "merkle.h"
#include "params.h"
#include "storage.h"

#include "err.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_LEN ((size_t)1 << 20)
#define ORIGIN_MAX (16u + VOLUME_ID_TEXT_LEN)

_Static_assert(WINDOW_LEN > 2 * HEAD_BLOCK_MAX, "each window has more than it keeps");

typedef unsigned long long ull;

static int judge_ref(const struct head_ref *ref, const struct head *h)
{
	if (h->stored_len != ref->stored_len)
		return err_say(-ERR_DAMAGED, "log: no head of %u bytes at %llu", ref->stored_len,
			       (ull)ref->pos);
	if (h->number != ref->number)
		return err_say(-ERR_DAMAGED, "head at %llu: has number %llu, not %llu",
			       (ull)ref->pos, (ull)h->number, (ull)ref->number);
	if (h->time_ns != ref->time_ns)
		return err_say(-ERR_DAMAGED,
			       "head %llu at %llu: its time is not the one that the "
			       "catalog has",
			       (ull)h->number, (ull)ref->pos);
	return 0;
}

/* Compare with what an index, a message or another copy names. */
static int judge_named(const struct head_known *k, const struct head *h)
{
	if (k->stored_len != 0 && h->stored_len != k->stored_len)
		return err_say(-ERR_DAMAGED, "head at %llu: has %u bytes, not %u", (ull)h->pos,
			       h->stored_len, k->stored_len);
	if (k->number != 0 && h->number != k->number)
		return err_say(-ERR_DAMAGED, "head at %llu: has number %llu, not %llu", (ull)h->pos,
			       (ull)h->number, (ull)k->number);
	if (k->same && !head_is_same(h, k->same))
		return err_say(-ERR_DAMAGED, "head %llu at %llu: is not the other copy's head %llu",
			       (ull)h->number, (ull)h->pos, (ull)k->same->number);
	return k->ref ? judge_ref(k->ref, h) : 0;
}

static bool root_differs(const struct head_known *k, const struct head *h)
{
	uint8_t root[HASH_LEN];
	bool differs;

	merkle_root(k->merkle, root);
	differs = memcmp(h->root, root, HASH_LEN) != 0;
	if (differs && k->root_differs)
		*k->root_differs = true;
	return differs;
}

/* Compare with what the log below the head gives. */
static int judge_log(const struct head_known *k, const struct head *h)
{
	const struct head *parent = k->parent;
	const char *lie = NULL;

	if (parent && h->number != parent->number + 1)
		lie = "number";
	else if (parent && (h->parent_pos != parent->pos || h->pos < head_end(parent)))
		lie = "parent";
	else if (parent && parent->number > 0 && h->time_ns <= parent->time_ns)
		lie = "time";
	else if ((parent && h->epoch < parent->epoch) || (k->epoch != 0 && h->epoch != k->epoch))
		lie = "epoch";
	else if (k->merkle && h->n_blocks != k->merkle->n)
		lie = "number of blocks";
	/* Last, so that a wrong root is reported only if all else is right. */
	else if (k->merkle && root_differs(k, h))
		lie = "Merkle root";
	if (!lie)
		return 0;
	return err_say(-ERR_TAMPERED,
		       "head %llu at %llu: its %s is not what the log before it gives",
		       (ull)h->number, (ull)h->pos, lie);
}

static int judge_writer(const struct head_known *k, const struct head *h, const void *note,
			size_t len)
{
	const uint8_t *writer = params_writer(k->params, h->epoch);

	if (!writer)
		return err_say(k->params_may_be_old ? -ERR_STALE : -ERR_TAMPERED,
			       "head at %llu: of epoch %llu, which volume.conf grants to nobody",
			       (ull)h->pos, (ull)h->epoch);
	return k->signature_known ? 0 : head_verify(note, len, writer);
}

static int judge_note(const struct head_known *k, const void *note, size_t len, struct head *out)
{
	int rc = len <= HEAD_NOTE_MAX ? head_decode(note, len, out) : -ERR_FORMAT;

	if (rc == -ERR_FORMAT && k->pos == HEAD_ANYWHERE)
		return err_say(-ERR_TAMPERED, "head: malformed");
	if (rc == -ERR_FORMAT)
		return err_say(-ERR_TAMPERED, "head at %llu: malformed", (ull)k->pos);
	if (rc < 0)
		return rc;
	out->stored_len = (uint32_t)(FRAME_LEN + len);
	if (memcmp(out->volume, k->params->id, VOLUME_ID_LEN) != 0)
		return err_say(-ERR_TAMPERED, "head at %llu: of another volume", (ull)out->pos);
	if (k->pos != HEAD_ANYWHERE && out->pos != k->pos)
		return err_say(-ERR_TAMPERED, "head at %llu: says that it is at %llu", (ull)k->pos,
			       (ull)out->pos);
	rc = judge_writer(k, out, note, len);
	if (rc == 0)
		rc = judge_named(k, out);
	return rc < 0 ? rc : judge_log(k, out);
}

int head_judge(const struct head_known *k, const void *bytes, size_t len, struct head *out)
{
	const uint8_t *block = bytes;
	struct frame f;

	assert(k->epoch == 0 || k->parent);
	assert(!k->signature_known || k->ref);
	if (k->is_note)
		return judge_note(k, bytes, len, out);
	if (len < FRAME_LEN || frame_decode(block, k->pos, &f) < 0 || f.kind != BLOCK_HEAD ||
	    f.body_len > len - FRAME_LEN)
		return err_say(-ERR_DAMAGED, "log: no head at %llu", (ull)k->pos);
	return judge_note(k, block + FRAME_LEN, f.body_len, out);
}

static bool is_same_ptr(const struct block_ptr *a, const struct block_ptr *b)
{
	return a->pos == b->pos && a->stored_len == b->stored_len && a->plain_len == b->plain_len;
}

bool head_is_same(const struct head *a, const struct head *b)
{
	if (a->number != b->number || a->pos != b->pos || a->time_ns != b->time_ns ||
	    a->epoch != b->epoch || a->parent_pos != b->parent_pos || a->n_blocks != b->n_blocks ||
	    memcmp(a->root, b->root, HASH_LEN) != 0 ||
	    memcmp(a->volume, b->volume, VOLUME_ID_LEN) != 0)
		return false;
	if (!is_same_ptr(&a->checkpoint, &b->checkpoint) || a->n_deltas != b->n_deltas)
		return false;
	for (uint32_t i = 0; i < a->n_deltas; i++)
		if (!is_same_ptr(&a->deltas[i], &b->deltas[i]))
			return false;
	return true;
}

int head_read(const struct head_known *k, head_read_fn *read, void *from,
	      uint8_t block[HEAD_BLOCK_MAX], struct head *out)
{
	const struct head_ref *ref = k->ref;
	struct head_known here = *k;
	int rc;

	if (ref->stored_len <= FRAME_LEN || ref->stored_len > HEAD_BLOCK_MAX)
		return err_say(-ERR_DAMAGED, "head %llu at %llu: cannot be %u bytes long",
			       (ull)ref->number, (ull)ref->pos, ref->stored_len);
	here.pos = ref->pos;
	rc = read(from, ref->pos, ref->stored_len, block);
	return rc < 0 ? rc : head_judge(&here, block, ref->stored_len, out);
}

int head_from_storage(void *from, log_pos pos, size_t len, void *out)
{
	return storage_read(from, pos, len, out);
}

struct search {
	const struct params *params;
	struct storage *storage;
	log_pos from, to;
	char origin[ORIGIN_MAX];
	uint8_t *buf; /* WINDOW_LEN bytes */
	head_found_fn *fn;
	void *ctx;
};

/*
 * Call fn for each head in the buffer's ${len} bytes, read at ${pos}, that begins before offset
 * ${stop}.
 */
static int search_window(const struct search *s, size_t len, size_t stop, log_pos pos)
{
	size_t origin_len = strlen(s->origin);
	const uint8_t *buf = s->buf, *at = buf, *hit;
	struct head h;
	int rc = 0;

	while (rc == 0 &&
	       (hit = memmem(at, len - (size_t)(at - buf), s->origin, origin_len)) != NULL) {
		size_t off = (size_t)(hit - buf);
		struct head_known k = {.params = s->params};

		at = hit + 1;
		if (off < FRAME_LEN || off - FRAME_LEN >= stop)
			continue;
		off -= FRAME_LEN;
		k.pos = pos + off;
		/* Leftover bytes of a block that is gone. */
		if (holes_at(s->storage->holes, k.pos))
			continue;
		if (head_judge(&k, buf + off, len - off, &h) == 0)
			rc = s->fn(s->ctx, &h);
	}
	return rc;
}

/*
 * Search the part of a segment that is asked for.  A writer may cut the segment meanwhile; no head
 * is in what it cuts off.
 */
static int search_segment(const struct search *s, segment_no number)
{
	uint64_t size;
	log_pos from = segment_start(number), stop = from;
	int rc = storage_size(s->storage, number, &size);

	if (rc == 0)
		stop += size < SEGMENT_SIZE ? size : SEGMENT_SIZE;
	if (stop > s->to)
		stop = s->to;
	if (from < s->from)
		from = s->from;
	while (rc == 0 && from < stop && stop - from > FRAME_LEN) {
		size_t len = stop - from < WINDOW_LEN ? (size_t)(stop - from) : WINDOW_LEN;
		/* A head that crosses the window's end is whole in the next window. */
		size_t own = len < stop - from ? len - HEAD_BLOCK_MAX : len;

		rc = storage_read(s->storage, from, len, s->buf);
		if (rc < 0)
			break;
		rc = search_window(s, len, own, from);
		if (rc != 0)
			return rc; /* also if it is -ERR_ABSENT */
		from += own;
	}
	return rc == -ERR_ABSENT ? 0 : rc;
}

int head_search(const struct params *params, struct storage *st, log_pos from, log_pos to,
		head_found_fn *fn, void *ctx)
{
	struct search s = {.params = params,
			   .storage = st,
			   .from = from,
			   .to = to,
			   .origin = "embassyfs/",
			   .fn = fn,
			   .ctx = ctx};
	segment_no number;
	int rc = storage_next(st, segment_of(from), &number), found = 0;

	volume_id_format(params->id, s.origin + strlen(s.origin));
	strcat(s.origin, "\n");
	s.buf = malloc(WINDOW_LEN);
	if (!s.buf)
		return -ENOMEM;
	for (; rc == 0 && segment_start(number) < to; rc = storage_next(st, number + 1, &number)) {
		found = search_segment(&s, number);
		if (found != 0)
			break;
	}
	free(s.buf);
	if (found != 0)
		return found;
	return rc == -ERR_ABSENT ? 0 : rc;
}
