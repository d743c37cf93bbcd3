#ifndef RECOUNT_H_
#define RECOUNT_H_

/*
 * Correct counts that a volume stores and that can be computed anew: a file's bytes from its
 * extents, entries and links from names, and the volume's totals from its inodes.  Only these
 * numbers are changed, never the things that they count.  The one exception are extents in files of
 * length 0: they are deleted, since nobody could read them.
 */

#include "compiler.h"
#include "numbers.h"

#include <stdbool.h>
#include <stdint.h>

struct volume;

/* A number that an inode stores and that can be computed anew. */
enum fix_kind {
	FIX_BYTES,   /* of its extents */
	FIX_CUT,     /* the file has no length and extents: they go */
	FIX_ENTRIES, /* of a folder: its size */
	FIX_LINKS,
};

struct fix {
	inode_no ino;
	enum fix_kind kind;
	uint64_t was, is;
};

/* The totals that the volume stores for all its inodes. */
struct fix_totals {
	uint64_t inodes, bytes; /* to be added, modulo 2^64 */
	inode_no next_ino;	/* the lowest inode number never used */
};

/*
 * volume_recount(v, fix, out_fixed): correct one number, if the inode still has the value
 * ${fix->was}.  ${*out_fixed}: it did.  An inode that is gone is no error.
 * volume_recount_totals(v, totals): correct the volume's totals.
 * Both are ordinary changes (volume.h): not durable before a sync.  Any thread.
 * Return 0; -ENOMEM; -ENOSPC, -EIO, -ERR_STUCK; or -ERR_DAMAGED, -ERR_ABSENT with a detail.
 */
MUST_CHECK int volume_recount(struct volume *v, const struct fix *fix, bool *out_fixed);
MUST_CHECK int volume_recount_totals(struct volume *v, const struct fix_totals *totals);

#endif /* !RECOUNT_H_ */
