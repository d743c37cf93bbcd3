/* Merging around nodes that can't be read: what is left out, put into an overlay, is all there. */

#include "../sampled.h"
#include "fixture.h"

#include "buf.h"
#include "map.h"

#define EXTRA 40u
#define LEN_MAX 80u
#define ITEMS 16000u
#define NODES_MAX 4096u

static struct fixture f;

static void setup(void)
{
	fixture_init(&f);
}

static void teardown(void)
{
	fixture_release(&f);
}

TestSuite(around, .init = setup, .fini = teardown);

struct nodes {
	struct tree_walk_node node[NODES_MAX];
	uint32_t first[NODES_MAX]; /* number of its first key */
	size_t n;
};

static int note_node(void *ctx, const struct tree_walk_node *n)
{
	struct nodes *all = ctx;

	cr_assert_lt(all->n, NODES_MAX);
	for (size_t i = 0; i < 4 && i < n->from_len; i++)
		all->first[all->n] = all->first[all->n] << 8 | n->from[i];
	all->node[all->n++] = *n;
	return 0;
}

static struct nodes nodes_of(const struct tree_root *root)
{
	static struct nodes all;

	memset(&all, 0, sizeof(all));
	OK(tree_walk(f.cache, root, note_node, NULL, &all));
	return all;
}

static void change_at_random(struct overlay *ov, struct dice *d, unsigned n)
{
	uint32_t around = roll_below(d, ITEMS);

	while (n-- > 0) {
		uint32_t at = roll_below(d, 2) ? roll_below(d, 2 * ITEMS)
					       : around + roll_below(d, 300);

		switch (roll_below(d, 8)) {
		case 0:
			del_numbers(ov, at, at + roll_below(d, 600), EXTRA);
			break;
		case 1:
		case 2:
			del_number(ov, at, EXTRA);
			break;
		default:
			put_number(ov, at, EXTRA, (uint32_t)roll(d), LEN_MAX);
		}
	}
}

/* Two maps show the same items. */
static void expect_same(const struct map *a, const struct map *b)
{
	struct map_cursor x, y;
	size_t n = 0;

	map_cursor_init(&x, a, NULL);
	map_cursor_init(&y, b, NULL);
	OK(map_seek(&x, "", 0));
	OK(map_seek(&y, "", 0));
	while (x.top >= 0 && y.top >= 0) {
		cr_assert(x.key_len == y.key_len && memcmp(x.key, y.key, x.key_len) == 0,
			  "item %zu has another key", n);
		cr_assert(x.value_len == y.value_len && memcmp(x.value, y.value, x.value_len) == 0,
			  "item %zu has another value", n);
		OK(map_next(&x));
		OK(map_next(&y));
		n++;
	}
	cr_assert(x.top < 0 && y.top < 0, "one has more than %zu items", n);
	map_cursor_release(&x);
	map_cursor_release(&y);
}

/* Records of a delta, laid over others as recovery does. */
static void apply_pending(struct overlay *from, struct overlay *to, struct overlay *too)
{
	struct buf delta = {0};

	OK(overlay_take_delta(from, &delta));
	OK(overlay_apply(to, delta.p, delta.len));
	if (too)
		OK(overlay_apply(too, delta.p, delta.len));
	buf_release(&delta);
}

static void renew_all(struct overlay *live, const struct overlay *frozen, struct tree_gaps *gaps,
		      struct dice *d)
{
	for (size_t i = 0; i < gaps->n; i++) {
		int rc = 1;

		while (rc > 0) {
			rc = overlay_renew(live, frozen, &gaps->gap[i].span, roll_below(d, 4000));
			cr_assert_geq(rc, 0);
		}
	}
}

static void one_round(struct dice *d)
{
	struct tree_root old = plant(&f, 0, ITEMS, 2, EXTRA, LEN_MAX), new;
	struct nodes all = nodes_of(&old);
	struct key end = key_of(ITEMS, 0);
	struct overlay *frozen, *live, *as_it_was, *deltas;
	struct tree_gaps gaps = {0};
	struct map before = {0}, after = {0}, recovered = {0};

	OK(overlay_new(&frozen));
	OK(overlay_new(&live));
	OK(overlay_new(&as_it_was));
	OK(overlay_new(&deltas));
	change_at_random(frozen, d, roll_below(d, 1u << roll_below(d, 13)));
	change_at_random(live, d, roll_below(d, 1000));
	/* What the live one has is in deltas. */
	apply_pending(live, deltas, as_it_was);

	/* Any node: often the last, the first, or the root. */
	f.log.lost = all.node[roll_below(d, (uint32_t)all.n)].ptr.pos;
	if (roll_below(d, 8) == 0)
		f.log.lost = old.ptr.pos;
	if (roll_below(d, 4) == 0)
		f.log.lost = all.node[roll_below(d, 2) ? all.n - 1 : old.height - 1].ptr.pos;
	fixture_cool(&f);
	OK(tree_merge_around(f.cache, &f.io, &old, frozen, end.b, end.len, &gaps, &new));
	cr_assert_leq(gaps.n, 1);
	if (gaps.n > 0)
		cr_assert_eq(gaps.gap[0].ptr.pos, f.log.lost);

	f.log.lost = 0;
	before = (struct map){.cache = f.cache, .base = old, .frozen = frozen, .live = as_it_was};
	after = (struct map){.cache = f.cache, .base = new, .live = live};
	recovered = (struct map){.cache = f.cache, .base = new, .live = deltas};
	renew_all(live, frozen, &gaps, d);
	expect_same(&before, &after);
	apply_pending(live, deltas, NULL);
	expect_same(&before, &recovered);
	cr_assert_eq(overlay_pending_bytes(live), 0);

	tree_gaps_release(&gaps);
	overlay_free(deltas);
	overlay_free(as_it_was);
	overlay_free(live);
	overlay_free(frozen);
}

Test(around, what_is_left_out_and_renewed_is_all_there, .timeout = 300)
{
	struct dice d = dice_new();

	for (unsigned i = 0; i < rounds(400); i++)
		one_round(&d);
}

/* New items behind all that the old tree has go into the tree, though its last leaf can't be read. */
Test(around, a_last_leaf_that_is_damaged_keeps_nothing_new_back)
{
	struct tree_root old = plant(&f, 0, ITEMS, 2, EXTRA, LEN_MAX), new;
	struct nodes all = nodes_of(&old);
	struct key end = key_of(ITEMS, 0);
	struct tree_gaps gaps = {0};
	struct overlay *ov;

	OK(overlay_new(&ov));
	for (uint32_t i = ITEMS; i < 2 * ITEMS; i++)
		put_number(ov, i, EXTRA, i, LEN_MAX);
	f.log.lost = all.node[all.n - 1].ptr.pos;
	fixture_cool(&f);
	cr_assert_eq(tree_merge(f.cache, &f.io, &old, ov, &new), -ERR_ABSENT);
	OK(tree_merge_around(f.cache, &f.io, &old, ov, end.b, end.len, &gaps, &new));
	cr_assert_eq(gaps.n, 0);
	f.log.lost = 0;
	overlay_free(ov);
	cr_assert_eq(census(&f, &new).items, ITEMS / 2 + ITEMS);
}

/* Beside too few items for a node lies one that has no change, and can't be read. */
Test(around, a_neighbour_that_is_damaged_is_not_needed)
{
	struct tree_root old = plant(&f, 0, ITEMS, 2, EXTRA, LEN_MAX), new;
	struct nodes all = nodes_of(&old);
	struct key end = key_of(ITEMS, 0);
	struct tree_gaps gaps = {0};
	struct overlay *ov;
	size_t at = all.n / 2;

	cr_assert(all.node[at].level == 0 && all.node[at + 1].level == 0);
	OK(overlay_new(&ov));
	for (uint32_t i = all.first[at] + 4; i < all.first[at + 1]; i += 2)
		del_number(ov, i, EXTRA);
	f.log.lost = all.node[at + 1].ptr.pos;
	fixture_cool(&f);
	OK(tree_merge_around(f.cache, &f.io, &old, ov, end.b, end.len, &gaps, &new));
	cr_assert_eq(gaps.n, 0);
	f.log.lost = 0;
	overlay_free(ov);
	cr_assert_eq(census(&f, &new).items,
		     ITEMS / 2 - (all.first[at + 1] - all.first[at]) / 2 + 2);
}

/* All that the old tree may have waits; what is new goes on, in a root of its own. */
Test(around, a_root_that_is_damaged_keeps_nothing_new_back)
{
	struct tree_root old = plant(&f, 0, ITEMS, 2, EXTRA, LEN_MAX), new;
	struct key end = key_of(ITEMS, 0);
	struct tree_gaps gaps = {0};
	struct overlay *ov;

	OK(overlay_new(&ov));
	put_number(ov, 7, EXTRA, 7, LEN_MAX);
	f.log.lost = old.ptr.pos;
	fixture_cool(&f);
	OK(tree_merge_around(f.cache, &f.io, &old, ov, end.b, end.len, &gaps, &new));
	cr_assert(new.ptr.pos == old.ptr.pos && new.height == old.height, "nothing is new");
	cr_assert_eq(gaps.n, 1);
	tree_gaps_release(&gaps);

	for (uint32_t i = ITEMS; i < 2 * ITEMS; i++)
		put_number(ov, i, EXTRA, i, LEN_MAX);
	OK(tree_merge_around(f.cache, &f.io, &old, ov, end.b, end.len, &gaps, &new));
	cr_assert_eq(gaps.n, 1);
	cr_assert_eq(gaps.gap[0].ptr.pos, old.ptr.pos);
	cr_assert_eq(new.height, old.height + 1);
	tree_gaps_release(&gaps);
	overlay_free(ov);
	f.log.lost = 0;
	cr_assert_eq(census(&f, &new).items, ITEMS / 2 + ITEMS);
}
