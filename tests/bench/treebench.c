/*
 * How fast the tree is, with a log in memory: puts into an overlay, merges, lookups.
 *
 *	treebench [ITEMS [CHANGES]]	(default 10 million and 300 thousand)
 */

#include "cache.h"
#include "memlog.h"
#include "overlay.h"
#include "tree.h"

#include "bytes.h"

#include <stdio.h>
#include <time.h>

#define KEY_LEN 17u /* as an extent's */
#define VALUE_LEN 24u
#define CACHE_BYTES ((size_t)64 << 20)

/* Processor time, so that a busy machine does not count; there is one thread and no waiting. */
static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(int rc, const char *what)
{
	if (rc == 0)
		return;
	fprintf(stderr, "treebench: %s: %s\n", what, err_detail(rc));
	exit(1);
}

static void key_of(uint64_t n, uint8_t key[KEY_LEN])
{
	put_be64(key, n / 16);
	key[8] = 5;
	put_be64(key + 9, n % 16);
}

static uint64_t random_below(uint64_t n)
{
	static uint64_t s = 88172645463325252u;

	s ^= s << 13;
	s ^= s >> 7;
	s ^= s << 17;
	return s % n;
}

/* Each put is of another value. */
static void put(struct overlay *ov, uint64_t n)
{
	uint8_t key[KEY_LEN], value[VALUE_LEN] = {0};
	static uint64_t count;

	key_of(n, key);
	put_le64(value, ++count);
	must(overlay_reserve(ov, 1, KEY_LEN + VALUE_LEN), "reserve");
	overlay_put(ov, key, KEY_LEN, value, VALUE_LEN);
}

static void merge(struct node_cache *c, struct memlog *log, struct tree_root *root,
		  const struct overlay *ov, const char *what)
{
	struct block_io io = memlog_io(log);
	size_t n = log->n;
	struct tree_root out;
	double t = now();

	must(tree_merge(c, &io, root, ov, &out), "merge");
	printf("%-44s %8.2f s, %zu nodes written, height %u\n", what, now() - t, log->n - n,
	       out.height);
	*root = out;
}

static void fill(struct overlay *ov, uint64_t from, uint64_t n, uint64_t random_of,
		 const char *what)
{
	double t = now();

	for (uint64_t i = 0; i < n; i++)
		put(ov, random_of > 0 ? random_below(random_of) : from + i);
	if (what)
		printf("%-44s %8.2f us each, %zu bytes each\n", what, (now() - t) * 1e6 / (double)n,
		       overlay_bytes(ov) / n);
}

static void lookups(struct node_cache *c, const struct tree_root *root, uint64_t items, uint64_t n,
		    const char *what)
{
	double t = now();

	for (uint64_t i = 0; i < n; i++) {
		uint8_t key[KEY_LEN], value[VALUE_LEN];
		size_t len;

		key_of(random_below(items), key);
		must(tree_get(c, root, key, KEY_LEN, NULL, value, sizeof(value), &len), "get");
	}
	printf("%-44s %8.2f us each\n", what, (now() - t) * 1e6 / (double)n);
}

int main(int argc, char **argv)
{
	uint64_t items = argc > 1 ? strtoull(argv[1], NULL, 0) : 10000000;
	uint64_t changes = argc > 2 ? strtoull(argv[2], NULL, 0) : 300000;
	uint64_t million = items < 1000000 ? items : 1000000;
	struct tree_root root = {0};
	struct node_cache *c;
	struct overlay *ov;
	struct memlog log;
	struct block_io io;

	if (items == 0 || changes == 0) {
		fprintf(stderr, "usage: treebench [ITEMS [CHANGES]]\n");
		return 2;
	}
	memlog_init(&log);
	io = memlog_io(&log);
	must(node_cache_new(CACHE_BYTES, &io, &c), "cache");

	must(overlay_new(&ov), "overlay");
	fill(ov, 0, changes, items, "puts, random keys");
	overlay_free(ov);

	must(overlay_new(&ov), "overlay");
	fill(ov, 0, million, 0, "puts, ascending keys");
	merge(c, &log, &root, ov, "merge into an empty tree");
	overlay_free(ov);
	for (uint64_t at = million; at < items; at += million) {
		must(overlay_new(&ov), "overlay");
		fill(ov, at, items - at < million ? items - at : million, 0, NULL);
		merge(c, &log, &root, ov, "merge of ascending keys at the end");
		overlay_free(ov);
	}

	must(overlay_new(&ov), "overlay");
	fill(ov, 0, changes, items, NULL);
	merge(c, &log, &root, ov, "merge of random changes into all");
	overlay_free(ov);

	node_cache_free(c);
	must(node_cache_new(CACHE_BYTES, &io, &c), "cache");
	lookups(c, &root, items, changes, "lookups, random, 64 MiB cache, cold at first");
	node_cache_free(c);
	must(node_cache_new((size_t)4 << 30, &io, &c), "cache");
	lookups(c, &root, items, changes, "lookups, random, cache for all, cold");
	lookups(c, &root, items, changes, "lookups, random, cache for all, warm");
	node_cache_free(c);
	memlog_release(&log);
	return 0;
}
