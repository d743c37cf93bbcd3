#ifndef CUT_H_
#define CUT_H_

/*
 * Cuts off everything behind the last whole block of a home's damaged log, where no copy can repair
 * it.  Only for a person who names the position: nothing does this automatically.
 */

#include "compiler.h"
#include "numbers.h"

#include <stdint.h>

struct params;

struct log_cut_config {
	const char *dir;
	const struct params *params;			     /* borrowed */
	const uint8_t *log_key;				     /* LOG_KEY_LEN bytes, borrowed */
	log_pos pos;					     /* what the person named */
	void (*report)(void *ctx, const char *text); /* one line each, no newline */
	void *ctx;
};

/*
 * log_cut(cfg): walk the log from its start, judging and opening each block as a mount does.  If
 * the log is damaged, and whole up to exactly ${cfg->pos}, report what is lost and cut it off
 * there: first newest-head, then the catalog, then the segments from the last one down.  A crash in
 * between leaves a log that is refused as before; or, where only the catalog or newest-head told of
 * what is gone, a log that is already cut.  Either way the cut can be repeated.
 *
 * The caller holds the volume's lock.
 * Returns 0, durable; -EINVAL, with a detail, nothing changed, if the damage is elsewhere (the
 * detail names its position, and what would be lost), if the log is not damaged, or if it is an
 * embassy's copy; -ERR_DAMAGED, with a detail, if no head is whole; -ENOMEM; -errno.  Damage below
 * the newest head that the catalog knows does not count here, since a mount passes over it.
 */
MUST_CHECK int log_cut(const struct log_cut_config *cfg);

#endif /* !CUT_H_ */
