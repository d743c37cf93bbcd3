/* Merging: what is written, what is kept, the shape of the tree, errors. */

#include "fixture.h"

#include "node.h"

#define EXTRA 40u
#define LEN_MAX 80u

static struct fixture f;
static struct overlay *ov;

static void setup(void)
{
	fixture_init(&f);
	OK(overlay_new(&ov));
}

static void teardown(void)
{
	overlay_free(ov);
	fixture_release(&f);
}

TestSuite(merge, .init = setup, .fini = teardown);

static bool same_root(const struct tree_root *a, const struct tree_root *b)
{
	return a->height == b->height && a->ptr.pos == b->ptr.pos;
}

Test(merge, nothing_over_nothing)
{
	struct tree_root root = {0};

	merge(&f, &root, ov);
	cr_assert_eq(root.height, 0);
	cr_assert_eq(root.ptr.pos, 0);
	del_number(ov, 5, EXTRA);
	del_numbers(ov, 7, 9, EXTRA);
	merge(&f, &root, ov);
	cr_assert_eq(root.height, 0);
	cr_assert_eq(f.log.n, 0);
}

Test(merge, one_item)
{
	struct tree_root root = {0};
	struct census c;

	put_number(ov, 5, EXTRA, 5, LEN_MAX);
	merge(&f, &root, ov);
	c = census(&f, &root);
	cr_assert_eq(root.height, 1);
	cr_assert_eq(c.nodes, 1);
	cr_assert_eq(c.items, 1);
}

Test(merge, the_empty_tree_grows_by_several_levels_and_comes_down_again)
{
	struct tree_root root = {0}, high;
	struct census c;

	for (uint32_t i = 0; i < 200000; i++)
		put_number(ov, i, TREE_KEY_MAX - 4, i, 40);
	merge(&f, &root, ov);
	c = census(&f, &root);
	cr_assert_geq(root.height, 4);
	cr_assert_eq(c.items, 200000);
	cr_assert_eq(c.small, 0);
	high = root;

	overlay_free(ov);
	OK(overlay_new(&ov));
	del_numbers(ov, 30, 200000, TREE_KEY_MAX - 4);
	merge(&f, &root, ov);
	c = census(&f, &root);
	cr_assert_leq(root.height, 2);
	cr_assert_eq(c.items, 30);

	del_numbers(ov, 0, 30, TREE_KEY_MAX - 4);
	merge(&f, &root, ov);
	cr_assert_eq(root.height, 0);
	cr_assert_eq(census(&f, &high).items, 200000, "an old version stays as it was");
}

Test(merge, one_change_writes_one_path)
{
	struct tree_root root = plant(&f, 0, 100000, 1, EXTRA, LEN_MAX), old = root;
	size_t n = f.log.n;

	cr_assert_geq(root.height, 3);
	put_number(ov, 50000, EXTRA, 777, LEN_MAX);
	merge(&f, &root, ov);
	cr_assert_leq(f.log.n - n, root.height + 1);
	cr_assert_geq(f.log.n - n, root.height);
	cr_assert_eq(census(&f, &root).items, 100000);
	cr_assert_not(same_root(&root, &old));
}

Test(merge, one_change_reads_one_path)
{
	struct tree_root root = plant(&f, 0, 100000, 1, EXTRA, LEN_MAX);

	fixture_cool(&f);
	f.log.reads = 0;
	put_number(ov, 50000, EXTRA, 777, LEN_MAX);
	merge(&f, &root, ov);
	cr_assert_leq(f.log.reads, root.height + 2);
}

Test(merge, changes_without_effect_give_the_old_root)
{
	struct tree_root root = plant(&f, 0, 60000, 2, EXTRA, LEN_MAX), old = root;
	size_t n = f.log.n;

	merge(&f, &root, ov);
	cr_assert(same_root(&root, &old), "no change at all");
	for (uint32_t i = 1; i < 60000; i += 200)
		del_number(ov, i, EXTRA);
	for (uint32_t i = 0; i < 60000; i += 1000)
		put_number(ov, i, EXTRA, i, LEN_MAX);
	for (uint32_t i = 101; i < 60000; i += 100)
		del_numbers(ov, i, i + 1, EXTRA);
	del_numbers(ov, 70000, 90000, EXTRA);
	merge(&f, &root, ov);
	cr_assert(same_root(&root, &old), "absent keys deleted, the same values put");
	cr_assert_eq(f.log.n, n);
}

Test(merge, a_subtree_in_a_deleted_range_is_dropped_unread)
{
	struct tree_root root = plant(&f, 0, 100000, 1, EXTRA, LEN_MAX);
	struct census c;

	fixture_cool(&f);
	f.log.reads = 0;
	del_numbers(ov, 10000, 90000, EXTRA);
	put_number(ov, 50000, EXTRA, 1, LEN_MAX);
	merge(&f, &root, ov);
	cr_assert_leq(f.log.reads, 4 * root.height);
	c = census(&f, &root);
	cr_assert_eq(c.items, 20001);
	cr_assert_eq(c.small, 0);
}

Test(merge, everything_deleted)
{
	struct tree_root root = plant(&f, 0, 50000, 1, EXTRA, LEN_MAX), by_keys = root;
	struct overlay *each;

	OK(overlay_new(&each));
	del_numbers(ov, 0, 50000, EXTRA);
	merge(&f, &root, ov);
	cr_assert_eq(root.height, 0);
	cr_assert_eq(root.ptr.pos, 0);
	for (uint32_t i = 0; i < 50000; i++)
		del_number(each, i, EXTRA);
	merge(&f, &by_keys, each);
	cr_assert_eq(by_keys.height, 0);
	overlay_free(each);
}

Test(merge, what_is_deleted_sparsely_leaves_no_small_nodes)
{
	struct tree_root root = plant(&f, 0, 60000, 1, EXTRA, LEN_MAX);
	size_t full = census(&f, &root).nodes;
	struct census c;

	for (uint32_t i = 0; i < 60000; i++) {
		if (i % 20)
			del_number(ov, i, EXTRA);
	}
	merge(&f, &root, ov);
	c = census(&f, &root);
	cr_assert_eq(c.items, 3000);
	cr_assert_eq(c.small, 0);
	cr_assert_lt(c.nodes, full / 8);
}

Test(merge, small_nodes_join_their_untouched_neighbours)
{
	struct tree_root root = plant(&f, 0, 60000, 1, EXTRA, LEN_MAX);
	struct dice d = dice_new();

	/* Thin out leaf after leaf, each time most of some, at the front, inside and at the end. */
	for (int i = 0; i < 150; i++) {
		uint32_t at = i == 0 ? 0 : i == 1 ? 59800 : roll_below(&d, 60000);
		struct census c;

		overlay_free(ov);
		OK(overlay_new(&ov));
		del_numbers(ov, at, at + 1 + roll_below(&d, 900), EXTRA);
		merge(&f, &root, ov);
		c = census(&f, &root);
		cr_assert_eq(c.small, 0, "after %d", i);
	}
}

Test(merge, huge_values)
{
	struct tree_root root = {0};
	struct census c;

	for (uint32_t i = 0; i < 3000; i++)
		put_number(ov, i, TREE_KEY_MAX - 4, i, TREE_VALUE_MAX);
	merge(&f, &root, ov);
	c = census(&f, &root);
	cr_assert_eq(c.items, 3000);
	for (uint32_t i = 0; i < 3000; i += 7)
		put_number(ov, i, TREE_KEY_MAX - 4, i + 1, TREE_VALUE_MAX);
	merge(&f, &root, ov);
	cr_assert_eq(census(&f, &root).items, 3000);
}

Test(merge, appending_fills_nodes_well)
{
	struct tree_root root = {0};
	struct census c;

	for (uint32_t round = 0; round < 100; round++) {
		overlay_free(ov);
		OK(overlay_new(&ov));
		for (uint32_t i = 0; i < 500; i++)
			put_number(ov, round * 500 + i, 0, i, 24);
		merge(&f, &root, ov);
	}
	c = census(&f, &root);
	cr_assert_eq(c.items, 50000);
	cr_assert_lt(c.nodes, 50000u * (4 + 12 + NODE_ENTRY_LEN) * 100 / 60 / TREE_NODE_TARGET,
		     "%zu nodes", c.nodes);
}

Test(merge, keys_below_the_first)
{
	struct tree_root root = plant(&f, 50000, 90000, 1, EXTRA, LEN_MAX);
	struct tree_cursor tc;
	struct key k = key_of(0, EXTRA);
	size_t n = 0;

	for (uint32_t i = 0; i < 50000; i += 5000)
		put_number(ov, i, EXTRA, i, LEN_MAX);
	merge(&f, &root, ov);
	cr_assert_eq(census(&f, &root).items, 40010);
	tree_cursor_init(&tc, f.cache, &root, NULL);
	for (OK(tree_seek(&tc, k.b, k.len)); tc.valid; OK(tree_next(&tc)))
		n++;
	cr_assert_eq(n, 40010);
	tree_cursor_release(&tc);
}

Test(merge, every_append_that_fails_is_told_and_the_old_tree_stands)
{
	struct tree_root root = plant(&f, 0, 20000, 1, EXTRA, LEN_MAX), out;
	size_t fail_at = 0;
	int rc;

	for (uint32_t i = 0; i < 20000; i += 997)
		put_number(ov, i, EXTRA, i + 1, LEN_MAX);
	do {
		f.log.appends_left = fail_at++;
		rc = tree_merge(f.cache, &f.io, &root, ov, &out);
		cr_assert(rc == 0 || rc == -ENOSPC);
	} while (rc < 0);
	cr_assert_gt(fail_at, 20);
	f.log.appends_left = SIZE_MAX;
	cr_assert_eq(census(&f, &root).items, 20000);
	cr_assert_eq(census(&f, &out).items, 20000);
}

Test(merge, a_node_that_cannot_be_read_is_told)
{
	struct tree_root root = plant(&f, 0, 20000, 1, EXTRA, LEN_MAX), out, bad = root;

	put_number(ov, 10000, EXTRA, 1, LEN_MAX);
	fixture_cool(&f);
	f.log.lost = root.ptr.pos;
	cr_assert_eq(tree_merge(f.cache, &f.io, &root, ov, &out), -ERR_ABSENT);
	f.log.lost = 0;
	memlog_plain(&f.log, root.ptr.pos)[1] = 7;
	cr_assert_eq(tree_merge(f.cache, &f.io, &root, ov, &out), -ERR_DAMAGED);
	memlog_plain(&f.log, root.ptr.pos)[1] = 0;
	bad.height = TREE_HEIGHT_MAX + 1;
	cr_assert_eq(tree_merge(f.cache, &f.io, &bad, ov, &out), -ERR_DAMAGED);
}

Test(merge, items_out_of_order_in_the_old_tree_are_told)
{
	struct tree_root root = plant(&f, 1000, 3000, 1, EXTRA, LEN_MAX), out;
	struct block_ptr ptr;
	struct node *n;
	uint8_t *leaf;

	OK(node_cache_get(f.cache, &root.ptr, NULL, &n));
	node_child(n, 2, &ptr);
	node_put(f.cache, n);
	leaf = memlog_plain(&f.log, ptr.pos);
	memset(leaf + NODE_HEADER_LEN + 4 * get_le16(leaf + 2) + 4, 0, 4);
	fixture_cool(&f);
	for (uint32_t i = 1000; i < 3000; i += 10)
		put_number(ov, i, EXTRA, i + 1, LEN_MAX);
	cr_assert_eq(tree_merge(f.cache, &f.io, &root, ov, &out), -ERR_DAMAGED);
}

Test(merge, the_nodes_just_written_need_no_reading)
{
	struct tree_root root;

	root = plant(&f, 0, 3000, 1, EXTRA, LEN_MAX);
	cr_assert_eq(census(&f, &root).items, 3000);
	cr_assert_eq(f.log.reads, 0);
}
