/* Overlays: what changes leave, what is pending, the records of a delta. */

#include "fixture.h"

#include "buf.h"

static void put(struct overlay *ov, const char *key, const char *value)
{
	OK(overlay_reserve(ov, 1, strlen(key) + strlen(value)));
	overlay_put(ov, key, strlen(key), value, strlen(value));
}

static void del(struct overlay *ov, const char *key)
{
	OK(overlay_reserve(ov, 1, strlen(key)));
	overlay_del(ov, key, strlen(key));
}

static void del_range(struct overlay *ov, const char *from, const char *to)
{
	OK(overlay_reserve(ov, 1, strlen(from) + strlen(to)));
	overlay_del_range(ov, from, strlen(from), to, strlen(to));
}

/* What is at ${key}: its value, "-" if it is gone, "?" if it is not in the overlay. */
static const char *at(const struct overlay *ov, const char *key)
{
	static char text[TREE_VALUE_MAX + 1];
	const uint8_t *value;
	size_t len;

	switch (overlay_get(ov, key, strlen(key), &value, &len)) {
	case OVERLAY_GONE:
		return "-";
	case OVERLAY_MISS:
		return "?";
	default:
		memcpy(text, value, len);
		text[len] = 0;
		return text;
	}
}

/* The pending records as text: "[a,b) c=1 d-". */
static const char *delta(struct overlay *ov)
{
	static struct buf text;
	struct buf b = {0};
	size_t expected = overlay_pending_bytes(ov);
	struct reader r;

	OK(overlay_take_delta(ov, &b));
	cr_assert_eq(b.len, expected);
	cr_assert_eq(overlay_pending_bytes(ov), 0);
	buf_reset(&text);
	OK(buf_printf(&text, "%s", ""));
	r = reader_of(b.p, b.len);
	while (r.left > 0) {
		uint8_t type = reader_u8(&r);
		int a_len = reader_le16(&r), b_len = type == 2 ? 0 : reader_le16(&r);
		const char *a = (const char *)reader_take(&r, (size_t)a_len);
		const char *c = (const char *)reader_take(&r, (size_t)b_len);

		OK(buf_printf(&text, "%s%s%.*s%s%.*s%s", text.len > 0 ? " " : "",
			      type == 3 ? "[" : "", a_len, a,
			      type == 3	  ? ","
			      : type == 1 ? "="
					  : "-",
			      b_len, c, type == 3 ? ")" : ""));
	}
	cr_assert_not(r.bad);
	buf_release(&b);
	return (const char *)text.p;
}

static struct overlay *ov;

static void setup(void)
{
	OK(overlay_new(&ov));
}

static void teardown(void)
{
	overlay_free(ov);
	overlay_free(NULL);
}

TestSuite(overlay, .init = setup, .fini = teardown);

Test(overlay, a_new_one_is_empty)
{
	cr_assert_str_eq(at(ov, "a"), "?");
	cr_assert_eq(overlay_bytes(ov), 0);
	cr_assert_eq(overlay_pending_bytes(ov), 0);
	cr_assert_str_eq(delta(ov), "");
	OK(overlay_reserve(ov, 3, 1000));
	cr_assert_eq(overlay_bytes(ov), 0, "room set ready is not in use");
}

Test(overlay, the_newest_change_counts)
{
	put(ov, "a", "1");
	put(ov, "b", "");
	cr_assert_str_eq(at(ov, "a"), "1");
	cr_assert_str_eq(at(ov, "b"), "");
	put(ov, "a", "longer");
	cr_assert_str_eq(at(ov, "a"), "longer");
	put(ov, "a", "2");
	cr_assert_str_eq(at(ov, "a"), "2");
	del(ov, "a");
	del(ov, "c");
	cr_assert_str_eq(at(ov, "a"), "-");
	cr_assert_str_eq(at(ov, "c"), "-", "a key that only lower layers may have");
	put(ov, "a", "3");
	cr_assert_str_eq(at(ov, "a"), "3");
	cr_assert_str_eq(at(ov, "ab"), "?", "a prefix is another key");
	cr_assert_gt(overlay_bytes(ov), 0);
}

Test(overlay, a_put_of_the_same_size_takes_no_memory)
{
	size_t bytes;

	put(ov, "a", "12345678");
	bytes = overlay_bytes(ov);
	put(ov, "a", "abcdefgh");
	put(ov, "a", "abc");
	put(ov, "a", "12345678");
	cr_assert_eq(overlay_bytes(ov), bytes);
	cr_assert_str_eq(at(ov, "a"), "12345678");
}

Test(overlay, a_range_takes_earlier_entries_and_lets_later_ones_stand)
{
	put(ov, "b", "1");
	put(ov, "c", "1");
	put(ov, "d", "1");
	del_range(ov, "b", "d");
	cr_assert_str_eq(at(ov, "a"), "?");
	cr_assert_str_eq(at(ov, "b"), "-");
	cr_assert_str_eq(at(ov, "bzz"), "-");
	cr_assert_str_eq(at(ov, "c"), "-");
	cr_assert_str_eq(at(ov, "d"), "1");
	put(ov, "c", "2");
	cr_assert_str_eq(at(ov, "c"), "2");
	del(ov, "c");
	cr_assert_str_eq(at(ov, "c"), "-");
	del_range(ov, "x", "x");
	del_range(ov, "y", "x");
	cr_assert_str_eq(at(ov, "x"), "?", "an empty range changes nothing");
}

Test(overlay, ranges_join)
{
	del_range(ov, "b", "c");
	del_range(ov, "d", "e");
	cr_assert_str_eq(delta(ov), "[b,c) [d,e)");
	del_range(ov, "c", "d");
	cr_assert_str_eq(delta(ov), "[c,d)", "pending are only the new ones");
	del_range(ov, "a", "b");
	del_range(ov, "b", "bb");
	del_range(ov, "f", "g");
	del_range(ov, "e", "fff");
	del_range(ov, "a", "aa");
	cr_assert_str_eq(delta(ov), "[a,bb) [e,g)");
	cr_assert_str_eq(at(ov, "dd"), "-");
	cr_assert_str_eq(at(ov, "g"), "?");
	del_range(ov, "a", "z");
	del_range(ov, "c", "d");
	cr_assert_str_eq(delta(ov), "[a,z)");
}

Test(overlay, many_ranges_stay_cheap_and_adjacent_ones_are_one)
{
	size_t bytes;

	for (uint32_t i = 0; i < 100000; i++)
		del_numbers(ov, i, i + 1, 0);
	bytes = overlay_pending_bytes(ov);
	cr_assert_eq(bytes, 5 + 4 + 4);
	cr_assert_lt(overlay_bytes(ov), 1000);
	for (uint32_t i = 200000; i < 500000; i += 3)
		del_numbers(ov, i, i + 1, 0);
	cr_assert_eq(overlay_pending_bytes(ov), 100001 * 13);
}

Test(overlay, a_delta_is_the_net_effect)
{
	put(ov, "c", "1");
	put(ov, "a", "1");
	put(ov, "b", "1");
	put(ov, "a", "22");
	del(ov, "b");
	cr_assert_str_eq(delta(ov), "a=22 b- c=1");
	cr_assert_str_eq(delta(ov), "");
	put(ov, "c", "1");
	cr_assert_str_eq(delta(ov), "c=1", "a put of the same value is a change");
	del_range(ov, "a", "d");
	put(ov, "b", "3");
	put(ov, "c", "3");
	del_range(ov, "c", "d");
	put(ov, "d", "4");
	del(ov, "b");
	cr_assert_str_eq(delta(ov), "[a,d) b- d=4");
	del(ov, "b");
	put(ov, "a", "5");
	cr_assert_str_eq(delta(ov), "a=5 b-", "what an earlier delta may have put is deleted");
	del(ov, "aa");
	cr_assert_str_eq(delta(ov), "", "gone by the range, and nothing put it since");
}

Test(overlay, a_delta_is_added_to_what_the_buffer_has)
{
	struct buf b = {0};

	OK(buf_add_u8(&b, 9));
	put(ov, "k", "v");
	OK(overlay_take_delta(ov, &b));
	cr_assert_eq(b.len, 1 + 5 + 2);
	cr_assert_eq(b.p[0], 9);
	buf_release(&b);
}

Test(overlay, golden_delta)
{
	static const uint8_t golden[] = {
		3, 1, 0, 2,   0,   'b', 'b', 'z',	    /* range [b, bz) */
		1, 2, 0, 3,   0,   'a', 'b', 'o', 'n', 'e', /* put ab = one */
		1, 1, 0, 0,   0,   'b',			    /* put b, empty */
		2, 3, 0, 'c', 'a', 't',			    /* delete cat */
	};
	struct overlay *other;
	struct buf b = {0};

	del(ov, "cat");
	del_range(ov, "b", "bz");
	put(ov, "ab", "one");
	put(ov, "b", "");
	OK(overlay_take_delta(ov, &b));
	cr_assert_eq(b.len, sizeof(golden));
	cr_assert_arr_eq(b.p, golden, sizeof(golden));
	buf_release(&b);

	OK(overlay_new(&other));
	OK(overlay_apply(other, golden, sizeof(golden)));
	cr_assert_str_eq(at(other, "ab"), "one");
	cr_assert_str_eq(at(other, "b"), "");
	cr_assert_str_eq(at(other, "ba"), "-");
	cr_assert_str_eq(at(other, "cat"), "-");
	cr_assert_str_eq(at(other, "bz"), "?");
	cr_assert_eq(overlay_pending_bytes(other), 0, "replayed changes are not pending");
	overlay_free(other);
}

static int apply_text(const char *bytes, size_t len)
{
	/* A copy of just that length, so that a sanitizer sees any read past it. */
	uint8_t *exact = malloc(len > 0 ? len : 1);
	int rc;

	memcpy(exact, bytes, len);
	rc = overlay_apply(ov, exact, len);
	free(exact);
	return rc;
}

Test(overlay, malformed_records_are_refused)
{
	static const char sound[] = "\3\1\0\2\0bbz\1\2\0\3\0abone\2\3\0cat";
	uint8_t head[5] = {1};

	OK(apply_text(sound, sizeof(sound) - 1));
	for (size_t len = 1; len < sizeof(sound) - 1; len++) {
		bool whole = len == 8 || len == 18;

		cr_assert_eq(apply_text(sound, len), whole ? 0 : -ERR_FORMAT, "length %zu", len);
	}
	cr_assert_eq(apply_text("\0", 1), -ERR_FORMAT);
	cr_assert_eq(apply_text("\4\1\0a", 4), -ERR_FORMAT);
	cr_assert_eq(apply_text("\2\0\0", 3), -ERR_FORMAT, "no key");
	cr_assert_eq(apply_text("\3\1\0\1\0aa", 7), -ERR_FORMAT, "empty range");
	cr_assert_eq(apply_text("\3\1\0\1\0ba", 7), -ERR_FORMAT, "backward range");
	cr_assert_eq(apply_text("\1\1\0\1\0q1\4", 8), -ERR_FORMAT);
	cr_assert_str_eq(at(ov, "q"), "1", "records before the bad one are applied");

	for (int which = 1; which <= 3; which++) {
		char *big = calloc(1, 70000);

		put_le16(head + 1, which == 1 ? TREE_KEY_MAX + 1 : 1);
		put_le16(head + 3, which == 2	? TREE_VALUE_MAX + 1
				   : which == 3 ? TREE_VALUE_MAX
						: 0);
		memcpy(big, head, sizeof(head));
		cr_assert_eq(apply_text(big, 5u + get_le16(head + 1) + get_le16(head + 3)),
			     which == 3 ? 0 : -ERR_FORMAT);
		free(big);
	}
}

Test(overlay, random_bytes_as_records_do_no_harm)
{
	struct dice d = dice_new();

	for (int i = 0; i < 20000; i++) {
		char bytes[64];
		size_t len = roll_below(&d, sizeof(bytes));
		int rc;

		for (size_t j = 0; j < len; j++)
			bytes[j] = (char)(roll_below(&d, 3) ? roll_below(&d, 4) : roll(&d));
		rc = apply_text(bytes, len);
		cr_assert(rc == 0 || rc == -ERR_FORMAT);
	}
}

struct pieces {
	struct overlay *into;
	size_t n, max, stop_at;
};

static int take_piece(void *ctx, const void *records, size_t len)
{
	struct pieces *p = ctx;

	cr_assert_gt(len, 0);
	cr_assert_leq(len, p->max);
	if (++p->n == p->stop_at)
		return -EIO;
	return overlay_apply(p->into, records, len);
}

Test(overlay, encoded_in_pieces_it_comes_back_whole)
{
	struct pieces p = {.max = OVERLAY_PIECE_MIN};
	struct overlay *again, *partly;
	struct buf a = {0};
	struct dice d = dice_new();

	for (int i = 0; i < 3000; i++) {
		uint32_t k = roll_below(&d, 1000), what = roll_below(&d, 10);

		if (what == 0)
			del_numbers(ov, k, k + 1 + roll_below(&d, 20), 300);
		else if (what < 4)
			del_number(ov, k, 300);
		else
			put_number(ov, k, 300, (uint32_t)i, what == 9 ? TREE_VALUE_MAX : 30);
		if (i == 1500) {
			OK(overlay_take_delta(ov, &a));
			buf_reset(&a);
		}
	}
	OK(overlay_new(&partly));
	p.into = partly;
	OK(overlay_encode(ov, p.max, take_piece, &p));
	cr_assert_gt(p.n, 10);
	p.stop_at = 5;
	p.n = 0;
	cr_assert_eq(overlay_encode(ov, p.max, take_piece, &p), -EIO);
	cr_assert_eq(p.n, 5);

	/* What it encodes to tells all that is in it. */
	OK(overlay_new(&again));
	p = (struct pieces){.max = 1u << 20, .into = again};
	OK(overlay_encode(ov, p.max, take_piece, &p));
	for (uint32_t k = 0; k < 1021; k++) {
		struct key key = key_of(k, 300);
		const uint8_t *v, *w;
		size_t v_len = 0, w_len = 0;
		enum overlay_hit hit = overlay_get(ov, key.b, key.len, &v, &v_len);

		cr_assert_eq(overlay_get(again, key.b, key.len, &w, &w_len), hit);
		if (hit == OVERLAY_FOUND) {
			cr_assert_eq(v_len, w_len);
			cr_assert_arr_eq(v, w, v_len);
		}
	}
	overlay_free(again);
	overlay_free(partly);
	buf_release(&a);
}

/* Two overlays say the same of every number. */
static void assert_same(const struct overlay *a, const struct overlay *b, uint32_t n)
{
	for (uint32_t k = 0; k < n; k++) {
		struct key key = key_of(k, 300);
		const uint8_t *v, *w;
		size_t v_len = 0, w_len = 0;
		enum overlay_hit hit = overlay_get(a, key.b, key.len, &v, &v_len);

		cr_assert_eq(overlay_get(b, key.b, key.len, &w, &w_len), hit, "number %u", k);
		if (hit != OVERLAY_FOUND)
			continue;
		cr_assert_eq(v_len, w_len);
		cr_assert_arr_eq(v, w, v_len);
	}
}

struct kept_pieces {
	size_t n;
	struct buf piece[200];
};

static int keep_piece(void *ctx, const void *records, size_t len)
{
	struct kept_pieces *p = ctx;

	cr_assert_lt(p->n, 200);
	return buf_add(&p->piece[p->n++], records, len);
}

/*
 * What a crash leaves of a roll-up is its first pieces, behind the deltas that it rolled up: laid
 * over these they change nothing, and neither does any other choice of them.
 */
Test(overlay, each_piece_stands_by_itself)
{
	struct kept_pieces *p = calloc(1, sizeof(*p));
	struct dice d = dice_new();
	struct overlay *again;

	for (int round = 0; round < 5; round++) {
		/* Few long ranges, with later puts in them, so that the ends of pieces cut ranges. */
		for (int i = 0; i < 20; i++) {
			uint32_t k = roll_below(&d, 900);

			del_numbers(ov, k, k + 1 + roll_below(&d, 90), 300);
			for (int j = 0; j < 12; j++)
				put_number(ov, roll_below(&d, 1000), 300, (uint32_t)(i * j),
					   roll_below(&d, 4) ? 30 : TREE_VALUE_MAX);
		}
		p->n = 0;
		OK(overlay_encode(ov, OVERLAY_PIECE_MIN, keep_piece, p));
		cr_assert_gt(p->n, 10);
		OK(overlay_new(&again));
		for (size_t i = 0; i < p->n; i++)
			OK(overlay_apply(again, p->piece[i].p, p->piece[i].len));
		assert_same(ov, again, 1021);
		for (size_t i = 0; i < 3 * p->n; i++) {
			const struct buf *one =
				&p->piece[i < p->n ? i : roll_below(&d, (uint32_t)p->n)];

			OK(overlay_apply(again, one->p, one->len));
			assert_same(ov, again, 1021);
		}
		overlay_free(again);
		for (size_t i = 0; i < p->n; i++)
			buf_reset(&p->piece[i]);
	}
	for (size_t i = 0; i < 200; i++)
		buf_release(&p->piece[i]);
	free(p);
}

Test(overlay, an_empty_one_encodes_to_no_piece)
{
	struct pieces p = {.max = OVERLAY_PIECE_MIN};

	OK(overlay_encode(ov, p.max, take_piece, &p));
	cr_assert_eq(p.n, 0);
}

Test(overlay, what_was_reserved_finds_room)
{
	static uint8_t value[TREE_VALUE_MAX];
	struct dice d = dice_new();

	for (int round = 0; round < 300; round++) {
		struct key k[40];
		size_t n = 1 + roll_below(&d, 40), bytes = 0, len[40];

		for (size_t i = 0; i < n; i++) {
			k[i] = key_of(roll_below(&d, 5000), TREE_KEY_MAX - 4);
			len[i] = roll_below(&d, roll_below(&d, 9) ? 40 : TREE_VALUE_MAX);
			bytes += k[i].len + len[i];
		}
		OK(overlay_reserve(ov, n, bytes));
		for (size_t i = 0; i < n; i++)
			overlay_put(ov, k[i].b, k[i].len, value, len[i]);
	}
}

Test(overlay, a_reserve_beyond_all_memory_fails)
{
	cr_assert_eq(overlay_reserve(ov, SIZE_MAX / 8, 0), -ENOMEM);
	cr_assert_eq(overlay_reserve(ov, 1, SIZE_MAX - 10), -ENOMEM);
	put(ov, "a", "still works");
}

/* What was traced, replayed, gives the same overlay and the same delta. */
Test(overlay, a_trace_replayed_is_the_same)
{
	uint8_t mem[1000];
	struct overlay_trace t = {.p = mem, .cap = sizeof(mem)};
	struct overlay *again, *was = ov;
	const char *d;
	char text[200];

	put(ov, "q", "1"); /* not traced: it was there */
	overlay_trace(ov, &t);
	put(ov, "a", "1");
	put(ov, "b", "2");
	put(ov, "c", "3");
	del_range(ov, "a", "c");
	del_range(ov, "x", "x");
	put(ov, "b", "4");
	put(ov, "c", "");
	del(ov, "q");
	del(ov, "never");
	overlay_trace(ov, NULL);
	put(ov, "z", "1");
	del(ov, "z");
	cr_assert_gt(t.len, 0);

	OK(overlay_new(&again));
	OK(overlay_replay(again, mem, t.len));
	ov = again;
	cr_assert_str_eq(at(ov, "a"), "-");
	cr_assert_str_eq(at(ov, "b"), "4");
	cr_assert_str_eq(at(ov, "c"), "");
	cr_assert_str_eq(at(ov, "q"), "-");
	cr_assert_str_eq(at(ov, "z"), "?");
	d = delta(ov);
	snprintf(text, sizeof(text), "%s", d);
	cr_assert_str_eq(text, "[a,c) b=4 c= never- q-");
	/* Once more changes nothing. */
	OK(overlay_replay(ov, mem, t.len));
	cr_assert_str_eq(delta(ov), text);
	overlay_free(again);
	ov = was;
}
