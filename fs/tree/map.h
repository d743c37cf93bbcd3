#ifndef MAP_H_
#define MAP_H_

/*
 * What a view reads: a tree with up to two overlays over it.  The frozen overlay is being merged
 * into the next checkpoint; the live one lies on top.  The caller's lock covers the overlays.
 * Nodes come from the shared cache.
 */

#include "compiler.h"
#include "overlay.h"
#include "tree.h"

struct skip_node;

#define MAP_END_MAX 16u

struct map {
	struct node_cache *cache;
	struct tree_root base;
	/* All keys of ${base} are below ${end}; others are not looked up.  end_len 0: unknown. */
	uint8_t end[MAP_END_MAX];
	size_t end_len;
	struct overlay *frozen; /* may be NULL */
	struct overlay *live;	/* may be NULL */
};

/* map_get(): as tree_get(), through all layers. */
MUST_CHECK int map_get(const struct map *m, const void *key, size_t key_len, struct need *need,
		       void *value, size_t cap, size_t *out_len);

/* The layers of a map, lowest first. */
enum map_layer { MAP_BASE, MAP_FROZEN, MAP_LIVE, MAP_LAYERS };

/* A position in a map.  Any change of an overlay invalidates it.  Embedded; about 800 bytes. */
struct map_cursor {
	const struct map *map;
	struct tree_cursor base;
	const struct overlay *overlay[MAP_LAYERS]; /* NULL if the map has no such layer */
	const struct skip_node *at[MAP_LAYERS];	   /* each overlay's first entry not yet passed */
	const struct skip_node *range[MAP_LAYERS]; /* and its first deleted range not yet passed */
	int top; /* the layer of the current item; -1: at the end */
	const uint8_t *key, *value;
	size_t key_len, value_len;
	/* A step passes at most this many items that are not visible; 0 (set by map_cursor_init()):
	   no limit. */
	unsigned patience;
	bool paused; /* the last step reached ${patience}; there is no current item */
	/* After such a step, or -ERR_NEED_NODE: no key from the step's start up to this one is
	   visible, so the caller can seek from here.  passed_len 0: no progress was made. */
	uint8_t passed[TREE_KEY_MAX];
	size_t passed_len;
};

void map_cursor_init(struct map_cursor *mc, const struct map *m, struct need *need);
void map_cursor_release(struct map_cursor *mc);

/*
 * map_seek(mc, key, key_len): go to the first item with key >= ${key}.  mc->top < 0: there is none,
 * or mc->paused.
 * map_next(mc): go to the next item; ${mc} is at one (asserted).
 * mc->key and mc->value are borrowed until the cursor moves.  Deleted ranges are skipped by seeking
 * past them.  After an error mc->top is -1; the cursor can be used for another seek.
 * Returns 0 or as tree_seek().
 */
MUST_CHECK int map_seek(struct map_cursor *mc, const void *key, size_t key_len);
MUST_CHECK int map_next(struct map_cursor *mc);

#endif /* !MAP_H_ */
