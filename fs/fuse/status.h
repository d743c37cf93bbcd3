#ifndef STATUS_H_
#define STATUS_H_

/* The JSON text of .embassy/status. */

#include "compiler.h"
#include "head.h"

#include <stdbool.h>
#include <stddef.h>

struct buf;
struct replicator_status;
struct volume_status;

struct status_input {
	const uint8_t *volume;		  /* VOLUME_ID_LEN bytes */
	const struct volume_status *live; /* NULL: a view */
	const struct head *head;	  /* a view's; not used if ${live} */
	const struct replicator_status *embassies;
	size_t n_embassies;
	bool supervised;
	uint32_t takeovers;  /* so far */
	int64_t takeover_ns; /* when the newest was, since 1970 UTC; 0: there was none */
	uint32_t upgrades;
	const char *failure; /* why the newest upgrade did not come about, or empty; NULL: empty */
};

/* status_text(in, out): append one JSON object and a newline.  Returns 0 or -ENOMEM. */
MUST_CHECK int status_text(const struct status_input *in, struct buf *out);

#endif /* !STATUS_H_ */
