#ifndef NEWEST_H_
#define NEWEST_H_

/*
 * The newest head that a volume's folder is known to have held durably, in VOLUME/newest-head: its note,
 * as it is in the log.  It lies outside the log and the catalog, so that a folder that lost its last
 * segments and its catalog too is not taken for a sound older copy.  It is evidence and nothing else: it
 * is signed, so it can't tell of a head that never was; where it is missing or spoiled nothing is known.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct head;
struct head_ref;
struct params;
struct storage;

/*
 * Written again after so long, if there is a newer head, or after NEWEST_ROLL_NS, if it lies in another
 * segment; and at an orderly end.
 */
#define NEWEST_EVERY_NS (UINT64_C(60) * 1000000000)
#define NEWEST_ROLL_NS (UINT64_C(5) * 1000000000)

/* Which head was written last, and when: its writer's to keep.  Zeroed: none. */
struct newest {
	uint64_t number, pos; /* what was tried last */
	uint64_t held;	      /* what the file tells of: the number of a lower head, if that failed */
	uint64_t at_ns;	      /* monotonic; 0: not in this process, and a newer one is due */
};

/* newest_found(known): what a writer begins with, who has asked newest_known(). */
struct newest newest_found(const struct head *known);

/*
 * newest_is_due(n, ref, at_end): whether ${ref}, which is durable, should be written by now; ${at_end}:
 * whether the file tells of a lower one, for whatever reason.
 */
bool newest_is_due(const struct newest *n, const struct head_ref *ref, bool at_end);

/*
 * newest_note(n, params, st, ref): write down the head ${ref}, which is durable in the log
 * of ${st}, in the place of what is there, durably; ${n} is it then.  A failure is told, once in
 * NEWEST_EVERY_NS, and harms nobody but who loses segments and catalog before the next try, which is due
 * with a newer head, and at an orderly end.
 */
void newest_note(struct newest *n, const struct params *params, struct storage *st,
		 const struct head_ref *ref);

/* newest_forget(volume_dir): nothing is known.  Returns 0, durable, also if there is none; or -errno. */
MUST_CHECK int newest_forget(const char *volume_dir);

/*
 * newest_known(params, st, out): the head that is written down; its number is 0 if there is
 * none, or nothing that can be read and is a head of ${params}' volume, which is warned of.
 */
void newest_known(const struct params *params, struct storage *st, struct head *out);

#endif /* !NEWEST_H_ */
