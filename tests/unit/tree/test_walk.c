/* Walks: a sound tree, planted damage, stopping. */

#include "fixture.h"

#include "node.h"

#define EXTRA (TREE_KEY_MAX - 4)
#define LEN_MAX 80u

static struct fixture f;
static struct tree_root root;

static void setup(void)
{
	fixture_init(&f);
	root = plant(&f, 1000, 41000, 1, EXTRA, LEN_MAX);
	cr_assert_geq(root.height, 3);
}

static void teardown(void)
{
	fixture_release(&f);
}

TestSuite(walk, .init = setup, .fini = teardown);

struct seen {
	size_t bad, nodes, items;
	uint64_t bad_pos;
	int bad_rc, stop_rc;
	uint32_t bad_level;
	uint8_t bad_from[4];
	uint8_t last[TREE_KEY_MAX];
	size_t last_len;
	size_t stop_at_item;
};

static int on_node(void *ctx, const struct tree_walk_node *n)
{
	struct seen *s = ctx;

	s->nodes++;
	if (n->rc == 0)
		return 0;
	s->bad++;
	s->bad_pos = n->ptr.pos;
	s->bad_rc = n->rc;
	s->bad_level = n->level;
	if (n->from_len >= 4)
		memcpy(s->bad_from, n->from, 4);
	return s->stop_rc;
}

static int on_item(void *ctx, const uint8_t *key, size_t key_len, const uint8_t *value,
		   size_t value_len)
{
	struct seen *s = ctx;

	(void)value, (void)value_len;
	s->items++;
	if (s->last_len > 0)
		cr_assert_lt(memcmp(s->last, key, 4), 0);
	memcpy(s->last, key, key_len);
	s->last_len = key_len;
	return s->items == s->stop_at_item ? 42 : 0;
}

/* The pointer to the ${i}th node from the left under ${ptr}. */
static struct block_ptr child_of(struct block_ptr ptr, uint32_t i)
{
	struct block_ptr child;
	struct node *n;

	OK(node_cache_get(f.cache, &ptr, NULL, &n));
	node_child(n, i, &child);
	node_put(f.cache, n);
	return child;
}

static uint8_t *first_key_of(struct block_ptr ptr)
{
	uint8_t *plain = memlog_plain(&f.log, ptr.pos);

	return plain + NODE_HEADER_LEN + 4 * get_le16(plain + 2) + 4;
}

Test(walk, the_empty_tree)
{
	struct tree_root none = {0};
	struct seen s = {0};

	OK(tree_walk(f.cache, &none, on_node, on_item, &s));
	cr_assert_eq(s.nodes + s.items, 0);
}

Test(walk, a_sound_tree)
{
	struct seen s = {0}, only = {0};

	OK(tree_walk(f.cache, &root, on_node, on_item, &s));
	cr_assert_eq(s.bad, 0);
	cr_assert_eq(s.items, 40000);
	OK(tree_walk(f.cache, &root, on_node, NULL, &only));
	cr_assert_eq(only.nodes, s.nodes);
	OK(tree_walk(f.cache, &root, NULL, on_item, &only));
	cr_assert_eq(only.items, 40000);
}

Test(walk, a_function_can_stop_it)
{
	struct seen s = {.stop_at_item = 1000};

	cr_assert_eq(tree_walk(f.cache, &root, on_node, on_item, &s), 42);
	cr_assert_eq(s.items, 1000);
}

Test(walk, it_goes_on_after_a_child_that_cannot_be_read)
{
	struct block_ptr leaf = child_of(child_of(root.ptr, 0), 3);
	uint32_t lost = get_le16(memlog_plain(&f.log, leaf.pos) + 2);
	uint8_t from[4];
	struct seen s = {0};

	memcpy(from, first_key_of(leaf), 4);
	fixture_cool(&f);
	f.log.lost = leaf.pos;
	OK(tree_walk(f.cache, &root, on_node, on_item, &s));
	cr_assert_eq(s.bad, 1);
	cr_assert_eq(s.bad_rc, -ERR_ABSENT);
	cr_assert_eq(s.bad_pos, leaf.pos);
	cr_assert_eq(s.bad_level, 0);
	cr_assert_arr_eq(s.bad_from, from, 4);
	cr_assert_eq(s.items, 40000 - lost);

	s = (struct seen){.stop_rc = -EIO};
	cr_assert_eq(tree_walk(f.cache, &root, on_node, on_item, &s), -EIO);
	s = (struct seen){0};
	cr_assert_eq(tree_walk(f.cache, &root, NULL, on_item, &s), -ERR_ABSENT,
		     "nobody to tell: it ends");
}

Test(walk, a_node_of_another_level_is_found)
{
	struct block_ptr inner = child_of(root.ptr, 1), leaf = child_of(inner, 1);
	struct seen s = {0};

	memlog_plain(&f.log, leaf.pos)[0] = 1; /* then its values are no pointers */
	fixture_cool(&f);
	OK(tree_walk(f.cache, &root, on_node, on_item, &s));
	cr_assert_eq(s.bad, 1);
	cr_assert_eq(s.bad_pos, leaf.pos);
	memlog_plain(&f.log, leaf.pos)[0] = 0;

	memlog_plain(&f.log, inner.pos)[0] = 2; /* well-formed, but one too high */
	fixture_cool(&f);
	s = (struct seen){0};
	OK(tree_walk(f.cache, &root, on_node, on_item, &s));
	cr_assert_eq(s.bad, 1);
	cr_assert_eq(s.bad_rc, -ERR_DAMAGED);
	cr_assert_eq(s.bad_pos, inner.pos);
	cr_assert_eq(s.bad_level, 1);
	cr_assert_gt(s.items, 0);
}

Test(walk, keys_out_of_order_are_found)
{
	struct block_ptr leaf = child_of(child_of(root.ptr, 1), 2);
	struct seen s = {0};
	uint8_t *key = first_key_of(leaf);

	/* In order in itself, but below where its parent has it. */
	memset(key, 0, 4);
	fixture_cool(&f);
	OK(tree_walk(f.cache, &root, on_node, on_item, &s));
	cr_assert_eq(s.bad, 1);
	cr_assert_eq(s.bad_rc, -ERR_DAMAGED);
	cr_assert_eq(s.bad_pos, leaf.pos);

	/* Out of order in itself. */
	memset(key, 0xff, 4);
	fixture_cool(&f);
	s = (struct seen){0};
	OK(tree_walk(f.cache, &root, on_node, on_item, &s));
	cr_assert_eq(s.bad, 1);
	cr_assert_eq(s.bad_pos, leaf.pos);
}

Test(walk, keys_above_the_next_childs_are_found)
{
	struct block_ptr leaf = child_of(child_of(root.ptr, 1), 2);
	uint8_t *plain = memlog_plain(&f.log, leaf.pos);
	uint32_t n = get_le16(plain + 2);
	struct seen s = {0};

	memset(plain + get_le32(plain + NODE_HEADER_LEN + 4 * (n - 1)) + 4, 0xff, 4);
	fixture_cool(&f);
	OK(tree_walk(f.cache, &root, on_node, on_item, &s));
	cr_assert_eq(s.bad, 1);
	cr_assert_eq(s.bad_pos, leaf.pos);
}

Test(walk, a_root_that_cannot_be_is_given_too)
{
	struct tree_root bad = root;
	struct seen s = {0};

	bad.height = TREE_HEIGHT_MAX + 1;
	OK(tree_walk(f.cache, &bad, on_node, on_item, &s));
	cr_assert_eq(s.bad_rc, -ERR_DAMAGED);
	cr_assert_eq(tree_walk(f.cache, &bad, NULL, on_item, &s), -ERR_DAMAGED);
	bad.height = 0;
	cr_assert_eq(tree_walk(f.cache, &bad, NULL, on_item, &s), -ERR_DAMAGED);
}
