#ifndef REPAIR_INTERNAL_H_
#define REPAIR_INTERNAL_H_

/* What repair.c (from another copy) and repair_other.c (the other copy) share. */

#include "repair.h"

#include "history.h"

#include "err.h"

struct piece;
struct store;

struct repair {
	const struct repair_config *cfg;
	struct repair_counts *counts;
	struct store *store;
	struct history history;
	uint8_t *good, *bad; /* BLOCK_STORED_MAX bytes each */
	bool noted;	     /* noted_segment is, by store_note() */
	segment_no noted_segment;
	struct piece *pieces;
	size_t n_pieces, cap_pieces;
};

/* repair_report(r, fmt, ...): a line for the caller's report. */
void repair_report(struct repair *r, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* repair_read_source(r, pos, len, out): as the source's read. */
MUST_CHECK int repair_read_source(struct repair *r, log_pos pos, size_t len, void *out);

/* repair_no_block(rc): whether a read or a decoding says that there is no block. */
static inline bool repair_no_block(int rc)
{
	return rc == -ERR_ABSENT || rc == -ERR_DAMAGED;
}

#endif /* !REPAIR_INTERNAL_H_ */
