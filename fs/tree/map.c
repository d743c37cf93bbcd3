/*
 * A tree and its overlays, read as one map.
 *
 * Key idea: each layer has a cursor at its first key not yet passed.  The lowest of those keys
 * comes next; if several layers have it, the highest layer's entry counts.  An entry is visible
 * unless it is a tombstone or a layer above its own has deleted a range that covers it.
 *
 * Invariants while an item is current: every layer's cursor is at or after its key; every layer's
 * range cursor is the first range that ends after it.
 */

#include "map.h"

#include "cache.h"
#include "err.h"
#include "overlay_internal.h"

#include <assert.h>
#include <errno.h>

#ifdef EMBASSYFS_RESTART
/* Count a look-up; tests choose one that gives up, to force a restart (view/restart.c). */
static bool gives_up(struct need *need)
{
	if (!need || need->play == 0 || --need->play > 0)
		return false;
	need->ptr = (struct block_ptr){0};
	return true;
}
#else
static inline bool gives_up(const struct need *need)
{
	(void)need;
	return false;
}
#endif

/* May the base hold ${key}? */
static bool in_base(const struct map *m, const void *key, size_t len)
{
	return m->end_len == 0 || key_cmp(key, len, m->end, m->end_len) < 0;
}

int map_get(const struct map *m, const void *key, size_t key_len, struct need *need, void *value,
	    size_t cap, size_t *out_len)
{
	const struct overlay *const overlays[] = {m->live, m->frozen};

	if (gives_up(need))
		return -ERR_NEED_NODE;
	for (size_t i = 0; i < 2; i++) {
		enum overlay_hit hit = OVERLAY_MISS;
		const uint8_t *v;
		size_t len;

		if (overlays[i])
			hit = overlay_get(overlays[i], key, key_len, &v, &len);
		if (hit == OVERLAY_GONE)
			return -ENOENT;
		if (hit == OVERLAY_MISS)
			continue;
		if (len > cap)
			return err_say(-ERR_DAMAGED,
				       "an item changed since the checkpoint: a value longer than "
				       "its kind; use another copy");
		if (len > 0)
			memcpy(value, v, len);
		*out_len = len;
		return 0;
	}
	if (!in_base(m, key, key_len))
		return -ENOENT;
	return tree_get(m->cache, &m->base, key, key_len, need, value, cap, out_len);
}

void map_cursor_init(struct map_cursor *mc, const struct map *m, struct need *need)
{
	*mc = (struct map_cursor){.map = m, .top = -1};
	mc->overlay[MAP_FROZEN] = m->frozen;
	mc->overlay[MAP_LIVE] = m->live;
	tree_cursor_init(&mc->base, m->cache, &m->base, need);
}

void map_cursor_release(struct map_cursor *mc)
{
	tree_cursor_release(&mc->base);
	mc->top = -1;
}

/* The key at which a layer's cursor stands; false if the layer is at its end. */
static bool key_at(const struct map_cursor *mc, int layer, const uint8_t **out_key, size_t *out_len)
{
	const uint8_t *value;
	size_t value_len;

	if (layer == MAP_BASE) {
		if (mc->base.valid)
			tree_item(&mc->base, out_key, out_len, &value, &value_len);
		return mc->base.valid;
	}
	if (!mc->at[layer])
		return false;
	*out_key = skip_key(mc->at[layer]);
	*out_len = mc->at[layer]->key_len;
	return true;
}

/* Set mc->top to the highest of the layers with the lowest key; -1 if all are at their ends. */
static void choose(struct map_cursor *mc)
{
	mc->top = -1;
	for (int layer = MAP_LIVE; layer >= MAP_BASE; layer--) {
		const uint8_t *key;
		size_t len;

		if (!key_at(mc, layer, &key, &len))
			continue;
		if (mc->top < 0 || key_cmp(key, len, mc->key, mc->key_len) < 0) {
			mc->top = layer;
			mc->key = key;
			mc->key_len = len;
		}
	}
}

/* The range, deleted in ${layer}, that hides the current key of the layers below; or NULL. */
static const struct skip_node *hidden_by(struct map_cursor *mc, int layer)
{
	const struct skip_node *r = mc->range[layer];

	if (r && key_cmp(r->value, r->value_len, mc->key, mc->key_len) <= 0)
		r = mc->range[layer] = overlay_seek_range(mc->overlay[layer], mc->key, mc->key_len);
	if (r && key_cmp(skip_key(r), r->key_len, mc->key, mc->key_len) <= 0)
		return r;
	return NULL;
}

static int seek_base(struct map_cursor *mc, const void *key, size_t len)
{
	if (in_base(mc->map, key, len))
		return tree_seek(&mc->base, key, len);
	tree_cursor_release(&mc->base);
	return 0;
}

/* Advance every layer below ${layer} to the end of the range that ${layer} deleted. */
static int skip_range(struct map_cursor *mc, int layer, const struct skip_node *range)
{
	const uint8_t *to = range->value, *key;
	size_t to_len = range->value_len, len;

	for (int below = layer - 1; below > MAP_BASE; below--) {
		if (key_at(mc, below, &key, &len) && key_cmp(key, len, to, to_len) < 0)
			mc->at[below] = overlay_seek(mc->overlay[below], to, to_len);
	}
	if (key_at(mc, MAP_BASE, &key, &len) && key_cmp(key, len, to, to_len) < 0)
		return seek_base(mc, to, to_len);
	return 0;
}

/* Advance every layer that stands at the current key. */
static int pass(struct map_cursor *mc)
{
	bool equal[MAP_LAYERS] = {false};
	const uint8_t *key;
	size_t len;

	/* Compare all before advancing: tree_next() may release the node that holds the key. */
	for (int layer = MAP_BASE; layer <= mc->top; layer++)
		equal[layer] = key_at(mc, layer, &key, &len) &&
			       key_cmp(key, len, mc->key, mc->key_len) == 0;
	for (int layer = MAP_FROZEN; layer < MAP_LAYERS; layer++) {
		if (equal[layer])
			mc->at[layer] = mc->at[layer]->next[0];
	}
	return equal[MAP_BASE] ? tree_next(&mc->base) : 0;
}

/* End the step at an item that is not visible; the next seek continues there. */
static void give_up(struct map_cursor *mc)
{
	memmove(mc->passed, mc->key, mc->key_len);
	mc->passed_len = mc->key_len;
	mc->top = -1;
}

/* Advance from where the layers stand to the first visible item. */
static int settle(struct map_cursor *mc)
{
	mc->paused = false;
	mc->passed_len = 0;
	for (unsigned n = 0;; n++) {
		const struct skip_node *range = NULL;
		int layer, rc;

		choose(mc);
		if (mc->top < 0)
			return 0;
		for (layer = MAP_LIVE; layer > mc->top; layer--) {
			range = hidden_by(mc, layer);
			if (range)
				break;
		}
		if (!range && (mc->top == MAP_BASE || !(mc->at[mc->top]->flags & ENTRY_GONE)))
			break;
		if (mc->patience > 0 && n == mc->patience) {
			give_up(mc);
			mc->paused = true;
			return 0;
		}
		/* Save the key before the base moves, which may release the node that holds it. */
		if (range && mc->top == MAP_BASE) {
			memcpy(mc->passed, mc->key, mc->key_len);
			mc->key = mc->passed;
		}
		rc = range ? skip_range(mc, layer, range) : pass(mc);
		if (rc < 0) {
			give_up(mc);
			return rc;
		}
	}

	if (mc->top == MAP_BASE) {
		tree_item(&mc->base, &mc->key, &mc->key_len, &mc->value, &mc->value_len);
	} else {
		mc->value = mc->at[mc->top]->value;
		mc->value_len = mc->at[mc->top]->value_len;
	}
	return 0;
}

int map_seek(struct map_cursor *mc, const void *key, size_t key_len)
{
	int rc;

	mc->top = -1;
	mc->paused = false;
	mc->passed_len = 0;
	if (gives_up(mc->base.need))
		return -ERR_NEED_NODE;
	for (int layer = MAP_FROZEN; layer < MAP_LAYERS; layer++) {
		if (!mc->overlay[layer])
			continue;
		mc->at[layer] = overlay_seek(mc->overlay[layer], key, key_len);
		mc->range[layer] = overlay_seek_range(mc->overlay[layer], key, key_len);
	}
	rc = seek_base(mc, key, key_len);
	return rc < 0 ? rc : settle(mc);
}

int map_next(struct map_cursor *mc)
{
	int rc;

	assert(mc->top >= 0);
	mc->passed_len = 0;
	rc = gives_up(mc->base.need) ? -ERR_NEED_NODE : pass(mc);
	if (rc < 0) {
		mc->top = -1;
		return rc;
	}
	return settle(mc);
}
