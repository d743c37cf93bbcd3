/*
 * Logs made up for tests.  Key idea: blocks go through struct history, so what it accepts is what
 * a server accepts.
 */

#include "synth.h"

#include "buf.h"
#include "err.h"
#include "file.h"
#include "frame.h"
#include "hash.h"
#include "scan.h"
#include "sign.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(call)                                                                                 \
	do {                                                                                       \
		int must_rc = (call);                                                              \
		if (must_rc < 0) {                                                                 \
			fprintf(stderr, "%s: %s\n", #call, err_detail(must_rc));                   \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static uint64_t rnd(struct synth *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return s->random;
}

static void make_keys(struct synth *s, uint64_t seed)
{
	uint8_t seed_a[32] = {1}, seed_w[32] = {2}, id[32];
	struct grant *g = &s->params.grants[0];
	uint8_t message[GRANT_MESSAGE_LEN];

	memcpy(seed_a + 8, &seed, 8);
	memcpy(seed_w + 8, &seed, 8);
	s->params.n_grants = 1;
	g->epoch = 1;
	crypto_sign_seed_keypair(s->params.authority, s->authority_secret, seed_a);
	crypto_sign_seed_keypair(g->writer, s->writer_secret, seed_w);
	sha256_parts(s->params.authority, sizeof(s->params.authority), NULL, 0, NULL, 0, id);
	memcpy(s->params.id, id, VOLUME_ID_LEN);
	params_grant_message(s->params.id, g, message);
	crypto_sign_detached(g->signature, NULL, message, sizeof(message), s->authority_secret);
}

static void sign_params(struct synth *s)
{
	struct buf text = {0};

	MUST(params_encode_unsigned(&s->params, &text));
	crypto_sign_detached(s->params.signature, NULL, text.p, text.len, s->authority_secret);
	buf_release(&text);
}

void synth_new_serial(struct synth *s)
{
	s->params.serial++;
	sign_params(s);
}

static void open_parts(struct synth *s, const char *dir)
{
	snprintf(s->dir, sizeof(s->dir), "%s", dir);
	pthread_mutex_init(&s->mu, NULL);
	MUST(store_open(dir, STORE_WRITABLE, &s->store));
	MUST(catalog_open(dir, s->params.id, CATALOG_WRITE, &s->catalog));
	history_init(&s->history, &s->params);
}

void synth_new(struct synth *s, const char *dir, uint64_t seed)
{
	memset(s, 0, sizeof(*s));
	MUST(sodium_init());
	make_keys(s, seed);
	s->params.serial = 1;
	s->params.created_ns = 1700000000000000000;
	s->params.cipher = CIPHER_AES256GCM;
	s->params.compress = 1;
	sign_params(s);
	s->random = seed | 1;
	s->time_ns = s->params.created_ns;
	MUST(file_mkdir(AT_FDCWD, dir, 0700));
	MUST(params_store(&s->params, dir));
	open_parts(s, dir);
}

void synth_reopen(struct synth *s, const char *dir, uint64_t seed, uint64_t random)
{
	memset(s, 0, sizeof(*s));
	MUST(sodium_init());
	make_keys(s, seed);
	MUST(params_load(dir, &s->params));
	s->random = random | 1;
	open_parts(s, dir);
	if (catalog_newest(s->catalog, &(struct head_ref){0}) < 0) {
		catalog_close(s->catalog);
		MUST(catalog_rebuild(dir, &s->params, store_storage(s->store), NULL, NULL));
		MUST(catalog_open(dir, s->params.id, CATALOG_WRITE, &s->catalog));
	}
	MUST(history_resume(&s->history, s->catalog, store_storage(s->store)));
	s->newest = s->history.head;
	s->time_ns = s->newest.time_ns;
}

void synth_close(struct synth *s)
{
	history_release(&s->history);
	catalog_close(s->catalog);
	store_close(s->store);
	params_release(&s->params);
	pthread_mutex_destroy(&s->mu);
}

static void put_block(struct synth *s, uint64_t pos, const uint8_t *block, size_t len)
{
	struct scan_block b = {.pos = pos, .bytes = block, .len = len};
	bool is_head;

	MUST(frame_decode(block, pos, &b.frame));
	leaf_hash(pos, block, len, b.leaf);
	MUST(store_write(s->store, pos, block, len, false));
	MUST(history_step(&s->history, &b, &is_head));
	if (is_head)
		MUST(history_commit(&s->history, s->catalog));
}

static void begin_segment(struct synth *s, uint64_t number)
{
	uint8_t block[SEGMENT_BLOCK_LEN];
	struct segment_header h = {.number = number,
				   .epoch = 1,
				   .n_blocks_before = s->history.merkle.n,
				   .created_ns = s->time_ns,
				   .cipher = CIPHER_AES256GCM};

	memcpy(h.volume, s->params.id, VOLUME_ID_LEN);
	for (size_t i = 0; i < SALT_LEN; i++)
		h.salt[i] = (uint8_t)rnd(s);
	segment_header_encode(&h, block);
	MUST(store_create(s->store, number));
	put_block(s, segment_start(number), block, sizeof(block));
}

/* Where a block of ${len} bytes goes; begins a segment if need be. */
static uint64_t place(struct synth *s, size_t len)
{
	uint64_t end = s->history.end;

	if (end == 0)
		begin_segment(s, 0);
	else if (segment_of(end - 1) != segment_of(end + len - 1))
		begin_segment(s, segment_of(end - 1) + 1);
	return s->history.end;
}

static void add_data(struct synth *s, size_t plain_len)
{
	static uint8_t block[BLOCK_STORED_MAX];
	struct frame f = {.body_len = sealed_len((uint32_t)plain_len, 0), .kind = BLOCK_DATA};
	uint64_t pos = place(s, FRAME_LEN + f.body_len);

	frame_encode(&f, pos, block);
	for (size_t i = 0; i < f.body_len; i += 8) {
		uint64_t v = rnd(s);

		memcpy(block + FRAME_LEN + i, &v, f.body_len - i < 8 ? f.body_len - i : 8);
	}
	put_block(s, pos, block, FRAME_LEN + f.body_len);
}

static void add_head(struct synth *s)
{
	static uint8_t block[FRAME_LEN + HEAD_NOTE_MAX];
	struct frame f = {.kind = BLOCK_HEAD};
	struct head h = {.epoch = 1};
	struct buf note = {0};

	memcpy(h.volume, s->params.id, VOLUME_ID_LEN);
	h.number = s->history.head.number + 1;
	s->time_ns += 1000000000 + (int64_t)(rnd(s) % 1000000);
	h.time_ns = s->time_ns;
	h.pos = place(s, sizeof(block));
	h.n_blocks = s->history.merkle.n;
	merkle_root(&s->history.merkle, h.root);
	h.parent_pos = s->history.head.pos;
	MUST(head_sign(&h, s->writer_secret, &note));
	f.body_len = (uint32_t)note.len;
	frame_encode(&f, h.pos, block);
	memcpy(block + FRAME_LEN, note.p, note.len);
	put_block(s, h.pos, block, FRAME_LEN + note.len);
	buf_release(&note);
	pthread_mutex_lock(&s->mu);
	s->newest = s->history.head;
	pthread_mutex_unlock(&s->mu);
}

void synth_add(struct synth *s, uint64_t len, size_t block_max)
{
	uint64_t n = 0;

	while (n < len) {
		size_t plain = 1 + (size_t)(rnd(s) % block_max);

		add_data(s, plain);
		n += plain;
	}
	add_head(s);
}

void synth_newest(void *ctx, struct head *out)
{
	struct synth *s = ctx;

	pthread_mutex_lock(&s->mu);
	*out = s->newest;
	pthread_mutex_unlock(&s->mu);
}

void tmp_make(char out[256])
{
	const char *base = getenv("TMPDIR");

	snprintf(out, 256, "%s/replica-XXXXXX", base && base[0] ? base : "/tmp");
	if (!mkdtemp(out))
		abort();
}

void tmp_remove(const char *dir)
{
	MUST(file_remove_tree(AT_FDCWD, dir));
}

void copy_volume(const char *from, const char *to)
{
	char command[1200];

	snprintf(command, sizeof(command), "mkdir -p '%s' && cp -r '%s/log' '%s/volume.conf' '%s'",
		 to, from, from, to);
	if (system(command) != 0)
		abort();
}

bool same_log(const char *a, const char *b, uint64_t end)
{
	static uint8_t pa[1 << 20], pb[1 << 20];
	struct store *sa, *sb;
	uint64_t size_a, size_b;
	bool same = true;

	MUST(store_open(a, 0, &sa));
	MUST(store_open(b, 0, &sb));
	for (uint64_t n = 0; same && n <= segment_of(end - 1); n++) {
		MUST(store_size(sa, n, &size_a));
		if (size_a > end - segment_start(n))
			size_a = end - segment_start(n);
		same = store_size(sb, n, &size_b) == 0 && size_b >= size_a;
		for (uint64_t off = 0; same && off < size_a; off += sizeof(pa)) {
			size_t len = size_a - off < sizeof(pa) ? (size_t)(size_a - off)
							       : sizeof(pa);

			MUST(store_read(sa, segment_start(n) + off, len, pa));
			MUST(store_read(sb, segment_start(n) + off, len, pb));
			same = memcmp(pa, pb, len) == 0;
		}
	}
	store_close(sa);
	store_close(sb);
	return same;
}
