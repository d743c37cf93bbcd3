#ifndef RECORD_H_
#define RECORD_H_

/*
 * What a volume remembers of its embassies across mounts: the head that each last acknowledged, and
 * a loss that nobody has answered.  It is kept in the catalog, under the address as it was
 * configured.  It is never relied on: a power cut may lose the newest values, and a catalog that is
 * rebuilt keeps only those that could be read.
 */

#include "compiler.h"
#include "replicator_step.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct catalog;

/* The embassy held less than it had acknowledged, and nobody has answered that yet. */
struct loss {
	head_no held, acknowledged; /* heads' numbers; acknowledged 0: there is no loss */
	int64_t time_ns;	    /* when it was found, by the wall clock */
};

/*
 * record_put_acked(c, address, acked), record_get_acked(c, address, out): the head that it last
 * acknowledged; number 0: none yet.
 * record_put_loss(), record_get_loss(): its loss, likewise.
 * put: as catalog_put_cursor().  get: 0; -ERR_ABSENT, also for a value that is not of this kind;
 * -EIO.  Any thread.
 */
MUST_CHECK int record_put_acked(struct catalog *c, const char *address,
				const struct step_head *acked);
MUST_CHECK int record_get_acked(struct catalog *c, const char *address, struct step_head *out);
MUST_CHECK int record_put_loss(struct catalog *c, const char *address, const struct loss *l);
MUST_CHECK int record_get_loss(struct catalog *c, const char *address, struct loss *out);

/*
 * record_addresses(c, fn, ctx): call ${fn} with the address of each embassy that was ever
 * configured in a mount, as catalog_cursors() does.
 */
MUST_CHECK int record_addresses(struct catalog *c, int (*fn)(void *ctx, const char *address),
				void *ctx);

/* record_is_whole(c): is no embassy forgotten, because the catalog is as old as its log? */
bool record_is_whole(struct catalog *c);

#define LOSS_TEXT_LEN 512u
/* loss_text(l, out): a loss in words; empty if there is none. */
void loss_text(const struct loss *l, char out[LOSS_TEXT_LEN]);

#endif /* !RECORD_H_ */
