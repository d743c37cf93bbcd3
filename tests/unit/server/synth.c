/*
 * Synthetic logs.  Key idea: what the server judges needs no seal, so random bytes in good frames
 * do.
 */

#include "synth.h"

#include "bytes.h"
#include "err.h"
#include "frame.h"
#include "hash.h"
#include "head.h"
#include "params.h"
#include "sign.h"

#include <sodium.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                    \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static uint64_t next_random(struct synth *s)
{
	s->random = s->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return s->random >> 16;
}

static void keypair(struct synth *s, uint8_t public[32], uint8_t secret[64])
{
	uint8_t seed[32];

	for (size_t i = 0; i < sizeof(seed); i++)
		seed[i] = (uint8_t)next_random(s);
	MUST(crypto_sign_seed_keypair(public, secret, seed) == 0);
}

void synth_init(struct synth *s, uint64_t seed)
{
	uint8_t hash[32];

	memset(s, 0, sizeof(*s));
	MUST(sodium_init() >= 0);
	s->random = seed;
	keypair(s, s->authority, s->authority_secret);
	for (unsigned i = 0; i < SYNTH_EPOCHS_MAX; i++)
		keypair(s, s->writer[i], s->writer_secret[i]);
	sha256_parts(s->authority, 32, NULL, 0, NULL, 0, hash);
	memcpy(s->id, hash, VOLUME_ID_LEN);
	s->blocks = malloc(SYNTH_BLOCKS_MAX * sizeof(*s->blocks));
	MUST(s->blocks);
	merkle_init(&s->merkle);
	s->epoch = 1;
	s->time_ns = INT64_C(1700000000) * 1000000000;
}

void synth_release(struct synth *s)
{
	for (unsigned i = 0; i < SYNTH_SEGMENTS_MAX; i++)
		buf_release(&s->segments[i]);
	free(s->blocks);
}

void synth_conf(const struct synth *s, uint64_t serial, unsigned n_epochs, struct buf *out)
{
	struct params *p = calloc(1, sizeof(*p));
	uint8_t message[GRANT_MESSAGE_LEN];
	struct buf text = {0};

	MUST(p);
	memcpy(p->id, s->id, sizeof(p->id));
	memcpy(p->authority, s->authority, sizeof(p->authority));
	p->serial = serial;
	p->created_ns = s->time_ns;
	p->cipher = CIPHER_AES256GCM;
	for (unsigned i = 0; i < n_epochs; i++) {
		struct grant *g = &p->grants[p->n_grants++];

		g->epoch = i + 1;
		memcpy(g->writer, s->writer[i], sizeof(g->writer));
		params_grant_message(p->id, g, message);
		crypto_sign_detached(g->signature, NULL, message, sizeof(message),
				     s->authority_secret);
	}
	MUST(params_encode_unsigned(p, &text) == 0);
	crypto_sign_detached(p->signature, NULL, text.p, text.len, s->authority_secret);
	buf_release(&text);
	MUST(params_encode(p, out) == 0);
	free(p);
}

/* Put one whole block at ${pos}. */
static void put(struct synth *s, uint64_t pos, const uint8_t *block, size_t len)
{
	uint8_t leaf[HASH_LEN];

	MUST(segment_of(pos) < SYNTH_SEGMENTS_MAX && s->n_blocks < SYNTH_BLOCKS_MAX);
	MUST(s->segments[segment_of(pos)].len == pos - segment_start(segment_of(pos)));
	MUST(buf_add(&s->segments[segment_of(pos)], block, len) == 0);
	leaf_hash(pos, block, len, leaf);
	merkle_add(&s->merkle, leaf);
	s->blocks[s->n_blocks++] = (struct synth_place){pos, len};
	s->end = pos + len;
}

void synth_segment(struct synth *s, uint64_t number)
{
	struct segment_header h = {
		.number = number,
		.epoch = s->epoch,
		.n_blocks_before = s->merkle.n,
		.created_ns = s->time_ns,
		.cipher = CIPHER_AES256GCM,
	};
	uint8_t block[SEGMENT_BLOCK_LEN];

	memcpy(h.volume, s->id, sizeof(h.volume));
	for (size_t i = 0; i < sizeof(h.salt); i++)
		h.salt[i] = (uint8_t)next_random(s);
	segment_header_encode(&h, block);
	put(s, segment_start(number), block, sizeof(block));
}

static void put_kind(struct synth *s, enum block_kind kind, const uint8_t *body, size_t len)
{
	struct frame f = {.body_len = (uint32_t)len, .kind = (uint8_t)kind};
	uint8_t *block = malloc(FRAME_LEN + len);

	MUST(block);
	frame_encode(&f, s->end, block);
	memcpy(block + FRAME_LEN, body, len);
	put(s, s->end, block, FRAME_LEN + len);
	free(block);
}

void synth_block(struct synth *s, size_t body_len)
{
	uint8_t *body = malloc(body_len + 8);

	MUST(body);
	for (size_t i = 0; i < body_len; i += 8) {
		uint64_t v = next_random(s);

		memcpy(body + i, &v, 8);
	}
	put_kind(s, BLOCK_DATA, body, body_len);
	free(body);
}

static void true_head(struct synth *s, struct head *h)
{
	memset(h, 0, sizeof(*h));
	memcpy(h->volume, s->id, sizeof(h->volume));
	h->number = s->number + 1;
	h->epoch = s->epoch;
	h->time_ns = s->time_ns + 1000000000;
	h->pos = s->end;
	h->n_blocks = s->merkle.n;
	merkle_root(&s->merkle, h->root);
	h->parent_pos = s->parent_pos;
}

static void put_head(struct synth *s, const struct head *h, unsigned writer)
{
	struct buf note = {0};
	uint64_t pos = s->end;

	MUST(head_sign(h, s->writer_secret[writer], &note) == 0);
	put_kind(s, BLOCK_HEAD, note.p, note.len);
	buf_release(&note);
	MUST(s->n_heads < SYNTH_HEADS_MAX);
	s->heads[s->n_heads++] = (struct synth_place){pos, (size_t)(s->end - pos)};
	s->number++;
	s->parent_pos = pos;
	s->time_ns = h->time_ns;
}

void synth_head(struct synth *s)
{
	struct head h;

	true_head(s, &h);
	put_head(s, &h, (unsigned)s->epoch - 1);
}

void synth_lying_head(struct synth *s, enum synth_lie what)
{
	unsigned writer = (unsigned)s->epoch - 1;
	struct head h;

	true_head(s, &h);
	switch (what) {
	case LIE_NUMBER:
		h.number++;
		break;
	case LIE_PARENT:
		h.parent_pos += 1;
		break;
	case LIE_TIME:
		h.time_ns = s->time_ns;
		break;
	case LIE_EPOCH:
		h.epoch = 2;
		writer = 1;
		break;
	case LIE_COUNT:
		h.n_blocks--;
		break;
	case LIE_ROOT:
		h.root[5] ^= 1;
		break;
	case LIE_POS:
		h.pos++;
		break;
	case LIE_KEY:
		writer = 3;
		break;
	case LIE_END:
		abort();
	}
	put_head(s, &h, writer);
}

void synth_grow(struct synth *s, uint64_t bytes)
{
	uint64_t stop = s->end + bytes;

	while (s->end < stop) {
		if (s->end == 0 || s->end % SEGMENT_SIZE + (128 << 10) > SEGMENT_SIZE)
			synth_segment(s, s->end ? segment_of(s->end - 1) + 1 : 0);
		synth_block(s, 65536);
	}
	synth_head(s);
}

const uint8_t *synth_bytes(const struct synth *s, uint64_t pos)
{
	return s->segments[segment_of(pos)].p + pos % SEGMENT_SIZE;
}

uint64_t synth_piece(const struct synth *s, uint64_t pos, size_t max, size_t *out_len)
{
	uint64_t start = 0;

	*out_len = 0;
	for (size_t i = 0; i < s->n_blocks; i++) {
		const struct synth_place *b = &s->blocks[i];

		if (b->pos < pos)
			continue;
		if (*out_len == 0)
			start = b->pos;
		else if (segment_of(b->pos) != segment_of(start) || *out_len + b->len > max)
			break;
		*out_len += b->len;
	}
	return start;
}

uint64_t synth_head_end(const struct synth *s, uint64_t number)
{
	return number == 0 ? 0 : s->heads[number - 1].pos + s->heads[number - 1].len;
}
