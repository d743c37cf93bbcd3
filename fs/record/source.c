/*
 * Sources of a log: what all of them share.
 */

#include "source.h"

void source_free(struct source *s)
{
	if (s)
		s->ops->free(s);
}
