/*
 * embassy heads: list the signed heads of a volume, that is, the times at which it can be mounted.
 *
 * Heads are not encrypted, so no key is needed, unless a snapshot's name must be resolved.
 */

#include "cmd.h"

#include "clock.h"
#include "err.h"
#include "jsontext.h"
#include "source.h"
#include "target.h"
#include "view.h"
#include "when.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADS_PER_CALL 64u

enum { OPT_JSON = 1, OPT_FROM, OPT_TO, OPT_TLS };

struct heads {
	const char *from, *to; /* as given; NULL: the first, the newest */
	const char *tls_dir;
	bool json;
	struct cmd_credential credential;
};

static int resolve_snapshot(const struct heads *h, struct source *src, const struct when *when,
			    struct head *out)
{
	struct session s = {0};
	int rc;

	rc = session_open(&s, src, &h->credential);
	if (rc == 0)
		rc = view_resolve(&s.config, when, out);
	session_close(&s);
	return rc;
}

/*
 * Resolve ${text} to the number of the newest head not after it, or, for the lower bound (${next}),
 * of the first head not before it.
 */
static int resolve(const struct heads *h, struct source *src, const char *text, bool next,
		   uint64_t *out)
{
	struct view_config config = {.source = src};
	char time[WHEN_TEXT_LEN];
	struct head head;
	struct when when;
	int rc;

	rc = when_parse(text, clock_wall_ns(), &when);
	if (rc < 0)
		return rc;
	if (when.kind == WHEN_SNAPSHOT)
		rc = resolve_snapshot(h, src, &when, &head);
	else if (when.kind == WHEN_TIME && next)
		rc = src->ops->head_at(src, when.time_ns - 1, &head);
	else
		rc = view_resolve(&config, &when, &head);
	if (rc == -ERR_TOO_EARLY && next) {
		*out = 1;
		return 0;
	}
	if (rc < 0)
		return rc;
	*out = head.number + (when.kind == WHEN_TIME && next);
	when_format(when.kind == WHEN_TIME ? when.time_ns : head.time_ns, time);
	fprintf(stderr, "%s is %s: head %" PRIu64 "\n", text, time, *out);
	return 0;
}

static int show(struct heads *h, const struct head *head)
{
	char time[WHEN_TEXT_LEN];

	if (!h->json) {
		when_format(head->time_ns, time);
		printf("%10" PRIu64 "  %-30s  %14" PRIu64 "  %12" PRIu64 "  %5" PRIu64 "\n",
		       head->number, time, head->pos, head->n_blocks, head->epoch);
		return 0;
	}
	return jsontext_print(json_pack(
		"{s:I, s:o, s:I, s:I, s:I}", "number", jsontext_u64(head->number), "time",
		jsontext_time(head->time_ns), "position", jsontext_u64(head->pos), "blocks",
		jsontext_u64(head->n_blocks), "epoch", jsontext_u64(head->epoch)));
}

static int list(struct heads *h, struct source *src)
{
	head_no first = 1, last = UINT64_MAX;
	struct head *heads;
	bool any = false;
	int rc = 0;

	if (h->from)
		rc = resolve(h, src, h->from, true, &first);
	if (rc == 0 && h->to)
		rc = resolve(h, src, h->to, false, &last);
	if (rc == 0 && first > last)
		rc = err_say(-ERR_BAD_TIME,
			     "no head lies from %s (head %" PRIu64 ") to %s (head %" PRIu64 ")",
			     h->from, first, h->to, last);
	if (rc < 0)
		return rc;
	heads = malloc(HEADS_PER_CALL * sizeof(*heads));
	if (!heads)
		return -ENOMEM;
	if (!h->json)
		printf("%10s  %-30s  %14s  %12s  %5s\n", "HEAD", "TIME", "POSITION", "BLOCKS",
		       "EPOCH");
	while (rc == 0 && first <= last && !cmd_interrupted) {
		size_t n = 0;

		rc = src->ops->heads(src, first, HEADS_PER_CALL, heads, &n);
		if (rc == -ERR_ABSENT || (rc == 0 && n == 0)) {
			rc = 0;
			break;
		}
		for (size_t i = 0; rc == 0 && i < n && heads[i].number <= last; i++)
			rc = show(h, &heads[i]);
		first += n;
		any = true;
	}
	if (rc == 0 && !any && h->from)
		rc = err_say(-ERR_BAD_TIME, "no head since %s; 'embassy status' tells the newest",
			     h->from);
	free(heads);
	return rc;
}

static int take_options(const struct command *cmd, struct heads *h, int argc, char **argv)
{
	static const struct option options[] = {
		CMD_CREDENTIAL_OPTIONS,
		{"json", no_argument, NULL, OPT_JSON},
		{"from", required_argument, NULL, OPT_FROM},
		{"to", required_argument, NULL, OPT_TO},
		{"tls", required_argument, NULL, OPT_TLS},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int opt, code;

	while ((opt = cmd_getopt(cmd, argc, argv, options, &code)) != -1) {
		switch (opt) {
		case '?':
			return code == 0 ? -1 : code;
		case OPT_JSON:
			h->json = true;
			break;
		case OPT_FROM:
			h->from = optarg;
			break;
		case OPT_TO:
			h->to = optarg;
			break;
		case OPT_TLS:
			h->tls_dir = optarg;
			break;
		case OPT_PASSPHRASE_FILE:
			h->credential.passphrase_file = optarg;
			break;
		default:
			h->credential.key_file = optarg;
			break;
		}
	}
	return argc - optind == 1 ? 0
				  : cmd_usage(cmd, "give one mount point, folder or "
						   "HOST:PORT/VOLUME-ID");
}

static int run(const struct command *cmd, int argc, char **argv)
{
	struct heads h = {0};
	struct source *src;
	struct target t;
	int rc;

	rc = take_options(cmd, &h, argc, argv);
	if (rc != 0)
		return rc < 0 ? 0 : rc;
	cmd_catch_signals();
	rc = target_find(argv[optind], &t);
	if (rc == 0)
		rc = target_source(&t, h.tls_dir, &src);
	if (rc == 0) {
		rc = list(&h, src);
		source_free(src);
	}
	target_release(&t);
	if (rc < 0)
		return cmd_fail(rc, argv[optind]);
	return cmd_interrupted ? EXIT_INTERRUPTED : 0;
}

const struct command cmd_heads = {
	.name = "heads",
	.summary = "list the times at which a volume can be mounted",
	.help = "usage: embassy heads TARGET [--from TIME] [--to TIME] [--json]\n\n"
		"TARGET is a mount point, a volume's folder, or HOST:PORT/VOLUME-ID of a block\n"
		"server.  TIME is RFC 3339, '2026-11-24 10:00', 5m, 2h, 3d (ago), yesterday,\n"
		"latest, head:NUMBER or snapshot:NAME; UTC where no zone is given.\n\n"
		"  --from TIME, --to TIME  only these\n"
		"  --json                  one JSON object a line\n"
		"  --tls DIR               ca.pem, cert.pem and key.pem for a server\n"
		"  --passphrase-file FILE, --key-file FILE\n"
		"                          unlock the volume; needed for snapshot:NAME only\n"
		"  --help\n\n"
		"example: embassy heads /mnt/registers --from 5m\n",
	.run = run,
};
