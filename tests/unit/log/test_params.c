/* volume.conf: golden bytes, strictness, and what the authority's key protects. */

#include "params.h"

#include "buf.h"
#include "err.h"
#include "file.h"
#include "frame.h"
#include "hash.h"
#include "secret.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"

static struct buf conf;
static uint8_t authority_secret[64];

static void setup(void)
{
	cr_assert_eq(secret_init(), 0);
	golden_read("volume.conf", &conf);
}

static void teardown(void)
{
	buf_release(&conf);
}

TestSuite(params, .init = setup, .fini = teardown);

static void sign(struct params *p)
{
	uint8_t message[GRANT_MESSAGE_LEN];
	struct buf text = {0};

	for (uint32_t i = 0; i < p->n_grants; i++) {
		params_grant_message(p->id, &p->grants[i], message);
		crypto_sign_detached(p->grants[i].signature, NULL, message, sizeof(message),
				     authority_secret);
	}
	cr_assert_eq(params_encode_unsigned(p, &text), 0);
	crypto_sign_detached(p->signature, NULL, text.p, text.len, authority_secret);
	buf_release(&text);
}

/* A volume with one grant and a key that this test knows. */
static void make(struct params *p)
{
	uint8_t hash[HASH_LEN], writer_secret[64];

	*p = (struct params){.serial = 1, .cipher = CIPHER_CHACHA20POLY1305, .compress = -5};
	crypto_sign_keypair(p->authority, authority_secret);
	sha256_parts(p->authority, SIGN_PUBLIC_LEN, NULL, 0, NULL, 0, hash);
	memcpy(p->id, hash, VOLUME_ID_LEN);
	p->n_grants = 1;
	p->grants[0].epoch = 1;
	crypto_sign_keypair(p->grants[0].writer, writer_secret);
	sign(p);
}

static int decode_of(const struct params *p)
{
	struct buf text = {0};
	struct params got;
	int rc;

	cr_assert_eq(params_encode(p, &text), 0);
	rc = params_decode(text.p, text.len, &got);
	params_release(&got);
	buf_release(&text);
	return rc;
}

Test(params, golden_round_trip)
{
	struct buf text = {0};
	struct params p;

	cr_assert_eq(params_decode(conf.p, conf.len, &p), 0, "%s", err_detail(-ERR_FORMAT));
	cr_assert_eq(p.cipher, CIPHER_AES256GCM);
	cr_assert_eq(p.compress, 3);
	cr_assert_eq(p.n_slots, 2);
	cr_assert_eq(p.n_secrets, 2);
	cr_assert_eq(params_epoch(&p), 1);
	cr_assert_not_null(params_writer(&p, 1));
	cr_assert_null(params_writer(&p, 2));
	cr_assert_eq(params_encode(&p, &text), 0);
	cr_assert_eq(text.len, conf.len);
	cr_assert_eq(memcmp(text.p, conf.p, conf.len), 0);
	params_release(&p);
	buf_release(&text);
}

Test(params, every_flipped_bit_is_noticed)
{
	struct params p;

	for (size_t i = 0; i < conf.len; i++) {
		int rc;

		conf.p[i] ^= (uint8_t)(1 << (i % 8));
		rc = params_decode(conf.p, conf.len, &p);
		cr_assert(rc == -ERR_FORMAT || rc == -ERR_VERSION || rc == -ERR_TAMPERED, "%zu", i);
		cr_assert_null(p.slots[0]);
		conf.p[i] ^= (uint8_t)(1 << (i % 8));
	}
}

Test(params, every_cut_is_noticed)
{
	struct params p;

	for (size_t len = 0; len < conf.len; len++)
		cr_assert_eq(params_decode(conf.p, len, &p), -ERR_FORMAT, "%zu", len);
}

static int decode_edited(const char *from, const char *to)
{
	const char *text = (const char *)conf.p, *at = strstr(text, from);
	struct buf edited = {0};
	struct params p;
	int rc;

	cr_assert_not_null(at, "%s", from);
	cr_assert_eq(buf_printf(&edited, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)),
		     0);
	rc = params_decode(edited.p, edited.len, &p);
	params_release(&p);
	buf_release(&edited);
	return rc;
}

Test(params, malformed)
{
	static const struct {
		const char *from, *to;
		int rc;
	} cases[] = {
		{"embassyfs volume 1", "embassyfs volume 2", -ERR_VERSION},
		{"embassyfs volume 1", "something else", -ERR_FORMAT},
		{"serial 2", "colour blue\nserial 2", -ERR_VERSION},
		{"serial 2", "serial 02", -ERR_FORMAT},
		{"serial 2", "serial 0", -ERR_FORMAT},
		{"serial 2", "serial 2\nserial 2", -ERR_FORMAT},
		{"serial 2\n", "", -ERR_FORMAT},
		{"serial 2\n", "serial 2\n\n", -ERR_FORMAT},
		{"serial 2\n", "serial 2\r\n", -ERR_FORMAT},
		{"serial 2\n", "serial 2 \n", -ERR_FORMAT},
		{"serial 2", "serial 3", -ERR_TAMPERED},
		{"compress 3", "compress -0", -ERR_FORMAT},
		{"compress 3", "compress 23", -ERR_FORMAT},
		{"compress 3", "compress 4", -ERR_TAMPERED},
		{"aes-256-gcm", "rot13", -ERR_FORMAT},
		{"grant 1", "grant 0", -ERR_FORMAT},
		{"grant 1", "grant 5", -ERR_TAMPERED},
		{"slot keyfile", "slot  keyfile", -ERR_TAMPERED},
		{"slot keyfile", "serial 2\nslot keyfile", -ERR_FORMAT},
		{"signature ", "signature A", -ERR_FORMAT},
		{"signature ", "secret x\nsignature ", -ERR_TAMPERED},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_assert_eq(decode_edited(cases[i].from, cases[i].to), cases[i].rc, "%s",
			     cases[i].to);
		cr_assert_str_neq(err_detail(cases[i].rc), err_text(cases[i].rc));
	}
	cr_assert_eq(decode_edited("serial 2", "colour blue\nserial 2"), -ERR_VERSION);
	cr_assert_not_null(strstr(err_detail(-ERR_VERSION), "colour"));
}

Test(params, text_after_the_signature)
{
	struct params p;

	cr_assert_eq(buf_printf(&conf, "\n"), 0);
	cr_assert_eq(params_decode(conf.p, conf.len, &p), -ERR_FORMAT);
}

Test(params, id_is_the_authority_s)
{
	struct params p;

	make(&p);
	cr_assert_eq(decode_of(&p), 0, "%s", err_detail(-ERR_TAMPERED));
	p.id[0] ^= 1;
	sign(&p);
	cr_assert_eq(decode_of(&p), -ERR_TAMPERED);
}

Test(params, grants)
{
	struct params p;

	make(&p);
	p.n_grants = PARAMS_GRANTS_MAX;
	for (uint32_t i = 1; i < PARAMS_GRANTS_MAX; i++) {
		p.grants[i] = p.grants[0];
		p.grants[i].epoch = i * 3;
	}
	sign(&p);
	cr_assert_eq(decode_of(&p), 0, "%s", err_detail(-ERR_FORMAT));
	cr_assert_eq(params_epoch(&p), 255 * 3);

	/* Epochs must ascend. */
	p.grants[7].epoch = p.grants[6].epoch;
	sign(&p);
	cr_assert_eq(decode_of(&p), -ERR_FORMAT);

	/* A grant of another volume is no grant here, even in a file that is signed. */
	make(&p);
	p.grants[0].signature[0] ^= 1;
	{
		struct buf text = {0};

		cr_assert_eq(params_encode_unsigned(&p, &text), 0);
		crypto_sign_detached(p.signature, NULL, text.p, text.len, authority_secret);
		buf_release(&text);
	}
	cr_assert_eq(decode_of(&p), -ERR_TAMPERED);

	/* A volume has a writer. */
	make(&p);
	p.n_grants = 0;
	sign(&p);
	cr_assert_eq(decode_of(&p), -ERR_FORMAT);
	cr_assert_eq(params_epoch(&p), 0);
}

Test(params, too_long)
{
	static char huge[PARAMS_FILE_MAX + 1];
	char line[PARAMS_LINE_MAX + 1];
	struct params p;

	memset(huge, 'x', sizeof(huge));
	cr_assert_eq(params_decode(huge, sizeof(huge), &p), -ERR_FORMAT);

	make(&p);
	memset(line, 'x', sizeof(line));
	line[PARAMS_LINE_MAX - 5] = '\0';
	p.slots[p.n_slots++] = strdup(line);
	sign(&p);
	cr_assert_eq(decode_of(&p), 0);
	line[PARAMS_LINE_MAX - 5] = 'x';
	line[PARAMS_LINE_MAX - 4] = '\0';
	free(p.slots[0]);
	p.slots[0] = strdup(line);
	sign(&p);
	cr_assert_eq(decode_of(&p), -ERR_FORMAT);
	params_release(&p);
}

Test(params, load_and_store)
{
	const char *tmp = getenv("TMPDIR");
	struct params p, got;
	char dir[256];

	snprintf(dir, sizeof(dir), "%s/test_params.XXXXXX", tmp ? tmp : "/tmp");
	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(params_load(dir, &got), -ERR_NO_VOLUME);
	cr_assert_not_null(strstr(err_detail(-ERR_NO_VOLUME), dir));
	make(&p);
	cr_assert_eq(params_store(&p, dir), 0);
	cr_assert_eq(params_load(dir, &got), 0);
	cr_assert_eq(memcmp(got.id, p.id, VOLUME_ID_LEN), 0);
	cr_assert_eq(got.compress, -5);
	params_release(&got);
	p.signature[0] ^= 1;
	cr_assert_eq(params_store(&p, dir), 0);
	cr_assert_eq(params_load(dir, &got), -ERR_TAMPERED);
	cr_assert_not_null(strstr(err_detail(-ERR_TAMPERED), "volume.conf"));
	cr_assert_eq(file_remove_tree(AT_FDCWD, dir), 0);
	cr_assert_eq(params_load(dir, &got), -ERR_NO_VOLUME);
	cr_assert_eq(params_store(&p, dir), -ENOENT);
}

Test(params, volume_ids)
{
	char text[VOLUME_ID_TEXT_LEN];
	uint8_t id[VOLUME_ID_LEN];

	cr_assert_eq(volume_id_parse("000102030405060708090a0b0c0d0eff", id), 0);
	cr_assert_eq(id[15], 0xff);
	volume_id_format(id, text);
	cr_assert_str_eq(text, "000102030405060708090a0b0c0d0eff");
	cr_assert_eq(volume_id_parse("000102030405060708090A0b0c0d0eff", id), -ERR_FORMAT);
	cr_assert_eq(volume_id_parse("000102030405060708090a0b0c0d0ef", id), -ERR_FORMAT);
	cr_assert_eq(volume_id_parse("", id), -ERR_FORMAT);
}
