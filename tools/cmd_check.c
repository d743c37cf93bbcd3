/*
 * embassy check: verify a volume that is not mounted, and repair it from an embassy.  The work is
 * done by fs/check/check.h and fs/store/repair.h; this file reports it.
 */

#include "cmd.h"

#include "check.h"
#include "cut.h"
#include "err.h"
#include "file.h"
#include "keys.h"
#include "params.h"
#include "remote.h"
#include "repair.h"
#include "source.h"
#include "target.h"
#include "volume.h"
#include "words.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_READ_DATA = 1, OPT_LOG_ONLY, OPT_REPAIR, OPT_FROM, OPT_TO, OPT_TLS, OPT_CUT };

struct checking {
	struct cmd_credential credential;
	uint64_t read_percent;
	bool log_only, repair;
	bool recount; /* --repair without another copy was given */
	bool cut;
	log_pos cut_pos;
	const char *from, *to, *tls_dir;
};

static void report(void *ctx, enum check_level level, const char *text)
{
	(void)ctx;
	cmd_progress_end();
	printf("%s%s\n", level == CHECK_BAD ? "BAD: " : "", cmd_shown(text));
	fflush(stdout);
}

static void progress(void *ctx, const char *what, uint64_t done, uint64_t total)
{
	(void)ctx;
	if (total > 0)
		cmd_progress("checking %s: %.1f %%", what, 100.0 * (double)done / (double)total);
}

static void healed(void *ctx, const char *text)
{
	(void)ctx;
	cmd_progress_end();
	printf("%s\n", cmd_shown(text));
	fflush(stdout);
}

static void repair_progress(void *ctx, uint64_t done, uint64_t total)
{
	progress(ctx, "against the other copy", done, total);
}

/* Find the copy that was named; an address without a volume means the volume of ${p}. */
static int find_other(const char *words, const struct params *p, struct target *out)
{
	char id[VOLUME_ID_TEXT_LEN], *text;
	int rc;

	rc = target_find(words, out);
	if (rc != -ERR_NO_VOLUME || !p)
		return rc;
	volume_id_format(p->id, id);
	if (asprintf(&text, "%s/%s", words, id) < 0)
		return -ENOMEM;
	rc = target_find(text, out);
	free(text);
	return rc;
}

static int open_other(const struct checking *c, const struct params *p, struct source **out)
{
	struct target t;
	int rc;

	rc = find_other(c->from, p, &t);
	if (rc == 0) {
		rc = target_source(&t, c->tls_dir, out);
		target_release(&t);
	}
	return rc;
}

/* Read volume.conf, repaired if need be: then ${out} is the other copy's. */
static int repair_params(const struct checking *c, const char *dir, struct params *out,
			 struct source **out_other)
{
	int rc = params_load(dir, out), store_rc;

	if (rc == 0) {
		rc = open_other(c, out, out_other);
		if (rc == 0 && memcmp((*out_other)->params->id, out->id, VOLUME_ID_LEN) != 0) {
			source_free(*out_other);
			rc = err_say(-EINVAL, "%s: it is another volume than %s", c->from, dir);
		}
		if (rc < 0)
			params_release(out);
		return rc;
	}
	if (rc != -ERR_FORMAT && rc != -ERR_VERSION && rc != -ERR_TAMPERED && rc != -ERR_NO_VOLUME)
		return rc;
	rc = open_other(c, NULL, out_other);
	if (rc < 0)
		return err_say(rc,
			       "%s; volume.conf here is of no use, so give the other copy as "
			       "HOST:PORT/VOLUME-ID",
			       err_detail(rc));
	store_rc = params_store((*out_other)->params, dir);
	rc = store_rc == 0 ? params_load(dir, out) : store_rc;
	if (rc < 0)
		source_free(*out_other);
	else
		healed(NULL, "volume.conf: healed");
	return rc;
}

static int repair(const struct checking *c, const char *dir)
{
	struct repair_config cfg = {.dir = dir, .report = healed, .progress = repair_progress};
	struct repair_counts n = {0};
	char bytes[WORDS_LEN];
	struct params params;
	int lock, rc;

	rc = volume_lock(dir, &lock);
	if (rc < 0)
		return rc;
	rc = repair_params(c, dir, &params, &cfg.source);
	if (rc < 0)
		goto unlock;
	cfg.params = &params;
	rc = repair_log(&cfg, &n);
	source_free(cfg.source);
	params_release(&params);
	cmd_progress_end();
	if (rc < 0)
		goto unlock;
	printf("compared with %" PRIu64 " heads of %s: %" PRIu64 " blocks healed, %s\n", n.heads,
	       c->from, n.blocks, words_bytes((double)n.bytes, bytes));
	if (n.failed != 0)
		printf("not all could be healed; what remains is told below\n");
unlock:
	file_close(lock);
	return rc;
}

/* Cut off what lies after the position that the user named. */
static int cut(const struct checking *c, const char *dir)
{
	struct log_cut_config cfg = {.dir = dir, .pos = c->cut_pos, .report = healed};
	struct volume_keys keys = {0};
	struct params params;
	int lock, rc;

	rc = params_load(dir, &params);
	if (rc < 0)
		return rc;
	cfg.params = &params;
	rc = cmd_unlock(&c->credential, &params, &keys);
	if (rc < 0)
		goto release_params;
	cfg.log_key = keys.log_key;
	rc = volume_lock(dir, &lock);
	if (rc < 0)
		goto release_keys;
	rc = log_cut(&cfg);
	file_close(lock);

release_keys:
	keys_release(&keys);
release_params:
	params_release(&params);
	return rc;
}

static int heal_block(void *ctx, log_pos pos, leaf_no leaf, const void *bytes, size_t len)
{
	uint32_t blocks;

	return remote_repair(ctx, pos, leaf, bytes, len, &blocks);
}

static int repair_there(const struct checking *c, const char *dir, const struct params *params)
{
	struct repair_config cfg = {.dir = dir, .params = params, .report = healed};
	struct remote_config remote = {.tls_dir = c->tls_dir};
	struct repair_counts n = {0};
	char bytes[WORDS_LEN];
	struct target t;
	int rc;

	rc = find_other(c->to, params, &t);
	if (rc < 0)
		return rc;
	if (t.kind != TARGET_REMOTE || memcmp(t.volume, params->id, VOLUME_ID_LEN) != 0) {
		target_release(&t);
		return err_say(-EINVAL, "%s: give an embassy of this volume, HOST:PORT", c->to);
	}
	remote.address = t.address;
	remote.volume = t.volume;
	rc = target_source(&t, c->tls_dir, &cfg.source);
	if (rc == 0) {
		rc = repair_other(&cfg, heal_block, &remote, &n);
		source_free(cfg.source);
	}
	target_release(&t);
	if (rc < 0)
		return rc;
	printf("compared %s up to head %" PRIu64 ": %" PRIu64 " blocks healed there, %s\n", c->to,
	       n.heads, n.blocks, words_bytes((double)n.bytes, bytes));
	if (n.failed != 0)
		return err_say(-ERR_DAMAGED, "%s: %" PRIu64 " blocks could not be healed", c->to,
			       n.failed);
	return 0;
}

/* Send to the embassy what this sound copy has and the embassy lacks. */
static int repair_copy_there(const struct checking *c, const char *dir)
{
	struct params params;
	int rc = params_load(dir, &params);

	if (rc < 0)
		return rc;
	rc = repair_there(c, dir, &params);
	params_release(&params);
	return rc;
}

static void summary(const struct check_counts *n, bool unlocked)
{
	char bytes[WORDS_LEN];

	printf("log: %s in %" PRIu64 " segments, %" PRIu64 " blocks, %" PRIu64 " heads\n",
	       words_bytes((double)n->bytes, bytes), n->segments, n->blocks, n->heads);
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

/* Check; and where counts were repaired, check again to find what is left. */
static int check_and_recount(struct check_config *cfg, struct check_counts *n)
{
	int rc = volume_check(cfg, n);

	if (rc == 0 || n->recounted == 0)
		return rc;
	cmd_progress_end();
	printf("%" PRIu64 " counts were set right; checking again\n", n->recounted);
	cfg->recount = false;
	return volume_check(cfg, n);
}

static const char *advice(const struct checking *c)
{
	if (c->recount)
		return "these are not counts, which --repair alone sets right: heal it with --repair "
		       "--from HOST:PORT, or keep this copy as it is and mount an embassy's";
	return c->repair ? "keep this copy as it is, and mount an embassy's"
			 : "heal it with --repair --from HOST:PORT (where only counts are wrong, "
			   "--repair alone sets them right), or keep this copy as it is and mount "
			   "an embassy's";
}

static int check(const struct checking *c, const char *dir)
{
	struct check_config cfg = {
		.dir = dir,
		.read_percent = (unsigned)c->read_percent,
		.recount = c->recount,
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
	rc = check_and_recount(&cfg, &counts);
	keys_release(&keys);
	cmd_progress_end();
	if (rc < 0 && counts.problems == 0)
		return rc;
	summary(&counts, !c->log_only);
	if (counts.problems != 0)
		return err_say(rc, "%s: %" PRIu64 " problems; %s", dir, counts.problems, advice(c));
	printf("%s is sound\n", cmd_shown(dir));
	return 0;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	static const struct option options[] = {
		CMD_CREDENTIAL_OPTIONS,
		{"read-data", optional_argument, NULL, OPT_READ_DATA},
		{"log-only", no_argument, NULL, OPT_LOG_ONLY},
		{"repair", no_argument, NULL, OPT_REPAIR},
		{"from", required_argument, NULL, OPT_FROM},
		{"to", required_argument, NULL, OPT_TO},
		{"cut", required_argument, NULL, OPT_CUT},
		{"tls", required_argument, NULL, OPT_TLS},
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
			if (optarg && !cmd_number(optarg, 100, &c.read_percent))
				return cmd_usage(cmd, "--read-data: '%s' is no percentage", optarg);
			break;
		case OPT_LOG_ONLY:
			c.log_only = true;
			break;
		case OPT_REPAIR:
			c.repair = true;
			break;
		case OPT_FROM:
			c.from = optarg;
			break;
		case OPT_TO:
			c.to = optarg;
			break;
		case OPT_CUT:
			c.cut = true;
			if (!cmd_number(optarg, UINT64_MAX, &c.cut_pos))
				return cmd_usage(cmd, "--cut: '%s' is no position", optarg);
			break;
		case OPT_TLS:
			c.tls_dir = optarg;
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
	if (!c.repair && (c.from || c.to))
		return cmd_usage(cmd, "--from and --to belong to --repair");
	if (c.cut && (!c.repair || c.from || c.to || c.log_only))
		return cmd_usage(cmd, "--cut belongs to --repair alone, and needs the key");
	c.recount = c.repair && !c.cut && !c.from && !c.to;
	if (c.recount && c.log_only)
		return cmd_usage(cmd, "--repair without --from or --to needs the key, which "
				      "--log-only does without");
	rc = target_check_folder(argv[optind],
				 "give a folder: at the server it is VOLUME-ID in the folder of --store");
	if (rc == 0 && c.from)
		rc = repair(&c, argv[optind]);
	if (rc == 0 && c.cut)
		rc = cut(&c, argv[optind]);
	if (rc == 0)
		rc = check(&c, argv[optind]);
	if (rc == 0 && c.to)
		rc = repair_copy_there(&c, argv[optind]);
	return rc < 0 ? cmd_fail(rc, argv[optind]) : 0;
}

const struct command cmd_check = {
	.name = "check",
	.summary = "verify a volume that is not mounted",
	.help = "usage: embassy check VOLUME [OPTION]...\n\n"
		"Verifies every frame, hash, signed head and the Merkle root of the log; with the\n"
		"key also the seals and the whole namespace.  Changes nothing, but rebuilds a\n"
		"missing or wrong catalog if it may write there.  Exit code 0 only if all is "
		"sound; 20 damaged,\n"
		"21 tampered with, 11 in use.\n\n"
		"  --read-data[=PERCENT]  open every data block too, or a random PERCENT of them\n"
		"  --log-only             do without the key: the log only\n"
		"  --repair               set right what files, folders and the volume wrongly "
		"state "
		"of\n"
		"                         their bytes, entries and links; says what is then left\n"
		"  --repair --from FROM   before that, replace what is damaged or missing by what "
		"FROM\n"
		"                         has, HOST:PORT[/VOLUME-ID] or a folder; only bytes that "
		"a\n"
		"                         signed head vouches for are written\n"
		"  --repair --to TO       after that, if all is sound, heal the copy of the "
		"embassy TO\n"
		"                         by this one; it takes only bytes that it had verified "
		"before\n"
		"  --repair --cut POSITION\n"
		"                         give up, for good, all that lies behind the last whole "
		"block of\n"
		"                         a damaged log, where no copy can heal it; any other "
		"position\n"
		"                         changes nothing, and tells which it is and what would be "
		"lost\n"
		"  --tls DIR              ca.pem, cert.pem and key.pem for FROM and TO\n"
		"  --passphrase-file FILE, --key-file FILE\n"
		"                         unlock the volume\n"
		"  --help\n\n"
		"example: embassy check /srv/registers --read-data=5\n",
	.run = run,
};
