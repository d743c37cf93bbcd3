#ifndef SKIP_H_
#define SKIP_H_

/*
 * A skip list of byte strings to byte strings.  Its memory comes from chunks that are freed all
 * at once.  Reads change nothing, so any number of threads may read a list that does not change.
 * Changes cannot fail: the caller reserves room first.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SKIP_HEIGHT 12u /* for 16 million nodes, as one in four rises a level */

struct skip_node {
	uint8_t *value;
	struct skip_node *pending; /* for the owner: the next node of its list */
	uint16_t key_len, value_len, value_cap;
	uint8_t height;
	uint8_t flags;		  /* for the owner */
	struct skip_node *next[]; /* ${height} of them, then the key, then the first value */
};

struct skip_chunk;

struct skip {
	struct skip_node *head[SKIP_HEIGHT];
	struct skip_chunk *chunk; /* the one being filled, then all full ones */
	struct skip_chunk *spare; /* empty; used when the current one is full */
	size_t bytes;		  /* handed out from the chunks */
	size_t chunk_next;	  /* size of the next chunk */
	size_t n;		  /* nodes linked */
	size_t payload;		  /* total bytes of their keys and values */
	uint64_t dice;
	uint32_t height;
};

/*
 * The place of a key, present or not: on each level the link that leads past it, and the node
 * before it (NULL: none).
 */
struct skip_path {
	struct skip_node **link[SKIP_HEIGHT];
	struct skip_node *before;
};

static inline const uint8_t *skip_key(const struct skip_node *n)
{
	return (const uint8_t *)&n->next[n->height];
}

void skip_init(struct skip *s);
void skip_release(struct skip *s);

/* skip_reset(s): remove all nodes; keep the memory for new ones. */
void skip_reset(struct skip *s);

/*
 * skip_reserve(s, n, bytes): the next ${n} inserts or new values, of ${bytes} bytes in all, will
 * find room.  Returns 0 or -ENOMEM.
 */
MUST_CHECK int skip_reserve(struct skip *s, size_t n, size_t bytes);

/*
 * skip_seek(s, key, len): the first node whose key is >= ${key}, or NULL.  skip_floor(): the last
 * one <= ${key}, or NULL.
 */
struct skip_node *skip_seek(const struct skip *s, const void *key, size_t len);
struct skip_node *skip_floor(const struct skip *s, const void *key, size_t len);

/*
 * skip_find(s, key, len, path): as skip_seek(), and set ${path} to the place before that node.
 * skip_find_after(): ${path} is set past an equal key, and the node after it is returned.  A path
 * is valid until the list changes, except by a change made through that path.
 */
struct skip_node *skip_find(struct skip *s, const void *key, size_t len, struct skip_path *path);
struct skip_node *skip_find_after(struct skip *s, const void *key, size_t len,
				  struct skip_path *path);

/* skip_step(path, n): move ${path} past ${n}, the node that follows it. */
void skip_step(struct skip_path *path, struct skip_node *n);

/*
 * skip_insert(): a new node at ${path}, the place of ${key}, which is not in the list.
 * skip_unlink(): unlink the node after ${path}.
 */
struct skip_node *skip_insert(struct skip *s, struct skip_path *path, const void *key,
			      size_t key_len, const void *value, size_t value_len);
void skip_unlink(struct skip *s, struct skip_path *path);

/*
 * skip_set_value(): replaces the value, in place where it fits.  skip_move_value(): ${to} takes
 * over the value of ${from}, which is linked and is about to be unlinked.
 */
void skip_set_value(struct skip *s, struct skip_node *n, const void *value, size_t len);
void skip_move_value(struct skip *s, struct skip_node *to, struct skip_node *from);

#endif /* !SKIP_H_ */
