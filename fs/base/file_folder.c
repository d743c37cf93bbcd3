/*
 * Folders as a whole: list one, remove one with all that is in it.
 *
 * Symbolic links are never followed, and the depth is bounded, so a folder that somebody
 * else can write to cannot lead the removal elsewhere or exhaust the stack.
 */

#include "file.h"

#include "file_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define REMOVE_DEPTH_MAX 64u

/* Call fn(ctx, name) for each entry; takes ${fd}. */
static int list_fd(int fd, int (*fn)(void *ctx, const char *name), void *ctx)
{
	DIR *dir = fdopendir(fd);
	int rc = 0;

	if (!dir) {
		rc = -errno;
		file_close(fd);
		return rc;
	}
	for (;;) {
		struct dirent *entry;

		rc = file_fault("list");
		if (rc < 0)
			break;
		errno = 0;
		entry = readdir(dir);
		if (!entry) {
			rc = -errno;
			break;
		}
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		rc = fn(ctx, entry->d_name);
		if (rc != 0)
			break;
	}
	closedir(dir);
	return rc;
}

int file_list(int dirfd, const char *path, int (*fn)(void *ctx, const char *name), void *ctx)
{
	int fd = file_open(dirfd, path, O_RDONLY | O_DIRECTORY, 0);

	return fd < 0 ? fd : list_fd(fd, fn, ctx);
}

struct removal {
	int dirfd; /* the folder that is being emptied */
	unsigned depth;
};

static int remove_entry(void *ctx, const char *name);

/* Empty the folder ${path}, then remove it. */
static int remove_folder(int dirfd, const char *path, unsigned depth)
{
	struct removal r = {.depth = depth};
	int fd, rc;

	if (depth > REMOVE_DEPTH_MAX)
		return -ELOOP;
	r.dirfd = file_open(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (r.dirfd < 0)
		return r.dirfd;
	fd = file_open(r.dirfd, ".", O_RDONLY | O_DIRECTORY, 0);
	rc = fd < 0 ? fd : list_fd(fd, remove_entry, &r);
	file_close(r.dirfd);
	if (rc < 0)
		return rc;
	CALL(rc, "unlink", unlinkat(dirfd, path, AT_REMOVEDIR));
	return rc;
}

static int remove_entry(void *ctx, const char *name)
{
	struct removal *r = ctx;
	int rc = file_unlink(r->dirfd, name);

	if (rc == -EISDIR || rc == -EPERM)
		rc = remove_folder(r->dirfd, name, r->depth + 1);
	return rc == -ENOENT ? 0 : rc;
}

int file_remove_tree(int dirfd, const char *path)
{
	int rc = remove_folder(dirfd, path, 0);

	return rc == -ENOENT ? 0 : rc;
}
