/* Reading a tree: lookups, cursors, and what damaged trees answer. */

#include "fixture.h"

#include "node.h"

#define EXTRA (TREE_KEY_MAX - 4)
#define LEN_MAX 100u

static struct fixture f;

static void setup(void)
{
	fixture_init(&f);
}

static void teardown(void)
{
	fixture_release(&f);
}

TestSuite(tree, .init = setup, .fini = teardown);

static int get_number(const struct tree_root *root, uint32_t number, struct need *need)
{
	uint8_t value[TREE_VALUE_MAX], expected[TREE_VALUE_MAX];
	struct key k = key_of(number, EXTRA);
	size_t len = SIZE_MAX;
	int rc;

	rc = tree_get(f.cache, root, k.b, k.len, need, value, sizeof(value), &len);
	if (rc == 0) {
		cr_assert_eq(len, value_of(number, LEN_MAX, expected));
		cr_assert(len == 0 || memcmp(value, expected, len) == 0);
	}
	return rc;
}

/* The number at a cursor; -1 at its end. */
static long number_at(const struct tree_cursor *tc)
{
	const uint8_t *key, *value;
	size_t key_len, value_len;

	if (!tc->valid)
		return -1;
	tree_item(tc, &key, &key_len, &value, &value_len);
	return (long)key[0] << 24 | key[1] << 16 | key[2] << 8 | key[3];
}

Test(tree, the_empty_tree)
{
	struct tree_root root = {0};
	struct tree_cursor tc;

	cr_assert_eq(get_number(&root, 1, NULL), -ENOENT);
	tree_cursor_init(&tc, f.cache, &root, NULL);
	OK(tree_seek(&tc, "", 0));
	cr_assert_not(tc.valid);
	tree_cursor_release(&tc);
}

Test(tree, lookups)
{
	struct tree_root root = plant(&f, 0, 40000, 2, EXTRA, LEN_MAX);
	struct key k = key_of(2, EXTRA);
	uint8_t small[1];
	size_t len;

	cr_assert_geq(root.height, 3);
	for (uint32_t i = 0; i < 40000; i += 37)
		cr_assert_eq(get_number(&root, i, NULL), i % 2 ? -ENOENT : 0);
	cr_assert_eq(get_number(&root, 40000, NULL), -ENOENT);
	cr_assert_gt(value_of(2, LEN_MAX, (uint8_t[TREE_VALUE_MAX]){0}), 1);
	cr_assert_eq(tree_get(f.cache, &root, k.b, k.len, NULL, small, sizeof(small), &len),
		     -ERR_DAMAGED);
}

Test(tree, with_need_a_lookup_asks_for_one_node_a_level)
{
	struct tree_root root = plant(&f, 0, 40000, 1, EXTRA, LEN_MAX);
	struct need need = {0};
	uint32_t asked = 0;
	int rc;

	fixture_cool(&f);
	f.log.reads = 0;
	while ((rc = get_number(&root, 31234, &need)) == -ERR_NEED_NODE) {
		cr_assert_eq(f.log.reads, asked);
		OK(load_node(f.cache, &need));
		asked++;
	}
	OK(rc);
	cr_assert_eq(asked, root.height);
}

Test(tree, a_cursor_goes_through_all_from_anywhere)
{
	struct tree_root root = plant(&f, 10, 30000, 3, EXTRA, LEN_MAX);
	struct dice d = dice_new();
	struct tree_cursor tc;
	struct key k = key_of(0, EXTRA);
	long expected = 10;

	tree_cursor_init(&tc, f.cache, &root, NULL);
	for (OK(tree_seek(&tc, k.b, k.len)); tc.valid; OK(tree_next(&tc))) {
		cr_assert_eq(number_at(&tc), expected);
		expected += 3;
	}
	cr_assert_eq(expected, 30001);

	for (int i = 0; i < 3000; i++) {
		uint32_t n = roll_below(&d, 30100);

		if (roll_below(&d, 2) && tc.valid)
			n = (uint32_t)number_at(&tc) + roll_below(&d, 30); /* near by */
		k = key_of(n, EXTRA);
		OK(tree_seek(&tc, k.b, k.len));
		expected = n <= 10 ? 10 : n + (30001 - n) % 3;
		for (int step = 0; step < 3; step++) {
			cr_assert_eq(number_at(&tc), expected < 30000 ? expected : -1);
			if (tc.valid)
				OK(tree_next(&tc));
			expected += 3;
		}
	}
	tree_cursor_release(&tc);
}

Test(tree, a_cursor_with_need_goes_on_after_each_load)
{
	struct tree_root root = plant(&f, 0, 20000, 1, EXTRA, LEN_MAX);
	struct tree_cursor tc;
	struct need need = {0};
	uint32_t at = 0, loads = 0;

	fixture_cool(&f);
	f.log.reads = 0;
	tree_cursor_init(&tc, f.cache, &root, &need);
	for (;;) {
		struct key k = key_of(at, EXTRA);
		int rc = tree_seek(&tc, k.b, k.len);

		for (; rc == 0 && tc.valid; rc = tree_next(&tc))
			cr_assert_eq(number_at(&tc), at++);
		if (rc == 0)
			break;
		cr_assert_eq(rc, -ERR_NEED_NODE);
		cr_assert_not(tc.valid);
		cr_assert_eq(f.log.reads, loads);
		OK(load_node(f.cache, &need));
		loads++;
	}
	cr_assert_eq(at, 20000);
	tree_cursor_release(&tc);
}

Test(tree, a_root_that_cannot_be_is_damaged)
{
	struct tree_root root = plant(&f, 0, 2000, 1, EXTRA, LEN_MAX), bad;
	struct tree_cursor tc;

	bad = root;
	bad.height = TREE_HEIGHT_MAX + 1;
	cr_assert_eq(get_number(&bad, 1, NULL), -ERR_DAMAGED);
	tree_cursor_init(&tc, f.cache, &bad, NULL);
	cr_assert_eq(tree_seek(&tc, "a", 1), -ERR_DAMAGED);
	tree_cursor_release(&tc);
	bad.height = 0;
	cr_assert_eq(get_number(&bad, 1, NULL), -ERR_DAMAGED);
	bad = (struct tree_root){.height = 1};
	cr_assert_eq(get_number(&bad, 1, NULL), -ERR_DAMAGED);
	bad = root;
	bad.height++;
	cr_assert_eq(get_number(&bad, 1, NULL), -ERR_DAMAGED, "a node of another level");
}

/*
 * Make a leaf in the middle begin with a key far too low: what is sorted in itself is wrong among
 * its neighbours.
 */
Test(tree, leaves_out_of_order_do_not_send_a_cursor_in_circles)
{
	struct tree_root root = plant(&f, 1000, 3000, 1, EXTRA, LEN_MAX);
	struct tree_cursor tc;
	struct block_ptr ptr;
	struct key k = key_of(0, EXTRA);
	struct node *n;
	int rc;

	OK(node_cache_get(f.cache, &root.ptr, NULL, &n));
	node_child(n, 2, &ptr);
	node_put(f.cache, n);
	memset(memlog_plain(&f.log, ptr.pos) + NODE_HEADER_LEN +
		       4 * get_le16(memlog_plain(&f.log, ptr.pos) + 2) + 4,
	       0, 4);
	fixture_cool(&f);

	tree_cursor_init(&tc, f.cache, &root, NULL);
	rc = tree_seek(&tc, k.b, k.len);
	while (rc == 0 && tc.valid)
		rc = tree_next(&tc);
	cr_assert_eq(rc, -ERR_DAMAGED);
	tree_cursor_release(&tc);
}
