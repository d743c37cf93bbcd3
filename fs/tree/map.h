#ifndef MAP_H_
#define MAP_H_

/*
 * What a view reads: a tree, with up to two overlays over it (the frozen one, being merged into the
 * next checkpoint, and the live one on top). The caller's lock covers the overlays; nodes are
 * shared through the cache.
 */

#include "compiler.h"
#include "overlay.h"
#include "tree.h"

struct skip_node;

#define MAP_END_MAX 16u

struct map {
	struct node_cache *cache;
	struct tree_root base;
	/* No key of ${base} is as high, so it is not asked for one that is.  end_len 0: not known. */
	uint8_t end[MAP_END_MAX];
	size_t end_len;
	struct overlay *frozen; /* may be NULL */
	struct overlay *live;	/* may be NULL */
};

/* map_get(): as tree_get(), over all layers. */
MUST_CHECK int map_get(const struct map *m, const void *key, size_t key_len, struct need *need,
		       void *value, size_t cap, size_t *out_len);

/* The layers of a map, lowest first. */
enum map_layer { MAP_BASE, MAP_FROZEN, MAP_LIVE, MAP_LAYERS };

/* A place in a map; invalid after any change of an overlay.  Embedded; about 800 bytes. */
struct map_cursor {
	const struct map *map;
	struct tree_cursor base;
	const struct overlay *overlay[MAP_LAYERS]; /* NULL: none */
	const struct skip_node *at[MAP_LAYERS]; /* of an overlay: its first entry not yet passed */
	const struct skip_node
		*range[MAP_LAYERS]; /* of an overlay: its first deleted range not yet passed */
	int top;		    /* which layer the current item is of; -1: at the end */
	const uint8_t *key, *value;
	size_t key_len, value_len;
	/* How many items that do not show one step passes at most; 0, which map_cursor_init() sets:
	   any number. */
	unsigned patience;
	bool paused; /* the newest step passed as many, and is at none */
	/* After such a step, or -ERR_NEED_NODE: nothing shows from where it began up to this key; a
	   seek goes on here.  passed_len 0: it got nowhere. */
	uint8_t passed[TREE_KEY_MAX];
	size_t passed_len;
};

void map_cursor_init(struct map_cursor *mc, const struct map *m, struct need *need);
void map_cursor_release(struct map_cursor *mc);

/*
 * map_seek(mc, key, key_len): to the first item with key >= ${key}; mc->top < 0: none, or mc->paused.
 * map_next(mc): to the one after; ${mc} is at one (asserted).  mc->key and mc->value are the
 * item's, borrowed until the cursor moves.  A deleted range is skipped by seeking past it. After an
 * error mc->top is -1; it can be sought again.
 * Returns 0 or as tree_seek().
 */
MUST_CHECK int map_seek(struct map_cursor *mc, const void *key, size_t key_len);
MUST_CHECK int map_next(struct map_cursor *mc);

#endif /* !MAP_H_ */
