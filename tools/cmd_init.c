/*
 * embassy init: make a volume.
 *
 * The folder is created, then volume.conf, then the log's first segment.  If a step fails, those
 * before it are undone, so that a folder holds a complete volume or none.
 */

#include "cmd.h"

#include "clock.h"
#include "credential.h"
#include "err.h"
#include "file.h"
#include "frame.h"
#include "keys.h"
#include "params.h"
#include "target.h"
#include "volume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define COMPRESS_MAX 19
#define COMPRESS_DEFAULT 1

enum { OPT_CIPHER = 1, OPT_COMPRESS, OPT_LABEL, OPT_WEAK };

struct init {
	const char *dir;
	int dir_fd; /* holds the lock of the folder, which keeps another init out; -1: not taken */
	struct cmd_credential from;
	struct volume_options options;
	bool made_dir;
	bool weak; /* a short passphrase is accepted */
};

static int is_not_empty(void *ctx, const char *name)
{
	(void)ctx;
	(void)name;
	return -ENOTEMPTY;
}

/* Make the folder's name durable, even if it existed: its creator may have died before a sync. */
static int sync_name(const struct init *in)
{
	int rc = file_sync_parent(AT_FDCWD, in->dir);

	/* If this user may not read the parent folder, another user's existing folder was used. */
	return rc == -EACCES && !in->made_dir ? 0 : rc;
}

/*
 * Keep out another init, which would find the folder empty as well, and would put its volume.conf
 * beside this one's log.  A filesystem that can't lock folders is used without.
 */
static int lock_dir(struct init *in)
{
	int rc;

	in->dir_fd = file_open(AT_FDCWD, in->dir, O_RDONLY | O_DIRECTORY, 0);
	if (in->dir_fd < 0)
		return in->dir_fd;
	rc = file_lock(in->dir_fd);
	return rc == -EAGAIN ? err_say(-ERR_LOCKED,
				       "%s: another 'embassy init' makes a volume there; give a "
				       "new folder",
				       in->dir)
			     : 0;
}

static int make_dir(struct init *in)
{
	int rc = file_mkdir(AT_FDCWD, in->dir, 0700);

	in->made_dir = rc == 0;
	if (rc == 0 || rc == -EEXIST)
		rc = lock_dir(in);
	if (rc == -ERR_LOCKED)
		return rc;
	if (rc == 0)
		rc = file_list(AT_FDCWD, in->dir, is_not_empty, NULL);
	if (rc == 0)
		rc = sync_name(in);
	if (rc == -ENOTEMPTY)
		return err_say(rc, "%s: the folder is not empty; give a new one", in->dir);
	if (rc == -ENOENT)
		return err_say(rc, "%s: the folder it is to lie in does not exist", in->dir);
	return rc < 0 ? err_say(rc, "%s: %s", in->dir, strerror(-rc)) : 0;
}

/* The folder was empty before, so everything in it now is ours. */
static void undo(const struct init *in)
{
	int dir = file_open(AT_FDCWD, in->dir, O_RDONLY | O_DIRECTORY, 0);
	static const char *const made[] = {"log",  "catalog",	    "volume.conf",
					   "lock", "newest-serial", "newest-head"};

	if (dir < 0)
		return;
	for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
		if (file_remove_tree(dir, made[i]) < 0 && file_unlink(dir, made[i]) < 0)
			continue;
	}
	file_close(dir);
	if (in->made_dir)
		rmdir(in->dir);
}

static int make_volume(struct init *in, const struct credential *credential, char *id_text)
{
	struct volume_keys keys = {0};
	struct params params = {0};
	int rc;

	in->options.created_ns = clock_wall_ns();
	rc = keys_create(&in->options, credential, &params, &keys);
	if (rc < 0)
		return rc;
	volume_id_format(params.id, id_text);
	rc = make_dir(in);
	if (rc < 0)
		goto release;
	rc = params_store(&params, in->dir);
	if (rc == 0)
		rc = volume_make(in->dir, &params, &keys, getuid(), getgid());
	if (rc < 0)
		undo(in);
release:
	if (in->dir_fd >= 0)
		file_close(in->dir_fd);
	keys_release(&keys);
	params_release(&params);
	return rc;
}

/* Refuse what is certain to fail, before a passphrase is asked for. */
static int check_dir(const struct init *in)
{
	int rc = target_check_folder(in->dir, "give a new folder on this machine");

	if (rc < 0)
		return rc;
	rc = file_list(AT_FDCWD, in->dir, is_not_empty, NULL);
	if (rc == -ENOTEMPTY)
		return err_say(rc, "%s: the folder is not empty; give a new one", in->dir);
	return rc == -ENOENT || rc == 0 ? 0 : err_say(rc, "%s: %s", in->dir, strerror(-rc));
}

static int take_option(const struct command *cmd, struct init *in, int opt)
{
	uint64_t level;

	switch (opt) {
	case OPT_PASSPHRASE_FILE:
		in->from.passphrase_file = optarg;
		return 0;
	case OPT_KEY_FILE:
		in->from.key_file = optarg;
		return 0;
	case OPT_CIPHER:
		if (strcmp(optarg, "aes-256-gcm") == 0)
			in->options.cipher = CIPHER_AES256GCM;
		else if (strcmp(optarg, "chacha20-poly1305") == 0)
			in->options.cipher = CIPHER_CHACHA20POLY1305;
		else
			return cmd_usage(cmd,
					 "--cipher: '%s' is neither aes-256-gcm nor "
					 "chacha20-poly1305",
					 optarg);
		return 0;
	case OPT_COMPRESS:
		if (!cmd_number(optarg, COMPRESS_MAX, &level))
			return cmd_usage(cmd, "--compress: '%s' is no level from 0 to 19", optarg);
		in->options.compress = (int32_t)level;
		return 0;
	case OPT_WEAK:
		in->weak = true;
		return 0;
	default:
		in->options.slot.label = optarg;
		return 0;
	}
}

static int run(const struct command *cmd, int argc, char **argv)
{
	static const struct option options[] = {
		CMD_CREDENTIAL_OPTIONS,
		{"cipher", required_argument, NULL, OPT_CIPHER},
		{"compress", required_argument, NULL, OPT_COMPRESS},
		{"label", required_argument, NULL, OPT_LABEL},
		{"weak", no_argument, NULL, OPT_WEAK},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct init in = {
		.dir_fd = -1,
		.options = {.cipher = CIPHER_AES256GCM, .compress = COMPRESS_DEFAULT},
	};
	struct credential credential = {0};
	char id[VOLUME_ID_TEXT_LEN];
	int opt, code, rc;

	while ((opt = cmd_getopt(cmd, argc, argv, options, &code)) != -1) {
		if (opt == '?')
			return code;
		code = take_option(cmd, &in, opt);
		if (code != 0)
			return code;
	}
	if (argc - optind != 1)
		return cmd_usage(cmd, "give one folder");
	in.dir = argv[optind];

	rc = check_dir(&in);
	if (rc == 0)
		rc = credential_find(in.from.passphrase_file, in.from.key_file,
				     "New passphrase: ", true, &credential);
	if (rc == 0 && !in.weak)
		rc = credential_check_new(&credential);
	if (rc == 0)
		rc = make_volume(&in, &credential, id);
	credential_release(&credential);
	if (rc < 0)
		return cmd_fail(rc, in.dir);
	printf("volume %s made in %s\n", id, cmd_shown(in.dir));
	printf("Without its passphrase or key file nobody can ever read it: keep a copy "
	       "elsewhere.\n");
	printf("next: embassyfs %s MOUNT\n", cmd_shown(in.dir));
	return 0;
}

const struct command cmd_init = {
	.name = "init",
	.summary = "make a volume",
	.help = "usage: embassy init VOLUME [OPTION]...\n\n"
		"Make an encrypted volume in the folder VOLUME, which is new or empty.\n\n"
		"  --passphrase-file FILE  its first line is the passphrase; without this and\n"
		"                          the next, EMBASSY_PASSPHRASE_FILE names such a file,\n"
		"                          else the terminal asks\n"
		"  --key-file FILE         a file of 32 bytes to 1 MiB opens the volume\n"
		"  --cipher CIPHER         aes-256-gcm (default) or chacha20-poly1305\n"
		"  --compress LEVEL        zstd level, 0 (none) to 19; default 1\n"
		"  --label TEXT            what 'embassy keys' shows for this passphrase or key\n"
		"  --weak                  take a passphrase of fewer than 4 characters\n"
		"  --help\n\n"
		"example: embassy init /srv/registers --passphrase-file /root/passphrase\n",
	.run = run,
};
