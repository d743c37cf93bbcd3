/* A log of random bytes: see synthetic_log.h. */

#include "synthetic_log.h"

#include "buf.h"
#include "file.h"
#include "frame.h"
#include "hash.h"
#include "secret.h"
#include "store.h"
#include "sign.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void sign_params(struct synthetic_log *s)
{
	struct params *p = &s->params;
	uint8_t message[GRANT_MESSAGE_LEN];
	struct buf text = {0};

	for (uint32_t i = 0; i < p->n_grants; i++) {
		params_grant_message(p->id, &p->grants[i], message);
		crypto_sign_detached(p->grants[i].signature, NULL, message, sizeof(message),
				     s->authority_secret);
	}
	cr_assert_eq(params_encode_unsigned(p, &text), 0);
	crypto_sign_detached(p->signature, NULL, text.p, text.len, s->authority_secret);
	buf_release(&text);
}

void synthetic_log_init(struct synthetic_log *s)
{
	const char *tmp = getenv("TMPDIR");
	uint8_t hash[HASH_LEN];

	cr_assert_eq(secret_init(), 0);
	memset(s, 0, sizeof(*s));
	snprintf(s->dir, sizeof(s->dir), "%s/embassyfs-test-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert_not_null(mkdtemp(s->dir));

	s->params.serial = 1;
	s->params.cipher = CIPHER_AES256GCM;
	s->params.created_ns = INT64_C(1700000000000000000);
	crypto_sign_keypair(s->params.authority, s->authority_secret);
	sha256_parts(s->params.authority, SIGN_PUBLIC_LEN, NULL, 0, NULL, 0, hash);
	memcpy(s->params.id, hash, VOLUME_ID_LEN);
	s->params.n_grants = SYNTHETIC_EPOCHS;
	for (unsigned i = 0; i < SYNTHETIC_EPOCHS; i++) {
		s->params.grants[i].epoch = i + 1;
		crypto_sign_keypair(s->params.grants[i].writer, s->writer_secret[i]);
	}
	sign_params(s);
	cr_assert_eq(params_store(&s->params, s->dir), 0);
	cr_assert_eq(store_open(s->dir, STORE_WRITABLE, &s->store), 0);
	merkle_init(&s->merkle);
	s->epoch = 1;
	s->bytes = malloc(BLOCK_STORED_MAX);
	cr_assert_not_null(s->bytes);
}

void synthetic_log_release(struct synthetic_log *s)
{
	store_close(s->store);
	params_release(&s->params);
	free(s->bytes);
	cr_assert_eq(file_remove_tree(AT_FDCWD, s->dir), 0);
}

static void make(struct synthetic_log *s, uint64_t pos, enum block_kind kind, uint32_t body_len)
{
	s->block = (struct scan_block){
		.pos = pos,
		.frame = {.body_len = body_len, .kind = (uint8_t)kind},
		.bytes = s->bytes,
		.len = FRAME_LEN + body_len,
	};
	frame_encode(&s->block.frame, pos, s->bytes);
	leaf_hash(pos, s->bytes, s->block.len, s->block.leaf);
}

void synthetic_make_segment(struct synthetic_log *s)
{
	struct segment_header h = {
		.number = s->next,
		.epoch = s->epoch,
		.n_blocks_before = s->merkle.n,
		.created_ns = s->params.created_ns,
		.cipher = s->params.cipher,
	};

	memcpy(h.volume, s->params.id, VOLUME_ID_LEN);
	memset(h.salt, (int)s->next + 1, SALT_LEN);
	segment_header_encode(&h, s->bytes);
	make(s, segment_start(s->next), BLOCK_SEGMENT, SEGMENT_HEADER_LEN);
}

void synthetic_make_data(struct synthetic_log *s, uint32_t body_len)
{
	for (uint32_t i = 0; i < body_len; i++) {
		s->seed = s->seed * 1664525u + 1013904223u;
		s->bytes[FRAME_LEN + i] = (uint8_t)(s->seed >> 24);
	}
	make(s, s->pos, BLOCK_DATA, body_len);
}

struct head synthetic_next_head(const struct synthetic_log *s)
{
	struct head h = {
		.number = s->newest.number + 1,
		.epoch = s->epoch,
		.time_ns = s->params.created_ns + (int64_t)(s->newest.number + 1) * 1000000000,
		.pos = s->pos,
		.n_blocks = s->merkle.n,
		.parent_pos = s->newest.pos,
	};

	memcpy(h.volume, s->params.id, VOLUME_ID_LEN);
	merkle_root(&s->merkle, h.root);
	return h;
}

void synthetic_make_head(struct synthetic_log *s, const struct head *h, const uint8_t secret[64])
{
	struct buf note = {0};

	cr_assert_eq(head_sign(h, secret, &note), 0);
	memcpy(s->bytes + FRAME_LEN, note.p, note.len);
	make(s, s->pos, BLOCK_HEAD, (uint32_t)note.len);
	buf_release(&note);
}

void synthetic_take(struct synthetic_log *s)
{
	const struct scan_block *b = &s->block;

	if (b->frame.kind == BLOCK_SEGMENT) {
		cr_assert_eq(store_create(s->store, segment_of(b->pos)), 0);
		s->next = segment_of(b->pos) + 1;
	}
	cr_assert_eq(store_write(s->store, b->pos, b->bytes, b->len, false), 0);
	merkle_add(&s->merkle, b->leaf);
	s->pos = b->pos + b->len;
}

void synthetic_segment(struct synthetic_log *s)
{
	synthetic_make_segment(s);
	synthetic_take(s);
}

void synthetic_data(struct synthetic_log *s, uint32_t body_len)
{
	synthetic_make_data(s, body_len);
	synthetic_take(s);
}

void synthetic_head(struct synthetic_log *s)
{
	struct head h = synthetic_next_head(s);

	synthetic_make_head(s, &h, s->writer_secret[s->epoch - 1]);
	h.stored_len = (uint32_t)s->block.len;
	synthetic_take(s);
	s->newest = h;
}

void synthetic_grow(struct synthetic_log *s, unsigned n_segments, unsigned n_heads, unsigned n_data)
{
	for (unsigned i = 0; i < n_segments; i++) {
		synthetic_segment(s);
		for (unsigned j = 0; j < n_heads; j++) {
			for (unsigned k = 0; k < n_data; k++)
				synthetic_data(s, 17 + 13 * k);
			synthetic_head(s);
		}
	}
}
