#ifndef CUT_H_
#define CUT_H_

/*
 * Gives up what lies behind the last whole block of a home's log that is damaged, where no copy can heal
 * it.  Only for a person who names the position: nothing does this by itself.
 */

#include "compiler.h"

#include <stdint.h>

struct params;

struct log_cut_config {
	const char *dir;
	const struct params *params;			     /* borrowed */
	const uint8_t *log_key;				     /* LOG_KEY_LEN bytes, borrowed */
	uint64_t pos;					     /* what the person named */
	void (*report)(void *ctx, const char *text); /* one line each, no newline */
	void *ctx;
};

/*
 * log_cut(cfg): walk the log from its start, each block judged and opened as a mount does.  If it is
 * damaged, and whole up to exactly ${cfg->pos}, report what is lost, and cut it off there: newest-head
 * first, then the catalog, then the segments from the last one down.  A kill in between leaves a log that
 * is refused as before, or, where only the catalog or newest-head told of what is gone, one that is cut;
 * it can be done again.
 *
 * The caller holds the volume's lock.
 * Returns 0, durable; -EINVAL, with a detail, nothing changed, if it is damaged elsewhere (the detail
 * names the position, and what would be lost), if it is not damaged, or if it is an embassy's copy;
 * -ERR_DAMAGED, with a detail, if no head is whole; -ENOMEM; -errno.  It is no damage here that a mount
 * passes over, since it lies below the newest head that the catalog knows.
 */
MUST_CHECK int log_cut(const struct log_cut_config *cfg);

#endif /* !CUT_H_ */
