/* Key slots: open with what made them and nothing else; hostile costs are refused at once. */

#include "slot.h"

#include "buf.h"
#include "credential.h"
#include "err.h"
#include "keys.h"
#include "secret.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

static const struct slot_options cheap = {.opslimit = 1, .memlimit = 8192};
static const uint8_t id[VOLUME_ID_LEN] = {1, 2, 3};
static struct credential phrase, file;
static uint8_t *volume_key, *got;

static void setup(void)
{
	cr_assert_eq(secret_init(), 0);
	cr_assert_eq(credential_from_passphrase("open sesame", 11, &phrase), 0);
	file = (struct credential){CREDENTIAL_KEY_FILE, secret_alloc(100), 100};
	memset(file.p, 5, 100);
	volume_key = secret_alloc(VOLUME_KEY_LEN);
	got = secret_alloc(VOLUME_KEY_LEN);
	random_bytes(volume_key, VOLUME_KEY_LEN);
}

static void teardown(void)
{
	credential_release(&phrase);
	credential_release(&file);
	secret_free(volume_key);
	secret_free(got);
}

TestSuite(slot, .init = setup, .fini = teardown);

static void opens_with_its_own_only(struct credential *own, const struct credential *other)
{
	uint8_t other_id[VOLUME_ID_LEN] = {9};
	struct buf slot = {0};
	char *text;

	cr_assert_eq(slot_make(id, volume_key, own, &cheap, &slot), 0);
	text = (char *)slot.p;
	cr_assert_eq(strlen(text), slot.len);
	cr_assert_eq(slot_kind(text), own->kind);
	cr_assert_eq(slot_open(text, id, own, got), 0);
	cr_assert_eq(memcmp(got, volume_key, VOLUME_KEY_LEN), 0);
	cr_assert_eq(slot_open(text, other_id, own, got), -ERR_WRONG_KEY);
	cr_assert_eq(slot_open(text, id, other, got), -ERR_WRONG_KEY);
	own->p[0] ^= 1;
	cr_assert_eq(slot_open(text, id, own, got), -ERR_WRONG_KEY);
	buf_release(&slot);
}

Test(slot, passphrase)
{
	opens_with_its_own_only(&phrase, &file);
}

Test(slot, key_file)
{
	opens_with_its_own_only(&file, &phrase);
}

/* Also where the kind of credential is equal in bytes: a key file of a passphrase's bytes. */
Test(slot, kind_is_bound)
{
	struct credential as_file = {CREDENTIAL_KEY_FILE, phrase.p, phrase.len};
	struct buf slot = {0};

	cr_assert_eq(slot_make(id, volume_key, &phrase, &cheap, &slot), 0);
	cr_assert_eq(slot_open((char *)slot.p, id, &as_file, got), -ERR_WRONG_KEY);
	buf_release(&slot);
}

Test(slot, every_changed_character_is_noticed)
{
	struct buf slot = {0};
	char *text;

	cr_assert_eq(slot_make(id, volume_key, &phrase, &cheap, &slot), 0);
	text = (char *)slot.p;
	for (size_t i = 0; i < slot.len; i++) {
		char was = text[i];
		int rc;

		/* Not so that Argon2id is asked for gigabytes. */
		text[i] = was == '1' ? '2' : was == 'A' ? 'B' : 'A';
		rc = slot_open(text, id, &phrase, got);
		cr_assert(rc == -ERR_WRONG_KEY || rc == -ERR_FORMAT, "character %zu: %d", i, rc);
		text[i] = was;
	}
	buf_release(&slot);
}

Test(slot, two_of_one_passphrase_differ)
{
	struct buf a = {0}, b = {0};

	cr_assert_eq(slot_make(id, volume_key, &phrase, &cheap, &a), 0);
	cr_assert_eq(slot_make(id, volume_key, &phrase, &cheap, &b), 0);
	cr_assert_str_neq((char *)a.p, (char *)b.p);
	buf_release(&a);
	buf_release(&b);
}

Test(slot, hostile_costs)
{
	static const char *const costs[] = {"65 8192",	    "0 8192",
					    "1 8191",	    "1 4294967297",
					    "01 8192",	    "18446744073709551616 8192",
					    "1 99999999999"};
	struct buf made = {0}, slot = {0};

	cr_assert_eq(slot_make(id, volume_key, &phrase, &cheap, &made), 0);
	for (size_t i = 0; i < sizeof(costs) / sizeof(costs[0]); i++) {
		buf_reset(&slot);
		cr_assert_eq(buf_printf(&slot, "passphrase argon2id %s %s", costs[i],
					(char *)made.p + strlen("passphrase argon2id 1 8192 ")),
			     0);
		cr_assert_eq(slot_open((char *)slot.p, id, &phrase, got), -ERR_FORMAT, "%s",
			     costs[i]);
		cr_assert_eq(slot_kind((char *)slot.p), CREDENTIAL_NONE);
	}
	buf_release(&made);
	buf_release(&slot);
}

Test(slot, bad_options)
{
	struct slot_options o = cheap;
	struct credential none = {0};
	char label[SLOT_LABEL_MAX + 2];
	struct buf slot = {0};

	o.opslimit = 65;
	cr_assert_eq(slot_make(id, volume_key, &phrase, &o, &slot), -EINVAL);
	o = cheap;
	o.memlimit = SLOT_MEMLIMIT_MAX + 1;
	cr_assert_eq(slot_make(id, volume_key, &phrase, &o, &slot), -EINVAL);
	o = cheap;
	memset(label, 'x', sizeof(label) - 1);
	label[sizeof(label) - 1] = '\0';
	o.label = label;
	cr_assert_eq(slot_make(id, volume_key, &phrase, &o, &slot), -EINVAL);
	o.label = "two\nlines";
	cr_assert_eq(slot_make(id, volume_key, &phrase, &o, &slot), -EINVAL);
	o.label = " space";
	cr_assert_eq(slot_make(id, volume_key, &phrase, &o, &slot), -EINVAL);
	cr_assert_eq(slot_make(id, volume_key, &none, &cheap, &slot), -EINVAL);
	buf_release(&slot);
}

Test(slot, labels)
{
	struct slot_options o = cheap;
	struct buf slot = {0}, text = {0};

	o.label = "the minister's";
	cr_assert_eq(slot_make(id, volume_key, &phrase, &o, &slot), 0);
	cr_assert_str_eq(slot_label((char *)slot.p), "the minister's");
	cr_assert_eq(slot_open((char *)slot.p, id, &phrase, got), 0);
	cr_assert_eq(slot_describe((char *)slot.p, &text), 0);
	cr_assert_str_eq((char *)text.p, "passphrase argon2id 1 passes 8 KiB the minister's");
	buf_reset(&slot);
	buf_reset(&text);
	cr_assert_eq(slot_make(id, volume_key, &file, &cheap, &slot), 0);
	cr_assert_null(slot_label((char *)slot.p));
	cr_assert_eq(slot_describe((char *)slot.p, &text), 0);
	cr_assert_str_eq((char *)text.p, "keyfile");
	buf_reset(&text);
	cr_assert_eq(slot_describe("hologram 1 2 3", &text), 0);
	cr_assert_str_eq((char *)text.p, "unknown");
	cr_assert_eq(slot_open("hologram 1 2 3", id, &file, got), -ERR_WRONG_KEY);
	cr_assert_eq(slot_open("keyfile A B", id, &file, got), -ERR_FORMAT);
	buf_release(&slot);
	buf_release(&text);
}
