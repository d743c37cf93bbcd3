#ifndef STATUS_H_
#define STATUS_H_

/* The text of .embassy/status. */

#include "compiler.h"

struct buf;
struct mount;

/*
 * status_text(m, out): append the figures of ${m} as one JSON object and a newline.  Returns 0 or
 * -ENOMEM.
 */
MUST_CHECK int status_text(struct mount *m, struct buf *out);

#endif /* !STATUS_H_ */
