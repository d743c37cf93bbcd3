/*
 * All layers together, against a plain array.
 *
 * Random puts, deletes and range deletes; now and then a delta is taken, the live overlay is
 * frozen, the frozen one is merged. All the while lookups and cursors must show what the array has;
 * at the end so must the deltas, replayed.
 */

#include "fixture.h"

#include "buf.h"
#include "map.h"

#define NUMBERS 6000u

/* Each number's value, by its stamp; 0: there is none. */
struct model {
	uint32_t stamp[NUMBERS + 1];
	uint32_t extra, len_max; /* of keys and values */
};

struct world {
	struct fixture f;
	struct model model;
	struct map map;
	struct dice dice;
	struct buf deltas[4000];
	size_t n_deltas, loads;
	uint32_t stamp;
	bool use_need; /* read as under a lock: only what the cache has */
};

static void world_init(struct world *w, uint32_t extra, uint32_t len_max)
{
	memset(w, 0, sizeof(*w));
	fixture_init(&w->f);
	w->dice = dice_new();
	w->model.extra = extra;
	w->model.len_max = len_max;
	w->map.cache = w->f.cache;
	OK(overlay_new(&w->map.live));
}

static void world_release(struct world *w)
{
	overlay_free(w->map.live);
	overlay_free(w->map.frozen);
	for (size_t i = 0; i < w->n_deltas; i++)
		buf_release(&w->deltas[i]);
	fixture_release(&w->f);
}

static void change(struct world *w)
{
	uint32_t k = roll_below(&w->dice, NUMBERS), what = roll_below(&w->dice, 100);

	if (what < 60) {
		w->model.stamp[k] = ++w->stamp;
		put_number(w->map.live, k, w->model.extra, w->stamp, w->model.len_max);
	} else if (what < 96) {
		w->model.stamp[k] = 0;
		del_number(w->map.live, k, w->model.extra);
	} else {
		uint32_t to = k +
			      roll_below(&w->dice, roll_below(&w->dice, 100) ? 30 : NUMBERS / 4);

		to = to < NUMBERS ? to : NUMBERS;
		del_numbers(w->map.live, k, to, w->model.extra);
		for (; k < to; k++)
			w->model.stamp[k] = 0;
	}
}

static void take_delta(struct world *w)
{
	cr_assert_lt(w->n_deltas, sizeof(w->deltas) / sizeof(w->deltas[0]));
	OK(overlay_take_delta(w->map.live, &w->deltas[w->n_deltas++]));
}

static void freeze(struct world *w)
{
	if (w->map.frozen)
		return;
	take_delta(w);
	w->map.frozen = w->map.live;
	OK(overlay_new(&w->map.live));
}

static void merge_frozen(struct world *w)
{
	struct census c;

	if (!w->map.frozen)
		return;
	merge(&w->f, &w->map.base, w->map.frozen);
	overlay_free(w->map.frozen);
	w->map.frozen = NULL;
	c = census(&w->f, &w->map.base);
	if (w->model.len_max < 1000)
		cr_assert_eq(c.small, 0);
}

/* After a read that found a node missing: load it, and read again. */
static bool again(struct world *w, const struct need *need, int *rc)
{
	if (*rc != -ERR_NEED_NODE)
		return false;
	cr_assert(w->use_need);
	w->loads++;
	*rc = load_node(w->f.cache, need);
	return *rc == 0;
}

static void check_value(const struct world *w, uint32_t number, const uint8_t *value, size_t len)
{
	uint8_t expected[TREE_VALUE_MAX];

	cr_assert_eq(len, value_of(w->model.stamp[number], w->model.len_max, expected));
	cr_assert(len == 0 || memcmp(value, expected, len) == 0);
}

static void check_get(struct world *w, uint32_t number)
{
	struct key k = key_of(number, w->model.extra);
	uint8_t value[TREE_VALUE_MAX];
	struct need need = {0};
	size_t len;
	int rc;

	do {
		rc = map_get(&w->map, k.b, k.len, w->use_need ? &need : NULL, value, sizeof(value),
			     &len);
	} while (again(w, &need, &rc));
	if (w->model.stamp[number] == 0) {
		cr_assert_eq(rc, -ENOENT, "number %u: %d", number, rc);
		return;
	}
	OK(rc);
	check_value(w, number, value, len);
}

static uint32_t model_next(const struct model *m, uint32_t number)
{
	while (number < NUMBERS && m->stamp[number] == 0)
		number++;
	return number;
}

/*
 * Read up to ${max} items from ${from} on; goes on where it was after each node that was missing.
 */
static void check_scan(struct world *w, uint32_t from, uint32_t max)
{
	struct map_cursor mc;
	struct need need = {0};
	uint32_t at = model_next(&w->model, from), n = 0;
	int rc;

	do {
		struct key k = key_of(from, w->model.extra);

		map_cursor_init(&mc, &w->map, w->use_need ? &need : NULL);
		rc = map_seek(&mc, k.b, k.len);
		for (; rc == 0 && mc.top >= 0 && n < max; rc = map_next(&mc)) {
			struct key expected = key_of(at, w->model.extra);

			cr_assert_lt(at, NUMBERS, "an item behind the last");
			cr_assert_eq(mc.key_len, expected.len, "at %u", at);
			cr_assert_arr_eq(mc.key, expected.b, expected.len);
			check_value(w, at, mc.value, mc.value_len);
			from = at + 1;
			at = model_next(&w->model, from);
			n++;
		}
		if (rc == 0 && n < max)
			cr_assert_eq(at, NUMBERS, "number %u is missing", at);
		map_cursor_release(&mc);
	} while (again(w, &need, &rc));
	OK(rc);
}

static void check_some(struct world *w)
{
	for (int i = 0; i < 20; i++)
		check_get(w, roll_below(&w->dice, NUMBERS));
	check_scan(w, roll_below(&w->dice, NUMBERS), 30);
}

static void check_all(struct world *w)
{
	for (uint32_t i = 0; i <= NUMBERS; i++)
		check_get(w, i);
	check_scan(w, 0, UINT32_MAX);
}

/* The deltas from ${from} on, laid over what is there. */
static void replay(struct world *w, struct overlay *ov, size_t from)
{
	for (size_t i = from; i < w->n_deltas; i++)
		OK(overlay_apply(ov, w->deltas[i].p, w->deltas[i].len));
}

/*
 * Deltas alone give the same state, however often they are laid over it, over nothing or over the
 * newest tree.
 */
static void check_deltas(struct world *w)
{
	struct map was = w->map;
	struct overlay *ov;

	take_delta(w);
	OK(overlay_new(&ov));
	replay(w, ov, 0);
	w->map = (struct map){.cache = w->f.cache, .live = ov};
	check_all(w);
	replay(w, ov, w->n_deltas / 2);
	replay(w, ov, w->n_deltas - 1);
	check_all(w);
	replay(w, ov, 0);
	check_all(w);
	cr_assert_eq(overlay_pending_bytes(ov), 0);

	w->map.base = was.base;
	check_all(w);
	overlay_free(ov);
	OK(overlay_new(&ov));
	replay(w, ov, 0);
	w->map.live = ov;
	check_all(w);
	overlay_free(ov);
	w->map = was;
}

static void run(struct world *w, uint32_t steps)
{
	for (uint32_t i = 0; i < steps; i++) {
		uint32_t what = roll_below(&w->dice, 1000);

		change(w);
		if (what < 20)
			take_delta(w);
		else if (what < 30)
			freeze(w);
		else if (what < 36)
			merge_frozen(w);
		else if (what < 38)
			check_scan(w, 0, UINT32_MAX);
		if (what % 10 == 0)
			check_some(w);
	}
	check_all(w);
	check_deltas(w);
	merge_frozen(w);
	check_all(w);
	freeze(w);
	merge_frozen(w);
	check_all(w);
}

Test(map, small_items, .timeout = 300)
{
	static struct world w;

	world_init(&w, 20, 40);
	run(&w, 40000);
	world_release(&w);
}

Test(map, long_keys_make_a_high_tree, .timeout = 300)
{
	static struct world w;

	world_init(&w, TREE_KEY_MAX - 4, 600);
	run(&w, 20000);
	cr_assert_geq(w.map.base.height, 3);
	world_release(&w);
}

Test(map, long_values, .timeout = 300)
{
	static struct world w;

	world_init(&w, 20, TREE_VALUE_MAX);
	run(&w, 8000);
	world_release(&w);
}

Test(map, reading_only_what_the_cache_has, .timeout = 300)
{
	static struct world w;

	world_init(&w, 100, 2000);
	w.use_need = true;
	for (int round = 0; round < 6; round++) {
		run(&w, 1500);
		fixture_cool(&w.f);
		w.map.cache = w.f.cache;
		check_all(&w);
	}
	cr_assert_gt(w.loads, 500);
	world_release(&w);
}

/* Every combination of one key's state in three layers, and ranges over it. */
Test(map, each_layer_over_each)
{
	enum { NOTHING, PUT, DEL, RANGE, PUT_OVER_RANGE, STATES };
	static struct world w;

	for (int base = 0; base < 2; base++) {
		for (int frozen = 0; frozen < STATES; frozen++) {
			for (int live = 0; live < STATES; live++) {
				int state[2] = {frozen, live};

				world_init(&w, 0, 40);
				if (base) {
					w.model.stamp[5] = 1;
					w.map.base = plant(&w.f, 1, 10, 2, 0, 40);
					for (uint32_t i = 1; i < 10; i += 2)
						w.model.stamp[i] = i;
				}
				for (int layer = 0; layer < 2; layer++) {
					if (state[layer] >= RANGE) {
						del_numbers(w.map.live, 4, 8, 0);
						memset(&w.model.stamp[4], 0, 4 * sizeof(uint32_t));
					}
					if (state[layer] == DEL) {
						del_number(w.map.live, 5, 0);
						w.model.stamp[5] = 0;
					}
					if (state[layer] == PUT || state[layer] == PUT_OVER_RANGE) {
						w.model.stamp[5] = 50 + (uint32_t)layer;
						put_number(w.map.live, 5, 0, w.model.stamp[5], 40);
					}
					if (layer == 0)
						freeze(&w);
				}
				for (uint32_t i = 0; i < 12; i++) {
					check_get(&w, i);
					check_scan(&w, i, UINT32_MAX);
				}
				world_release(&w);
			}
		}
	}
}

Test(map, a_long_deleted_range_is_skipped_without_reading)
{
	static struct world w;
	struct map_cursor mc;
	size_t n = 0;

	world_init(&w, 40, 80);
	w.map.base = plant(&w.f, 0, 100000, 1, 40, 80);
	del_numbers(w.map.live, 100, 99900, 40);
	fixture_cool(&w.f);
	w.map.cache = w.f.cache;
	w.f.log.reads = 0;
	map_cursor_init(&mc, &w.map, NULL);
	for (OK(map_seek(&mc, "", 0)); mc.top >= 0; OK(map_next(&mc)))
		n++;
	cr_assert_eq(n, 200);
	cr_assert_leq(w.f.log.reads, 4 * w.map.base.height);
	map_cursor_release(&mc);
	world_release(&w);
}

Test(map, errors_end_a_cursor_and_it_can_be_used_again)
{
	static struct world w;
	struct map_cursor mc;
	uint8_t value[1];
	size_t len, n = 0;
	int rc;

	world_init(&w, 40, 80);
	w.map.base = plant(&w.f, 0, 5000, 1, 40, 80);
	fixture_cool(&w.f);
	w.map.cache = w.f.cache;
	w.f.log.lost = w.f.log.ptr[3].pos; /* the fourth leaf */
	map_cursor_init(&mc, &w.map, NULL);
	for (rc = map_seek(&mc, "", 0); rc == 0 && mc.top >= 0; rc = map_next(&mc))
		n++;
	cr_assert_eq(rc, -ERR_ABSENT);
	cr_assert_eq(mc.top, -1);
	cr_assert_gt(n, 0);
	w.f.log.lost = 0;
	n = 0;
	for (OK(map_seek(&mc, "", 0)); mc.top >= 0; OK(map_next(&mc)))
		n++;
	cr_assert_eq(n, 5000);
	map_cursor_release(&mc);

	OK(overlay_reserve(w.map.live, 1, 10));
	overlay_put(w.map.live, "k", 1, "long", 4);
	cr_assert_eq(map_get(&w.map, "k", 1, NULL, value, sizeof(value), &len), -ERR_DAMAGED);
	world_release(&w);
}
