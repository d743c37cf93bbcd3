/*
 * embassy status: where a volume and its embassies stand.
 *
 * A live mount tells by itself (MOUNT/.embassy/status); the copy in a folder or at a server is
 * looked at, without a key.
 */

#include "cmd.h"

#include "err.h"
#include "jsontext.h"
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

/* A copy that is not mounted: what its newest head states. */
struct copy {
	uint8_t id[VOLUME_ID_LEN];
	struct head head; /* number 0: none yet */
	uint64_t end;
	uint64_t bytes; /* how long its log is, or UNKNOWN */
};

static json_t *copy_json(const struct copy *c)
{
	const struct head *h = &c->head;
	char id[VOLUME_ID_TEXT_LEN];
	json_t *head = NULL, *bytes = NULL;

	if (h->number != 0)
		head = json_pack("{s:I, s:I, s:I, s:o}", "number", jsontext_u64(h->number),
				 "position", jsontext_u64(h->pos), "end", jsontext_u64(head_end(h)),
				 "time", jsontext_time(h->time_ns));
	if (c->bytes != UNKNOWN)
		bytes = json_integer(jsontext_u64(c->bytes));
	volume_id_format(c->id, id);
	return json_pack("{s:s, s:I, s:s, s:o*, s:I, s:I, s:o*, s:[]}", "volume", id, "epoch",
			 jsontext_u64(h->epoch), "mode", "view", "head", head, "log_end",
			 jsontext_u64(c->end), "durable_end", jsontext_u64(c->end), "log_bytes",
			 bytes, "embassies");
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

static int folder_status(const struct target *t, struct copy *out)
{
	struct source *src;
	int rc;

	*out = (struct copy){0};
	rc = source_open_folder(t->text, &src);
	if (rc < 0)
		return rc;
	memcpy(out->id, src->params->id, VOLUME_ID_LEN);
	rc = src->ops->head_at(src, INT64_MAX, &out->head);
	if (rc == -ERR_ABSENT || rc == -ERR_TOO_EARLY) {
		memset(&out->head, 0, sizeof(out->head));
		rc = 0;
	}
	if (rc == 0) {
		out->end = head_end(&out->head);
		rc = folder_bytes(t->text, out->end, &out->bytes);
	}
	source_free(src);
	return rc;
}

static int remote_status(const char *address, const uint8_t *id, const char *tls_dir,
			 struct copy *out)
{
	const struct remote_config cfg = {.address = address, .volume = id, .tls_dir = tls_dir};
	struct remote_status s;
	int rc = remote_volume_status(&cfg, &s);

	if (rc < 0)
		return rc;
	*out = (struct copy){.head = s.head, .end = s.end, .bytes = UNKNOWN};
	memcpy(out->id, id, VOLUME_ID_LEN);
	return 0;
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
	char text[VOLUME_ID_TEXT_LEN], time[WHEN_TEXT_LEN];
	struct copy c;
	int rc = remote_status(s->address, id, s->tls_dir, &c);

	volume_id_format(id, text);
	s->n++;
	/* One that is damaged there is told, and does not hide the others. */
	if (rc < 0 && rc != -ERR_UNREACHABLE) {
		msg_error("%s", err_detail(rc));
		return 0;
	}
	if (rc < 0)
		return rc;
	if (s->json)
		return jsontext_print(copy_json(&c));
	if (c.head.number == 0) {
		printf("%s  no head yet\n", text);
		return 0;
	}
	when_format_seconds(c.head.time_ns, time);
	printf("%s  epoch %" PRIu64 ", head %" PRIu64 " of %s, log up to position %" PRIu64 "\n",
	       text, c.head.epoch, c.head.number, time, c.end);
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

/* ---- words ---- */

static void print_embassy(const json_t *e)
{
	const char *state = jsontext_get(e, "state"), *reason = jsontext_get(e, "reason"),
		   *warning = jsontext_get(e, "warning"),
		   *acknowledged = jsontext_get(e, "acknowledged_time");
	char bytes[CMD_WORDS_LEN], time[CMD_WORDS_LEN];
	uint64_t lag = jsontext_get_u64(e, "lag_bytes");
	double speed = json_number_value(json_object_get(e, "bytes_per_second")),
	       eta = json_number_value(json_object_get(e, "eta_seconds"));

	printf("embassy   %s: %s", jsontext_get(e, "address"), state);
	if (reason[0] != '\0')
		printf(": %s", reason);
	printf("\n          ");
	if (lag == 0) {
		printf(strcmp(state, "streaming") == 0 || strcmp(state, "idle") == 0
			       ? "has everything"
			       : "had everything when it last answered");
	} else {
		printf("%s behind", cmd_bytes((double)lag, bytes));
		printf(", %s",
		       cmd_seconds(json_number_value(json_object_get(e, "lag_seconds")), time));
	}
	if (speed >= 1)
		printf("; %s a second", cmd_bytes(speed, bytes));
	if (lag != 0 && eta > 0)
		printf("; done in %s", cmd_seconds(eta, time));
	printf("%s%s\n", acknowledged[0] != '\0' ? "; acknowledged the state of " : "",
	       acknowledged);
	if (warning[0] != '\0')
		printf("          warning: %s\n", warning);
}

static void print_volume(const char *id, const char *mode, uint64_t epoch, uint64_t head,
			 const char *time)
{
	printf("volume    %s (%s, epoch %" PRIu64 ")\n", id, mode, epoch);
	if (head != 0)
		printf("head      %" PRIu64 " of %s\n", head, time);
	else
		printf("head      none yet\n");
}

/* A position is no length: each segment begins at a multiple of SEGMENT_SIZE. */
static void print_log(uint64_t bytes, uint64_t end, uint64_t durable)
{
	char words[CMD_WORDS_LEN];

	if (bytes != UNKNOWN)
		printf("log       %s", cmd_bytes((double)bytes, words));
	else
		printf("log       up to position %" PRIu64, end);
	if (segment_of(durable) < segment_of(end))
		durable = segment_start(segment_of(end));
	if (durable < end)
		printf(", %s not durable yet", cmd_bytes((double)(end - durable), words));
	printf("\n");
}

static void print_copy(const struct copy *c)
{
	char id[VOLUME_ID_TEXT_LEN], time[WHEN_TEXT_LEN];

	volume_id_format(c->id, id);
	when_format(c->head.time_ns, time);
	print_volume(id, "view", c->head.epoch, c->head.number, time);
	print_log(c->bytes, c->end, c->end);
}

static void print_mount(const json_t *s)
{
	const json_t *head = json_object_get(s, "head"), *bytes = json_object_get(s, "log_bytes"),
		     *e;
	const char *reason = jsontext_get(s, "reason"),
		   *failure = jsontext_get(s, "upgrade_failure");
	uint64_t takeovers = jsontext_get_u64(s, "takeovers");
	size_t i;

	print_volume(jsontext_get(s, "volume"), jsontext_get(s, "mode"),
		     jsontext_get_u64(s, "epoch"), jsontext_get_u64(head, "number"),
		     jsontext_get(head, "time"));
	print_log(bytes != NULL ? jsontext_get_u64(s, "log_bytes") : UNKNOWN,
		  jsontext_get_u64(s, "log_end"), jsontext_get_u64(s, "durable_end"));
	if (reason[0] != '\0')
		printf("stopped   %s\n", reason);
	if (takeovers != 0)
		printf("takeovers %" PRIu64 ", the newest at %s\n", takeovers,
		       jsontext_get(s, "takeover_time"));
	if (failure[0] != '\0')
		printf("upgrade   failed: %s\n", failure);
	json_array_foreach(json_object_get(s, "embassies"), i, e)
		print_embassy(e);
}

static void begin_screen(const struct status *st)
{
	if (st->watch && isatty(STDOUT_FILENO))
		printf("\033[H\033[J");
}

static int show_mount(const struct target *t, const struct status *st)
{
	json_t *s;
	int rc = target_read_status(t->text, &s);

	if (rc < 0)
		return rc;
	begin_screen(st);
	if (st->json)
		return jsontext_print(s);
	print_mount(s);
	json_decref(s);
	return 0;
}

/* Print it once.  Returns 0 or a negative error. */
static int show(const struct target *t, const struct status *st)
{
	struct copy c;
	int rc;

	if (t->kind == TARGET_MOUNT) {
		rc = show_mount(t, st);
	} else {
		rc = t->kind == TARGET_FOLDER
			     ? folder_status(t, &c)
			     : remote_status(t->address, t->volume, st->tls_dir, &c);
		if (rc < 0)
			return rc;
		begin_screen(st);
		if (st->json)
			rc = jsontext_print(copy_json(&c));
		else
			print_copy(&c);
	}
	return rc == 0 && fflush(stdout) != 0 ? -EIO : rc;
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
