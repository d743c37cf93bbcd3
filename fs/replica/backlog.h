#ifndef BACKLOG_H_
#define BACKLOG_H_

/*
 * What the embassies of a volume had not acknowledged when they were last heard, from the volume's
 * folder alone.  Its log tells what there is, and its catalog what each embassy acknowledged.
 * Needs no key, no lock and no write permission; works after a kill and beside a mount.  It never
 * reports too little: the catalog may lag an acknowledgement, by a second or, after a power cut, by
 * more.
 */

#include "compiler.h"
#include "head.h"
#include "record.h"
#include "source_folder.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct source;

struct backlog_embassy {
	char address[256];
	struct step_head acked; /* number 0: nothing yet */
	uint64_t heads, bytes;	/* not acknowledged; bytes may lack a head yet */
	int64_t missing_time_ns; /* when the oldest of those heads was made; 0: none or not known */
	struct loss loss;
};

struct backlog {
	struct head head; /* the newest; number 0: none */
	log_pos end;	  /* position after the last whole block of the log */
	uint64_t bytes;	  /* of the log */
	bool copy;	  /* it is an embassy's copy, which has no embassies */
	bool known;	  /* false: the catalog is missing, unreadable or rebuilt from the log */
	struct backlog_embassy *list; /* by address, from the last to the first; owned */
	size_t n;
};

/*
 * backlog_read(volume_dir, src, out): ${src} was opened on that folder by source_open_folder().
 * Returns 0; or as source_ops, store_open() and catalog_cursors().  Call backlog_release() in any
 * case.
 */
MUST_CHECK int backlog_read(const char *volume_dir, struct source *src, struct backlog *out);
void backlog_release(struct backlog *b);

#endif /* !BACKLOG_H_ */
