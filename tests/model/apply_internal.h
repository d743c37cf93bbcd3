#ifndef MODEL_APPLY_INTERNAL_H_
#define MODEL_APPLY_INTERNAL_H_

/* What the files that apply operations share. */

#include "apply.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/types.h>
#include <unistd.h>

#define OP_FUNCTION(name, args)                                                                    \
	void apply_##name(struct side *, const struct op *, struct result *);
OPS(OP_FUNCTION)
#undef OP_FUNCTION

/* Bytes that depend on the seed alone: all alike, of few kinds, or random. */
void fill(uint8_t *buf, size_t len, int64_t seed);

static inline size_t io_len(int64_t n)
{
	return n < 0 ? 0 : n > (int64_t)IO_MAX ? IO_MAX : (size_t)n;
}

static inline void answer(struct result *r, int64_t ret)
{
	r->ret = ret;
	if (ret < 0)
		r->err = errno;
}

static inline void skip(struct result *r)
{
	r->ret = RET_SKIPPED;
}

/* With what came back, where any did. */
static inline void answer_data(struct result *r, ssize_t n, const void *p)
{
	answer(r, n);
	if (n > 0)
		r->sum = sum_of(p, (size_t)n, SUM_START);
}

static inline int slot(const struct side *s, const struct op *op, int i)
{
	return s->slot[op->arg[i]];
}

/* For calls that know no descriptor of a folder; the working folder is the thread's own. */
static inline bool enter(struct side *s, struct result *r)
{
	if (fchdir(s->root) == 0)
		return true;
	answer(r, -1); /* a user who may not search it */
	return false;
}

#endif /* !MODEL_APPLY_INTERNAL_H_ */
