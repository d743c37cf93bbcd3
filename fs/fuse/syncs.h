#ifndef SYNCS_H_
#define SYNCS_H_

/*
 * fsync requests.  One of them makes everything durable.  Requests that arrive meanwhile wait in a
 * list instead of in a worker, and then share the next round.
 */

#include "compiler.h"

#include <fuse3/fuse_lowlevel.h>

struct syncs;
struct volume;

/* Requests that may wait for the next round; a request beyond that syncs for itself. */
#define SYNCS_WAITING_MAX 256u

/*
 * syncs_new(v, out): borrows ${v}.  Returns 0 or -ENOMEM.
 * syncs_free(s): no thread may be inside.  NULL is a no-op.
 */
MUST_CHECK int syncs_new(struct volume *v, struct syncs **out);
void syncs_free(struct syncs *s);

/*
 * syncs_answer(s, req): answer ${req}, now or later, once everything written before the call is
 * durable.
 */
void syncs_answer(struct syncs *s, fuse_req_t req);

#endif /* !SYNCS_H_ */
