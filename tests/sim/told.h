#ifndef SIM_TOLD_H_
#define SIM_TOLD_H_

/* What a live volume does, told to the model (model.h) in the moment that it does it. */

#include "model.h"

#include <stdbool.h>
#include <stdint.h>

struct fiber;
struct snapshot;

#define DOING_MAX 8u

/* An operation under way.  What its fiber changes is ${c}, once; a snapshot may be taken back. */
struct doing {
	const struct fiber *fiber; /* NULL: none */
	struct model_change c;
	const struct snapshot *snapshot; /* being made; filled in before it changes anything */
	unsigned made;			 /* changes so far */
	uint64_t newest;		 /* the number of the last */
};

extern struct doing doings[DOING_MAX];

/* doing_new(c): the calling fiber's; its end is ${fiber} NULL. */
struct doing *doing_new(const struct model_change *c);

/* told_begin(tell): nothing is under way, and what changes from now on is told, or not. */
void told_begin(bool tell);

#endif /* !SIM_TOLD_H_ */
