#ifndef DISK_INTERNAL_H_
#define DISK_INTERNAL_H_

/* What disk.c (inodes, crashes, copies) and files.c (file.h) share. */

#include "disk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE ((size_t)4096)
#define SECTOR ((size_t)512)
#define FD_FIRST 1000
#define FDS_MAX 1024
#define NAME_LEN 64u

struct page {
	uint8_t *seen, *kept; /* NULL: zeros; the same memory while they are the same */
	uint8_t dirty;	      /* a bit for each sector */
	bool lost;	      /* a sync failed: what is clean may differ too */
	uint64_t version;     /* counts the changes of what is seen */
	uint64_t kept_by;     /* the newest sync that carried something over */
};

struct entry {
	char name[NAME_LEN];
	struct inode *in;
};

struct names {
	struct entry *e;
	size_t n, cap;
};

/* A change of a folder: ${from} goes, ${to} comes; either may be empty. */
struct change {
	char from[NAME_LEN], to[NAME_LEN];
	struct inode *in;
};

struct inode {
	unsigned machine;
	bool is_dir;
	int locked_by; /* a descriptor; 0: none */
	/* a file */
	struct page *pages;
	size_t n_pages;
	uint64_t size, kept_size;
	uint64_t cut;			/* the smallest size since the last sync */
	uint64_t n_syncs, size_kept_by; /* syncs are numbered as they begin */
	/* a folder */
	struct names seen, kept;
	struct change *changes; /* those that are not durable */
	size_t n_changes, cap_changes;
	uint64_t n_durable;  /* changes before them */
	struct table *table; /* of kv.c */
};

struct fd {
	struct inode *in; /* NULL: free */
	unsigned machine;
	uint64_t pos;
};

extern struct fd disk_fds[FDS_MAX]; /* of all machines, from FD_FIRST on */

/* names_find(n, name): NULL if there is none.  names_copy(to, from): ${to} is the same then. */
struct inode *names_find(const struct names *n, const char *name);
void names_copy(struct names *to, const struct names *from);

struct inode *inode_new(unsigned machine, bool is_dir);

/*
 * inode_walk(dirfd, path, last): the folder that ${path}'s last part lies in, or NULL; and that
 * part.
 */
struct inode *inode_walk(int dirfd, const char *path, char last[NAME_LEN]);

/* inode_change(dir, from, to, in): a change of the folder, not durable yet. */
void inode_change(struct inode *dir, const char *from, const char *to, struct inode *in);

/*
 * inode_put(), inode_get(), inode_clear(): bytes as they are seen; what is cleared reads as
 * zeros.
 */
void inode_put(struct inode *in, const uint8_t *from, size_t len, uint64_t off);
void inode_get(const struct inode *in, uint8_t *to, size_t len, uint64_t off);
void inode_clear(struct inode *in, uint64_t off);

/* inode_resize(in, size): what is cut off reads as zeros when it is there again. */
void inode_resize(struct inode *in, uint64_t size);

/*
 * inode_sync(in): as fsync; takes a while, and has its effect at the begin or at the end of it, so
 * that the caller can be killed on either side.  Returns 0 or -EIO.
 */
int inode_sync(struct inode *in);

#endif /* !DISK_INTERNAL_H_ */
