#ifndef LOOK_H_
#define LOOK_H_

/* look(r): the figures of a replicator, good until the next look. */

#include "figures.h"
#include "replicator.h"

static inline const struct figure_row *look(struct replicator *r)
{
	static struct figures seen;

	figures_release(&seen);
	replicator_figures(r, &seen);
	return &seen.embassy[0];
}

#endif /* !LOOK_H_ */
