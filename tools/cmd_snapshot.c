/*
 * embassy snapshot: give the present state a name.
 *
 * A snapshot is taken by creating a folder in MOUNT/.embassy/snapshots.  Before that, syncfs()
 * writes the kernel's dirty pages, so the snapshot contains everything written before the call.
 */

#include "cmd.h"

#include "err.h"
#include "file.h"
#include "target.h"
#include "utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPT_HOLD = 1 };

/* The kernel returns only a number; say what it means here. */
static int explain(int rc, const char *mount, const char *name)
{
	switch (rc) {
	case -EEXIST:
		return err_say(rc, "%s: there is a snapshot '%s' already; choose another name",
			       mount, name);
	case -EROFS:
	case -ENOENT: /* a view has no snapshots folder */
		return err_say(
			rc, "%s: it is a view of the past; snapshots are taken in the live mount",
			mount);
	case -EACCES:
	case -EPERM:
		return target_not_yours(mount);
	default:
		return err_say(rc, "%s: the snapshot '%s' can't be taken: %s", mount, name,
			       strerror(-rc));
	}
}

static int take(const char *mount, const char *name, bool hold)
{
	int fd, rc;

	rc = target_find_mount(mount);
	if (rc < 0)
		return rc;
	fd = file_open(AT_FDCWD, mount, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return explain(fd, mount, name);
	rc = syncfs(fd) < 0 ? -errno : 0;
	if (rc == 0) {
		char *path;

		if (asprintf(&path, ".embassy/snapshots/%s", name) < 0) {
			rc = -ENOMEM;
		} else {
			rc = mkdirat(fd, path, hold ? S_ISVTX | 0755 : 0755) < 0 ? -errno : 0;
			free(path);
		}
	}
	file_close(fd);
	return rc < 0 ? explain(rc, mount, name) : 0;
}

static bool name_is_good(const char *name)
{
	size_t len = strlen(name), n;
	uint32_t c;

	for (const char *p = name; *p; p += n) {
		n = utf8_char(p, &c);
		if (n == 0 || utf8_is_control(c))
			return false;
	}
	return len > 0 && len <= 255 && !strchr(name, '/') && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	static const struct option options[] = {
		{"hold", no_argument, NULL, OPT_HOLD},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	bool hold = false;
	int opt, code, rc;

	while ((opt = cmd_getopt(cmd, argc, argv, options, &code)) != -1) {
		if (opt == '?')
			return code;
		hold = true;
	}
	if (argc - optind != 2)
		return cmd_usage(cmd, "give a mount point and a name");
	if (!name_is_good(argv[optind + 1]))
		return cmd_usage(
			cmd,
			"'%.80s' is no name for a snapshot, which is UTF-8 of 1 to 255 bytes "
			"without '/' and control characters, and not . or ..",
			argv[optind + 1]);
	rc = take(argv[optind], argv[optind + 1], hold);
	if (rc < 0)
		return cmd_fail(rc, argv[optind]);
	printf("snapshot '%s' is durable; see %s/.embassy/snapshots/%s\n",
	       cmd_shown(argv[optind + 1]), cmd_shown(argv[optind]), cmd_shown(argv[optind + 1]));
	return 0;
}

const struct command cmd_snapshot = {
	.name = "snapshot",
	.summary = "name the state of now",
	.help = "usage: embassy snapshot MOUNT NAME [--hold]\n\n"
		"Take a consistent snapshot of all that is written; it is durable when this\n"
		"returns.  NAME is UTF-8 of 1 to 255 bytes without '/' and control characters,\n"
		"and not . or ..; 'rmdir MOUNT/.embassy/snapshots/NAME' takes it away.\n\n"
		"  --hold  the name can't be taken away until the hold is released\n"
		"          (embassy release)\n"
		"  --help\n\n"
		"example: embassy snapshot /mnt/registers before-election\n",
	.run = run,
};
