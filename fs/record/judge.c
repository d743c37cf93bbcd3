/*
 * The judge of heads, and the one search for them.
 *
 * Key idea: a note begins with its origin, so heads are found by their text, without walking the
 * blocks before them; and a note states the position where it lies, so bytes of a head that were
 * copied elsewhere prove nothing.
 */

#include "judge.h"

#include "params.h"
#include "storage.h"

#include "err.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_LEN ((size_t)1 << 20)
#define ORIGIN_MAX (16u + VOLUME_ID_TEXT_LEN)

_Static_assert(WINDOW_LEN > 2 * HEAD_BLOCK_MAX, "each window has more than it keeps");

typedef unsigned long long ull;

/* A note that was decoded to ${out}, and lies at ${pos}. */
static int judge_note(const struct params *p, uint64_t pos, const void *note, size_t len,
		      struct head *out)
{
	const uint8_t *writer;

	out->stored_len = (uint32_t)(FRAME_LEN + len);
	if (memcmp(out->volume, p->id, VOLUME_ID_LEN) != 0)
		return err_say(-ERR_TAMPERED, "head at %llu: of another volume", (ull)pos);
	if (out->pos != pos)
		return err_say(-ERR_TAMPERED, "head at %llu: says that it is at %llu", (ull)pos,
			       (ull)out->pos);
	writer = params_writer(p, out->epoch);
	if (!writer)
		return err_say(-ERR_TAMPERED,
			       "head at %llu: of epoch %llu, which volume.conf grants to nobody",
			       (ull)pos, (ull)out->epoch);
	return head_verify(note, len, writer);
}

int head_judge(const struct params *params, uint64_t pos, const void *bytes, size_t len,
	       struct head *out)
{
	const uint8_t *block = bytes;
	struct frame f;
	int rc;

	if (len < FRAME_LEN || frame_decode(block, pos, &f) < 0 || f.kind != BLOCK_HEAD ||
	    f.body_len > len - FRAME_LEN)
		return err_say(-ERR_DAMAGED, "log: no head at %llu", (ull)pos);
	rc = head_decode(block + FRAME_LEN, f.body_len, out);
	if (rc == -ERR_FORMAT)
		return err_say(-ERR_TAMPERED, "head at %llu: malformed", (ull)pos);
	return rc < 0 ? rc : judge_note(params, pos, block + FRAME_LEN, f.body_len, out);
}

int head_judge_note(const struct params *params, const void *note, size_t len, struct head *out)
{
	int rc = head_decode(note, len, out);

	return rc < 0 ? rc : judge_note(params, out->pos, note, len, out);
}

struct search {
	const struct params *params;
	char origin[ORIGIN_MAX];
	head_found_fn *fn;
	void *ctx;
};

/* Each head in the ${len} bytes ${buf} of ${pos} whose block begins before ${buf} + ${stop}. */
static int search_window(const struct search *s, const uint8_t *buf, size_t len, size_t stop,
			 uint64_t pos)
{
	size_t origin_len = strlen(s->origin);
	const uint8_t *at = buf, *hit;
	struct head h;
	int rc = 0;

	while (rc == 0 &&
	       (hit = memmem(at, len - (size_t)(at - buf), s->origin, origin_len)) != NULL) {
		size_t off = (size_t)(hit - buf);

		at = hit + 1;
		if (off < FRAME_LEN || off - FRAME_LEN >= stop)
			continue;
		off -= FRAME_LEN;
		if (head_judge(s->params, pos + off, buf + off, len - off, &h) == 0)
			rc = s->fn(s->ctx, &h);
	}
	return rc;
}

int head_search(const struct params *params, struct storage *st, uint64_t from, head_found_fn *fn,
		void *ctx)
{
	struct search s = {.params = params, .origin = "embassyfs/", .fn = fn, .ctx = ctx};
	uint64_t number = segment_of(from), size, stop;
	uint8_t *buf;
	int rc = storage_size(st, number, &size);

	if (rc < 0)
		return rc == -ERR_ABSENT ? 0 : rc;
	stop = segment_start(number) + (size < SEGMENT_SIZE ? size : SEGMENT_SIZE);
	volume_id_format(params->id, s.origin + strlen(s.origin));
	strcat(s.origin, "\n");
	buf = malloc(WINDOW_LEN);
	if (!buf)
		return -ENOMEM;
	while (rc == 0 && from < stop && stop - from > FRAME_LEN) {
		size_t len = stop - from < WINDOW_LEN ? (size_t)(stop - from) : WINDOW_LEN;
		/* A head that the window's end cuts is whole in the next one. */
		size_t own = len < stop - from ? len - HEAD_BLOCK_MAX : len;

		rc = storage_read(st, from, len, buf);
		if (rc == 0)
			rc = search_window(&s, buf, len, own, from);
		from += own;
	}
	free(buf);
	/* Cut meanwhile by the log's writer: what is gone is no head's. */
	return rc == -ERR_ABSENT ? 0 : rc;
}
