#ifndef FILE_H_
#define FILE_H_

/*
 * Files: the only callers of the OS for them, so that one place can record or fail
 * each call.  All return 0 (or what they say) or -errno; EINTR and short transfers
 * are handled inside.  Paths are relative to a folder's descriptor (or AT_FDCWD).
 */

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* file_open(dirfd, path, flags, mode): a descriptor (O_CLOEXEC added) or -errno. */
MUST_CHECK int file_open(int dirfd, const char *path, int flags, mode_t mode);

/*
 * file_close(fd): an error could not be acted on, so none is returned; the caller has synced
 * before.
 */
void file_close(int fd);

/*
 * file_read_at(fd, buf, len, off): bytes read, less than ${len} only at the file's end; or
 * -errno.
 */
MUST_CHECK ssize_t file_read_at(int fd, void *buf, size_t len, uint64_t off);

/*
 * file_read(fd, buf, len): the same from the current position of ${fd}, for pipes and devices,
 * which have no offsets.
 */
MUST_CHECK ssize_t file_read(int fd, void *buf, size_t len);

/* file_write_at(fd, buf, len, off): all of it or -errno. */
MUST_CHECK int file_write_at(int fd, const void *buf, size_t len, uint64_t off);

/*
 * file_sync_data(fd): fdatasync.  Returns -ENOENT if the file was removed while it is open: nothing
 * of it will be there once it is closed.
 */
MUST_CHECK int file_sync_data(int fd);
MUST_CHECK int file_sync(int fd);		  /* fsync; for folders too */
MUST_CHECK int file_truncate(int fd, uint64_t size);
/*
 * file_allocate(): fallocate() that extends the size.  Returns -EOPNOTSUPP if the filesystem can't.
 */
MUST_CHECK int file_allocate(int fd, uint64_t off, uint64_t len);
MUST_CHECK int file_size(int fd, uint64_t *out_size);
MUST_CHECK int file_exists(int dirfd, const char *path); /* 1, 0 or -errno; folders too */
MUST_CHECK int file_rename(int dirfd, const char *from, const char *to);
MUST_CHECK int file_unlink(int dirfd, const char *path); /* -ENOENT if it was not there */
MUST_CHECK int file_mkdir(int dirfd, const char *path, mode_t mode); /* -EEXIST if it was there */

/* file_sync_dir(dirfd, path): fsync the folder ${path}, so that names in it are durable. */
MUST_CHECK int file_sync_dir(int dirfd, const char *path);

/* file_sync_parent(dirfd, path): the same for the folder that ${path} lies in. */
MUST_CHECK int file_sync_parent(int dirfd, const char *path);

/*
 * file_replace(dirfd, path, data, len, mode): replace the whole contents of a file, atomically and
 * durably: write a temporary file beside it, fsync, rename, fsync the folder.
 */
MUST_CHECK int file_replace(int dirfd, const char *path, const void *data, size_t len, mode_t mode);

/*
 * file_read_all(dirfd, path, max, out, out_len): a whole file into malloc memory with a NUL after
 * it.
 * Returns 0, -EFBIG if larger than ${max}, or -errno.  The caller frees ${*out}.
 */
MUST_CHECK int file_read_all(int dirfd, const char *path, size_t max, void **out, size_t *out_len);

/*
 * file_lock(fd): take an exclusive OFD/flock lock without waiting.
 * Returns 0, or -EAGAIN if another holds it.  Released when ${fd} is closed.
 */
MUST_CHECK int file_lock(int fd);

/* file_remove_tree(dirfd, path): delete a folder and all in it; 0 if it was not there. */
MUST_CHECK int file_remove_tree(int dirfd, const char *path);

/*
 * file_list(dirfd, path, fn, ctx): call fn(ctx, name) for each entry but . and ..; stops at its
 * first non-zero, returned.
 */
MUST_CHECK int file_list(int dirfd, const char *path, int (*fn)(void *ctx, const char *name),
			 void *ctx);

/*
 * file_punch(fd, off, len): free the space of the range, which then reads as zeros; the size stays.
 * Returns -EOPNOTSUPP if the filesystem can't.
 */
MUST_CHECK int file_punch(int fd, uint64_t off, uint64_t len);

/* file_advise(fd, off, len, advice): posix_fadvise(), a hint that may do nothing. */
void file_advise(int fd, uint64_t off, uint64_t len, int advice);

/*
 * file_free_space(fd, out): bytes that an ordinary user may still write to the filesystem of
 * ${fd}.
 */
MUST_CHECK int file_free_space(int fd, uint64_t *out_bytes);

/*
 * file_set_fault(fn, ctx): for tests.  Before each system call above, fn(ctx, op) is called.  ${op}
 * is "open", "read", "write", "sync_data", "sync", "truncate", "allocate", "punch", "stat",
 * "rename", "unlink", "mkdir", "lock" or "list".  If fn returns a negative errno, the call is not
 * made and fails with that.  Each part of a short transfer counts as a call.  NULL ends the faults.
 * Call it while no other thread is in a file call.
 */
void file_set_fault(int (*fn)(void *ctx, const char *op), void *ctx);

#endif /* !FILE_H_ */
