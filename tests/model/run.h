#ifndef MODEL_RUN_H_
#define MODEL_RUN_H_

/* A sequence on both sides, up to the first difference; and its smallest part that differs. */

#include "apply.h"
#include "compare.h"

#define N_OPS_MAX 100000u

struct config {
	const char *root[2];	/* the file system that is tested, and the reference */
	const char *remount;	/* command, or NULL */
	enum broken broken;	/* what the tested side does wrong */
	uint64_t shrink_ns_max; /* after this no more is tried */
};

struct failure {
	size_t index; /* of the operation; the number of operations: the comparison at the end */
	enum op_kind kind;
	struct difference d;
};

/* What was done, added up over threads. */
struct counts {
	uint64_t ops, succeeded, compared;
};

/*
 * Does the operations in a folder ${name} of each root, which is made and removed again.  All that
 * a run changes of the calling thread (user, umask, working folder) is its own: call
 * run_thread_begin() once in each thread before.
 *
 * Returns false, and says how, if the sides differ.  What can't be done at all ends the program.
 */
bool run(const struct config *cfg, const char *name, const struct op *ops, size_t n,
	 struct counts *counts, struct failure *out);
void run_thread_begin(void);

/*
 * Drops operations while what is left fails the same way.  ${ops} becomes what is left.
 * Returns the number of runs; 0: it did not fail again at all, and nothing was changed.
 */
unsigned shrink(const struct config *cfg, const char *name, struct op *ops, size_t *n,
		struct failure *io);

/* What is there and all below it, if there is anything. */
void remove_tree(const char *path);

_Noreturn void give_up(const char *what, const char *about);

#endif /* !MODEL_RUN_H_ */
