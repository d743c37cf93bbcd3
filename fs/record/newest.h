#ifndef NEWEST_H_
#define NEWEST_H_

/*
 * The newest head that a volume's folder is known to have held durably, in VOLUME/newest-head: its
 * note, as it is in the log.  It lies outside the log and the catalog, so that a folder that lost
 * its last segments and its catalog too is not taken for a sound older copy.  It is evidence and
 * nothing else: it is signed, so it can't name a head that never existed; where it is missing or
 * spoiled, nothing is known.
 */

#include "compiler.h"
#include "numbers.h"

#include <stdbool.h>
#include <stdint.h>

struct head;
struct head_ref;
struct params;
struct storage;

/*
 * The file is written again so long after the last time, if there is a newer head; after
 * NEWEST_ROLL_NS, if that head lies in another segment; and at an orderly end.
 */
#define NEWEST_EVERY_NS (UINT64_C(60) * 1000000000)
#define NEWEST_ROLL_NS (UINT64_C(5) * 1000000000)

/* Which head was written last, and when.  Belongs to the writer of the file.  Zeroed: none. */
struct newest {
	head_no number; /* the head that was tried last */
	log_pos pos;	/* and where it lies */
	head_no held;	/* the head in the file: a lower one, if that try failed */
	uint64_t at_ns; /* monotonic; 0: none in this process, so a newer head is due */
};

/* newest_found(known): what a writer begins with; ${known} is what newest_known() gave. */
struct newest newest_found(const struct head *known);

/*
 * newest_is_due(n, ref, at_end): whether the durable head ${ref} should be written by now; with
 * ${at_end}, whether the file names a lower one, for whatever reason.
 */
bool newest_is_due(const struct newest *n, const struct head_ref *ref, bool at_end);

/*
 * newest_note(n, params, st, ref): write the head ${ref}, which is durable in the log of ${st},
 * into the file, in the place of what is there, durably; and remember it in ${n}.  A failure is
 * reported at most once in NEWEST_EVERY_NS.  It harms only a user who loses segments and catalog
 * before the next try, which is due with a newer head, and at an orderly end.
 */
void newest_note(struct newest *n, const struct params *params, struct storage *st,
		 const struct head_ref *ref);

/*
 * newest_forget(volume_dir): remove the file, so that nothing is known.  Returns 0, durable, also
 * if there is none; or -errno.
 */
MUST_CHECK int newest_forget(const char *volume_dir);

/*
 * newest_known(params, st, out): the head in the file.  Its number is 0 if there is no file; or if
 * the file can't be read or holds no head of ${params}' volume, which is warned of.
 */
void newest_known(const struct params *params, struct storage *st, struct head *out);

#endif /* !NEWEST_H_ */
