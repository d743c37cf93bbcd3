#ifndef MOUNT_H_
#define MOUNT_H_

/*
 * One mount: the namespace that it shows, and the state that its parts share.
 */

#define FUSE_USE_VERSION 312

#include "compiler.h"

#include <fuse3/fuse_lowlevel.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct embassy_dir;
struct successor;
struct relinked;
struct replicator;
struct seeks;
struct slots;
struct syncs;
struct tell;
struct unnamed;
struct unwritten;
struct view;
struct view_config;
struct volume;
struct walks;
struct writeback;

struct mount {
	struct volume *volume; /* NULL: a read-only mount */
	struct view *view;     /* the namespace at the root; the volume's or a view of its own */
	const struct view_config *view_cfg;
	const uint8_t *volume_id;    /* VOLUME_ID_LEN bytes */
	struct writeback *writeback; /* live only */
	struct replicator **replicators;
	size_t n_replicators;
	uid_t owner; /* who mounted it */
	bool history_users; /* .embassy, and so the past, is open to other users too */
	unsigned n_threads;
	size_t memory_bytes;
	struct successor *successor; /* from the process before, and for the one after */
	bool noatime, nodiratime, strictatime;

	/* Made by mount_init(). */
	struct slots *slots;	     /* live only */
	struct walks *walks;	     /* live only */
	struct tell *tell;	     /* live only */
	struct unnamed *unnamed;     /* live only */
	struct unwritten *unwritten; /* live only */
	struct relinked *relinked;   /* live only */
	struct syncs *syncs;	     /* live only */
	struct seeks *seeks;	     /* live only */
	struct embassy_dir *embassy;

	atomic_uint_fast64_t
		flushing; /* the file being written back to answer a question; 0: none */

	/* Set by the session. */
	struct fuse_session *session;
	void (*ready)(void *ctx); /* called once the kernel has our answer to its first request */
	void *ready_ctx;
	atomic_bool names_of_older;   /* the kernel has some, see mount_adopted() */
	atomic_bool handles_killpriv; /* the kernel leaves clearing set-id bits to us */
};

/*
 * mount_init(m): make the parts that the handlers need.  Returns 0 or -errno.
 * mount_release(m): undo mount_init().  No request is under way.
 * mount_quiesce(m): called before the workers end.  From here on only the workers wait for the
 * kernel, and they go on; any other thread that still waited when they end would wait for ever.
 * After a takeover:
 * mount_adopt(m): before the first request is read: find inodes that nobody uses any more.
 * mount_adopted(m): requests are served now: have the kernel forget what an older program told it
 * of the past.
 */
void mount_adopt(struct mount *m);
void mount_adopted(struct mount *m);
MUST_CHECK int mount_init(struct mount *m);
void mount_quiesce(struct mount *m);
void mount_release(struct mount *m);

static inline struct mount *mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

#endif /* !MOUNT_H_ */
