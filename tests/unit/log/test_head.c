/* Heads: golden bytes, one spelling per value, signatures, and every byte flipped. */

#include "head.h"

#include "buf.h"
#include "err.h"
#include "secret.h"

#include <criterion/criterion.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "golden.h"
#include "sign.h"

static uint8_t public[SIGN_PUBLIC_LEN], secret[64];
static struct buf note;

/* The head of tests/golden/head.note, and its writer's key: a seed of the bytes 0x20 to 0x3f. */
static struct head golden_head(void)
{
	struct head h = {
		.number = 7,
		.epoch = 2,
		.time_ns = INT64_C(1795514405123456789),
		.pos = 68000,
		.n_blocks = 12,
		.parent_pos = 61000,
		.checkpoint = {.pos = 60000, .stored_len = 141, .plain_len = 200},
		.n_deltas = 2,
		.deltas = {{.pos = 62000, .stored_len = 500, .plain_len = 900},
			   {.pos = 62500, .stored_len = 29, .plain_len = 1}},
	};

	for (unsigned i = 0; i < VOLUME_ID_LEN; i++)
		h.volume[i] = (uint8_t)i;
	for (unsigned i = 0; i < HASH_LEN; i++)
		h.root[i] = (uint8_t)(0x80 + i);
	return h;
}

static void expect_same(const struct head *a, const struct head *b)
{
	struct buf text_a = {0}, text_b = {0};

	cr_assert_eq(head_encode_text(a, &text_a), 0);
	cr_assert_eq(head_encode_text(b, &text_b), 0);
	cr_assert_eq(text_a.len, text_b.len);
	cr_assert_eq(memcmp(text_a.p, text_b.p, text_a.len), 0);
	cr_assert_eq(a->stored_len, b->stored_len);
	buf_release(&text_a);
	buf_release(&text_b);
}

static void setup(void)
{
	uint8_t seed[32];

	cr_assert_eq(secret_init(), 0);
	for (unsigned i = 0; i < sizeof(seed); i++)
		seed[i] = (uint8_t)(0x20 + i);
	crypto_sign_seed_keypair(public, secret, seed);
	golden_read("head.note", &note);
}

static void teardown(void)
{
	buf_release(&note);
}

TestSuite(head, .init = setup, .fini = teardown);

Test(head, golden_bytes)
{
	struct head h = golden_head();
	struct buf made = {0};

	cr_assert_eq(head_sign(&h, secret, &made), 0);
	cr_assert_eq(made.len, note.len);
	cr_assert_eq(memcmp(made.p, note.p, note.len), 0);
	buf_release(&made);
}

Test(head, golden_decodes)
{
	struct head h = golden_head(), got;

	cr_assert_eq(head_decode(note.p, note.len, &got), 0, "%s", err_detail(-ERR_FORMAT));
	expect_same(&got, &h);
	cr_assert_eq(head_verify(note.p, note.len, public), 0);
}

Test(head, first_head_round_trips)
{
	struct head h = {.number = 1, .epoch = 1, .pos = 116, .n_blocks = 1}, got;
	struct buf made = {0};

	cr_assert_eq(head_sign(&h, secret, &made), 0);
	cr_assert_eq(head_decode(made.p, made.len, &got), 0, "%s", err_detail(-ERR_FORMAT));
	expect_same(&got, &h);
	buf_release(&made);
}

Test(head, most_deltas_fit)
{
	struct head h = golden_head(), got;
	struct buf made = {0};

	h.number = UINT64_MAX;
	h.epoch = UINT64_MAX;
	h.n_blocks = UINT64_MAX;
	h.pos = UINT64_MAX;
	h.n_deltas = HEAD_DELTAS_MAX;
	for (uint32_t i = 0; i < HEAD_DELTAS_MAX; i++)
		h.deltas[i] = (struct block_ptr){.pos = UINT64_MAX - (65 - i) * (UINT64_C(2) << 20),
						 .stored_len = BLOCK_STORED_MAX,
						 .plain_len = BLOCK_PLAIN_MAX};
	cr_assert_eq(head_sign(&h, secret, &made), 0);
	/* Room for sixteen witnesses' lines of this size must remain. */
	cr_assert_leq(made.len + 16 * 160, HEAD_NOTE_MAX);
	cr_assert_eq(head_decode(made.p, made.len, &got), 0);
	expect_same(&got, &h);
	buf_release(&made);
}

Test(head, every_flipped_bit_is_noticed)
{
	struct head h;

	for (size_t i = 0; i < note.len; i++) {
		for (int bit = 0; bit < 8; bit++) {
			note.p[i] ^= (uint8_t)(1 << bit);
			cr_assert_eq(head_verify(note.p, note.len, public), -ERR_TAMPERED,
				     "byte %zu bit %d", i, bit);
			if (head_decode(note.p, note.len, &h) == 0) {
				struct buf again = {0};

				/* What decodes has no second spelling. */
				cr_assert_eq(head_encode_text(&h, &again), 0);
				cr_assert_eq(memcmp(again.p, note.p, again.len), 0,
					     "byte %zu bit %d", i, bit);
				buf_release(&again);
			}
			note.p[i] ^= (uint8_t)(1 << bit);
		}
	}
}

Test(head, every_cut_is_noticed)
{
	struct head h;

	for (size_t len = 0; len < note.len; len++) {
		int rc = head_decode(note.p, len, &h);

		cr_assert(rc == -ERR_FORMAT, "%zu", len);
		cr_assert_eq(head_verify(note.p, len, public), -ERR_TAMPERED);
	}
}

Test(head, witnesses_lines_are_ignored)
{
	struct head h;

	cr_assert_eq(buf_printf(&note, "\xe2\x80\x94 witness.example/w1 AAECAwQF\n"), 0);
	cr_assert_eq(head_decode(note.p, note.len, &h), 0);
	cr_assert_eq(head_verify(note.p, note.len, public), 0);
	cr_assert_eq(buf_printf(&note, "no signature line\n"), 0);
	cr_assert_eq(head_decode(note.p, note.len, &h), -ERR_FORMAT);
}

Test(head, another_key_is_tampering)
{
	uint8_t other[SIGN_PUBLIC_LEN], other_secret[64];

	crypto_sign_keypair(other, other_secret);
	cr_assert_eq(head_verify(note.p, note.len, other), -ERR_TAMPERED);
}

/* Replace ${from} by ${to} in the golden note. */
static void edit(const char *from, const char *to, struct buf *out)
{
	const char *text = (const char *)note.p, *at = strstr(text, from);

	cr_assert_not_null(at, "%s", from);
	buf_reset(out);
	cr_assert_eq(buf_printf(out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)), 0);
}

Test(head, malformed)
{
	static const struct {
		const char *from, *to;
		int rc;
	} cases[] = {
		{"embassyfs/00", "embassyfs/0", -ERR_FORMAT},
		{"060708090a", "060708090A", -ERR_FORMAT},
		{"\n12\n", "\n012\n", -ERR_FORMAT},
		{"head 7", "head 0", -ERR_FORMAT},
		{"head 7", "head  7", -ERR_FORMAT},
		{"head 7\nepoch 2", "epoch 2\nhead 7", -ERR_FORMAT},
		{"epoch 2", "epoch 0", -ERR_FORMAT},
		{"head 7", "head 1", -ERR_FORMAT},
		{"parent 61000", "parent 0", -ERR_FORMAT},
		{"parent 61000", "parent 68000", -ERR_FORMAT},
		{".123456789Z", ".123456Z", -ERR_FORMAT},
		{"checkpoint 60000 141 200\n", "", -ERR_FORMAT},
		{"checkpoint 60000 141 200", "checkpoint 60000 141", -ERR_FORMAT},
		{"checkpoint 60000 141 200", "checkpoint 0 141 200", -ERR_FORMAT},
		{"checkpoint 60000 141 200", "checkpoint 67900 141 200", -ERR_FORMAT},
		{"checkpoint 60000 141 200", "checkpoint 60000 141 9999999", -ERR_FORMAT},
		{"checkpoint 60000 141 200", "checkpoint 60000 28 200", -ERR_FORMAT},
		{"delta 62500", "delta 62499", -ERR_FORMAT},
		{"delta 62500 29 1", "delta 0 0 0", -ERR_FORMAT},
		{"delta 62500 29 1", "delta 62500 29 1 1", -ERR_FORMAT},
		{"delta 62500 29 1", "colour blue", -ERR_VERSION},
	};
	struct buf text = {0};
	struct head h;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		edit(cases[i].from, cases[i].to, &text);
		cr_assert_eq(head_decode(text.p, text.len, &h), cases[i].rc, "%s", cases[i].to);
		cr_assert_str_neq(err_detail(cases[i].rc), err_text(cases[i].rc));
	}
	buf_release(&text);
}

Test(head, too_many_deltas_or_bytes)
{
	struct head h = golden_head();
	struct buf text = {0}, made = {0};

	h.n_deltas = 0;
	for (uint32_t i = 0; i <= HEAD_DELTAS_MAX; i++)
		cr_assert_eq(buf_printf(&text, "delta %u 50 50\n", 100 + i * 50), 0);
	edit("delta 62000 500 900\n", (char *)text.p, &made);
	cr_assert_eq(head_decode(made.p, made.len, &h), -ERR_FORMAT);

	while (note.len <= HEAD_NOTE_MAX)
		cr_assert_eq(buf_printf(&note, "\xe2\x80\x94 w AAECAwQF\n"), 0);
	cr_assert_eq(head_decode(note.p, note.len, &h), -ERR_FORMAT);
	buf_release(&text);
	buf_release(&made);
}
