/*
 * Delta debugging: leave out half, quarters, and so on down to single operations, and keep what
 * still fails the same way.
 */

#include "run.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CONFIRM_MAX 5

struct shrinking {
	const struct config *cfg;
	const char *name;
	struct op *ops, *trial;
	size_t n;
	struct failure *f;
	unsigned runs;
	uint64_t end_ns;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/*
 * The same way: the same aspect differs.  Which operation shows it may change: what only a check of
 * all had shown may be shown by the operation itself once others are gone.
 */
static bool fails(struct shrinking *s, const struct op *ops, size_t n)
{
	struct counts counts = {0};
	struct failure f;

	s->runs++;
	if (run(s->cfg, s->name, ops, n, &counts, &f) || strcmp(f.d.aspect, s->f->d.aspect) != 0)
		return false;
	*s->f = f;
	return true;
}

static void keep(struct shrinking *s, const struct op *ops, size_t n)
{
	/* What comes after the difference never mattered. */
	if (s->f->index + 1 < n)
		n = s->f->index + 1;
	memmove(s->ops, ops, n * sizeof(*ops));
	s->n = n;
}

/* One pass from the end, leaving out ${size} at a time.  True if something could be left out. */
static bool pass(struct shrinking *s, size_t size)
{
	size_t at = s->n, from;
	bool any = false;

	while (at > 0 && now_ns() < s->end_ns) {
		from = at > size ? at - size : 0;
		if (at > s->n)
			at = s->n;
		if (from >= at) {
			at = from;
			continue;
		}
		memcpy(s->trial, s->ops, from * sizeof(*s->ops));
		memcpy(s->trial + from, s->ops + at, (s->n - at) * sizeof(*s->ops));
		if (fails(s, s->trial, s->n - (at - from))) {
			keep(s, s->trial, s->n - (at - from));
			any = true;
		}
		at = from;
	}
	return any;
}

unsigned shrink(const struct config *cfg, const char *name, struct op *ops, size_t *n,
		struct failure *io)
{
	struct shrinking s = {.cfg = cfg, .name = name, .ops = ops, .n = *n, .f = io};
	bool failed = false;
	size_t size;

	s.end_ns = now_ns() + cfg->shrink_ns_max;
	s.trial = malloc((*n + 1) * sizeof(*ops));
	if (!s.trial)
		give_up("memory", "shrinking");
	for (int i = 0; i < CONFIRM_MAX && !failed; i++)
		failed = fails(&s, ops, *n);
	if (failed) {
		keep(&s, ops, *n);
		for (size = s.n / 2 ? s.n / 2 : 1; size > 0 && now_ns() < s.end_ns;) {
			if (!pass(&s, size) || size > 1)
				size /= 2;
		}
		/* What is left is what io tells of. */
		*n = s.n;
	}
	free(s.trial);
	return failed ? s.runs : 0;
}
