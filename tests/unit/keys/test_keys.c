/* A volume's keys: made, unlocked, and changed, each change signed and whole. */

#include "keys.h"

#include "buf.h"
#include "credential.h"
#include "err.h"
#include "frame.h"
#include "params.h"
#include "secret.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "golden.h"

static const struct slot_options cheap = {.opslimit = 1, .memlimit = 8192};
static struct credential first, second;
static struct params p;
static struct volume_keys k;

static void setup(void)
{
	struct volume_options options = {.compress = 3, .created_ns = 1, .slot = cheap};

	cr_assert_eq(secret_init(), 0);
	cr_assert_eq(credential_from_passphrase("first", 5, &first), 0);
	cr_assert_eq(credential_from_passphrase("second", 6, &second), 0);
	cr_assert_eq(keys_create(&options, &first, &p, &k), 0);
}

static void teardown(void)
{
	credential_release(&first);
	credential_release(&second);
	params_release(&p);
	keys_release(&k);
}

TestSuite(keys, .init = setup, .fini = teardown);

/* ${p} as a file: it must decode, that is, be whole and signed. */
static void expect_signed(uint64_t serial)
{
	struct buf text = {0};
	struct params decoded;

	cr_assert_eq(params_encode(&p, &text), 0);
	cr_assert_eq(params_decode(text.p, text.len, &decoded), 0, "%s",
		     err_detail(-ERR_TAMPERED));
	cr_assert_eq(decoded.serial, serial);
	params_release(&decoded);
	buf_release(&text);
}

static int unlock(const struct credential *c)
{
	struct volume_keys got;
	int rc = keys_unlock(&p, c, &got);

	if (rc == 0) {
		cr_assert_eq(memcmp(got.volume_key, k.volume_key, VOLUME_KEY_LEN), 0);
		cr_assert_eq(memcmp(got.log_key, k.log_key, VOLUME_KEY_LEN), 0);
		cr_assert_eq(memcmp(got.name_key, k.name_key, NAME_KEY_LEN), 0);
		cr_assert_eq(memcmp(got.writer_secret, k.writer_secret, SIGN_SECRET_LEN), 0);
		cr_assert_eq(memcmp(got.authority_secret, k.authority_secret, SIGN_SECRET_LEN), 0);
	} else
		cr_assert_null(got.volume_key);
	keys_release(&got);
	return rc;
}

Test(keys, create)
{
	cr_assert_eq(p.cipher, CIPHER_AES256GCM);
	cr_assert_eq(params_epoch(&p), 1);
	cr_assert_eq(memcmp(params_writer(&p, 1), k.writer_secret + 32, 32), 0);
	cr_assert_eq(memcmp(p.authority, k.authority_secret + 32, 32), 0);
	cr_assert_neq(memcmp(k.log_key, k.volume_key, VOLUME_KEY_LEN), 0);
	cr_assert_neq(memcmp(k.log_key, k.wrap_key, VOLUME_KEY_LEN), 0);
	expect_signed(1);
	cr_assert_eq(unlock(&first), 0);
}

Test(keys, create_refuses_bad_options)
{
	struct volume_options options = {.slot = {.opslimit = 1000}};
	struct volume_keys none;
	struct params q;

	cr_assert_eq(keys_create(&options, &first, &q, &none), -EINVAL);
	cr_assert_null(none.volume_key);
	cr_assert_eq(q.n_slots, 0);
}

Test(keys, wrong_key)
{
	struct credential file = {CREDENTIAL_KEY_FILE, first.p, first.len};

	cr_assert_eq(unlock(&second), -ERR_WRONG_KEY);
	cr_assert_not_null(strstr(err_detail(-ERR_WRONG_KEY), "wrong passphrase"));
	cr_assert_eq(unlock(&file), -ERR_WRONG_KEY);
	cr_assert_not_null(strstr(err_detail(-ERR_WRONG_KEY), "no key slot takes a key file"));
}

Test(keys, add_slot)
{
	cr_assert_eq(keys_add_slot(&p, &k, &second, &cheap), 0);
	expect_signed(2);
	cr_assert_eq(unlock(&first), 0);
	cr_assert_eq(unlock(&second), 0);
}

Test(keys, slots_are_bounded)
{
	while (p.n_slots < PARAMS_SLOTS_MAX)
		cr_assert_eq(keys_add_slot(&p, &k, &first, &cheap), 0);
	cr_assert_eq(keys_add_slot(&p, &k, &second, &cheap), -ENOSPC);
	expect_signed(PARAMS_SLOTS_MAX);
}

Test(keys, remove_slot)
{
	cr_assert_eq(keys_remove_slot(&p, &k, 1), -EPERM);
	cr_assert_eq(keys_add_slot(&p, &k, &second, &cheap), 0);
	cr_assert_eq(keys_remove_slot(&p, &k, 0), -ENOENT);
	cr_assert_eq(keys_remove_slot(&p, &k, 3), -ENOENT);
	expect_signed(2);
	cr_assert_eq(keys_remove_slot(&p, &k, 1), 0);
	expect_signed(3);
	cr_assert_eq(p.n_slots, 1);
	cr_assert_eq(unlock(&first), -ERR_WRONG_KEY);
	cr_assert_eq(unlock(&second), 0);
}

Test(keys, rotate_slot)
{
	struct slot_options labelled = cheap;
	struct buf list = {0};

	labelled.label = "duty officer";
	cr_assert_eq(keys_rotate_slot(&p, &k, 2, &second, &cheap), -ENOENT);
	cr_assert_eq(keys_rotate_slot(&p, &k, 1, &second, &labelled), 0);
	cr_assert_eq(unlock(&first), -ERR_WRONG_KEY);
	cr_assert_eq(unlock(&second), 0);
	/* The label stays if none is given. */
	cr_assert_eq(keys_rotate_slot(&p, &k, 1, &first, &cheap), 0);
	cr_assert_eq(unlock(&first), 0);
	expect_signed(3);
	cr_assert_eq(keys_list_slots(&p, &list), 0);
	cr_assert_str_eq((char *)list.p, "1 passphrase argon2id 1 passes 8 KiB duty officer\n");
	buf_release(&list);
}

Test(keys, changes_need_the_authority)
{
	struct volume_keys lesser = k;

	cr_assert_eq(keys_add_slot(&p, &k, &second, &cheap), 0);
	lesser.authority_secret = NULL;
	cr_assert_eq(keys_add_slot(&p, &lesser, &second, &cheap), -ERR_FORBIDDEN);
	cr_assert_eq(keys_remove_slot(&p, &lesser, 1), -ERR_FORBIDDEN);
	cr_assert_eq(keys_rotate_slot(&p, &lesser, 1, &second, &cheap), -ERR_FORBIDDEN);
	cr_assert_eq(keys_grant_writer(&p, &lesser), -ERR_FORBIDDEN);
	expect_signed(2);
}

Test(keys, a_volume_without_carried_secrets_is_read_only)
{
	struct volume_keys got;

	free(p.secrets[0]);
	free(p.secrets[1]);
	p.n_secrets = 0;
	cr_assert_eq(keys_unlock(&p, &first, &got), 0);
	cr_assert_not_null(got.log_key);
	cr_assert_null(got.writer_secret);
	cr_assert_null(got.authority_secret);
	keys_release(&got);
}

/* One secret in the other's place opens, but belongs to another public key. */
Test(keys, secrets_cannot_be_exchanged)
{
	const char *writer = strrchr(p.secrets[0], ' '), *authority = strrchr(p.secrets[1], ' ');
	struct buf a = {0}, b = {0};

	cr_assert_eq(buf_printf(&a, "writer 1%s", authority), 0);
	cr_assert_eq(buf_printf(&b, "authority%s", writer), 0);
	free(p.secrets[0]);
	free(p.secrets[1]);
	p.secrets[0] = (char *)a.p;
	p.secrets[1] = (char *)b.p;
	cr_assert_eq(unlock(&first), -ERR_TAMPERED);
}

Test(keys, damaged_secrets)
{
	char *at = strrchr(p.secrets[1], ' ') + 1;

	*at = *at == 'A' ? 'B' : 'A';
	cr_assert_eq(unlock(&first), -ERR_TAMPERED);
	*at = '!';
	cr_assert_eq(unlock(&first), -ERR_FORMAT);
	free(p.secrets[1]);
	p.secrets[1] = strdup(p.secrets[0]);
	cr_assert_eq(unlock(&first), -ERR_FORMAT);
	cr_assert_not_null(strstr(err_detail(-ERR_FORMAT), "twice"));
	free(p.secrets[1]);
	p.secrets[1] = strdup("something new");
	cr_assert_eq(unlock(&second), -ERR_WRONG_KEY);
}

Test(keys, a_hostile_slot_does_not_hide_the_others)
{
	p.slots[1] = p.slots[0];
	p.slots[0] = strdup("passphrase argon2id 65 8192 A B");
	p.n_slots = 2;
	cr_assert_eq(unlock(&first), 0);
	cr_assert_eq(unlock(&second), -ERR_FORMAT);
}

Test(keys, grant_writer)
{
	uint8_t old[SIGN_PUBLIC_LEN];

	memcpy(old, params_writer(&p, 1), sizeof(old));
	cr_assert_eq(keys_grant_writer(&p, &k), 0);
	expect_signed(2);
	cr_assert_eq(params_epoch(&p), 2);
	cr_assert_eq(p.n_secrets, 2);
	cr_assert_eq(memcmp(params_writer(&p, 1), old, sizeof(old)), 0);
	cr_assert_eq(memcmp(params_writer(&p, 2), k.writer_secret + 32, 32), 0);
	cr_assert_neq(memcmp(old, k.writer_secret + 32, 32), 0);
	cr_assert_eq(unlock(&first), 0);
}

Test(keys, grants_and_secrets_are_bounded)
{
	uint32_t n_grants = p.n_grants;

	p.n_grants = PARAMS_GRANTS_MAX;
	cr_assert_eq(keys_grant_writer(&p, &k), -ENOSPC);
	p.n_grants = n_grants;
	for (; p.n_secrets < PARAMS_SECRETS_MAX; p.n_secrets++)
		p.secrets[p.n_secrets] = strdup("other x");
	cr_assert_eq(keys_grant_writer(&p, &k), 0);
	free(p.secrets[0]);
	p.secrets[0] = strdup("other x");
	cr_assert_eq(keys_grant_writer(&p, &k), -ENOSPC);
	cr_assert_eq(params_epoch(&p), 2);
}

/* A volume.conf of format 1 opens for good, with either of its slots. */
Test(keys, golden)
{
	struct credential phrase, file;
	struct volume_keys got;
	struct params golden;
	struct buf conf, expected, key;
	char name[65];

	golden_read("volume.conf", &conf);
	golden_read("volume.keys", &expected);
	golden_read("volume.keyfile", &key);
	cr_assert_eq(params_decode(conf.p, conf.len, &golden), 0);
	cr_assert_eq(credential_from_passphrase("correct horse battery staple", 28, &phrase), 0);
	/* A checkout's files may be read by others, as no key file may. */
	file = (struct credential){.kind = CREDENTIAL_KEY_FILE, .len = key.len};
	file.p = secret_alloc(key.len);
	cr_assert(file.p);
	memcpy(file.p, key.p, key.len);
	for (int i = 0; i < 2; i++) {
		struct buf made = {0};

		cr_assert_eq(keys_unlock(&golden, i == 0 ? &phrase : &file, &got), 0);
		sodium_bin2hex(name, sizeof(name), got.log_key, VOLUME_KEY_LEN);
		cr_assert_eq(buf_printf(&made, "log_key %s\n", name), 0);
		sodium_bin2hex(name, sizeof(name), got.name_key, NAME_KEY_LEN);
		cr_assert_eq(buf_printf(&made, "name_key %s\n", name), 0);
		sodium_bin2hex(name, sizeof(name), got.writer_secret, 32);
		cr_assert_eq(buf_printf(&made, "writer_seed %s\n", name), 0);
		sodium_bin2hex(name, sizeof(name), got.authority_secret, 32);
		cr_assert_eq(buf_printf(&made, "authority_seed %s\n", name), 0);
		cr_assert_str_eq((char *)made.p, (char *)expected.p);
		buf_release(&made);
		keys_release(&got);
	}
	params_release(&golden);
	credential_release(&phrase);
	credential_release(&file);
	buf_release(&conf);
	buf_release(&expected);
	buf_release(&key);
}
