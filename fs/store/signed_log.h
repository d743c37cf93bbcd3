#ifndef SIGNED_LOG_H_
#define SIGNED_LOG_H_

/*
 * What the heads of a volume's folder were signed over: the same proofs as of a server's copy
 * (fs/record/anchor.h), made from the folder's own catalog.
 */

#include "anchor.h"
#include "compiler.h"
#include "frame.h"

#include <pthread.h>
#include <stddef.h>

struct catalog;
struct params;
struct scan_block;
struct storage;

/* A segment's header that was walked over, and so judged with the heads after it. */
struct walked_header {
	segment_no number;
	uint8_t leaf[HASH_LEN];
};

struct signed_log {
	const struct params *params;
	struct storage *storage;
	pthread_mutex_t mu;
	struct anchor anchor; /* guarded by mu; number 0: none */
	/* In order; does not change once readers are let in. */
	struct walked_header *walked;
	size_t n_walked, cap_walked;
};

/* signed_log_init(l, params, storage): borrows both. */
void signed_log_init(struct signed_log *l, const struct params *params, struct storage *storage);
void signed_log_release(struct signed_log *l);

/*
 * signed_log_walked(l, b): ${b} was accepted by a walk over the log's tail.  signed_log_forget(l): the walk
 * begins anew.  Before readers are let in.  Returns 0 or -ENOMEM.
 */
MUST_CHECK int signed_log_walked(struct signed_log *l, const struct scan_block *b);
void signed_log_forget(struct signed_log *l);

/*
 * signed_log_admit(l, c, heads, n): heads that ${c} knows, verified, in order; ${n} may be 0: whether they
 * are of one history with those before.  The newest of all is held on to.  Any thread.
 * Returns 0; -ERR_TAMPERED or -ERR_DAMAGED (the catalog lacks what it must have), with a detail;
 * -ENOMEM; -EIO.
 */
MUST_CHECK int signed_log_admit(struct signed_log *l, struct catalog *c, const struct anchor *heads,
				size_t n);

/*
 * signed_log_header(l, c, number, out): the header's block of segment ${number}, if it is what was signed.
 * Any thread.
 * Returns 0; -ERR_TAMPERED: it is another; -ERR_DAMAGED: it is none, or the catalog lacks leaves;
 * -ERR_ABSENT; each with a detail; -ERR_VERSION; -ENOMEM; -EIO.
 */
MUST_CHECK int signed_log_header(struct signed_log *l, struct catalog *c, segment_no number,
				 uint8_t out[SEGMENT_BLOCK_LEN]);

#endif /* !SIGNED_LOG_H_ */
