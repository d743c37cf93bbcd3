#ifndef QUOTA_H_
#define QUOTA_H_

/*
 * What callers use of the server at once, counted by identity, so that no single one can keep the
 * others out.
 */

#include "compiler.h"

#include <stdbool.h>

/*
 * One identity gets at most a share of what the server has.  Without TLS every caller is the same
 * identity, "local", which is not limited to a share.
 */
enum quota_kind {
	QUOTA_CALLS,	 /* calls under way: 512; of one identity 256 */
	QUOTA_APPENDERS, /* append streams: 64; of one identity 32 */
	QUOTA_WATCHES,	 /* health Watch calls: 64; of one identity 16 */
	QUOTA_KINDS,
};

struct quota;

/*
 * quota_new(out): a quota with nothing in use.  Returns 0 or -ENOMEM.
 * quota_free(q): free it, once nothing is in use.  NULL is a no-op.
 */
MUST_CHECK int quota_new(struct quota **out);
void quota_free(struct quota *q);

/*
 * quota_take(q, who, kind): count one more of ${kind} for the identity ${who}, until
 * quota_give(q, who, kind).  Any thread; the lock is a leaf.
 * Returns 0; -EMFILE, with a detail for the caller, if the server or the identity has as many as it
 * may; -ENOMEM.
 */
MUST_CHECK int quota_take(struct quota *q, const char *who, enum quota_kind kind);
void quota_give(struct quota *q, const char *who, enum quota_kind kind);

#endif /* !QUOTA_H_ */
