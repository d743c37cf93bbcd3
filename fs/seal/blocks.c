/*
 * Reads plaintext blocks from a source.
 *
 * Key idea: few copies.  One source read brings a run of adjacent blocks into the thread's buffer.
 * From there the cipher (and zstd) writes straight to where the caller wants the bytes.
 *
 * Invariant: trees and logs come from disks and peers, so a pointer, a frame or a header is checked
 * before anything in it is used.
 */

#include "blocks.h"

#include "compress.h"
#include "err.h"
#include "frame.h"
#include "seal.h"
#include "segment_keys.h"
#include "source.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct blocks {
	struct source *src;
	struct segment_keys *keys;
};

/* Buffers of one thread. */
struct scratch {
	uint8_t stored[BLOCKS_RUN_MAX];
	uint8_t body[BLOCK_PLAIN_MAX];	/* decrypted, still compressed */
	uint8_t plain[BLOCK_PLAIN_MAX]; /* a block's plaintext, when only slices of it are wanted */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_key;
static _Thread_local struct scratch *mine;

static void free_scratch(void *p)
{
	free(p);
	mine = NULL;
}

static void init_once(void)
{
	if (pthread_key_create(&thread_key, free_scratch) != 0)
		abort();
}

static struct scratch *scratch(void)
{
	if (mine)
		return mine;
	pthread_once(&once, init_once);
	mine = malloc(sizeof(*mine));
	if (mine && pthread_setspecific(thread_key, mine) != 0)
		free_scratch(mine);
	return mine;
}

int blocks_new(struct source *src, const uint8_t log_key[LOG_KEY_LEN], struct blocks **out)
{
	struct blocks *b = calloc(1, sizeof(*b));
	int rc;

	if (!b)
		return -ENOMEM;
	rc = segment_keys_new(src, log_key, &b->keys);
	if (rc < 0) {
		free(b);
		return rc;
	}
	b->src = src;
	*out = b;
	return 0;
}

void blocks_free(struct blocks *b)
{
	if (!b)
		return;
	segment_keys_free(b->keys);
	free(b);
}

static int damaged(const struct block_ptr *ptr, const char *what)
{
	return err_say(-ERR_DAMAGED, "block at %llu: %s", (unsigned long long)ptr->pos, what);
}

static int check_ptr(const struct block_ptr *ptr)
{
	if (ptr->stored_len <= FRAME_LEN + SEAL_TAG_LEN || ptr->stored_len > BLOCK_STORED_MAX ||
	    ptr->plain_len == 0 || ptr->plain_len > BLOCK_PLAIN_MAX)
		return damaged(ptr, "the pointer to it has an impossible length");
	if (ptr->pos > UINT64_MAX - BLOCK_STORED_MAX ||
	    ptr->pos % SEGMENT_SIZE < SEGMENT_BLOCK_LEN ||
	    ptr->pos % SEGMENT_SIZE + ptr->stored_len > SEGMENT_SIZE)
		return damaged(ptr, "the pointer to it has an impossible position");
	return 0;
}

static int check_frame(const struct block_ptr *ptr, enum block_kind kind, const uint8_t *stored,
		       struct frame *out)
{
	if (frame_decode(stored, ptr->pos, out) < 0)
		return damaged(ptr, "its frame is not what was written");
	if (out->kind != kind)
		return damaged(ptr, "it is of another kind than the pointer to it");
	if (FRAME_LEN + out->body_len != ptr->stored_len)
		return damaged(ptr, "it has another length than the pointer to it");
	if (!(out->flags & BLOCK_FLAG_ZSTD) &&
	    opened_len(out->body_len, out->flags) != ptr->plain_len)
		return damaged(ptr, "it holds another length than the pointer to it");
	return 0;
}

/* Decrypt and decompress the block whose stored bytes are ${stored} into ${out}. */
static int open_block(struct blocks *b, struct scratch *t, const struct block_ptr *ptr,
		      enum block_kind kind, const uint8_t *stored, void *out)
{
	struct held_key *k;
	struct frame f;
	bool packed;
	int rc;

	rc = check_frame(ptr, kind, stored, &f);
	if (rc < 0)
		return rc;
	rc = segment_keys_get(b->keys, segment_of(ptr->pos), &k);
	if (rc < 0)
		return rc;
	packed = f.flags & BLOCK_FLAG_ZSTD;
	rc = seal_open(segment_keys_key(k), ptr->pos, &f, stored, packed ? t->body : out);
	segment_keys_put(b->keys, k);
	if (rc == -ERR_DAMAGED)
		return damaged(ptr, "its seal does not verify");
	if (rc < 0 || !packed)
		return rc;
	rc = decompress_block(t->body, opened_len(f.body_len, f.flags), out, ptr->plain_len);
	if (rc == -ERR_DAMAGED)
		return damaged(ptr, "its compression is not valid");
	return rc;
}

/*
 * If a segment's key is not cached, let the source fetch the segment's header: it is needed soon.
 */
static void hint_key(struct blocks *b, segment_no number)
{
	if (b->src->ops->hint_header && !segment_keys_has(b->keys, number))
		b->src->ops->hint_header(b->src, number);
}

static void hint(struct blocks *b, log_pos pos, size_t len)
{
	hint_key(b, segment_of(pos));
	if (b->src->ops->hint)
		b->src->ops->hint(b->src, pos, len);
}

void blocks_hint(struct blocks *b, const struct block_ptr *ptr)
{
	if (check_ptr(ptr) == 0)
		hint(b, ptr->pos, ptr->stored_len);
}

int blocks_read(struct blocks *b, const struct block_ptr *ptr, enum block_kind kind, void *out)
{
	struct scratch *t = scratch();
	int rc;

	assert(!block_kind_is_clear(kind));
	if (!t)
		return -ENOMEM;
	rc = check_ptr(ptr);
	if (rc < 0)
		return rc;
	hint_key(b, segment_of(ptr->pos));
	rc = b->src->ops->read(b->src, ptr->pos, ptr->stored_len, t->stored);
	if (rc < 0)
		return rc;
	return open_block(b, t, ptr, kind, t->stored, out);
}

static bool same_block(const struct block_slice *x, const struct block_slice *y)
{
	return x->ptr.pos == y->ptr.pos && x->ptr.stored_len == y->ptr.stored_len &&
	       x->ptr.plain_len == y->ptr.plain_len;
}

/* The number of slices, from s[0] on, of the same block. */
static size_t count_same(const struct block_slice *s, size_t n)
{
	size_t i = 1;

	while (i < n && same_block(&s[i], &s[0]))
		i++;
	return i;
}

/*
 * The number of slices, from s[0] on, in one run of adjacent blocks; ${*out_len}: the run's bytes.
 */
static size_t count_run(const struct block_slice *s, size_t n, size_t *out_len)
{
	size_t i = count_same(s, n), len = s[0].ptr.stored_len;

	while (i < n && s[i].ptr.pos == s[0].ptr.pos + len && check_ptr(&s[i].ptr) == 0 &&
	       segment_of(s[i].ptr.pos) == segment_of(s[0].ptr.pos) &&
	       len + s[i].ptr.stored_len <= BLOCKS_RUN_MAX) {
		len += s[i].ptr.stored_len;
		i += count_same(s + i, n - i);
	}
	*out_len = len;
	return i;
}

/*
 * The part to read of a block that is not compressed: the chunks that contain the slices s[0..n).
 */
struct part {
	unsigned flags;	   /* the block's */
	uint32_t first, n; /* chunks */
	log_pos pos;	   /* where the first one is stored */
	size_t len;
};

/*
 * Find the part of a block that holds the slices s[0..n).  False if the whole block must be read.
 * A block stored longer than its plaintext is not compressed: the writer keeps a compressed form
 * only if it is shorter.
 */
static bool find_part(const struct block_slice *s, size_t n, struct part *out)
{
	const struct block_ptr *ptr = &s[0].ptr;
	uint32_t chunk, chunks, from = UINT32_MAX, to = 0;
	log_pos end;

	out->flags = block_data_flags(ptr->plain_len);
	if (ptr->stored_len != FRAME_LEN + sealed_len(ptr->plain_len, out->flags))
		out->flags = 0; /* written by an older version */
	if (ptr->stored_len != FRAME_LEN + sealed_len(ptr->plain_len, out->flags))
		return false;
	chunk = seal_chunk_len(out->flags);
	chunks = (ptr->plain_len + chunk - 1) / chunk;
	for (size_t i = 0; i < n; i++) {
		uint32_t first, last;

		if (s[i].len == 0 || s[i].off >= ptr->plain_len ||
		    s[i].len > ptr->plain_len - s[i].off)
			return false;
		first = s[i].off / chunk;
		last = (s[i].off + s[i].len - 1) / chunk;
		from = first < from ? first : from;
		to = last > to ? last : to;
	}
	out->first = from;
	out->n = to - from + 1;
	out->pos = ptr->pos + FRAME_LEN + (uint64_t)from * (chunk + SEAL_TAG_LEN);
	end = out->pos + (uint64_t)out->n * (chunk + SEAL_TAG_LEN);
	if (end > ptr->pos + ptr->stored_len)
		end = ptr->pos + ptr->stored_len;
	out->len = (size_t)(end - out->pos);
	return out->n < chunks;
}

/*
 * Read chunks without the block's frame.  If the frame's fields were guessed wrong, the seal fails.
 */
static int read_part(struct blocks *b, struct scratch *t, const struct block_ptr *ptr,
		     const struct part *part, uint8_t *out)
{
	struct frame f = {.kind = BLOCK_DATA,
			  .flags = (uint8_t)part->flags,
			  .body_len = ptr->stored_len - FRAME_LEN};
	struct held_key *k;
	int rc;

	rc = b->src->ops->read(b->src, part->pos, part->len, t->stored);
	if (rc < 0)
		return rc;
	rc = segment_keys_get(b->keys, segment_of(ptr->pos), &k);
	if (rc < 0)
		return rc;
	rc = seal_open_chunks(segment_keys_key(k), ptr->pos, &f, part->first, part->n, t->stored,
			      out);
	segment_keys_put(b->keys, k);
	return rc == -ERR_DAMAGED ? damaged(ptr, "its seal does not verify") : rc;
}

static void read_part_slices(struct blocks *b, struct scratch *t, struct block_slice *s, size_t n,
			     const struct part *part)
{
	uint32_t base = part->first * seal_chunk_len(part->flags);
	int rc = read_part(b, t, &s[0].ptr, part, t->plain);

	for (size_t i = 0; i < n; i++) {
		s[i].rc = rc;
		if (rc == 0)
			memcpy(s[i].out, t->plain + (s[i].off - base), s[i].len);
	}
}

/* Open one block and fill the slices s[0..n) of it. */
static void open_slices(struct blocks *b, struct scratch *t, struct block_slice *s, size_t n,
			const uint8_t *stored)
{
	const struct block_ptr *ptr = &s[0].ptr;
	bool direct = n == 1 && s[0].off == 0 && s[0].len == ptr->plain_len;
	int rc;

	rc = open_block(b, t, ptr, BLOCK_DATA, stored, direct ? s[0].out : t->plain);
	for (size_t i = 0; i < n; i++) {
		s[i].rc = rc;
		if (rc < 0 || direct)
			continue;
		if (s[i].off > ptr->plain_len || s[i].len > ptr->plain_len - s[i].off)
			s[i].rc = damaged(ptr, "a slice of it lies past its end");
		else
			memcpy(s[i].out, t->plain + s[i].off, s[i].len);
	}
}

/* Fill the slices s[0..n) of a run of ${len} bytes.  If one read fails, read block by block. */
static void read_run(struct blocks *b, struct scratch *t, struct block_slice *s, size_t n,
		     size_t len)
{
	log_pos start = s[0].ptr.pos;
	struct part part;
	size_t same;
	int run_rc, rc;

	hint_key(b, segment_of(start));
	if (len == s[0].ptr.stored_len && find_part(s, n, &part)) {
		read_part_slices(b, t, s, n, &part);
		return;
	}
	run_rc = b->src->ops->read(b->src, start, len, t->stored);
	for (size_t i = 0; i < n; i += same) {
		const struct block_ptr *ptr = &s[i].ptr;
		const uint8_t *stored = t->stored;

		same = count_same(s + i, n - i);
		rc = run_rc;
		if (rc == 0)
			stored += ptr->pos - start;
		else if (len > s[0].ptr.stored_len)
			rc = b->src->ops->read(b->src, ptr->pos, ptr->stored_len, t->stored);
		if (rc == 0)
			open_slices(b, t, s + i, same, stored);
		for (size_t j = i; rc < 0 && j < i + same; j++)
			s[j].rc = rc;
	}
}

/* Let the source fetch the later runs while the first one is read. */
static void hint_runs(struct blocks *b, const struct block_slice *s, size_t n)
{
	size_t len;

	if (!b->src->ops->hint)
		return;
	for (size_t i = count_run(s, n, &len); i < n; i += count_run(s + i, n - i, &len)) {
		if (check_ptr(&s[i].ptr) == 0) {
			(void)count_run(s + i, n - i, &len);
			hint(b, s[i].ptr.pos, len);
		}
	}
}

int blocks_read_slices(struct blocks *b, struct block_slice *s, size_t n)
{
	struct scratch *t = scratch();
	size_t len, step;
	int rc = 0;

	if (!t)
		rc = -ENOMEM;
	if (rc == 0 && n > 1)
		hint_runs(b, s, n);
	for (size_t i = 0; i < n; i += step) {
		step = 1;
		s[i].rc = t ? check_ptr(&s[i].ptr) : -ENOMEM;
		if (s[i].rc == 0) {
			step = count_run(s + i, n - i, &len);
			read_run(b, t, s + i, step, len);
		}
	}
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = s[i].rc;
	return rc;
}

static int io_read(void *ctx, const struct block_ptr *ptr, enum block_kind kind, void *out)
{
	return blocks_read(ctx, ptr, kind, out);
}

struct block_io blocks_io(struct blocks *b)
{
	return (struct block_io){.read = io_read, .append = NULL, .ctx = b};
}
