/* The node cache: need and load, bounds, errors, many threads. */

#include "fixture.h"

#include "node.h"

#include <pthread.h>

static struct fixture f;

static void setup(void)
{
	fixture_init(&f);
}

static void teardown(void)
{
	fixture_release(&f);
}

TestSuite(cache, .init = setup, .fini = teardown);

/* A leaf of one item with a value of ${len} zeros; not yet in the cache. */
static struct block_ptr append_leaf(uint32_t number, uint32_t len)
{
	uint8_t plain[NODE_HEADER_LEN + NODE_ENTRY_LEN + 4 + TREE_VALUE_MAX] = {0};
	struct key k = key_of(number, 0);
	struct block_ptr ptr;

	node_begin(plain, 0, 1);
	put_le32(plain + 8, 12);
	put_le16(plain + 12, 4);
	put_le16(plain + 14, (uint16_t)len);
	memcpy(plain + 16, k.b, 4);
	OK(memlog_append(&f.log, BLOCK_NODE, plain, 20 + len, &ptr));
	return ptr;
}

Test(cache, with_need_nothing_is_read)
{
	struct block_ptr ptr = append_leaf(1, 10);
	struct need need = {0};
	struct node *n, *again;

	cr_assert_eq(node_cache_get(f.cache, &ptr, &need, &n), -ERR_NEED_NODE);
	cr_assert_eq(need.ptr.pos, ptr.pos);
	cr_assert_eq(f.log.reads, 0);
	OK(load_node(f.cache, &need));
	cr_assert_eq(f.log.reads, 1);
	OK(node_cache_get(f.cache, &ptr, &need, &n));
	OK(node_cache_get(f.cache, &ptr, NULL, &again));
	cr_assert(n == again);
	cr_assert_eq(f.log.reads, 1);
	node_put(f.cache, n);
	node_put(f.cache, again);
	node_put(f.cache, NULL);
}

Test(cache, errors_of_reading_come_through)
{
	struct block_ptr ptr = append_leaf(1, 10), bad;
	struct need need = {ptr};
	struct node *n;

	f.log.lost = ptr.pos;
	cr_assert_eq(node_cache_get(f.cache, &ptr, NULL, &n), -ERR_ABSENT);
	cr_assert_eq(load_node(f.cache, &need), -ERR_ABSENT);
	f.log.lost = 0;

	memlog_plain(&f.log, ptr.pos)[1] = 1;
	cr_assert_eq(node_cache_get(f.cache, &ptr, NULL, &n), -ERR_DAMAGED);
	cr_assert(strstr(err_detail(-ERR_DAMAGED), "position 64: unknown header") != NULL);
	memlog_plain(&f.log, ptr.pos)[1] = 0;
	OK(load_node(f.cache, &need));

	bad = ptr;
	bad.plain_len++;
	cr_assert_eq(node_cache_get(f.cache, &bad, NULL, &n), -ERR_DAMAGED,
		     "the same place, another length");
	bad = (struct block_ptr){0, 100, 100};
	cr_assert_eq(node_cache_get(f.cache, &bad, NULL, &n), -ERR_DAMAGED, "nowhere");
	bad = (struct block_ptr){5000, UINT32_MAX, UINT32_MAX};
	cr_assert_eq(node_cache_get(f.cache, &bad, NULL, &n), -ERR_DAMAGED, "longer than any node");
	bad = (struct block_ptr){5000, 30, NODE_PLAIN_MIN - 1};
	cr_assert_eq(node_cache_get(f.cache, &bad, NULL, &n), -ERR_DAMAGED, "shorter than any");
}

Test(cache, it_stays_within_its_bound_and_keeps_what_is_in_use)
{
	struct block_ptr ptr[1000];
	struct node *held, *n;
	size_t reads;

	for (uint32_t i = 0; i < 1000; i++)
		ptr[i] = append_leaf(i, TREE_VALUE_MAX);
	OK(node_cache_get(f.cache, &ptr[0], NULL, &held));
	for (uint32_t i = 1; i < 1000; i++) {
		OK(node_cache_get(f.cache, &ptr[i], NULL, &n));
		node_put(f.cache, n);
		cr_assert_leq(node_cache_bytes(f.cache), NODE_CACHE_MIN);
	}
	cr_assert_gt(node_cache_bytes(f.cache), NODE_CACHE_MIN - 2 * TREE_VALUE_MAX);
	reads = f.log.reads;
	OK(node_cache_get(f.cache, &ptr[0], NULL, &n));
	cr_assert(n == held);
	node_put(f.cache, n);
	OK(node_cache_get(f.cache, &ptr[999], NULL, &n));
	node_put(f.cache, n);
	cr_assert_eq(f.log.reads, reads, "the newest and the one in use are there");
	node_put(f.cache, held);
}

Test(cache, what_is_used_often_stays)
{
	struct block_ptr hot = append_leaf(0, 100);
	struct node *n;

	OK(node_cache_get(f.cache, &hot, NULL, &n));
	node_put(f.cache, n);
	for (uint32_t i = 1; i < 3000; i++) {
		struct block_ptr ptr = append_leaf(i, TREE_VALUE_MAX);
		size_t reads;

		OK(node_cache_get(f.cache, &ptr, NULL, &n));
		node_put(f.cache, n);
		reads = f.log.reads;
		OK(node_cache_get(f.cache, &hot, NULL, &n));
		node_put(f.cache, n);
		cr_assert_eq(f.log.reads, reads);
	}
}

Test(cache, when_all_is_in_use_it_grows_and_shrinks_later)
{
	struct node *held[400], *n;
	struct block_ptr ptr;

	for (uint32_t i = 0; i < 400; i++) {
		ptr = append_leaf(i, TREE_VALUE_MAX);
		OK(node_cache_get(f.cache, &ptr, NULL, &held[i]));
	}
	cr_assert_gt(node_cache_bytes(f.cache), NODE_CACHE_MIN);
	for (uint32_t i = 0; i < 400; i++) {
		cr_assert_eq(held[i]->n, 1);
		node_put(f.cache, held[i]);
	}
	ptr = append_leaf(400, TREE_VALUE_MAX);
	OK(node_cache_get(f.cache, &ptr, NULL, &n));
	node_put(f.cache, n);
	cr_assert_leq(node_cache_bytes(f.cache), NODE_CACHE_MIN);
}

#define RACE_LEAVES 600u

static struct block_ptr race_ptr[RACE_LEAVES];

static void *race(void *arg)
{
	struct dice d = {(uint64_t)(uintptr_t)arg};
	struct node *held[4] = {0};
	uintptr_t wrong = 0;

	for (int i = 0; i < 20000; i++) {
		uint32_t k = roll_below(&d, roll(&d) & 1 ? 20 : RACE_LEAVES);
		struct node **slot = &held[i & 3];
		struct need need = {0};
		struct node_item it;

		node_put(f.cache, *slot);
		*slot = NULL;
		while (node_cache_get(f.cache, &race_ptr[k], &need, slot) == -ERR_NEED_NODE)
			wrong += load_node(f.cache, &need) != 0;
		node_entry(*slot, 0, &it);
		wrong += it.key[2] != k >> 8 || it.key[3] != (k & 0xff);
	}
	for (int i = 0; i < 4; i++)
		node_put(f.cache, held[i]);
	return (void *)wrong;
}

Test(cache, many_threads)
{
	pthread_t t[4];

	for (uint32_t i = 0; i < RACE_LEAVES; i++)
		race_ptr[i] = append_leaf(i, TREE_VALUE_MAX);
	for (uintptr_t i = 0; i < 4; i++)
		OK(pthread_create(&t[i], NULL, race, (void *)(i + 1)));
	for (int i = 0; i < 4; i++) {
		void *wrong;

		OK(pthread_join(t[i], &wrong));
		cr_assert(wrong == NULL);
	}
	cr_assert_leq(node_cache_bytes(f.cache), NODE_CACHE_MIN + 16 * TREE_VALUE_MAX);
}
