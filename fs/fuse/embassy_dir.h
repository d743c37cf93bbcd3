#ifndef EMBASSY_DIR_H_
#define EMBASSY_DIR_H_

/*
 * .embassy: a virtual folder in the root of every mount.
 *
 *	.embassy/status			JSON, a fresh text at each lookup
 *	.embassy/at/TIME/		the namespace as of that time
 *	.embassy/ago/DURATION/		the same
 *	.embassy/snapshots/NAME/	the same; mkdir takes a snapshot, rmdir removes its name
 *	.embassy/control/upgrade/	empty; its fsync executes the program anew
 *
 * The operations of its nodes are in node_virtual (node.h).
 */

#include "node.h"

#define EMBASSY_NAME ".embassy"

enum {
	EMBASSY_NODE_TOP = 1,
	EMBASSY_NODE_AT,
	EMBASSY_NODE_AGO,
	EMBASSY_NODE_SNAPSHOTS,
	EMBASSY_NODE_CONTROL,
	EMBASSY_NODE_UPGRADE,
	EMBASSY_NODE_STATUS = 16, /* from here on: one status text each */
};

/* Status texts that the kernel may hold at a time. */
#define EMBASSY_TEXTS_MAX 64u
#define EMBASSY_TEXTS_OF_USER_MAX 16u /* root may hold all of them */

static inline uint64_t embassy_id(uint64_t node)
{
	return NODE_VIRTUAL << NODE_SHIFT | node;
}

/*
 * embassy_dir_new(takeover, out): ${takeover} is the number of processes that served this mount
 * before.  Node numbers of their texts are not used again.  Returns 0 or -ENOMEM.
 * embassy_dir_free(NULL) is a no-op.
 */
MUST_CHECK int embassy_dir_new(uint32_t takeover, struct embassy_dir **out);
void embassy_dir_free(struct embassy_dir *d);

/* embassy_is_name(m, parent, name): is it ".embassy" in the root? */
bool embassy_is_name(uint64_t parent, const char *name);

/* embassy_lookup_top(req, m): answer a lookup of ".embassy" in the root. */
void embassy_lookup_top(fuse_req_t req, struct mount *m);

#endif /* !EMBASSY_DIR_H_ */
