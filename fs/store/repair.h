#ifndef REPAIR_H_
#define REPAIR_H_

/*
 * Heals the log in a volume's folder with the bytes of another copy of it.  Needs no key: each byte
 * that is written is vouched for by a signed head.
 */

#include "compiler.h"
#include "numbers.h"

#include <stddef.h>
#include <stdint.h>

struct holes;
struct source;
struct params;

struct repair_config {
	const char *dir;
	const struct params *params; /* the volume's; borrowed */
	struct source *source;	     /* the copy that is whole; borrowed */
	const struct holes *holes;   /* of the folder's log, which stay; NULL: none */
	void (*report)(void *ctx, const char *text);		    /* one line each, no newline */
	void (*progress)(void *ctx, uint64_t done, uint64_t total); /* may be NULL */
	void *ctx;
};

struct repair_counts {
	uint64_t heads;		/* of the other copy, each of which the folder's log now holds */
	uint64_t blocks, bytes; /* written */
	uint64_t failed;	/* stretches between two heads that could not be healed */
};

/*
 * repair_log(cfg, out): go from head to head of ${cfg->source}.  Where what the folder holds
 * between two of them is not what the second states, take it from the source, verify it
 * whole (hashes, Merkle root, signature), and only then write those blocks that differ, in place,
 * and sync them.  So good bytes are never overwritten, and a kill leaves what was there or what
 * belongs there.  What is gone (${cfg->holes}) is compared by what stands for it, and not filled again.
 * What the folder holds beyond the source's newest head is not touched.
 *
 * The caller holds the volume's lock; the catalog may not fit afterwards: check rebuilds it.
 * Returns 0 (${out->failed} says whether all is well); -ERR_FORKED with a detail, and nothing
 * written, if the folder holds a signed head that is not the source's; -ERR_UNREACHABLE; -ENOMEM;
 * -errno.
 */
MUST_CHECK int repair_log(const struct repair_config *cfg, struct repair_counts *out);

/*
 * repair_other(cfg, put, out): the other way round: what ${cfg->source} holds, up to its newest
 * head, is compared with the folder's log, which check has found sound; each block that is not
 * the same there is given to put(put_ctx, pos, leaf, bytes, len), ${leaf} being its number in
 * the log, which returns 0 or why it can't be healed (told, and counted as failed).
 * Returns 0; -ERR_FORKED if the source's newest head is not one of the folder's;
 * -ERR_UNREACHABLE; -ENOMEM; -errno.
 */
MUST_CHECK int repair_other(const struct repair_config *cfg,
			    int (*put)(void *put_ctx, log_pos pos, leaf_no leaf, const void *bytes,
				       size_t len),
			    void *put_ctx, struct repair_counts *out);

#endif /* !REPAIR_H_ */
