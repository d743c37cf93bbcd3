/* A volume in a temporary folder, with keys made for the test. */

#include "fixture.h"

#include "buf.h"
#include "err.h"
#include "file.h"
#include "frame.h"
#include "hash.h"
#include "secret.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static void make_keys(struct fixture *f)
{
	uint8_t digest[32], message[GRANT_MESSAGE_LEN];
	struct grant *g = &f->params.grants[0];

	f->keys.log_key = secret_alloc(32);
	f->keys.name_key = secret_alloc(16);
	f->keys.writer_secret = secret_alloc(64);
	f->keys.authority_secret = secret_alloc(64);
	random_bytes(f->keys.log_key, 32);
	random_bytes(f->keys.name_key, 16);
	crypto_sign_keypair(f->params.authority, f->keys.authority_secret);
	crypto_sign_keypair(g->writer, f->keys.writer_secret);
	sha256_parts(f->params.authority, sizeof(f->params.authority), NULL, 0, NULL, 0, digest);
	memcpy(f->params.id, digest, VOLUME_ID_LEN);
	g->epoch = 1;
	f->params.n_grants = 1;
	params_grant_message(f->params.id, g, message);
	crypto_sign_detached(g->signature, NULL, message, sizeof(message),
			     f->keys.authority_secret);
	f->params.serial = 1;
	f->params.cipher = CIPHER_AES256GCM;
	f->params.compress = 1;
}

static void sign_params(struct fixture *f)
{
	struct buf text = {0};

	cr_assert_eq(params_encode_unsigned(&f->params, &text), 0);
	crypto_sign_detached(f->params.signature, NULL, text.p, text.len, f->keys.authority_secret);
	buf_release(&text);
	cr_assert_eq(params_store(&f->params, f->dir), 0);
}

void fixture_make(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	cr_assert_eq(secret_init(), 0);
	strcpy(f->dir, "/tmp/embassyfs-test-XXXXXX");
	cr_assert_not_null(mkdtemp(f->dir));
	make_keys(f);
	sign_params(f);
	cr_assert_eq(volume_make(f->dir, &f->params, &f->keys, 0, 0), 0);
}

struct volume *fixture_open(struct fixture *f)
{
	struct volume_config cfg = {.dir = f->dir, .params = &f->params, .keys = &f->keys};
	struct volume *v;
	int rc = volume_open(&cfg, &v);

	cr_assert_eq(rc, 0, "volume_open: %s", err_detail(rc));
	return v;
}

void fixture_remove(struct fixture *f)
{
	cr_assert_eq(file_remove_tree(AT_FDCWD, f->dir), 0);
	secret_free(f->keys.log_key);
	secret_free(f->keys.name_key);
	secret_free(f->keys.writer_secret);
	secret_free(f->keys.authority_secret);
}
