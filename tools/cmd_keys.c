/*
 * embassy keys: who can open a volume.
 *
 * Each passphrase or key file has a slot in volume.conf.  A change is made in memory, signed, and
 * replaces the old file atomically.  The data stay as they are.
 */

#include "cmd.h"

#include "buf.h"
#include "credential.h"
#include "err.h"
#include "keys.h"
#include "msg.h"
#include "params.h"
#include "serial.h"
#include "store.h"
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { OPT_NEW_PASSPHRASE_FILE = 1, OPT_NEW_KEY_FILE, OPT_LABEL, OPT_WEAK };

struct change {
	const char *dir;
	struct cmd_credential old, new;
	struct slot_options options;
	enum { LIST, ADD, REMOVE, ROTATE } what;
	bool weak; /* a short passphrase is accepted */
	uint64_t slot;
};

static int find_new(const struct change *ch, struct credential *out)
{
	if (!ch->new.passphrase_file && !ch->new.key_file)
		return credential_from_terminal("New passphrase: ", true, out);
	return credential_find(ch->new.passphrase_file, ch->new.key_file, "New passphrase: ", true,
			       out);
}

static int change(const struct change *ch, struct params *p, const struct volume_keys *keys)
{
	struct credential credential = {0};
	int rc = 0;

	if (ch->what == REMOVE)
		return keys_remove_slot(p, keys, (unsigned)ch->slot);
	rc = find_new(ch, &credential);
	if (rc == 0 && !ch->weak)
		rc = credential_check_new(&credential);
	if (rc == 0 && ch->what == ADD)
		rc = keys_add_slot(p, keys, &credential, &ch->options);
	else if (rc == 0)
		rc = keys_rotate_slot(p, keys, (unsigned)ch->slot, &credential, &ch->options);
	credential_release(&credential);
	return rc;
}

static int list(const struct params *p)
{
	struct buf text = {0};
	int rc = keys_list_slots(p, &text);

	/* A label is free text of the slot's creator; it contains no newline. */
	for (char *line = (char *)text.p, *end; rc == 0 && line && (end = strchr(line, '\n'));
	     line = end + 1) {
		*end = '\0';
		puts(cmd_shown(line));
	}
	buf_release(&text);
	return rc;
}

static int show(const char *dir)
{
	struct params params;
	int rc = params_load(dir, &params);

	if (rc < 0)
		return rc;
	rc = list(&params);
	params_release(&params);
	return rc;
}

/*
 * One change at a time: each builds on the one before.  Waits for another 'embassy keys' that is
 * running, perhaps at its prompt.  Returns a descriptor that holds the lock, or -errno.
 */
static int lock_conf(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		return err_say(-errno, "%s: %s", dir, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			msg_info("%s: another 'embassy keys' is at work; waiting for it", dir);
		while ((rc = flock(fd, LOCK_EX)) < 0 && errno == EINTR)
			;
		if (rc < 0)
			rc = err_say(-errno, "%s: cannot be locked: %s", dir, strerror(errno));
	}
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

/*
 * Continue from the highest serial that this volume ever had: an embassy accepts only a serial
 * above the one that it holds.
 */
static int pass_newest_serial(const char *dir, struct params *params)
{
	uint64_t newest;
	int rc = serial_newest(dir, &newest);

	if (rc < 0 || newest <= params->serial)
		return rc;
	msg_warn("%s: volume.conf has serial %" PRIu64 ", but this volume has had one with serial "
		 "%" PRIu64
		 ": it is an older copy. Passphrases and key files that were added since "
		 "are not in it, and what was removed since is there again. The change is made on "
		 "what is here, and takes the place of the newer one at the embassies; look at the "
		 "list below",
		 dir, params->serial, newest);
	params->serial = newest;
	return 0;
}

static int make_change(const struct change *ch, struct params *params)
{
	struct volume_keys keys = {0};
	int rc;

	rc = cmd_unlock(&ch->old, params, &keys);
	if (rc < 0)
		return rc;
	rc = pass_newest_serial(ch->dir, params);
	if (rc == 0)
		rc = change(ch, params, &keys);
	/*
	 * Noted before it is used: after a crash in between, a serial noted too high does no harm.
	 */
	if (rc == 0)
		rc = serial_note(ch->dir, params->serial);
	if (rc == 0)
		rc = params_store(params, ch->dir);
	keys_release(&keys);
	return rc;
}

static int work(const struct change *ch)
{
	struct params params;
	int fd, rc;

	if (ch->what == LIST)
		return show(ch->dir);
	if (store_folder_is_copy(ch->dir) > 0)
		return err_say(-ERR_FORBIDDEN,
			       "%s: it is an embassy's copy (it has a file 'owner'), and gets its "
			       "volume.conf from home; change the keys there",
			       ch->dir);
	rc = params_load(ch->dir, &params);
	if (rc < 0)
		return rc;
	params_release(&params);
	fd = lock_conf(ch->dir);
	if (fd < 0)
		return fd;
	rc = params_load(ch->dir, &params);
	if (rc < 0)
		goto unlock;
	rc = make_change(ch, &params);
	if (rc == 0)
		rc = list(&params);
	if (rc == 0)
		printf("Embassies get the new volume.conf within seconds if the volume is mounted, "
		       "else when it\n"
		       "is mounted next.  Older copies of it still open with what they listed.\n");
	params_release(&params);
unlock:
	close(fd);
	return rc;
}

static void take_option(struct change *ch, int opt)
{
	switch (opt) {
	case OPT_PASSPHRASE_FILE:
		ch->old.passphrase_file = optarg;
		break;
	case OPT_KEY_FILE:
		ch->old.key_file = optarg;
		break;
	case OPT_NEW_PASSPHRASE_FILE:
		ch->new.passphrase_file = optarg;
		break;
	case OPT_NEW_KEY_FILE:
		ch->new.key_file = optarg;
		break;
	case OPT_WEAK:
		ch->weak = true;
		break;
	default:
		ch->options.label = optarg;
		break;
	}
}

/* VOLUME [list | add | remove SLOT | rotate SLOT] */
static int take_arguments(const struct command *cmd, struct change *ch, int n, char **args)
{
	static const char *const words[] = {"list", "add", "remove", "rotate"};
	bool needs_slot;

	if (n < 1)
		return cmd_usage(cmd, "give a volume's folder");
	ch->dir = args[0];
	ch->what = LIST;
	if (n == 1)
		return 0;
	while (ch->what <= ROTATE && strcmp(args[1], words[ch->what]) != 0)
		ch->what++;
	if (ch->what > ROTATE)
		return cmd_usage(cmd, "'%.80s' is none of list, add, remove and rotate", args[1]);
	needs_slot = ch->what == REMOVE || ch->what == ROTATE;
	if (n != (needs_slot ? 3 : 2))
		return cmd_usage(cmd, "%s: %s", args[1],
				 needs_slot ? "give one slot's number" : "give nothing after it");
	if (needs_slot && !cmd_number(args[2], PARAMS_SLOTS_MAX, &ch->slot))
		return cmd_usage(cmd, "'%.80s' is no slot's number", args[2]);
	return 0;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	static const struct option options[] = {
		CMD_CREDENTIAL_OPTIONS,
		{"new-passphrase-file", required_argument, NULL, OPT_NEW_PASSPHRASE_FILE},
		{"new-key-file", required_argument, NULL, OPT_NEW_KEY_FILE},
		{"label", required_argument, NULL, OPT_LABEL},
		{"weak", no_argument, NULL, OPT_WEAK},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct change ch = {0};
	int opt, code, rc;

	while ((opt = cmd_getopt(cmd, argc, argv, options, &code)) != -1) {
		if (opt == '?')
			return code;
		take_option(&ch, opt);
	}
	code = take_arguments(cmd, &ch, argc - optind, argv + optind);
	if (code != 0)
		return code;
	rc = target_check_folder(ch.dir, "change the keys at the volume's home");
	if (rc == 0)
		rc = work(&ch);
	return rc < 0 ? cmd_fail(rc, ch.dir) : 0;
}

const struct command cmd_keys = {
	.name = "keys",
	.summary = "list, add, remove or replace passphrases and key files",
	.help = "usage: embassy keys VOLUME [list]\n"
		"       embassy keys VOLUME add [OPTION]...\n"
		"       embassy keys VOLUME remove SLOT [OPTION]...\n"
		"       embassy keys VOLUME rotate SLOT [OPTION]...\n\n"
		"Each passphrase or key file that opens the volume has a slot.  'rotate' replaces\n"
		"one by a new one.  The last slot can't be removed.\n\n"
		"  --passphrase-file FILE, --key-file FILE\n"
		"                          what opens the volume now\n"
		"  --new-passphrase-file FILE, --new-key-file FILE\n"
		"                          what add and rotate put in; else the terminal asks\n"
		"  --label TEXT            shown in the list\n"
		"  --weak                  take a passphrase of fewer than 4 characters\n"
		"  --help\n\n"
		"example: embassy keys /srv/registers add --label deputy\n",
	.run = run,
};
