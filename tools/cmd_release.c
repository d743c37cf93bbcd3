/*
 * embassy release: take the hold off a snapshot, so that its name can be taken away.
 */

#include "cmd.h"

#include "err.h"
#include "target.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int release(const char *mount, const char *name)
{
	int rc = target_find_mount(mount);

	if (rc < 0)
		return rc;
	rc = target_order(mount, "release", name);
	switch (rc) {
	case 0:
		return 0;
	case -ENOENT:
	case -EINVAL:
		return err_say(-ENOENT, "%s: there is no snapshot '%s'; see 'embassy snapshots %s'",
			       mount, name, mount);
	case -EROFS:
		return err_say(rc, "%s: it is a view of the past; give the live mount", mount);
	case -EACCES:
	case -EPERM:
		return err_say(-ERR_FORBIDDEN,
			       "%s: only root and who mounted it may release a snapshot", mount);
	default:
		return err_say(rc, "%s: the snapshot '%s' can't be released: %s", mount, name,
			       strerror(-rc));
	}
}

static int run(const struct command *cmd, int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int opt, code, rc;

	while ((opt = cmd_getopt(cmd, argc, argv, options, &code)) != -1)
		return code;
	if (argc - optind != 2)
		return cmd_usage(cmd, "give a mount point and a snapshot's name");
	rc = release(argv[optind], argv[optind + 1]);
	if (rc < 0)
		return cmd_fail(rc, argv[optind]);
	printf("snapshot '%s' is held no more\n", argv[optind + 1]);
	return 0;
}

const struct command cmd_release = {
	.name = "release",
	.summary = "take the hold off a snapshot",
	.help = "usage: embassy release MOUNT NAME\n\n"
		"The snapshot stays; its name can be taken away again, with\n"
		"'rmdir MOUNT/.embassy/snapshots/NAME'.  One that is not held stays as it is.\n\n"
		"  --help\n\n"
		"example: embassy release /mnt/registers before-election\n",
	.run = run,
};
