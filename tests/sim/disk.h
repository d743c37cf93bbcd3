#ifndef SIM_DISK_H_
#define SIM_DISK_H_

/*
 * The machines' disks, in memory: what file.h and kv.h do there, and what a crash leaves.
 *
 * A disk promises, and no more: bytes and size of a file once a sync of it has returned, for
 * what was written before the sync began; a folder's names likewise.  A rename happens whole or
 * not at all.  All else may have reached it or not, each by itself, in sectors of 512 bytes.  A
 * sync that failed has lost, for good, what it should have covered, though readers still see it
 * until a crash.
 *
 * A process can be killed, and the power can fail, before a call has its effect, after it, in the
 * middle of a write, of a sync and of the removal of a tree.
 *
 * The folder of machine M is "/M".
 */

#include "prng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disk_faults {
	bool full;	 /* no room: ENOSPC */
	unsigned one_in; /* one in so many calls fails with EIO; 0: none */
	bool slow;	 /* syncs take up to a second */
	bool deaf_files; /* syncs of files do nothing: the disk lies */
	bool deaf_folders;
	unsigned stop_in; /* the machine stands still at this many changes from now; 0: never */
	bool stop_names;  /* only names count */
};

struct disk_faults *disk_faults(unsigned machine);

/* disk_spare(yes): the caller's own calls do not fail: it checks.  One fiber at a time. */
void disk_spare(bool yes);

/*
 * disk_forget_names(folder): a mistake: the caller's own syncs of that folder do nothing, until
 * NULL. One fiber a machine.
 */
void disk_forget_names(const char *folder);

/*
 * disk_kill(m): the machine's processes are gone, and with them their descriptors and locks; what
 * they wrote is still seen.  disk_crash(m): the power fails, too.
 */
void disk_kill(unsigned machine);
void disk_crash(unsigned machine);

/*
 * disk_wait_stop(m, until_ns): wait until the machine stands still, as disk_faults(m)->stop_in
 * asks, or until that time.  For who crashes it then.
 */
void disk_wait_stop(unsigned machine, uint64_t until_ns);

/*
 * disk_snapshot(m): a copy of what the machine's disk holds now, as a backup takes it.
 * disk_restore(m, s): it holds that again, all of it durable; ${s} can be used again.
 * disk_wipe(m): a new disk.
 */
struct disk_snapshot;
struct disk_snapshot *disk_snapshot(unsigned machine);
void disk_restore(unsigned machine, const struct disk_snapshot *s);
void disk_wipe(unsigned machine);

/* disk_read(path, off, out, len): for checks: what a reader sees; false if there is less. */
bool disk_read(const char *path, uint64_t off, void *out, size_t len);

/* disk_file_size(path): 0 if it is not there. */
size_t disk_file_size(const char *path);

/*
 * disk_drop_catalogs(m): after a crash: what kv.h keeps in the machine's folders is gone.
 * disk_lost_catalog(m): whether that ever happened.
 */
void disk_drop_catalogs(unsigned machine);
bool disk_lost_catalog(unsigned machine);

/* What disk.c, files.c and kv.c share: a file, or a folder. */
struct inode;
struct table;

struct inode *inode_at(int dirfd, const char *path);
struct inode *inode_make_dir(int dirfd, const char *path);
struct table **inode_table(struct inode *in);
unsigned inode_machine(const struct inode *in);

/* What a table (kv.c) becomes in a crash, and a copy of one. */
void table_crash(struct table *t);
struct table *table_copy(const struct table *t);

/*
 * disk_fault(m): the error that the next call on that disk fails with, or 0.  disk_stop(m): a call
 * that changes the disk is about to have its effect, or has had it: the machine may stand still
 * here. disk_stop_name(m): likewise, and it changes names or makes them durable.
 */
int disk_fault(unsigned machine);
void disk_stop(unsigned machine);
void disk_stop_name(unsigned machine);

#endif /* !SIM_DISK_H_ */
