/*
 * embassy hold, embassy release: hold a snapshot, so that its name can't be removed, or end the
 * hold.
 */

#include "cmd.h"

#include "err.h"
#include "target.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ${order}: "hold" or "release". */
static int set_hold(const char *order, const char *mount, const char *name)
{
	int rc = target_find_mount(mount);

	if (rc < 0)
		return rc;
	rc = target_order(mount, order, name);
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
		return target_not_yours(mount);
	case -EOPNOTSUPP:
		return err_say(rc,
			       "%s: its daemon is of a version that knows no '%s'; see 'embassy "
			       "upgrade'",
			       mount, order);
	default:
		return err_say(rc, "%s: snapshot '%s': %s: %s", mount, name, order, strerror(-rc));
	}
}

static int run(const struct command *cmd, int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int code, rc;

	if (cmd_getopt(cmd, argc, argv, options, &code) != -1)
		return code;
	if (argc - optind != 2)
		return cmd_usage(cmd, "give a mount point and a snapshot's name");
	rc = set_hold(cmd->name, argv[optind], argv[optind + 1]);
	if (rc < 0)
		return cmd_fail(rc, argv[optind]);
	printf("snapshot '%s' is held%s\n", cmd_shown(argv[optind + 1]),
	       cmd == &cmd_hold ? "" : " no more");
	return 0;
}

const struct command cmd_hold = {
	.name = "hold",
	.summary = "hold a snapshot, so that its name can't be taken away",
	.help = "usage: embassy hold MOUNT NAME\n\n"
		"Nobody can take the snapshot's name away until the hold is released (embassy\n"
		"release).  Durable when this returns.  One that is held stays as it is.\n\n"
		"  --help\n\n"
		"example: embassy hold /mnt/registers before-election\n",
	.run = run,
};

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
