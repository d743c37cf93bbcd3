/* A volume with one writer, made without key slots. */

#include "log_fixture.h"

#include "buf.h"
#include "bytes.h"
#include "file.h"
#include "frame.h"
#include "hash.h"
#include "secret.h"

#include <sodium.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	abort();
}

static void make_params(struct log_fixture *f)
{
	uint8_t authority_secret[64], message[GRANT_MESSAGE_LEN], hash[32];
	struct params *p = &f->params;
	struct buf text = {0};

	crypto_sign_keypair(p->authority, authority_secret);
	sha256_parts(p->authority, SIGN_PUBLIC_LEN, NULL, 0, NULL, 0, hash);
	memcpy(p->id, hash, VOLUME_ID_LEN);
	p->serial = 1;
	p->created_ns = INT64_C(1700000000000000000);
	p->cipher = CIPHER_AES256GCM;
	p->compress = 1;
	p->n_grants = 1;
	p->grants[0].epoch = 1;
	crypto_sign_keypair(p->grants[0].writer, f->writer_secret);
	params_grant_message(p->id, &p->grants[0], message);
	crypto_sign_detached(p->grants[0].signature, NULL, message, sizeof(message),
			     authority_secret);
	need(params_encode_unsigned(p, &text) == 0, "params");
	crypto_sign_detached(p->signature, NULL, text.p, text.len, authority_secret);
	buf_release(&text);
	need(params_store(p, f->dir) == 0, "volume.conf");
}

void log_fixture_init(struct log_fixture *f, const char *base)
{
	memset(f, 0, sizeof(*f));
	if (!base)
		base = getenv("TMPDIR");
	need(secret_init() == 0, "secret_init");
	snprintf(f->dir, sizeof(f->dir), "%s/embassyfs-log-XXXXXX", base ? base : "/tmp");
	need(mkdtemp(f->dir) != NULL, f->dir);
	random_bytes(f->log_key, sizeof(f->log_key));
	make_params(f);
}

void log_fixture_release(struct log_fixture *f)
{
	need(file_remove_tree(AT_FDCWD, f->dir) == 0, f->dir);
	params_release(&f->params);
}

int log_fixture_open(struct log_fixture *f, struct log **out, struct log_tail *tail)
{
	struct log_config cfg = {
		.volume_dir = f->dir,
		.params = &f->params,
		.log_key = f->log_key,
		.writer_secret = f->writer_secret,
		.ring_bytes = f->ring_bytes,
	};

	return log_open(&cfg, out, tail);
}

void log_tail_release(struct log_tail *t)
{
	free(t->deltas);
	free(t->checkpoints);
	memset(t, 0, sizeof(*t));
}

void log_fixture_pattern(uint64_t seed, uint8_t *p, size_t len, bool random)
{
	uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	uint8_t word[8];

	for (size_t i = 0; i < len; i += 8) {
		if (random || i % 64 == 0) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
		}
		put_le64(word, random ? x : x & UINT64_C(0x0f0f0f0f0f0f0f0f));
		memcpy(p + i, word, len - i < 8 ? len - i : 8);
	}
}
