/*
 * Plaintext blocks out of a source.
 *
 * Key idea: bytes go through as few hands as they can: a source read of a run of adjacent blocks
 * into the thread's buffer, then the cipher (and zstd) straight to where the caller wants them.
 *
 * Invariants: nothing is believed of a pointer, a frame or a header before it is checked, since
 * trees and logs come from disks and peers; a segment key is freed only when nobody uses it.
 */

#include "blocks.h"

#include "compress.h"
#include "err.h"
#include "frame.h"
#include "locks.h"
#include "params.h"
#include "seal.h"
#include "secret.h"
#include "source.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct cached_key {
	uint64_t number; /* of the segment */
	struct segment_key *key;
	/* Guarded by mu. */
	unsigned refs; /* users, and the table */
};

struct blocks {
	struct source *src;
	uint8_t *log_key; /* secret */
	pthread_mutex_t mu;
	/* Each at its segment's number modulo the size, or NULL.  Guarded by mu. */
	struct cached_key *keys[BLOCKS_KEYS_MAX];
};

/* A thread's buffers. */
struct scratch {
	uint8_t stored[BLOCKS_RUN_MAX];
	uint8_t body[BLOCK_PLAIN_MAX];	/* opened, still compressed */
	uint8_t plain[BLOCK_PLAIN_MAX]; /* of a block of which slices are wanted */
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

	if (!b)
		return -ENOMEM;
	b->log_key = secret_alloc(LOG_KEY_LEN);
	if (!b->log_key) {
		free(b);
		return -ENOMEM;
	}
	memcpy(b->log_key, log_key, LOG_KEY_LEN);
	b->src = src;
	pthread_mutex_init(&b->mu, NULL);
	*out = b;
	return 0;
}

static void unref_locked(struct blocks *b, struct cached_key *k) REQUIRES(b->mu);
static struct cached_key *find_key_locked(struct blocks *b, uint64_t number) REQUIRES(b->mu);
static void keep_key_locked(struct blocks *b, struct cached_key *k) REQUIRES(b->mu);

static void unref_locked(struct blocks *b, struct cached_key *k)
{
	(void)b; /* whose lock it is */
	if (--k->refs > 0)
		return;
	segment_key_free(k->key);
	free(k);
}

static void put_key(struct blocks *b, struct cached_key *k)
{
	pthread_mutex_lock(&b->mu);
	unref_locked(b, k);
	pthread_mutex_unlock(&b->mu);
}

void blocks_free(struct blocks *b)
{
	if (!b)
		return;
	pthread_mutex_lock(&b->mu);
	for (size_t i = 0; i < BLOCKS_KEYS_MAX; i++) {
		if (b->keys[i])
			unref_locked(b, b->keys[i]);
	}
	pthread_mutex_unlock(&b->mu);
	secret_free(b->log_key);
	pthread_mutex_destroy(&b->mu);
	free(b);
}

static struct cached_key *find_key_locked(struct blocks *b, uint64_t number)
{
	struct cached_key *k = b->keys[number % BLOCKS_KEYS_MAX];

	if (!k || k->number != number)
		return NULL;
	k->refs++;
	return k;
}

static void keep_key_locked(struct blocks *b, struct cached_key *k)
{
	struct cached_key **place = &b->keys[k->number % BLOCKS_KEYS_MAX];

	if (*place)
		unref_locked(b, *place);
	k->refs++;
	*place = k;
}

static int load_key(struct blocks *b, uint64_t number, struct cached_key **out)
{
	uint8_t block[SEGMENT_BLOCK_LEN];
	struct segment_header h;
	struct cached_key *k;
	int rc;

	rc = b->src->ops->header(b->src, number, block);
	if (rc < 0)
		return rc;
	rc = segment_header_decode(block, number, &h);
	if (rc == -ERR_VERSION)
		return rc;
	if (rc < 0 || memcmp(h.volume, b->src->params->id, VOLUME_ID_LEN) != 0)
		return err_say(-ERR_DAMAGED, "segment %llu: its header is not what was written",
			       (unsigned long long)number);
	k = malloc(sizeof(*k));
	if (!k)
		return -ENOMEM;
	*k = (struct cached_key){.number = number, .refs = 1};
	rc = segment_key_new(b->log_key, &h, &k->key);
	if (rc < 0) {
		free(k);
		return rc;
	}
	*out = k;
	return 0;
}

/* The key of a segment, to be given back with put_key(). */
static int get_key(struct blocks *b, uint64_t number, struct cached_key **out)
{
	struct cached_key *k, *other;
	int rc;

	pthread_mutex_lock(&b->mu);
	k = find_key_locked(b, number);
	pthread_mutex_unlock(&b->mu);
	if (!k) {
		rc = load_key(b, number, &k);
		if (rc < 0)
			return rc;
		pthread_mutex_lock(&b->mu);
		other = find_key_locked(b, number);
		if (other)
			unref_locked(b, k);
		else
			keep_key_locked(b, k);
		pthread_mutex_unlock(&b->mu);
		if (other)
			k = other;
	}
	*out = k;
	return 0;
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

/* Open the block whose stored bytes are ${stored} into ${out}. */
static int open_block(struct blocks *b, struct scratch *t, const struct block_ptr *ptr,
		      enum block_kind kind, const uint8_t *stored, void *out)
{
	struct cached_key *k;
	struct frame f;
	bool packed;
	int rc;

	rc = check_frame(ptr, kind, stored, &f);
	if (rc < 0)
		return rc;
	rc = get_key(b, segment_of(ptr->pos), &k);
	if (rc < 0)
		return rc;
	packed = f.flags & BLOCK_FLAG_ZSTD;
	rc = seal_open(k->key, ptr->pos, &f, stored, packed ? t->body : out);
	put_key(b, k);
	if (rc == -ERR_DAMAGED)
		return damaged(ptr, "its seal does not verify");
	if (rc < 0 || !packed)
		return rc;
	rc = decompress_block(t->body, opened_len(f.body_len, f.flags), out, ptr->plain_len);
	if (rc == -ERR_DAMAGED)
		return damaged(ptr, "its compression is not valid");
	return rc;
}

/* Let the source fetch a segment's header, if its key is not kept: it will be wanted. */
static void hint_key(struct blocks *b, uint64_t number)
{
	struct cached_key *k;

	if (!b->src->ops->hint_header)
		return;
	pthread_mutex_lock(&b->mu);
	k = find_key_locked(b, number);
	if (k)
		unref_locked(b, k);
	pthread_mutex_unlock(&b->mu);
	if (!k)
		b->src->ops->hint_header(b->src, number);
}

static void hint(struct blocks *b, uint64_t pos, size_t len)
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

/* How many slices from s[0] on are of one block. */
static size_t count_same(const struct block_slice *s, size_t n)
{
	size_t i = 1;

	while (i < n && same_block(&s[i], &s[0]))
		i++;
	return i;
}

/* How many slices from s[0] on lie in one run of adjacent blocks, and the run's bytes. */
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
 * What is wanted of a block that is not compressed: the chunks that hold the slices s[0..n) of it.
 */
struct part {
	unsigned flags;	   /* of the block */
	uint32_t first, n; /* chunks */
	uint64_t pos;	   /* where they are stored */
	size_t len;
};

/*
 * Whether less than the block need be read for the slices s[0..n) of it.  A block that is stored
 * longer than its plaintext is not compressed, since one that is would not be kept.
 */
static bool find_part(const struct block_slice *s, size_t n, struct part *out)
{
	const struct block_ptr *ptr = &s[0].ptr;
	uint32_t chunk, chunks, from = UINT32_MAX, to = 0;
	uint64_t end;

	out->flags = block_data_flags(ptr->plain_len);
	if (ptr->stored_len != FRAME_LEN + sealed_len(ptr->plain_len, out->flags))
		out->flags = 0; /* of an older version */
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

/* Some chunks of a block whose frame was not read: a wrong idea of it does not open them. */
static int read_part(struct blocks *b, struct scratch *t, const struct block_ptr *ptr,
		     const struct part *part, uint8_t *out)
{
	struct frame f = {.kind = BLOCK_DATA,
			  .flags = (uint8_t)part->flags,
			  .body_len = ptr->stored_len - FRAME_LEN};
	struct cached_key *k;
	int rc;

	rc = b->src->ops->read(b->src, part->pos, part->len, t->stored);
	if (rc < 0)
		return rc;
	rc = get_key(b, segment_of(ptr->pos), &k);
	if (rc < 0)
		return rc;
	rc = seal_open_chunks(k->key, ptr->pos, &f, part->first, part->n, t->stored, out);
	put_key(b, k);
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

/* The slices s[0..n) of one block. */
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

/* The slices s[0..n) of a run of ${len} bytes; if it can't be had in one piece, block by block. */
static void read_run(struct blocks *b, struct scratch *t, struct block_slice *s, size_t n,
		     size_t len)
{
	uint64_t start = s[0].ptr.pos;
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

/* Let the source fetch all runs but the first meanwhile. */
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
