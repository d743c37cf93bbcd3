/*
 * May a folder be mounted on?
 */

#include "mountpoint.h"

#include "err.h"
#include "mounted.h"
#include "options.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static bool same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Is ${folder} the folder ${top}, or inside it? */
static bool lies_in(const char *folder, const struct stat *top)
{
	struct stat st, above;
	int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC), up;
	bool found = false;

	if (fd < 0)
		return false;
	while (fstat(fd, &st) == 0 && !(found = same(&st, top))) {
		up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (up < 0)
			break;
		close(fd);
		fd = up;
		if (fstat(fd, &above) < 0 || same(&st, &above))
			break; /* at the root */
	}
	close(fd);
	return found;
}

static int check_hidden(const struct options *o, const struct stat *st)
{
	if (lies_in(o->target, st))
		return err_say(-EBUSY,
			       "%s: the volume's own folder, %s, lies there and would be hidden "
			       "by the mount; mount on another folder",
			       o->mount_point, o->target);
	if (o->tls_dir && lies_in(o->tls_dir, st))
		return err_say(-EBUSY,
			       "%s: the certificates of option tls, %s, lie there and would be "
			       "hidden by the mount; mount on another folder",
			       o->mount_point, o->tls_dir);
	return 0;
}

static int check_empty(const char *path)
{
	const struct dirent *e;
	DIR *d = opendir(path);
	bool empty = true;

	/* A user who may not read the folder may still mount on it. */
	if (!d)
		return 0;
	while (empty && (e = readdir(d)))
		empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
	closedir(d);
	return empty ? 0
		     : err_say(-ENOTEMPTY,
			       "%s: not empty, and what is in it would be hidden by the mount; "
			       "mount on an empty folder, or with -o nonempty",
			       path);
}

int mountpoint_check(const struct options *o)
{
	const char *path = o->mount_point;
	struct statfs fs;
	struct stat st;
	int rc;

	/*
	 * The kernel may still have attributes of a dead mount cached, so ask for the filesystem
	 * too.
	 */
	if (stat(path, &st) < 0 || statfs(path, &fs) < 0) {
		if (errno == ENOTCONN)
			return err_say(-ENOTCONN,
				       "%s: a mount whose daemon has gone is in the way; "
				       "run fusermount3 -u on it",
				       path);
		return err_say(-errno, "%s: %s; make the folder first", path, strerror(errno));
	}
	if (mounted_is_ours(path))
		return err_say(-EBUSY,
			       "%s: a volume is mounted there already; unmount it first, or "
			       "mount on another folder",
			       path);
	if (!S_ISDIR(st.st_mode))
		return err_say(-ENOTDIR, "%s: not a folder; give a folder to mount on", path);
	rc = check_hidden(o, &st);
	return rc < 0 || o->nonempty ? rc : check_empty(path);
}
