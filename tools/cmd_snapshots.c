/*
 * embassy snapshots: list the named states of a volume.
 *
 * Names are encrypted, so reading them from a copy (a folder, a server) needs the volume's key.  A
 * mount has the key already and lists the names in MOUNT/.embassy/snapshots.  If a key is given, a
 * mount's volume is read like a copy, which also gives times and holds.
 */

#include "cmd.h"

#include "err.h"
#include "file.h"
#include "jsontext.h"
#include "source.h"
#include "target.h"
#include "view.h"
#include "when.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPT_JSON = 1, OPT_TLS };

struct listing {
	bool json;
	uint64_t n;
};

/* Takes ${rest}, the fields besides the name. */
static int print_named(const char *name, json_t *rest)
{
	json_t *line = json_object();
	int rc = jsontext_set_name(line, "name", name);

	if (json_object_update_new(line, rest) < 0 && rc == 0)
		rc = -ENOMEM;
	if (rc == 0)
		return jsontext_print(line);
	json_decref(line);
	return rc;
}

static int show(void *ctx, const struct snapshot *s)
{
	struct listing *l = ctx;
	char time[WHEN_TEXT_LEN];

	l->n++;
	if (!l->json) {
		when_format(s->time_ns, time);
		printf("%-30s  %10" PRIu64 "  %s%s\n", time, s->head, cmd_shown(s->name),
		       s->hold ? "  (held)" : "");
		return 0;
	}
	return print_named(s->name, json_pack("{s:I, s:o, s:b}", "head", jsontext_u64(s->head),
					      "time", jsontext_time(s->time_ns), "hold", s->hold));
}

static void show_title(const struct listing *l)
{
	if (!l->json)
		printf("%-30s  %10s  %s\n", "TIME", "HEAD", "NAME");
}

static int list_copy(const struct target *t, const char *tls_dir, const struct cmd_credential *c,
		     struct listing *l)
{
	struct session s = {0};
	struct source *src;
	struct head newest;
	struct view *v;
	int rc;

	rc = target_source(t, tls_dir, &src);
	if (rc < 0)
		return rc;
	rc = session_open(&s, src, c);
	if (rc == 0)
		rc = src->ops->head_at(src, INT64_MAX, &newest);
	if (rc == 0)
		rc = view_open(&s.config, &newest, &v);
	if (rc == 0) {
		show_title(l);
		rc = view_snapshots(v, show, l);
		view_close(v);
	}
	session_close(&s);
	source_free(src);
	return rc;
}

static int show_name(void *ctx, const char *name)
{
	struct listing *l = ctx;

	l->n++;
	if (!l->json) {
		printf("%s\n", cmd_shown(name));
		return 0;
	}
	return print_named(name, json_object());
}

static int list_mount(const struct target *t, struct listing *l)
{
	char *path;
	int rc;

	if (asprintf(&path, "%s/.embassy/snapshots", t->text) < 0)
		return -ENOMEM;
	rc = file_list(AT_FDCWD, path, show_name, l);
	if (rc == -ENOENT)
		rc = err_say(
			rc,
			"%s: a view of the past lists no snapshots; give the live mount or the "
			"volume",
			t->text);
	free(path);
	return rc;
}

static bool key_is_given(const struct cmd_credential *c)
{
	return c->passphrase_file || c->key_file || getenv("EMBASSY_PASSPHRASE_FILE");
}

static int run(const struct command *cmd, int argc, char **argv)
{
	static const struct option options[] = {
		CMD_CREDENTIAL_OPTIONS,
		{"json", no_argument, NULL, OPT_JSON},
		{"tls", required_argument, NULL, OPT_TLS},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct cmd_credential credential = {0};
	const char *tls_dir = NULL;
	struct listing l = {0};
	struct target t;
	int opt, code, rc;

	while ((opt = cmd_getopt(cmd, argc, argv, options, &code)) != -1) {
		if (opt == '?')
			return code;
		if (opt == OPT_JSON)
			l.json = true;
		else if (opt == OPT_TLS)
			tls_dir = optarg;
		else if (opt == OPT_PASSPHRASE_FILE)
			credential.passphrase_file = optarg;
		else
			credential.key_file = optarg;
	}
	if (argc - optind != 1)
		return cmd_usage(cmd, "give one mount point, folder or HOST:PORT/VOLUME-ID");
	rc = target_find(argv[optind], &t);
	if (rc == 0 && t.kind == TARGET_MOUNT && !key_is_given(&credential))
		rc = list_mount(&t, &l);
	else if (rc == 0)
		rc = list_copy(&t, tls_dir, &credential, &l);
	target_release(&t);
	if (rc < 0)
		return cmd_fail(rc, argv[optind]);
	if (l.n == 0 && !l.json)
		fprintf(stderr, "no snapshots\n");
	return 0;
}

const struct command cmd_snapshots = {
	.name = "snapshots",
	.summary = "list the named states of a volume",
	.help = "usage: embassy snapshots TARGET [--json] [OPTION]...\n\n"
		"TARGET is a mount point, a volume's folder, or HOST:PORT/VOLUME-ID of a block\n"
		"server.  A live mount lists the names; with the key, times and holds are told "
		"too.\n\n"
		"  --json     one JSON object a line\n"
		"  --tls DIR  ca.pem, cert.pem and key.pem for a server\n"
		"  --passphrase-file FILE, --key-file FILE\n"
		"             unlock the volume\n"
		"  --help\n\n"
		"example: embassy snapshots /mnt/registers\n",
	.run = run,
};
