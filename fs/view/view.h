#ifndef VIEW_H_
#define VIEW_H_

/*
 * A view: a namespace at a head, read-only; or, with a writer behind it (volume.h), the live one.
 * The same code reads both: view -> map -> node cache -> blocks -> source.
 *
 * Any thread may call any function here.  Each does its own locking and no I/O while it holds the
 * lock.  Errors are -errno as POSIX defines them (-ENOENT, -ENOTDIR, ...), or, for bytes that can't
 * be read, -ERR_DAMAGED, -ERR_ABSENT or -ERR_UNREACHABLE, each with a detail.  Inode numbers are
 * below INO_MAX; the root is INO_ROOT.
 */

#include "compiler.h"
#include "head.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define INO_ROOT UINT64_C(1)
#define INO_MAX (UINT64_C(1) << 48)
#define NAME_LEN_MAX 255u
#define SYMLINK_LEN_MAX 4095u
#define XATTR_VALUE_MAX 65536u
#define FILE_SIZE_MAX UINT64_C(0x7fffffffffffffff)

struct view;
struct source;
struct blocks;
struct node_cache;
struct when;

struct attr {
	inode_no ino;
	uint32_t mode;
	uint32_t nlink;
	uint32_t uid, gid;
	uint64_t rdev;	 /* devices */
	uint64_t size;	 /* files: bytes; symlinks: length; folders: entries */
	uint64_t bytes;	 /* file bytes that are not holes */
	inode_no parent; /* folders: the parent folder; else 0 */
	struct timespec atime, mtime, ctime, btime;
};

struct view_config {
	struct source *source;	  /* borrowed */
	struct blocks *blocks;	  /* borrowed; reads through the source */
	struct node_cache *cache; /* borrowed; may be shared by all views of a volume */
	const uint8_t *name_key;  /* 16 bytes, borrowed: hashes directory names */
};

/*
 * view_open(cfg, head, out): the namespace as it was at ${head}.  Loads the head's checkpoint and
 * applies the deltas of the heads after it.
 * Returns 0; -ERR_DAMAGED, -ERR_ABSENT, -ERR_UNREACHABLE, -ERR_TAMPERED; -ENOMEM.  view_close(NULL)
 * is a no-op.
 */
MUST_CHECK int view_open(const struct view_config *cfg, const struct head *head, struct view **out);
void view_close(struct view *v);

/*
 * view_head(v): the head of a read-only view, borrowed.  view_bytes(v): memory used, not counting
 * the node cache.
 */
const struct head *view_head(const struct view *v);
size_t view_bytes(const struct view *v);

/*
 * view_resolve(cfg, when, out): the head that ${when} means: the newest not after a time (a time in
 * whole seconds means the end of that second); a head by number; a snapshot by name, as the newest
 * head knows it; or the newest.
 * Returns 0; -ERR_TOO_EARLY (before the first head); -ERR_ABSENT (no such head, or none at all);
 * -ENOENT (no such snapshot); each with a detail; or as view_open().
 */
MUST_CHECK int view_resolve(const struct view_config *cfg, const struct when *when,
			    struct head *out);

MUST_CHECK int view_lookup(struct view *v, inode_no parent, const char *name, struct attr *out);
MUST_CHECK int view_getattr(struct view *v, inode_no ino, struct attr *out);

/* view_readlink(v, ino, out): the target with its NUL; ${out} has SYMLINK_LEN_MAX + 1 bytes. */
MUST_CHECK int view_readlink(struct view *v, inode_no ino, char *out);

/*
 * view_readdir(v, ino, cookie, attrs, fn, ctx): list a folder's entries after ${cookie} (0: from
 * the start; "." and ".." come first), in an order that is stable while entries come and go.  fn
 * gets the cookie from which to continue after the entry, and, if ${attrs}, the attributes (NULL
 * for "." and "..").  It returns 0 to continue, or 1 if it had no room for the entry (the next call
 * starts with it).  No lock is held in fn.
 */
struct view_entry {
	const char *name; /* NUL-terminated */
	inode_no ino;
	uint32_t type; /* mode & S_IFMT */
	uint64_t cookie;
	const struct attr *attr;
};
MUST_CHECK int view_readdir(struct view *v, inode_no ino, uint64_t cookie, bool attrs,
			    int (*fn)(void *ctx, const struct view_entry *e), void *ctx);

/*
 * view_read(v, ino, off, len, out, out_len): read up to ${len} (at most 4 MiB) file bytes; fewer at
 * the file's end; holes read as zeros.
 */
MUST_CHECK int view_read(struct view *v, inode_no ino, uint64_t off, size_t len, void *out,
			 size_t *out_len);

/*
 * view_seek(v, ino, off, hole, out): the next data (or, if ${hole}, the next hole; the file's end
 * counts as one) at or after ${off}.  -ENXIO past the end.
 */
MUST_CHECK int view_seek(struct view *v, inode_no ino, uint64_t off, bool hole, uint64_t *out);

/*
 * view_getxattr(): the value (cap 0: only its length), or -ENODATA, -ERANGE.  view_listxattr(): the
 * names, each with its NUL.
 */
MUST_CHECK int view_getxattr(struct view *v, inode_no ino, const char *name, void *out, size_t cap,
			     size_t *out_len);
MUST_CHECK int view_listxattr(struct view *v, inode_no ino, char *out, size_t cap, size_t *out_len);

struct view_usage {
	uint64_t inodes;   /* in use */
	uint64_t bytes;	   /* file bytes that are not holes */
	inode_no next_ino; /* the lowest inode number never used */
};
void view_usage(struct view *v, struct view_usage *out);

/* A head with a name. */
struct snapshot {
	char name[NAME_LEN_MAX + 1];
	head_no head;
	int64_t time_ns;
	bool hold;
};

/*
 * view_snapshot(v, name, out): 0 or -ENOENT.  view_snapshots(v, fn, ctx): give all to fn, by name,
 * until it returns non-zero (returned if negative).
 */
MUST_CHECK int view_snapshot(struct view *v, const char *name, struct snapshot *out);
MUST_CHECK int view_snapshots(struct view *v, int (*fn)(void *ctx, const struct snapshot *s),
			      void *ctx);

#endif /* !VIEW_H_ */
