/*
 * embassy upgrade: a mount continues in the program that is installed now.
 *
 * The request is an fsync of MOUNT/.embassy/control/upgrade.  The daemon that reads it ends without
 * an answer; the kernel sends the request again to the successor, which answers.  A kernel before
 * 6.9 does not, and the request fails with EIO: the status then shows whether the upgrade
 * succeeded.
 */

#include "cmd.h"

#include "err.h"
#include "file.h"
#include "jsontext.h"
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct state {
	char version[32], failure[256];
	uint64_t upgrades;
};

static int read_state(const char *mount, struct state *out)
{
	json_t *s;
	int rc = target_read_status(mount, &s);

	if (rc < 0)
		return rc;
	snprintf(out->version, sizeof(out->version), "%s", jsontext_get(s, "version"));
	snprintf(out->failure, sizeof(out->failure), "%s", jsontext_get(s, "upgrade_failure"));
	out->upgrades = jsontext_get_u64(s, "upgrades");
	json_decref(s);
	return 0;
}

/* The kernel returns only a number; say what it means here. */
static int explain(int rc, const char *mount, const struct state *now)
{
	switch (rc) {
	case -EACCES:
	case -EPERM:
		return target_not_yours(mount);
	case -ENOTSUP:
	case -ENOENT:
		return err_say(rc,
			       "%s: it has no supervisor (-o nosupervise, or an old version); "
			       "unmount and mount instead",
			       mount);
	case -EBUSY:
		return err_say(rc, "%s: an upgrade is under way", mount);
	case -ECANCELED:
		return err_say(rc, "%s: %s; version %s goes on", mount,
			       now->failure[0] ? now->failure : "there was no upgrade",
			       now->version);
	default:
		return err_say(rc, "%s: can't be upgraded: %s", mount, strerror(-rc));
	}
}

static int upgrade(const char *mount, struct state *before, struct state *now)
{
	char path[4096];
	int fd, rc;

	rc = target_find_mount(mount);
	if (rc == 0)
		rc = read_state(mount, before);
	if (rc < 0)
		return rc;
	snprintf(path, sizeof(path), "%s/.embassy/control/upgrade", mount);
	fd = file_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return explain(fd, mount, before);
	rc = fsync(fd) < 0 ? -errno : 0;
	file_close(fd);
	if (rc < 0 && rc != -EIO && rc != -ECANCELED)
		return explain(rc, mount, before);
	if (read_state(mount, now) < 0)
		return explain(rc < 0 ? rc : -EIO, mount, before);
	if (now->upgrades > before->upgrades)
		return 0;
	return explain(-ECANCELED, mount, now);
}

static int run(const struct command *cmd, int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct state before, now;
	int code, rc;

	if (cmd_getopt(cmd, argc, argv, options, &code) != -1)
		return code;
	if (argc - optind != 1)
		return cmd_usage(cmd, "give a mount point");
	rc = upgrade(argv[optind], &before, &now);
	if (rc < 0)
		return cmd_fail(rc, argv[optind]);
	printf("%s: version %s goes on where %s was\n", argv[optind], now.version, before.version);
	return 0;
}

const struct command cmd_upgrade = {
	.name = "upgrade",
	.summary = "have a mount go on in the program installed now",
	.help = "usage: embassy upgrade MOUNT\n\n"
		"Execute the file of embassyfs anew for a live mount or a view, without\n"
		"unmounting: open files, locks and what is not yet durable go on; applications\n"
		"see a pause.  If the new program does not come to serve, the old one goes on.\n\n"
		"  --help\n\n"
		"example: embassy upgrade /mnt/registers\n",
	.run = run,
};
