#ifndef SIM_MODEL_H_
#define SIM_MODEL_H_

/*
 * What the namespace must be: every change that a volume has made, in order, and what it looks like
 * after each.
 *
 * A change is told in the moment that it takes effect, with the volume's lock held, so the order
 * is the volume's own.  What is seen of a namespace has a digest, a sum over its parts, which the
 * model knows after each change: a state that is read from a disk is one of these or wrong, and
 * which one tells what of the past it holds.
 *
 * File contents are cells of MODEL_CELL bytes: 0 is a hole, all else is the seed of its bytes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_CELL 2048u
#define MODEL_CELLS_MAX 160u
#define MODEL_UNKNOWN UINT64_MAX

enum model_kind {
	MODEL_NOTHING,	/* nothing that anybody sees */
	MODEL_MAKE,	/* ${ino} of ${mode}, as ${name} in ${dir}; a symbolic link to ${seed} */
	MODEL_LINK,	/* ${ino} as ${name} in ${dir} */
	MODEL_REMOVE,	/* ${name} of ${dir} */
	MODEL_RENAME,	/* ... to ${to_name} of ${to_dir} */
	MODEL_EXCHANGE, /* ... with it */
	MODEL_FORGET,	/* ${ino}, which has no name */
	MODEL_WRITE,	/* ${len} cells from ${off} on, made of ${seed} */
	MODEL_HOLE,	/* ${len} cells from ${off} on; the size grows if ${extend} */
	MODEL_SIZE,	/* is ${len} */
	MODEL_GROW,	/* is ${len} at least */
	MODEL_COPY,	/* ${len} cells of ${to_ino} at ${to_off} are ${ino}'s from ${off} on */
	MODEL_MODE,	/* is ${mode} */
	MODEL_XATTR,	/* is made of ${seed}; 0: there is none */
	MODEL_SNAPSHOT, /* ${name} is head ${seed}; 0: there is none */
};

struct model_change {
	enum model_kind kind;
	uint64_t ino, to_ino, dir, to_dir, seed;
	uint32_t off, len, to_off, mode;
	unsigned name, to_name;
	bool extend;
};

/* What is seen of one inode. */
struct model_inode {
	uint64_t ino, dir; /* dir: a folder's parent */
	uint32_t mode, nlink;
	uint32_t size;		/* cells of a file, entries of a folder */
	uint32_t pieces;	/* extents that a file may have at most */
	uint64_t target, xattr; /* seeds */
	uint64_t cells[MODEL_CELLS_MAX];
};

/* model_make(root_mode): an empty namespace. */
void model_make(void);

/*
 * model_change(c): it happens now; fails where it can't.  model_n(): changes so far.
 * model_digest(n): of what was seen after the first ${n}.
 */
void model_change(const struct model_change *c);
uint64_t model_n(void);
uint64_t model_digest(uint64_t n);

/*
 * model_synced(n): the first ${n} are durable.  model_head(head, n): head ${head} states exactly
 * the first ${n}; model_head_n(head): how many that were, or MODEL_UNKNOWN.
 */
void model_synced(uint64_t n);
uint64_t model_n_synced(void);
void model_head(uint64_t head, uint64_t n);
uint64_t model_head_n(uint64_t head);

/*
 * model_back_to(n, newest): the rest never was, nor any head after ${newest}; and what has no name
 * is gone, if ${forget}.
 */
void model_back_to(uint64_t n, uint64_t newest, bool forget);

/*
 * model_find(digest, from, to): the most changes, in this range, that lead there, or
 * MODEL_UNKNOWN.
 */
uint64_t model_find(uint64_t digest, uint64_t from, uint64_t to);

/*
 * model_inode(ino): NULL if there is none.  model_next(ino): the next after ${ino}, or NULL.
 * model_lookup(dir, name): what it names, or 0.  Borrowed until the next change.
 */
const struct model_inode *model_inode(uint64_t ino);
const struct model_inode *model_next(uint64_t ino);
uint64_t model_lookup(uint64_t dir, unsigned name);

/* model_usage(): inodes, those without a name too, and the bytes of all files that are no holes. */
void model_usage(uint64_t *out_inodes, uint64_t *out_bytes);

/* What a part of a namespace adds to its digest. */
uint64_t model_inode_digest(const struct model_inode *in);
uint64_t model_entry_digest(uint64_t dir, unsigned name, uint64_t ino);
uint64_t model_snapshot_digest(unsigned name, uint64_t head);

/* model_cell(out, seed): the bytes of a cell, which begin with the seed.  Any length from 8 on. */
void model_cell(uint8_t *out, size_t len, uint64_t seed);

/* model_write_cells(out, c): the bytes of a MODEL_WRITE. */
void model_write_cells(uint8_t *out, const struct model_change *c);

/* model_xattr_len(seed): of an attribute: some are too long to lie in the tree. */
static inline size_t model_xattr_len(uint64_t seed)
{
	return 8 + (size_t)(seed % 1500);
}

/* The parts of a namespace, each with its digest. */
struct model_part {
	uint64_t digest;
	char text[112];
};

struct model_parts {
	struct model_part *p;
	size_t n;
};

void model_part_inode(struct model_parts *to, const struct model_inode *in);
void model_part_entry(struct model_parts *to, uint64_t dir, unsigned name, uint64_t ino);
void model_part_snapshot(struct model_parts *to, unsigned name, uint64_t head);

/*
 * model_tell(parts, from, to): in what ${parts} differs from what was seen after one of ${from} to
 * ${to} changes, the most like it, into the trace.  Goes back to it.
 */
void model_tell(const struct model_parts *parts, uint64_t from, uint64_t to);

/* A moment that a backup of the home is of. */
struct model_moment;
struct model_moment *model_moment(void);
void model_back_to_moment(const struct model_moment *m);

#endif /* !SIM_MODEL_H_ */
