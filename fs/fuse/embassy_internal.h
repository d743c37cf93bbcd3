#ifndef EMBASSY_INTERNAL_H_
#define EMBASSY_INTERNAL_H_

/*
 * .embassy: what its files share.
 *
 *	embassy_dir.c		its folders; passes each request on
 *	embassy_past.c		names that lead to views of the past; snapshots
 *	embassy_status.c	status texts
 *	embassy_list.c		listings
 */

#include "embassy_dir.h"

#include "buf.h"
#include "locks.h"

#include <pthread.h>

#define EMBASSY_UPGRADE_NAME "upgrade"
#define EMBASSY_TEXTS_SHIFT 28 /* log2 of how many texts one process may make */

/* A status text that the kernel may read. */
struct text {
	uint64_t node; /* 0: free */
	uid_t uid;     /* who looked it up */
	struct buf buf;
	struct timespec made;
};

struct embassy_dir {
	struct timespec made; /* times of the folders */
	pthread_mutex_t mu;
	uint64_t next; /* Guarded by mu, like all below. */
	struct text texts[EMBASSY_TEXTS_MAX];
};

/* The names in .embassy, in the order in which they are listed. */
#define EMBASSY_MEMBERS 5u
struct embassy_member {
	const char *name;
	uint64_t node;
	bool live_only;
};
extern const struct embassy_member embassy_members[EMBASSY_MEMBERS];

static inline uint64_t embassy_node(uint64_t id)
{
	return id & (INO_MAX - 1);
}

/* embassy_now(): the wall clock's time. */
struct timespec embassy_now(void);

/*
 * embassy_fill_stat(m, node, text, out): attributes of a folder, or, with its text's size and time,
 * of a status file.
 * embassy_reply_node(req, m, node): answer a look-up that found the folder ${node}.
 */
void embassy_fill_stat(const struct mount *m, uint64_t node, const struct text *text,
		       struct stat *out);
void embassy_reply_node(fuse_req_t req, struct mount *m, uint64_t node);

/* Entries of the table of nodes (node.h) that are in other files than the table. */
void embassy_forget(struct mount *m, uint64_t id, uint64_t n);
void embassy_read(fuse_req_t req, struct mount *m, uint64_t id, size_t size, off_t off, int flags);
void embassy_readdir(fuse_req_t req, struct mount *m, uint64_t id, size_t size, off_t off,
		     bool plus);
void embassy_mkdir(fuse_req_t req, struct mount *m, uint64_t parent, const char *name, mode_t mode);
void embassy_rmdir(fuse_req_t req, struct mount *m, uint64_t parent, const char *name);

/*
 * Lookups that make the node they lead to.  Each of them answers the request.
 *
 * embassy_lookup_time(): in at/ or ago/.
 * embassy_lookup_snapshot(): in snapshots/.
 * embassy_lookup_status(): makes a fresh text, which is a node of its own.
 */
void embassy_lookup_time(fuse_req_t req, struct mount *m, uint64_t parent, const char *name);
void embassy_lookup_snapshot(fuse_req_t req, struct mount *m, uint64_t parent, const char *name);
void embassy_lookup_status(fuse_req_t req, struct mount *m);

/* embassy_text_locked(d, node): the text of a status node, or NULL if another process made it. */
const struct text *embassy_text_locked(const struct embassy_dir *d, uint64_t node) REQUIRES(d->mu);

#endif /* !EMBASSY_INTERNAL_H_ */
