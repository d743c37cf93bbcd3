#ifndef MODEL_H_
#define MODEL_H_

/*
 * Random operations on a volume, and what they should lead to: a few files in memory.  The same
 * seed gives the same operations whatever they are applied to, so a volume that a crash left can be
 * compared with the state after each of them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_FILES 6u
#define MODEL_SIZE_MAX ((size_t)400 << 10)

struct view;
struct volume;

/* ino 0: there is no file of that name. */
struct model_file {
	uint64_t ino;
	size_t size;
	uint8_t *data; /* owned: MODEL_SIZE_MAX bytes */
};

struct model {
	struct model_file file[MODEL_FILES];
	uint64_t next_ino;
};

/* model_init(m): an empty volume, whose root alone is there.  Aborts without memory. */
void model_init(struct model *m);
void model_release(struct model *m);
void model_copy(struct model *to, const struct model *from);

struct op {
	unsigned kind, a, b;
	uint64_t off, off2;
	size_t len;
	uint8_t fill;
	bool noise; /* data that does not compress */
};

/* op_random(random): the next operation; ${*random} is the generator's state. */
struct op op_random(uint64_t *random);
uint64_t model_random(uint64_t *random);

/*
 * model_apply(m, v, op): do ${op} to the model and, unless ${v} is NULL, to the volume.
 * Returns 0; the volume's error, with the model as it was before; or 1 if the volume did what it
 * should not have.
 */
int model_apply(struct model *m, struct volume *v, const struct op *op);

/*
 * model_equal(view, m): whether names, sizes, bytes and counts are the model's, and the next inode
 * number, which is all that a file that came and went leaves behind.  Not so too when anything
 * can't be read; ${*out_rc}, which may be NULL, then gets the error, else 0.
 */
bool model_equal(struct view *view, const struct model *m, int *out_rc);

#endif /* !MODEL_H_ */
