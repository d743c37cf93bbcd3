/* Nodes: the stored form, byte for byte, and what is refused. */

#include "fixture.h"

#include "node.h"

/* clang-format off */

/* A leaf of two items: a = 1, bc = two. */
static const uint8_t leaf[] = {
	0, 0, 2, 0, 0, 0, 0, 0,		     /* level 0, 2 entries */
	16, 0, 0, 0, 22, 0, 0, 0,	     /* offsets */
	1, 0, 1, 0, 'a', '1',		     /* a = 1 */
	2, 0, 3, 0, 'b', 'c', 't', 'w', 'o', /* bc = two */
};

/* An inner node of level 1 with two children, at 64 and at 128. */
static const uint8_t inner[] = {
	1, 0, 2, 0, 0, 0, 0, 0,					/* level 1, 2 entries */
	16, 0, 0, 0, 37, 0, 0, 0,				/* offsets */
	1, 0, 16, 0, 'a',					/* key a */
	64, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 32, 0, 0, 0,	/* position, stored, plain */
	1, 0, 16, 0, 'm',					/* key m */
	128, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 32, 0, 0, 0,	/* position, stored, plain */
};

/* clang-format on */

#define INNER_POS UINT64_C(188) /* where the second child ends */

/* A copy of just that length, so that a sanitizer sees any read past it. */
static const char *fault_of(const uint8_t *plain, size_t len, uint64_t pos)
{
	uint8_t *exact = malloc(len > 0 ? len : 1);
	const char *fault;

	memcpy(exact, plain, len);
	fault = node_fault(exact, len, pos);
	free(exact);
	return fault;
}

static struct node *node_of(const uint8_t *plain, size_t len)
{
	struct node *n = node_new((uint32_t)len);

	cr_assert(n != NULL);
	memcpy(n->plain, plain, len);
	node_adopt(n);
	return n;
}

Test(node, golden_leaf)
{
	struct node *n = node_of(leaf, sizeof(leaf));
	struct fixture f;
	struct tree_root root = {0};
	struct node_item it;
	struct overlay *ov;
	bool equal;

	cr_assert(fault_of(leaf, sizeof(leaf), 64) == NULL);
	cr_assert_eq(n->level, 0);
	cr_assert_eq(n->n, 2);
	node_entry(n, 1, &it);
	cr_assert_eq(it.key_len, 2);
	cr_assert_arr_eq(it.key, "bc", 2);
	cr_assert_eq(it.value_len, 3);
	cr_assert_arr_eq(it.value, "two", 3);
	cr_assert_eq(node_search(n, "a", 1, &equal), 0);
	cr_assert(equal);
	cr_assert_eq(node_search(n, "b", 1, &equal), 1);
	cr_assert_not(equal);
	cr_assert_eq(node_search(n, "bcd", 3, &equal), 2);
	free(n);

	/* What the tree writes is the same bytes. */
	fixture_init(&f);
	OK(overlay_new(&ov));
	OK(overlay_reserve(ov, 2, 7));
	overlay_put(ov, "bc", 2, "two", 3);
	overlay_put(ov, "a", 1, "1", 1);
	merge(&f, &root, ov);
	cr_assert_eq(root.height, 1);
	cr_assert_eq(root.ptr.plain_len, sizeof(leaf));
	cr_assert_arr_eq(memlog_plain(&f.log, root.ptr.pos), leaf, sizeof(leaf));
	overlay_free(ov);
	fixture_release(&f);
}

Test(node, golden_inner)
{
	struct node *n = node_of(inner, sizeof(inner));
	struct block_ptr ptr;
	uint8_t bytes[BLOCK_PTR_LEN];

	cr_assert(fault_of(inner, sizeof(inner), INNER_POS) == NULL);
	cr_assert_eq(n->level, 1);
	node_child(n, 1, &ptr);
	cr_assert_eq(ptr.pos, 128);
	cr_assert_eq(ptr.stored_len, 60);
	cr_assert_eq(ptr.plain_len, 32);
	block_ptr_encode(&ptr, bytes);
	cr_assert_arr_eq(bytes, inner + sizeof(inner) - BLOCK_PTR_LEN, BLOCK_PTR_LEN);
	cr_assert_eq(node_search_child(n, "A", 1), 0, "keys below the first belong to the first");
	cr_assert_eq(node_search_child(n, "a", 1), 0);
	cr_assert_eq(node_search_child(n, "lzz", 3), 0);
	cr_assert_eq(node_search_child(n, "m", 1), 1);
	cr_assert_eq(node_search_child(n, "z", 1), 1);
	free(n);
}

Test(node, every_pointer_lies_below)
{
	cr_assert(fault_of(inner, sizeof(inner), INNER_POS) == NULL);
	cr_assert(fault_of(inner, sizeof(inner), INNER_POS - 1) != NULL);
	cr_assert(fault_of(inner, sizeof(inner), 128) != NULL);
	cr_assert(fault_of(inner, sizeof(inner), 1) != NULL);
}

Test(node, a_node_cut_short_or_longer_is_refused)
{
	uint8_t longer[sizeof(leaf) + 1] = {0};

	memcpy(longer, leaf, sizeof(leaf));
	cr_assert(fault_of(longer, sizeof(longer), 64) != NULL);
	for (size_t len = 0; len < sizeof(leaf); len++)
		cr_assert(fault_of(leaf, len, 64) != NULL, "length %zu", len);
	for (size_t len = 0; len < sizeof(inner); len++)
		cr_assert(fault_of(inner, len, INNER_POS) != NULL, "length %zu", len);
}

struct change {
	size_t at;
	uint8_t to;
	const char *what;
};

Test(node, each_rule_is_checked)
{
	static const struct change bad_leaf[] = {
		{1, 1, "second byte"},	    {2, 0, "no entries"},	{2, 1, "bytes behind"},
		{2, 3, "too many entries"}, {4, 1, "header"},		{8, 17, "first offset"},
		{12, 21, "second offset"},  {15, 1, "offset far away"}, {16, 0, "empty key"},
		{16, 2, "key length"},	    {17, 255, "long key"},	{18, 2, "value length"},
		{19, 255, "long value"},    {20, 'c', "order"},
	};
	static const struct change bad_inner[] = {
		{18, 15, "pointer length"}, {21, 0, "pointer to none"},	   {28, 1, "pointer above"},
		{33, 0, "plain length 0"},  {35, 2, "plain length large"}, {41, 'a', "equal keys"},
	};

	for (size_t i = 0; i < sizeof(bad_leaf) / sizeof(bad_leaf[0]); i++) {
		uint8_t copy[sizeof(leaf)];

		memcpy(copy, leaf, sizeof(leaf));
		copy[bad_leaf[i].at] = bad_leaf[i].to;
		cr_assert(fault_of(copy, sizeof(copy), 64) != NULL, "%s", bad_leaf[i].what);
	}
	for (size_t i = 0; i < sizeof(bad_inner) / sizeof(bad_inner[0]); i++) {
		uint8_t copy[sizeof(inner)];

		memcpy(copy, inner, sizeof(inner));
		copy[bad_inner[i].at] = bad_inner[i].to;
		cr_assert(fault_of(copy, sizeof(copy), INNER_POS) != NULL, "%s", bad_inner[i].what);
	}
}

/* Whatever is accepted can be read to its last byte. */
static size_t read_all(const uint8_t *plain, size_t len)
{
	struct node *n = node_of(plain, len);
	size_t sum = 0;
	bool equal;

	for (uint32_t i = 0; i < n->n; i++) {
		struct node_item it;

		node_entry(n, i, &it);
		for (size_t j = 0; j < it.key_len + it.value_len; j++)
			sum += it.key[j];
		cr_assert_eq(node_search(n, it.key, it.key_len, &equal), i);
		cr_assert(equal);
	}
	free(n);
	return sum;
}

Test(node, any_changed_byte_does_no_harm)
{
	uint8_t copy[sizeof(inner)];
	size_t accepted = 0;

	for (int which = 0; which < 2; which++) {
		const uint8_t *plain = which ? inner : leaf;
		size_t len = which ? sizeof(inner) : sizeof(leaf);

		for (size_t at = 0; at < len; at++) {
			for (unsigned to = 0; to < 256; to++) {
				memcpy(copy, plain, len);
				copy[at] = (uint8_t)to;
				if (fault_of(copy, len, INNER_POS))
					continue;
				accepted++;
				(void)read_all(copy, len);
			}
		}
	}
	cr_assert_gt(accepted, 256, "bytes of keys and values may be any");
}

Test(node, random_bytes_do_no_harm)
{
	struct dice d = dice_new();

	for (int i = 0; i < 200000; i++) {
		uint8_t copy[sizeof(inner)];
		const uint8_t *plain = i & 1 ? inner : leaf;
		size_t len = i & 1 ? sizeof(inner) : sizeof(leaf);

		memcpy(copy, plain, len);
		for (uint32_t n = 1 + roll_below(&d, 4); n > 0; n--)
			copy[roll_below(&d, (uint32_t)len)] =
				(uint8_t)(roll(&d) & 1 ? roll(&d) : roll_below(&d, 4));
		if (!fault_of(copy, len, INNER_POS))
			(void)read_all(copy, len);
	}
}
