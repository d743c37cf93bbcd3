#ifndef CHECK_H_
#define CHECK_H_

/*
 * Verifies a volume that is not mounted: the log without a key, the namespace with one.  Changes
 * nothing but the catalog, which is rebuilt where it is missing or wrong, unless told to count anew.
 * Needs no right to write: then the catalog stays as it is, and one of its own is made in TMPDIR.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct volume_keys;

enum check_level {
	CHECK_NOTE, /* worth knowing; the volume is sound for all that */
	CHECK_BAD,  /* something is not what was written */
};

struct check_config {
	const char *dir;
	const struct volume_keys *keys; /* borrowed; NULL: the log only */
	unsigned read_percent;		/* of the data blocks, to open: 0 to 100; needs keys */
	bool recount; /* set counts right that are wrong; needs keys, and a sound log */
	void (*report)(void *ctx, enum check_level level,
		       const char *text); /* one line each, no newline */
	void (*progress)(void *ctx, const char *what, uint64_t done,
			 uint64_t total); /* may be NULL */
	void *ctx;
};

struct check_counts {
	uint64_t segments, blocks, bytes, heads; /* of the log, up to its end */
	uint64_t opened;			 /* sealed blocks whose seal was verified */
	uint64_t data_total;			 /* data blocks in the log */
	uint64_t data_opened;
	uint64_t inodes, entries, extents, snapshots; /* of the namespace at the newest head */
	uint64_t problems;
	bool names_checked; /* false: no key, or too damaged */
	uint64_t recounted; /* problems of counts that were set right */
	bool catalog_rebuilt;
};

/*
 * volume_check(cfg, out): hold the volume's lock (volume_lock_to_read()) and verify
 *  1. the log: every frame, every head's signature, number, parent, time, and the Merkle root over
 *  all blocks below it;
 *     where there are keys, also the seal of every node, delta and checkpoint and of a random
 *     ${read_percent} of the data blocks;
 *  2. the catalog against the log;
 *  3. with keys, the namespace at the newest head: every node and item, every name's hash and
 *  inode, link counts, folders'
 *     parents, extents; and that every snapshot's view opens.  A damaged block is attributed to the
 *     paths it touches.
 * Memory is bounded (about 100 MiB), whatever the volume's size.
 *
 * With cfg->recount, numbers that can be counted anew are then set right, as changes like any other,
 * with a head that states them: a file's bytes, a folder's entries and links, a file's links, the
 * volume's inodes and bytes; and extents in a file of no length go.  out->recounted says how many; a
 * further check tells what is left.  The result is that of before, so -ERR_DAMAGED if any was wrong.
 *
 * Returns 0 if all that was checked is sound; -ERR_DAMAGED or -ERR_TAMPERED if not (the reports say
 * what); -ERR_LOCKED with a detail if it is mounted; -ERR_NO_VOLUME; -ENOMEM; -errno.
 */
MUST_CHECK int volume_check(const struct check_config *cfg, struct check_counts *out);

#endif /* !CHECK_H_ */
