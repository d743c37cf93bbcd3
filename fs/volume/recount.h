#ifndef RECOUNT_H_
#define RECOUNT_H_

/*
 * Setting numbers right that a volume states and that can be counted anew: bytes of a file from its
 * extents, entries and links from names, and the volume's sums from its inodes.  Only such numbers are
 * changed, never what they count, but for extents in files of no length, which nobody could read.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct volume;

/* A number that an inode states and that can be counted anew. */
enum fix_kind {
	FIX_BYTES,   /* of its extents */
	FIX_CUT,     /* the file has no length and extents: they go */
	FIX_ENTRIES, /* of a folder: its size */
	FIX_LINKS,
};

struct fix {
	uint64_t ino;
	enum fix_kind kind;
	uint64_t was, is;
};

/* What the volume states of all its inodes. */
struct fix_totals {
	uint64_t inodes, bytes; /* to be added, modulo 2^64 */
	uint64_t next_ino;	/* the lowest inode number never used */
};

/*
 * volume_recount(v, fix, out_fixed): set one number right, if the inode still states ${fix->was}.
 * ${*out_fixed}: whether it did.  An inode that is gone is no error.
 * volume_recount_totals(v, totals): set the volume's sums right.
 * Both are changes like any other (volume.h): not durable before a sync.  Any thread.
 * Return 0; -ENOMEM; -ENOSPC, -EIO, -ERR_STUCK; or -ERR_DAMAGED, -ERR_ABSENT with a detail.
 */
MUST_CHECK int volume_recount(struct volume *v, const struct fix *fix, bool *out_fixed);
MUST_CHECK int volume_recount_totals(struct volume *v, const struct fix_totals *totals);

#endif /* !RECOUNT_H_ */
