/*
 * embassy status: where a volume and its embassies stand.
 *
 * A live mount tells by itself (MOUNT/.embassy/status); the copy in a folder or at a server is
 * looked at, without a key.  Either way there is one JSON text, and the words for people are made
 * from it.
 */

#include "cmd.h"

#include "buf.h"
#include "err.h"
#include "json.h"
#include "msg.h"
#include "params.h"
#include "remote.h"
#include "source.h"
#include "store.h"
#include "target.h"
#include "when.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WATCH_MS 1000u

enum { OPT_JSON = 1, OPT_WATCH, OPT_TLS };

struct status {
	const char *tls_dir;
	bool json, watch;
};

#define UNKNOWN UINT64_MAX

/* A copy that is not mounted: what its newest head states.  ${bytes}: how long its log is, or UNKNOWN. */
static void put_copy(struct json_out *j, const uint8_t *id, const struct head *h, uint64_t end,
		     uint64_t bytes)
{
	char text[VOLUME_ID_TEXT_LEN];

	volume_id_format(id, text);
	json_open(j, NULL, '{');
	json_put_string(j, "volume", text);
	json_put_u64(j, "epoch", h->epoch);
	json_put_string(j, "mode", "view");
	if (h->number != 0) {
		json_open(j, "head", '{');
		json_put_u64(j, "number", h->number);
		json_put_u64(j, "position", h->pos);
		json_put_u64(j, "end", head_end(h));
		json_put_time(j, "time", h->time_ns);
		json_close(j, '}');
	}
	json_put_u64(j, "log_end", end);
	json_put_u64(j, "durable_end", end);
	if (bytes != UNKNOWN)
		json_put_u64(j, "log_bytes", bytes);
	json_open(j, "embassies", '[');
	json_close(j, ']');
	json_close(j, '}');
}

/* How many bytes of the log lie in a folder, up to position ${end}. */
static int folder_bytes(const char *dir, uint64_t end, uint64_t *out)
{
	struct store *st;
	int rc = store_open(dir, false, &st);

	if (rc < 0)
		return rc;
	rc = store_bytes(st, 0, end, out);
	store_close(st);
	return rc;
}

static int folder_status(const struct target *t, struct json_out *j)
{
	struct source *src;
	struct head h;
	uint64_t bytes;
	int rc;

	rc = source_open_folder(t->text, &src);
	if (rc < 0)
		return rc;
	rc = src->ops->head_at(src, INT64_MAX, &h);
	if (rc == -ERR_ABSENT || rc == -ERR_TOO_EARLY) {
		memset(&h, 0, sizeof(h));
		rc = 0;
	}
	if (rc == 0)
		rc = folder_bytes(t->text, head_end(&h), &bytes);
	if (rc == 0)
		put_copy(j, src->params->id, &h, head_end(&h), bytes);
	source_free(src);
	return rc;
}

static int remote_status(const struct target *t, const char *tls_dir, struct json_out *j)
{
	const struct remote_config cfg = {
		.address = t->address,
		.volume = t->volume,
		.tls_dir = tls_dir,
	};
	struct remote_status s;
	int rc;

	rc = remote_volume_status(&cfg, &s);
	if (rc == 0)
		put_copy(j, t->volume, &s.head, s.end, UNKNOWN);
	return rc;
}

/* ---- all volumes of a server ---- */

struct server {
	const char *address, *tls_dir;
	bool json;
	unsigned n;
};

static int show_copy(void *ctx, const uint8_t id[VOLUME_ID_LEN])
{
	struct server *s = ctx;
	const struct remote_config cfg = {
		.address = s->address, .volume = id, .tls_dir = s->tls_dir};
	char text[VOLUME_ID_TEXT_LEN], time[WHEN_TEXT_LEN];
	struct remote_status st;
	struct json_out j = {0};
	int rc = remote_volume_status(&cfg, &st);

	volume_id_format(id, text);
	s->n++;
	/* One that is damaged there is told, and does not hide the others. */
	if (rc < 0 && rc != -ERR_UNREACHABLE) {
		msg_error("%s", err_detail(rc));
		return 0;
	}
	if (rc < 0)
		return rc;
	if (s->json) {
		put_copy(&j, id, &st.head, st.end, UNKNOWN);
		rc = json_end(&j);
		json_out_release(&j);
		return rc;
	}
	if (st.head.number == 0) {
		printf("%s  no head yet\n", text);
		return 0;
	}
	when_format_seconds(st.head.time_ns, time);
	printf("%s  epoch %" PRIu64 ", head %" PRIu64 " of %s, log up to position %" PRIu64 "\n",
	       text, st.head.epoch, st.head.number, time, st.end);
	return 0;
}

static int show_server(const char *address, const struct status *st)
{
	struct server s = {.address = address, .tls_dir = st->tls_dir, .json = st->json};
	const struct remote_config cfg = {.address = address, .tls_dir = st->tls_dir};
	int rc = remote_list_volumes(&cfg, show_copy, &s);

	if (rc == 0 && s.n == 0 && !st->json)
		printf("%s: no volumes yet\n", address);
	return rc;
}

static void print_embassy(const struct json *e)
{
	char address[256], state[32], reason[512], bytes[CMD_WORDS_LEN], time[CMD_WORDS_LEN];
	uint64_t lag = json_u64(e, "lag_bytes");
	double speed = json_double(e, "bytes_per_second"), eta = json_double(e, "eta_seconds");

	json_string(e, "address", address, sizeof(address));
	json_string(e, "state", state, sizeof(state));
	json_string(e, "reason", reason, sizeof(reason));
	printf("embassy   %s: %s", address, state);
	if (reason[0] != '\0')
		printf(": %s", reason);
	printf("\n          ");
	if (lag == 0) {
		printf(strcmp(state, "streaming") == 0 || strcmp(state, "idle") == 0
			       ? "has everything"
			       : "had everything when it last answered");
	} else {
		printf("%s behind", cmd_bytes((double)lag, bytes));
		printf(", %s", cmd_seconds(json_double(e, "lag_seconds"), time));
	}
	if (speed >= 1)
		printf("; %s a second", cmd_bytes(speed, bytes));
	if (lag != 0 && eta > 0)
		printf("; done in %s", cmd_seconds(eta, time));
	json_string(e, "warning", reason, sizeof(reason));
	json_string(e, "acknowledged_time", time, sizeof(time));
	printf("%s%s\n", time[0] != '\0' ? "; acknowledged the state of " : "", time);
	if (reason[0] != '\0')
		printf("          warning: %s\n", reason);
}

static void print_words(const struct json *s)
{
	char id[VOLUME_ID_TEXT_LEN], mode[16], time[WHEN_TEXT_LEN], reason[256],
		bytes[CMD_WORDS_LEN];
	uint64_t end = json_u64(s, "log_end"), durable = json_u64(s, "durable_end");
	struct json head, list, e;
	size_t at = 0;

	json_string(s, "volume", id, sizeof(id));
	json_string(s, "mode", mode, sizeof(mode));
	json_string(s, "reason", reason, sizeof(reason));
	printf("volume    %s (%s, epoch %" PRIu64 ")\n", id, mode, json_u64(s, "epoch"));
	if (json_get(s, "head", &head) && json_u64(&head, "number") != 0) {
		json_string(&head, "time", time, sizeof(time));
		printf("head      %" PRIu64 " of %s\n", json_u64(&head, "number"), time);
	} else {
		printf("head      none yet\n");
	}
	/* A position is no length: each segment begins at a multiple of SEGMENT_SIZE. */
	if (json_get(s, "log_bytes", &e))
		printf("log       %s", cmd_bytes((double)json_u64(s, "log_bytes"), bytes));
	else
		printf("log       up to position %" PRIu64, end);
	if (segment_of(durable) < segment_of(end))
		durable = segment_start(segment_of(end));
	if (durable < end)
		printf(", %s not durable yet", cmd_bytes((double)(end - durable), bytes));
	printf("\n");
	if (reason[0] != '\0')
		printf("stopped   %s\n", reason);
	if (json_u64(s, "takeovers") != 0) {
		json_string(s, "takeover_time", time, sizeof(time));
		printf("takeovers %" PRIu64 ", the newest at %s\n", json_u64(s, "takeovers"), time);
	}
	json_string(s, "upgrade_failure", reason, sizeof(reason));
	if (reason[0] != '\0')
		printf("upgrade   failed: %s\n", reason);
	if (json_get(s, "embassies", &list)) {
		while (json_next(&list, &at, &e))
			print_embassy(&e);
	}
}

/* Print it once.  Returns 0 or a negative error. */
static int show(const struct target *t, const struct status *st)
{
	struct json_out j = {0};
	struct json s;
	int rc = 0;

	switch (t->kind) {
	case TARGET_MOUNT:
		rc = target_read_status(t->text, &j.buf);
		break;
	case TARGET_FOLDER:
		rc = folder_status(t, &j);
		break;
	case TARGET_REMOTE:
		rc = remote_status(t, st->tls_dir, &j);
		break;
	}
	if (rc == 0)
		rc = j.rc;
	if (rc == 0 && json_check((const char *)j.buf.p, j.buf.len, &s) < 0)
		rc = err_say(-ERR_FORMAT, "%s: its status is no JSON", t->text);
	if (rc == 0) {
		if (st->watch && isatty(STDOUT_FILENO))
			printf("\033[H\033[J");
		if (st->json)
			printf("%.*s\n", (int)s.len, s.p);
		else
			print_words(&s);
		if (fflush(stdout) != 0)
			rc = -EIO;
	}
	json_out_release(&j);
	return rc;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, OPT_JSON},
		{"watch", no_argument, NULL, OPT_WATCH},
		{"tls", required_argument, NULL, OPT_TLS},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct status st = {0};
	struct target t;
	int opt, code, rc;

	while ((opt = cmd_getopt(cmd, argc, argv, options, &code)) != -1) {
		if (opt == '?')
			return code;
		st.json |= opt == OPT_JSON;
		st.watch |= opt == OPT_WATCH;
		if (opt == OPT_TLS)
			st.tls_dir = optarg;
	}
	if (argc - optind != 1)
		return cmd_usage(cmd, "give one mount point, folder or HOST:PORT/VOLUME-ID");
	if (target_is_server(argv[optind])) {
		rc = show_server(argv[optind], &st);
		return rc < 0 ? cmd_fail(rc, argv[optind]) : 0;
	}
	rc = target_find(argv[optind], &t);
	if (rc == 0 && st.watch)
		cmd_catch_signals();
	if (rc == 0)
		rc = show(&t, &st);
	while (rc == 0 && st.watch && !cmd_interrupted) {
		cmd_sleep(WATCH_MS);
		if (!cmd_interrupted)
			rc = show(&t, &st);
	}
	target_release(&t);
	if (rc < 0)
		return cmd_fail(rc, argv[optind]);
	return cmd_interrupted ? EXIT_INTERRUPTED : 0;
}

const struct command cmd_status = {
	.name = "status",
	.summary = "tell where a volume and its embassies stand",
	.help = "usage: embassy status TARGET [--json] [--watch] [--tls DIR]\n\n"
		"TARGET is a mount point, a volume's folder, HOST:PORT/VOLUME-ID of a block\n"
		"server, or HOST:PORT for all its volumes.  No key is needed.\n\n"
		"  --json     one JSON object\n"
		"  --watch    again every second until interrupted\n"
		"  --tls DIR  ca.pem, cert.pem and key.pem for a server\n"
		"  --help\n\n"
		"example: embassy status /mnt/registers --watch\n",
	.run = run,
};
