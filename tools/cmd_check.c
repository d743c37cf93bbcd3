/*
 * embassy check: verify a volume that is not mounted.  The work is fs/volume/check.h's; here it is
 * told.
 */

#include "cmd.h"

#include "check.h"
#include "err.h"
#include "keys.h"
#include "params.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { OPT_READ_DATA = 1, OPT_LOG_ONLY };

struct checking {
	struct cmd_credential credential;
	uint64_t read_percent;
	bool log_only;
};

static void report(void *ctx, enum check_level level, const char *text)
{
	(void)ctx;
	cmd_progress_end();
	printf("%s%s\n", level == CHECK_BAD ? "BAD: " : "", text);
	fflush(stdout);
}

static void progress(void *ctx, const char *what, uint64_t done, uint64_t total)
{
	(void)ctx;
	if (total > 0)
		cmd_progress("checking %s: %.1f %%", what, 100.0 * (double)done / (double)total);
}

static void summary(const struct check_counts *n, bool unlocked)
{
	char bytes[CMD_WORDS_LEN];

	printf("log: %s in %" PRIu64 " segments, %" PRIu64 " blocks, %" PRIu64 " heads\n",
	       cmd_bytes((double)n->bytes, bytes), n->segments, n->blocks, n->heads);
	if (unlocked)
		printf("seals: %" PRIu64 " opened; data blocks: %" PRIu64 " of %" PRIu64 "\n",
		       n->opened, n->data_opened, n->data_total);
	if (n->names_checked)
		printf("names: %" PRIu64 " inodes, %" PRIu64 " entries, %" PRIu64
		       " extents, %" PRIu64 " snapshots\n",
		       n->inodes, n->entries, n->extents, n->snapshots);
	else if (unlocked)
		printf("names: not checked\n");
}

static int check(const struct checking *c, const char *dir)
{
	struct check_config cfg = {
		.dir = dir,
		.read_percent = (unsigned)c->read_percent,
		.report = report,
		.progress = progress,
	};
	struct volume_keys keys = {0};
	struct params params = {0};
	struct check_counts counts;
	int rc;

	rc = params_load(dir, &params);
	if (rc < 0)
		return rc;
	if (!c->log_only) {
		rc = cmd_unlock(&c->credential, &params, &keys);
		cfg.keys = &keys;
	}
	params_release(&params);
	if (rc < 0)
		return rc;
	rc = volume_check(&cfg, &counts);
	keys_release(&keys);
	cmd_progress_end();
	if (rc < 0 && counts.problems == 0)
		return rc;
	summary(&counts, !c->log_only);
	if (counts.problems != 0)
		return err_say(rc,
			       "%s: %" PRIu64
			       " problems; keep this copy as it is, and mount or copy "
			       "from an embassy",
			       dir, counts.problems);
	printf("%s is sound\n", dir);
	return 0;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	static const struct option options[] = {
		CMD_CREDENTIAL_OPTIONS,
		{"read-data", optional_argument, NULL, OPT_READ_DATA},
		{"log-only", no_argument, NULL, OPT_LOG_ONLY},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct checking c = {0};
	int opt, code, rc;

	while ((opt = cmd_getopt(cmd, argc, argv, options, &code)) != -1) {
		switch (opt) {
		case '?':
			return code;
		case OPT_READ_DATA:
			c.read_percent = 100;
			if (optarg != NULL && !cmd_number(optarg, 100, &c.read_percent))
				return cmd_usage(cmd, "--read-data: '%s' is no percentage", optarg);
			break;
		case OPT_LOG_ONLY:
			c.log_only = true;
			break;
		case OPT_PASSPHRASE_FILE:
			c.credential.passphrase_file = optarg;
			break;
		default:
			c.credential.key_file = optarg;
			break;
		}
	}
	if (argc - optind != 1)
		return cmd_usage(cmd, "give one volume's folder");
	if (c.log_only && c.read_percent != 0)
		return cmd_usage(cmd, "--read-data needs the key, which --log-only does without");
	rc = check(&c, argv[optind]);
	return rc < 0 ? cmd_fail(rc, argv[optind]) : 0;
}

const struct command cmd_check = {
	.name = "check",
	.summary = "verify a volume that is not mounted",
	.help = "usage: embassy check VOLUME [OPTION]...\n\n"
		"Verifies every frame, hash, signed head and the Merkle root of the log; with the\n"
		"key also the seals and the whole namespace.  Changes nothing, but rebuilds a\n"
		"missing or wrong catalog.  Exit code 0 only if all is sound; 20 damaged,\n"
		"21 tampered with, 11 in use.\n\n"
		"  --read-data[=PERCENT]  open every data block too, or a random PERCENT of them\n"
		"  --log-only             do without the key: the log only\n"
		"  --passphrase-file FILE, --key-file FILE\n"
		"                         unlock the volume\n"
		"  --help\n\n"
		"example: embassy check /srv/registers --read-data=5\n",
	.run = run,
};
