/*
 * embassyfs's command line.
 *
 * Two positional words and -o lists.  The lists also carry words that mount(8) and fstab add for
 * themselves; a table says how each word is handled.  A word that is not in the table is an error,
 * so that a mistyped option never goes unnoticed.
 */

#include "options_internal.h"

#include "address.h"
#include "err.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char options_help[] =
	"Usage: embassyfs VOLUME MOUNT [-o OPTION,...] [-f]\n"
	"       embassyfs HOST:PORT/VOLUME-ID MOUNT -o at=TIME,... [-f]\n"
	"\n"
	"Mounts a volume folder for reading and writing, or, with -o ro or -o at=TIME, as it\n"
	"stood at a past time.  A volume held by a block server is mounted read-only.\n"
	"\n"
	"  -o passphrase-file=F  the passphrase is the first line of file F\n"
	"  -o key-file=F         open the volume with key file F\n"
	"  -o embassy=HOST:PORT  send everything to this block server; may be given several times\n"
	"  -o tls=DIR            ca.pem, cert.pem and key.pem for talking to block servers\n"
	"  -o at=TIME            the volume as of 2026-11-24T10:00:05Z, 5m (ago), yesterday,\n"
	"                        latest, head:NUMBER or snapshot:NAME\n"
	"  -o ro                 read-only: the newest head\n"
	"  -o partial            read-only, also where the log's end is damaged or missing: the\n"
	"                        newest head (or at=TIME) of what is whole\n"
	"  -o allow_other        let other users in (file permissions apply)\n"
	"  -o history=users      let them into .embassy as well; history=owner: not (default)\n"
	"  -o noatime            do not update access times; nodiratime: not those of folders;\n"
	"                        strictatime: at every read; else as relatime does\n"
	"  -o flush=SECONDS      what programs wrote reaches the disk at least this often\n"
	"  -o checkpoint=SECONDS how often a checkpoint is taken\n"
	"  -o memory=SIZE        bound for the memory used (K M G T)\n"
	"  -o local=SIZE         bound for the local cache of a block server's bytes\n"
	"  -o nonempty           mount on a folder that is not empty, which hides what is in it\n"
	"  -o nosupervise        no second process: when the daemon dies, the mount does\n"
	"  -o remount            change a mount's ro, rw, noatime, nodev, nosuid or noexec\n"
	"  -f                    stay in the foreground\n"
	"  -h, --help            this text\n"
	"  -V, --version         the version\n"
	"\n"
	"Without a file option the passphrase comes from the file named by\n"
	"EMBASSY_PASSPHRASE_FILE, else the terminal asks for it.\n"
	"\n"
	"Example: embassyfs /srv/registers /mnt/registers -o "
	"embassy=embassy.example.org:7443,tls=/etc/embassyfs/tls/home\n";

int options_size(const char *text, uint64_t *out)
{
	static const char units[] = "KMGT";
	const char *unit;
	char *end;
	unsigned shift = 0;
	unsigned long long n;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno != 0)
		return -EINVAL;
	if (*end) {
		unit = strchr(units, *end);
		if (!unit || end[1])
			return -EINVAL;
		shift = 10 * (unsigned)(unit - units + 1);
	}
	if (n > UINT64_MAX >> shift)
		return -EINVAL;
	*out = (uint64_t)n << shift;
	return 0;
}

#define AT(field) offsetof(struct options, field)

const struct option_spec option_specs[] = {
	{"passphrase-file", VALUE_PATH, AT(passphrase_file), false},
	{"key-file", VALUE_PATH, AT(key_file), false},
	{"embassy", VALUE_EMBASSY, AT(embassies), false},
	{"tls", VALUE_PATH, AT(tls_dir), false},
	{"at", VALUE_TEXT, AT(at), false},
	{"ro", VALUE_ACCESS, 0, true},
	{"rw", VALUE_ACCESS, 0, false},
	{"partial", VALUE_NONE, AT(partial), true},
	{"allow_other", VALUE_NONE, AT(allow_other), true},
	{"history", VALUE_HISTORY, AT(history_users), false},
	{"noatime", VALUE_NONE, AT(noatime), true},
	{"atime", VALUE_NONE, AT(noatime), false},
	{"nodiratime", VALUE_NONE, AT(nodiratime), true},
	{"diratime", VALUE_NONE, AT(nodiratime), false},
	{"strictatime", VALUE_NONE, AT(strictatime), true},
	{"nostrictatime", VALUE_NONE, AT(strictatime), false},
	{"relatime", VALUE_NONE, AT(strictatime), false},
	{"flush", VALUE_SECONDS, AT(flush_s), false},
	{"checkpoint", VALUE_SECONDS, AT(checkpoint_s), false},
	{"memory", VALUE_SIZE, AT(memory_bytes), false},
	{"local", VALUE_SIZE, AT(local_bytes), false},
	{"nonempty", VALUE_NONE, AT(nonempty), true},
	{"nosupervise", VALUE_NONE, AT(unsupervised), true},
	{"supervise", VALUE_NONE, AT(unsupervised), false},
	{"dev", VALUE_NONE, AT(dev), true},
	{"nodev", VALUE_NONE, AT(dev), false},
	{"suid", VALUE_NONE, AT(suid), true},
	{"nosuid", VALUE_NONE, AT(suid), false},
	{"exec", VALUE_NONE, AT(noexec), false},
	{"noexec", VALUE_NONE, AT(noexec), true},
	/* Words for mount(8) itself, and words that state our normal behaviour. */
	{"defaults", VALUE_NONE, IGNORED, false},
	{"auto", VALUE_NONE, IGNORED, false},
	{"noauto", VALUE_NONE, IGNORED, false},
	{"nofail", VALUE_NONE, IGNORED, false},
	{"_netdev", VALUE_NONE, IGNORED, false},
	{"user", VALUE_ANY, IGNORED, false},
	{"users", VALUE_NONE, IGNORED, false},
	{"nouser", VALUE_NONE, IGNORED, false},
	{"owner", VALUE_NONE, IGNORED, false},
	{"group", VALUE_NONE, IGNORED, false},
	{"async", VALUE_NONE, IGNORED, false},
	{"norelatime", VALUE_NONE, IGNORED, false},
	{"default_permissions", VALUE_NONE, IGNORED, false},
	{"comment", VALUE_ANY, IGNORED, false},
	/* mount -o remount, which also passes the kernel's own words for the mount. */
	{"remount", VALUE_NONE, AT(remount), true},
	{"user_id", VALUE_ANY, IGNORED, false},
	{"group_id", VALUE_ANY, IGNORED, false},
};
const size_t n_option_specs = sizeof(option_specs) / sizeof(*option_specs);

static int refuse(const char *name, const char *reason)
{
	return err_say(-EINVAL, "option %s: %s; see embassyfs --help", name, reason);
}

static int set_text(char **field, char *owned)
{
	if (!owned)
		return -ENOMEM;
	free(*field);
	*field = owned;
	return 0;
}

/*
 * The absolute path, because the daemon changes its current folder.  A path that does not exist is
 * left as it is; the code that opens it will report it.
 */
static char *absolute(const char *path)
{
	char *real = realpath(path, NULL);

	return real ? real : strdup(path);
}

static char *absolute_address(const char *address)
{
	char cwd[4096], *out;

	if (strncmp(address, "unix:", 5) != 0 || address[5] == '/' || !getcwd(cwd, sizeof(cwd)))
		return strdup(address);
	return asprintf(&out, "unix:%s/%s", cwd, address + 5) < 0 ? NULL : out;
}

static int set_seconds(const char *name, const char *value, unsigned *out)
{
	char *end;
	unsigned long n = 0;

	if (*value >= '0' && *value <= '9')
		n = strtoul(value, &end, 10);
	if (n == 0 || *end || n > OPTIONS_FLUSH_S_MAX)
		return refuse(name, "not a number of seconds from 1 to 3600");
	*out = (unsigned)n;
	return 0;
}

static int add_embassy(struct options *o, const char *value)
{
	int rc = address_check(value);
	char *address;

	if (rc < 0)
		return err_say(-EINVAL, "option embassy: %s; see embassyfs --help", err_detail(rc));
	if (o->n_embassies == OPTIONS_EMBASSIES_MAX)
		return refuse("embassy", "given more than 16 times");
	address = absolute_address(value);
	if (!address)
		return -ENOMEM;
	for (size_t i = 0; i < o->n_embassies; i++) {
		if (!address_same(o->embassies[i], address))
			continue;
		free(address);
		return err_say(-EINVAL,
			       "option embassy: %s is given twice; one server keeps one copy",
			       value);
	}
	o->embassies[o->n_embassies++] = address;
	return 0;
}

static int set_history(const char *value, bool *out_users)
{
	*out_users = strcmp(value, "users") == 0;
	return *out_users || strcmp(value, "owner") == 0 ? 0
							 : refuse("history", "is owner or users");
}

static int apply(struct options *o, const struct option_spec *sp, const char *value)
{
	void *field = sp->field == IGNORED ? NULL : (char *)o + sp->field;

	if (sp->value == VALUE_ANY)
		return 0;
	if (sp->value == VALUE_NONE || sp->value == VALUE_ACCESS) {
		if (value)
			return refuse(sp->name, "takes no value");
		if (sp->value == VALUE_ACCESS) {
			o->read_only = sp->flag;
			o->read_write = !sp->flag;
		} else if (field)
			*(bool *)field = sp->flag;
		return 0;
	}
	if (!value || !*value)
		return refuse(sp->name, "needs a value");
	switch (sp->value) {
	case VALUE_HISTORY:
		return set_history(value, field);
	case VALUE_TEXT:
		return set_text(field, strdup(value));
	case VALUE_PATH:
		return set_text(field, absolute(value));
	case VALUE_SECONDS:
		return set_seconds(sp->name, value, field);
	case VALUE_SIZE:
		return options_size(value, field) < 0
			       ? refuse(sp->name, "not a size like 512M or 4G")
			       : 0;
	default:
		return add_embassy(o, value);
	}
}

static int apply_word(struct options *o, char *word)
{
	char *value = strchr(word, '=');

	if (!*word || strncmp(word, "x-", 2) == 0 || strncmp(word, "X-", 2) == 0)
		return 0;
	if (value)
		*value++ = '\0';
	for (size_t i = 0; i < n_option_specs; i++)
		if (strcmp(option_specs[i].name, word) == 0)
			return apply(o, &option_specs[i], value);
	return refuse(word, "unknown");
}

/* Parse comma-separated words; a backslash quotes the next character. */
static int apply_list(struct options *o, const char *list)
{
	char *copy = strdup(list), *from, *to, *word;
	int rc = 0;

	if (!copy)
		return -ENOMEM;
	for (from = to = word = copy; rc == 0; from++) {
		bool end = !*from;

		if (*from == '\\' && from[1]) {
			*to++ = *++from;
			continue;
		}
		if (!end && *from != ',') {
			*to++ = *from;
			continue;
		}
		*to = '\0';
		rc = apply_word(o, word);
		word = to = from + 1;
		if (end)
			break;
	}
	free(copy);
	return rc;
}

/*
 * mount(8) puts "rw" in front unless "ro" was asked for, and for root adds "dev" and "suid" behind
 * it.  An "rw" in that company is mount(8)'s own word, not the user's.
 */
static bool rw_is_mounts(const struct options *o)
{
	return o->dev && o->suid;
}

bool options_names_server(const struct options *o)
{
	uint8_t volume[VOLUME_ID_LEN];
	struct stat st;
	char *address;

	if (stat(o->target, &st) == 0 || address_parse_target(o->target, &address, volume) < 0)
		return false;
	free(address);
	return true;
}

static int check(struct options *o)
{
	/* A remount repeats the words of fstab, which were judged when the mount was made. */
	if (o->remount)
		return 0;
	if (rw_is_mounts(o))
		o->read_write = false;
	if (o->read_write && o->at)
		return refuse("rw", "the past cannot be written to; leave it out, or at=");
	if (o->read_write && o->partial)
		return refuse("rw", "what is left of a volume is mounted read-only; leave it out, or "
				    "partial");
	if (o->partial && o->target && options_names_server(o))
		return refuse("partial", "is for a volume's folder; what an embassy serves is whole");
	o->read_only = o->read_only || o->partial;
	if (o->n_embassies && (o->read_only || o->at))
		return refuse("embassy", "has no meaning in a read-only mount");
	/* A mount that is upgraded goes on with what an earlier version accepted. */
	if ((o->flush_s || o->checkpoint_s) && (o->read_only || o->at) && o->handover_fd < 0)
		return refuse(o->flush_s ? "flush" : "checkpoint",
			      "has no meaning in a read-only mount");
	if (o->passphrase_file && o->key_file)
		return refuse("key-file", "give either a passphrase file or a key file");
	if (o->memory_bytes && o->memory_bytes < OPTIONS_MEMORY_MIN)
		return refuse("memory", "16M is the least");
	return 0;
}

/*
 * Say which word is wrong.  Of letters behind one dash getopt tells which it is: ${word} may be
 * another word then.
 */
static int refuse_word(const char *word, bool lacks_value)
{
	char letter[] = {'-', (char)optopt, '\0'};
	bool is_long = optopt == 0 || (strchr("hVH", optopt) && strncmp(word, "--", 2) == 0);

	return err_say(-EINVAL, "%s: %s; see embassyfs --help", is_long ? word : letter,
		       lacks_value		? "needs a value"
		       : is_long && optopt != 0 ? "takes no value"
						: "unknown option");
}

int options_parse(int argc, char *const argv[], struct options *out)
{
	static const struct option longs[] = {
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		/* Internal: passed from one supervisor to the next. */
		{"handover", required_argument, NULL, 'H'},
		{0}};
	struct options o = {.handover_fd = -1};
	int c, rc = 0;

	optind = 0;
	opterr = 0;
	while (rc == 0 && (c = getopt_long(argc, argv, ":o:fhV", longs, NULL)) != -1) {
		if (c == 'o')
			rc = apply_list(&o, optarg);
		else if (c == 'f')
			o.foreground = true;
		else if (c == 'H')
			o.handover_fd = atoi(optarg);
		else if (c == 'h')
			o.help = true;
		else if (c == 'V')
			o.version = true;
		else
			rc = refuse_word(argv[optind - 1], c == ':');
	}
	if (rc == 0 && !o.help && !o.version && argc - optind != 2)
		rc = err_say(-EINVAL, "command line: give VOLUME and MOUNT, nothing else; "
				      "see embassyfs --help");
	if (rc == 0 && argc - optind == 2) {
		rc = set_text(&o.target, absolute(argv[optind]));
		if (rc == 0)
			rc = set_text(&o.mount_point, absolute(argv[optind + 1]));
	}
	if (rc == 0)
		rc = check(&o);
	if (rc < 0) {
		options_release(&o);
		return rc;
	}
	*out = o;
	return 0;
}

void options_release(struct options *o)
{
	free(o->target);
	free(o->mount_point);
	free(o->passphrase_file);
	free(o->key_file);
	free(o->tls_dir);
	free(o->at);
	for (size_t i = 0; i < o->n_embassies; i++)
		free(o->embassies[i]);
	*o = (struct options){0};
}
