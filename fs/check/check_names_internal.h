#ifndef CHECK_NAMES_INTERNAL_H_
#define CHECK_NAMES_INTERNAL_H_

/* Shared by check_names.c, which walks the items, and check_contents.c. */

#include "check_internal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The items of one inode seen so far. */
struct group {
	inode_no ino;
	bool have; /* its attributes were seen */
	struct attr attr;
	bool target; /* a symbolic link's target was seen */
	uint64_t entries, folders;
	uint64_t bytes, end; /* total and end of its extents */
	bool unsure;	     /* an item is malformed or overlaps: counts can't be repaired */
};

struct names {
	struct check *c;
	struct view *v;
	struct group g;
	uint64_t n_items;
	uint64_t inodes, bytes; /* sums of what the inodes state */
	inode_no next_ino;	/* above all of them */
	log_pos known_block;	/* position of the last block whose frame was compared */
};

#define bad_inode(n, ...) check_bad_inode((n)->c, __VA_ARGS__)

/*
 * check_contents_extent(), check_contents_xattr(): judge one item of the inode n->g.
 * Return 0 (problems are in n->c), or why the check can't continue.
 */
MUST_CHECK int check_contents_extent(struct names *n, const uint8_t *key, size_t key_len,
				     const uint8_t *value, size_t len);
MUST_CHECK int check_contents_xattr(struct names *n, size_t key_len, const uint8_t *value,
				    size_t len);

/* check_contents_end(n, g): compare the extents of an inode, all seen, with its attributes. */
void check_contents_end(struct names *n, const struct group *g);

#endif /* !CHECK_NAMES_INTERNAL_H_ */
