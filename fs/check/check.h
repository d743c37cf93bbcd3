#ifndef CHECK_H_
#define CHECK_H_

/*
 * Verifies a volume that is not mounted: the log without a key, the namespace with one.  Writes
 * nothing but the catalog, which is rebuilt if it is missing or wrong, unless told to repair
 * counts.  Without the right to write, the catalog stays as it is and a temporary one is made in
 * TMPDIR.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct volume_keys;

enum check_level {
	CHECK_NOTE, /* worth knowing; the volume is sound nevertheless */
	CHECK_BAD,  /* something differs from what was written */
};

struct check_config {
	const char *dir;
	const struct volume_keys *keys; /* borrowed; NULL: the log only */
	unsigned read_percent;		/* share of the data blocks to open, 0 to 100; needs keys */
	bool recount; /* repair wrong counts; needs keys, and a sound log */
	void (*report)(void *ctx, enum check_level level,
		       const char *text); /* one line each, without newline */
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
	bool names_checked; /* false: no key, or the tree is too damaged */
	uint64_t recounted; /* wrong counts that were repaired */
	bool catalog_rebuilt;
};

/*
 * volume_check(cfg, out): hold the volume's lock (volume_lock_to_read()) and verify
 *  1. the log: every frame; every head's signature, number, parent, time, and the Merkle root over
 *     all blocks below it.  With keys, also the seal of every node, delta and checkpoint, and of a
 *     random ${read_percent} of the data blocks;
 *  2. the catalog against the log;
 *  3. with keys, the namespace at the newest head: every node and item, every name's hash and
 *     inode, link counts, folders' parents, extents; and that every snapshot's view opens.  A
 *     damaged block is reported with the paths of the files that it belongs to.
 * Memory is bounded (about 100 MiB), whatever the volume's size.
 *
 * With cfg->recount, numbers that can be recounted are then repaired, as ordinary changes with a
 * head that states them: a file's bytes, a folder's entries and links, a file's links, the volume's
 * inodes and bytes; and extents in files of length 0 are removed.  out->recounted says how many;
 * another check shows what is left.  The result describes the volume before the repair, so it is
 * -ERR_DAMAGED if any number was wrong.
 *
 * Returns 0 if everything that was checked is sound; -ERR_DAMAGED or -ERR_TAMPERED if not (the
 * reports say what); -ERR_LOCKED with a detail if it is mounted; -ERR_NO_VOLUME; -ENOMEM; -errno.
 */
MUST_CHECK int volume_check(const struct check_config *cfg, struct check_counts *out);

#endif /* !CHECK_H_ */
