/*
 * The chain of heads, judged block by block.
 *
 * Key idea: fold each block into the Merkle state as it comes; when a head comes, all that it says
 * must be what was counted.  So a verified head vouches for each byte before it.
 *
 * Invariants:
 *  1. Blocks follow each other without a gap inside a segment, and a segment begins with its
 *    header.
 *  2. n_leaves <= merkle.n, and all leaves before those are in the catalog.
 *  3. Whatever a block says, memory stays below HISTORY_LEAVES_MAX hashes.
 */

#include "history.h"

#include "catalog.h"
#include "params.h"
#include "scan.h"
#include "store.h"

#include "err.h"
#include "file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAVES_FIRST 256u
#define HEAD_BLOCK_MAX (FRAME_LEN + HEAD_NOTE_MAX)
#define REST_WINDOW ((size_t)1 << 20)
#define KIND_OFF 4u /* of the kind in a frame */

typedef unsigned long long ull;

void history_init(struct history *h, const struct params *params)
{
	memset(h, 0, sizeof(*h));
	h->params = params;
	merkle_init(&h->merkle);
}

void history_release(struct history *h)
{
	free(h->leaves);
	h->leaves = NULL;
	h->n_leaves = h->cap_leaves = 0;
}

/* Room for one more leaf. */
static int reserve_leaf(struct history *h)
{
	size_t cap = h->cap_leaves ? 2 * h->cap_leaves : LEAVES_FIRST;
	void *p;

	if (h->n_leaves >= HISTORY_LEAVES_MAX)
		return err_say(-ERR_TAMPERED, "log: more than %u blocks without a head before %llu",
			       HISTORY_LEAVES_MAX, (ull)h->end);
	if (h->n_leaves < h->cap_leaves)
		return 0;
	p = realloc(h->leaves, cap * HASH_LEN);
	if (!p)
		return -ENOMEM;
	h->leaves = p;
	h->cap_leaves = cap;
	return 0;
}

/* The note of a head: read, of this volume, and signed by the writer of the epoch it names. */
static int read_note(const struct params *p, const void *note, size_t len, uint64_t pos,
		     struct head *out)
{
	const uint8_t *writer;
	int rc = head_decode(note, len, out);

	if (rc == -ERR_FORMAT)
		return err_say(-ERR_TAMPERED, "head at %llu: malformed", (ull)pos);
	if (rc < 0)
		return rc;
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

static int judge_head(struct history *h, const struct scan_block *b, struct head *out)
{
	uint8_t root[HASH_LEN];
	const char *lie = NULL;
	int rc = read_note(h->params, b->bytes + FRAME_LEN, b->len - FRAME_LEN, b->pos, out);

	if (rc < 0)
		return rc;
	merkle_root(&h->merkle, root);
	if (out->number != h->head.number + 1)
		lie = "number";
	else if (out->parent_pos != h->head.pos)
		lie = "parent";
	else if (h->head.number > 0 && out->time_ns <= h->head.time_ns)
		lie = "time";
	else if (out->epoch < h->head.epoch || out->epoch != h->epoch)
		lie = "epoch";
	else if (out->n_blocks != h->merkle.n)
		lie = "number of blocks";
	else if (memcmp(out->root, root, HASH_LEN) != 0)
		lie = "Merkle root", h->root_differs = true;
	if (lie)
		return err_say(-ERR_TAMPERED,
			       "head %llu at %llu: its %s is not what the log before it gives",
			       (ull)out->number, (ull)b->pos, lie);
	out->stored_len = (uint32_t)b->len;
	return 0;
}

static int judge_segment(const struct history *h, const struct scan_block *b, uint64_t *out_epoch)
{
	uint64_t number = segment_of(b->pos);
	struct segment_header s;
	int rc;

	if (h->end > 0 && number <= segment_of(h->end - 1))
		return err_say(-ERR_DAMAGED, "segment %016llx: comes after %llu", (ull)number,
			       (ull)h->end);
	rc = segment_header_decode(b->bytes, number, &s);
	if (rc < 0)
		return err_say(rc, "segment %016llx: its header is %s", (ull)number, err_text(rc));
	if (memcmp(s.volume, h->params->id, VOLUME_ID_LEN) != 0)
		return err_say(-ERR_DAMAGED, "segment %016llx: of another volume", (ull)number);
	if (s.n_blocks_before != h->merkle.n)
		return err_say(-ERR_DAMAGED,
			       "segment %016llx: says that %llu blocks come before it, not %llu; "
			       "a segment may be missing",
			       (ull)number, (ull)s.n_blocks_before, (ull)h->merkle.n);
	if (s.epoch < h->epoch || !params_writer(h->params, s.epoch))
		return err_say(-ERR_TAMPERED, "segment %016llx: of epoch %llu, after %llu",
			       (ull)number, (ull)s.epoch, (ull)h->epoch);
	*out_epoch = s.epoch;
	return 0;
}

int history_step(struct history *h, const struct scan_block *b, bool *out_is_head)
{
	uint64_t epoch = h->epoch;
	struct head head;
	int rc = 0;

	*out_is_head = false;
	h->root_differs = false;
	if (b->len != FRAME_LEN + b->frame.body_len)
		return err_say(-ERR_DAMAGED, "block at %llu: its length is not its frame's",
			       (ull)b->pos);
	if (b->frame.kind == BLOCK_SEGMENT)
		rc = judge_segment(h, b, &epoch);
	else if (b->pos != h->end || b->pos % SEGMENT_SIZE == 0)
		rc = err_say(-ERR_DAMAGED, "block at %llu: does not follow %llu", (ull)b->pos,
			     (ull)h->end);
	else if (b->frame.kind == BLOCK_HEAD)
		rc = judge_head(h, b, &head);
	if (rc == 0)
		rc = reserve_leaf(h);
	if (rc < 0)
		return rc;

	memcpy(h->leaves[h->n_leaves++], b->leaf, HASH_LEN);
	merkle_add(&h->merkle, b->leaf);
	h->end = b->pos + b->len;
	h->epoch = epoch;
	if (b->frame.kind == BLOCK_HEAD) {
		h->head = head;
		*out_is_head = true;
	}
	return 0;
}

int history_commit(struct history *h, struct catalog *c)
{
	uint64_t first = h->merkle.n - h->n_leaves;
	size_t n;
	int rc;

	assert(h->n_leaves <= h->merkle.n && h->head.number > 0);
	assert(h->head.n_blocks >= first && h->head.n_blocks <= h->merkle.n);
	n = (size_t)(h->head.n_blocks - first);
	rc = catalog_add_head(c, &h->head, (const uint8_t(*)[HASH_LEN])h->leaves, n);
	if (rc < 0)
		return rc;
	memmove(h->leaves, h->leaves + n, (h->n_leaves - n) * HASH_LEN);
	h->n_leaves -= n;
	return 0;
}

int history_read_head(const struct params *params, struct store *st, const struct head_ref *ref,
		      struct head *out, uint8_t out_leaf[HASH_LEN])
{
	uint8_t *block;
	struct frame f;
	int rc;

	if (ref->stored_len <= FRAME_LEN || ref->stored_len > HEAD_BLOCK_MAX)
		return err_say(-ERR_DAMAGED, "head %llu at %llu: cannot be %u bytes long",
			       (ull)ref->number, (ull)ref->pos, ref->stored_len);
	block = malloc(HEAD_BLOCK_MAX);
	if (!block)
		return -ENOMEM;
	rc = store_read(st, ref->pos, ref->stored_len, block);
	if (rc < 0)
		goto done;
	rc = frame_decode(block, ref->pos, &f);
	if (rc < 0 || f.kind != BLOCK_HEAD || FRAME_LEN + f.body_len != ref->stored_len) {
		rc = err_say(-ERR_DAMAGED, "log: no head of %u bytes at %llu", ref->stored_len,
			     (ull)ref->pos);
		goto done;
	}
	rc = read_note(params, block + FRAME_LEN, f.body_len, ref->pos, out);
	if (rc < 0)
		goto done;
	if (out->number != ref->number) {
		rc = err_say(-ERR_DAMAGED, "head at %llu: has number %llu, not %llu",
			     (ull)ref->pos, (ull)out->number, (ull)ref->number);
		goto done;
	}
	out->stored_len = ref->stored_len;
	if (out_leaf)
		leaf_hash(ref->pos, block, ref->stored_len, out_leaf);

done:
	free(block);
	return rc;
}

/* Stand right after the head that ${ref} tells of. */
static int stand_at(struct history *h, struct catalog *c, struct store *st,
		    const struct head_ref *ref)
{
	uint64_t number = segment_of(ref->pos);
	uint8_t block[SEGMENT_BLOCK_LEN], leaf[HASH_LEN], root[HASH_LEN];
	struct segment_header s;
	int rc;

	rc = history_read_head(h->params, st, ref, &h->head, leaf);
	if (rc < 0)
		return rc;
	rc = store_read(st, segment_start(number), sizeof(block), block);
	if (rc < 0)
		return rc;
	rc = segment_header_decode(block, number, &s);
	if (rc < 0)
		return err_say(rc, "segment %016llx: its header is %s", (ull)number, err_text(rc));
	rc = catalog_merkle(c, h->head.n_blocks, &h->merkle);
	if (rc < 0)
		return rc;
	merkle_root(&h->merkle, root);
	if (memcmp(root, h->head.root, HASH_LEN) != 0)
		return err_say(-ERR_DAMAGED,
			       "catalog: its leaves do not give the root of head %llu",
			       (ull)ref->number);
	rc = reserve_leaf(h);
	if (rc < 0)
		return rc;
	memcpy(h->leaves[h->n_leaves++], leaf, HASH_LEN);
	merkle_add(&h->merkle, leaf);
	h->end = head_end(&h->head);
	h->epoch = s.epoch;
	return 0;
}

int history_resume(struct history *h, struct catalog *c, struct store *st)
{
	const struct params *params = h->params;
	struct head_ref ref;
	int rc;

	assert(h->merkle.n == 0 && h->n_leaves == 0);
	rc = catalog_newest(c, &ref);
	if (rc == -ERR_ABSENT)
		return 0;
	if (rc < 0)
		return rc;
	rc = stand_at(h, c, st, &ref);
	if (rc == 0)
		return 0;
	history_release(h);
	history_init(h, params);
	if (rc == -ERR_ABSENT)
		return err_say(-ERR_DAMAGED,
			       "catalog: log or leaves of its newest head, %llu, are not there",
			       (ull)ref.number);
	return rc;
}

/* Whether a head, signed by a writer of the volume, begins at ${pos}; ${in} is its frame. */
static int try_head(const struct params *p, struct store *st, const uint8_t in[FRAME_LEN],
		    uint64_t pos)
{
	struct head_ref ref = {.pos = pos};
	struct head head;
	struct frame f;
	uint8_t *block;
	int rc;

	if (frame_decode(in, pos, &f) < 0 || f.kind != BLOCK_HEAD)
		return 0;
	ref.stored_len = FRAME_LEN + f.body_len;
	block = malloc(ref.stored_len);
	if (!block)
		return -ENOMEM;
	rc = store_read(st, pos, ref.stored_len, block);
	if (rc == 0 && read_note(p, block + FRAME_LEN, f.body_len, pos, &head) == 0)
		rc = err_say(-ERR_DAMAGED,
			     "segment %016llx: holds head %llu at %llu, but not all that this head "
			     "covers",
			     (ull)segment_of(pos), (ull)head.number, (ull)pos);
	free(block);
	return rc == -ERR_ABSENT ? 0 : rc;
}

/* Try each place in the ${len} bytes ${buf} of ${pos} where the frame of a head could begin. */
static int try_window(const struct params *p, struct store *st, const uint8_t *buf, size_t len,
		      uint64_t pos)
{
	const uint8_t *at = buf + KIND_OFF, *stop = buf + len - FRAME_LEN + KIND_OFF + 1;
	int rc = 0;

	while (rc == 0 && at < stop && (at = memchr(at, BLOCK_HEAD, (size_t)(stop - at)))) {
		const uint8_t *frame = at - KIND_OFF;

		/* A note is far shorter than 64 KiB. */
		if (frame[2] == 0 && frame[3] == 0)
			rc = try_head(p, st, frame, pos + (uint64_t)(frame - buf));
		at++;
	}
	return rc;
}

int history_check_rest(const struct params *params, struct store *st, uint64_t from)
{
	uint64_t last, size, pos, stop;
	uint8_t *buf;
	int rc = store_last(st, &last);

	if (rc == 0)
		rc = store_size(st, last, &size);
	if (rc < 0)
		return rc == -ERR_ABSENT ? 0 : rc;
	pos = from > segment_start(last) ? from : segment_start(last);
	stop = segment_start(last) + (size < SEGMENT_SIZE ? size : SEGMENT_SIZE);
	buf = malloc(REST_WINDOW);
	if (!buf)
		return -ENOMEM;
	while (rc == 0 && pos < stop && stop - pos >= FRAME_LEN) {
		size_t len = stop - pos < REST_WINDOW ? (size_t)(stop - pos) : REST_WINDOW;

		rc = store_read(st, pos, len, buf);
		if (rc == 0)
			rc = try_window(params, st, buf, len, pos);
		/* A frame that the window's end cuts is whole in the next one. */
		pos += len - (FRAME_LEN - 1);
	}
	free(buf);
	/* Cut meanwhile by the writer: what is gone is no head's. */
	return rc == -ERR_ABSENT ? 0 : rc;
}

int history_may_be_torn(const char *volume_dir, struct store *st, bool *out)
{
	uint64_t last, size;
	char *owner;
	int fd, rc;

	rc = store_last(st, &last);
	if (rc == 0)
		rc = store_size(st, last, &size);
	if (rc < 0)
		return rc;
	*out = true;
	if (size >= SEGMENT_SIZE)
		return 0;
	if (asprintf(&owner, "%s/owner", volume_dir) < 0)
		return -ENOMEM;
	fd = file_open(AT_FDCWD, owner, O_RDONLY, 0);
	free(owner);
	file_close(fd);
	if (fd < 0 && fd != -ENOENT)
		return fd;
	*out = fd >= 0;
	return 0;
}
