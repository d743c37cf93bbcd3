/*
 * embassy status: where a volume and its embassies stand.
 *
 * A live mount tells by itself (MOUNT/.embassy/status); the copy in a folder or at a server is
 * looked at, without a key.
 */

#include "cmd.h"

#include "backlog.h"
#include "clock.h"
#include "err.h"
#include "jsontext.h"
#include "msg.h"
#include "params.h"
#include "remote.h"
#include "source.h"
#include "source_folder.h"
#include "target.h"
#include "units.h"
#include "when.h"
#include "words.h"

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

/* What is not mounted: its newest head and, in a folder, how much its embassies lacked. */
struct copy {
	uint8_t id[VOLUME_ID_LEN];
	struct head head; /* number 0: none yet */
	uint64_t end;
	uint64_t bytes; /* how long its log is, or UNKNOWN */
	bool is_folder;
	struct backlog backlog; /* is_folder */
};

static void copy_release(struct copy *c)
{
	if (c->is_folder)
		backlog_release(&c->backlog);
}

static uint64_t seconds_since(int64_t time_ns)
{
	int64_t age_ns = time_ns != 0 ? clock_wall_ns() - time_ns : 0;

	return age_ns > 0 ? (uint64_t)age_ns / NS_PER_S : 0;
}

/* clang-format off */

/* The keys of an embassy of a mount (fs/fuse/status.c), as far as the folder knows them. */
static json_t *embassy_json(const struct backlog_embassy *e)
{
	char warning[LOSS_TEXT_LEN];

	loss_text(&e->loss, warning);
	return json_pack("{s:o, s:s, s:s, s:s, s:I, s:I, s:o, s:I, s:I, s:I}",
		"address", jsontext_string(e->address),
		"state", "recorded",
		"reason", "",
		"warning", warning,
		"acknowledged", jsontext_u64(e->acked.end),
		"acknowledged_head", jsontext_u64(e->acked.number),
		"acknowledged_time", e->acked.number != 0 ? jsontext_time(e->acked.time_ns)
							  : json_string(""),
		"lag_bytes", jsontext_u64(e->bytes),
		"lag_heads", jsontext_u64(e->heads),
		"lag_seconds", jsontext_u64(seconds_since(e->missing_time_ns)));
}
/* clang-format on */

static json_t *copy_json(const struct copy *c)
{
	const struct head *h = &c->head;
	char id[VOLUME_ID_TEXT_LEN];
	json_t *head = NULL, *bytes = NULL, *is_copy = NULL, *known = NULL, *list = json_array();

	if (h->number != 0)
		head = json_pack("{s:I, s:I, s:I, s:o}", "number", jsontext_u64(h->number),
				 "position", jsontext_u64(h->pos), "end", jsontext_u64(head_end(h)),
				 "time", jsontext_time(h->time_ns));
	if (c->is_folder) {
		bytes = json_integer(jsontext_u64(c->bytes));
		is_copy = json_boolean(c->backlog.copy);
		known = json_boolean(c->backlog.known);
		for (size_t i = c->backlog.n; i > 0; i--)
			if (json_array_append_new(list, embassy_json(&c->backlog.list[i - 1])) < 0)
				break;
		if (json_array_size(list) != c->backlog.n) {
			json_decref(list);
			list = NULL;
		}
	}
	volume_id_format(c->id, id);
	return json_pack("{s:s, s:I, s:s, s:o*, s:I, s:I, s:o*, s:o*, s:o*, s:o}", "volume", id,
			 "epoch", jsontext_u64(h->epoch), "mode", "view", "head", head, "log_end",
			 jsontext_u64(c->end), "durable_end", jsontext_u64(c->end), "log_bytes",
			 bytes, "copy", is_copy, "embassies_known", known, "embassies", list);
}

static int folder_status(const char *dir, struct copy *out)
{
	struct source *src;
	int rc;

	*out = (struct copy){0};
	rc = source_open_folder(dir, &src);
	if (rc < 0)
		return rc;
	out->is_folder = true;
	memcpy(out->id, src->params->id, VOLUME_ID_LEN);
	rc = backlog_read(dir, src, &out->backlog);
	out->head = out->backlog.head;
	out->end = out->backlog.end;
	out->bytes = out->backlog.bytes;
	source_free(src);
	if (rc < 0)
		copy_release(out);
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

static void begin_screen(const struct status *st)
{
	if (st->watch && isatty(STDOUT_FILENO))
		printf("\033[H\033[J");
}

struct server {
	const char *address, *tls_dir;
	bool json;
	unsigned n, n_failed;
	int rc; /* of the first that failed */
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
		msg_error("volume %s: %s", text, err_detail(rc));
		s->rc = s->n_failed++ == 0 ? rc : s->rc;
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
	int rc;

	begin_screen(st);
	rc = remote_list_volumes(&cfg, show_copy, &s);
	if (rc == 0 && s.n == 0 && !st->json)
		printf("%s: no volumes yet\n", address);
	if (rc == 0 && s.n_failed > 0)
		rc = err_say(s.rc, "%s: %u of %u volumes could not be looked at", address,
			     s.n_failed, s.n);
	return rc;
}

/* ---- words ---- */

/* What the status of a mount says, which another user may have mounted. */
static const char *get(const json_t *object, const char *key)
{
	return cmd_shown(jsontext_get(object, key));
}

static void print_embassy(const json_t *e)
{
	const char *state = get(e, "state"), *reason = get(e, "reason"),
		   *warning = get(e, "warning"), *acknowledged = get(e, "acknowledged_time");
	char bytes[WORDS_LEN], time[WORDS_LEN];
	uint64_t lag = jsontext_get_u64(e, "lag_bytes");
	double speed = json_number_value(json_object_get(e, "bytes_per_second")),
	       eta = json_number_value(json_object_get(e, "eta_seconds"));

	printf("embassy   %s: %s", get(e, "address"), state);
	if (reason[0] != '\0')
		printf(": %s", reason);
	printf("\n          ");
	if (lag == 0) {
		printf(strcmp(state, "streaming") == 0 || strcmp(state, "idle") == 0
			       ? "has everything"
			       : "had everything when it last answered");
	} else {
		printf("%s behind", words_bytes((double)lag, bytes));
		printf(", %s",
		       words_seconds(json_number_value(json_object_get(e, "lag_seconds")), time));
	}
	if (speed >= 1)
		printf("; %s a second", words_bytes(speed, bytes));
	if (lag != 0 && eta > 0)
		printf("; done in %s", words_seconds(eta, time));
	printf("%s%s\n", acknowledged[0] != '\0' ? "; acknowledged the state of " : "",
	       acknowledged);
	if (warning[0] != '\0')
		printf("          warning: %s\n", warning);
}

/* As the folder knows it, without asking. */
static void print_recorded(const struct backlog_embassy *e)
{
	char text[LOSS_TEXT_LEN], bytes[WORDS_LEN], age[WORDS_LEN];

	printf("embassy   %s: ", cmd_shown(e->address));
	if (e->bytes == 0)
		printf("had acknowledged everything\n");
	else
		printf("had not acknowledged %s (%" PRIu64 " head%s)\n",
		       words_bytes((double)e->bytes, bytes), e->heads, e->heads == 1 ? "" : "s");
	if (e->acked.number != 0) {
		when_format(e->acked.time_ns, text);
		printf("          acknowledged the state of %s", text);
	} else {
		printf("          acknowledged nothing yet");
	}
	if (e->missing_time_ns != 0)
		printf("; the oldest it lacks is %s old",
		       words_seconds((double)seconds_since(e->missing_time_ns), age));
	printf("\n");
	loss_text(&e->loss, text);
	if (text[0] != '\0')
		printf("          warning: %s\n", text);
}

static void print_backlog(const struct backlog *b)
{
	if (b->copy)
		printf("copy      an embassy's; it has no embassies itself\n");
	else if (!b->known)
		printf("embassies not known: the catalog is missing, can't be read or was made "
		       "anew\n");
	for (size_t i = b->n; i > 0; i--)
		print_recorded(&b->list[i - 1]);
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
	char words[WORDS_LEN];

	if (bytes != UNKNOWN)
		printf("log       %s", words_bytes((double)bytes, words));
	else
		printf("log       up to position %" PRIu64, end);
	if (segment_of(durable) < segment_of(end))
		durable = segment_start(segment_of(end));
	if (durable < end)
		printf(", %s not durable yet", words_bytes((double)(end - durable), words));
	printf("\n");
}

static void print_copy(const struct copy *c)
{
	char id[VOLUME_ID_TEXT_LEN], time[WHEN_TEXT_LEN];

	volume_id_format(c->id, id);
	when_format(c->head.time_ns, time);
	print_volume(id, "view", c->head.epoch, c->head.number, time);
	print_log(c->bytes, c->end, c->end);
	if (c->is_folder)
		print_backlog(&c->backlog);
}

static void print_mount(const json_t *s)
{
	const json_t *head = json_object_get(s, "head"), *bytes = json_object_get(s, "log_bytes"),
		     *e;
	const char *reason = get(s, "reason"), *failure = get(s, "upgrade_failure");
	uint64_t takeovers = jsontext_get_u64(s, "takeovers");
	size_t i;

	print_volume(get(s, "volume"), get(s, "mode"), jsontext_get_u64(s, "epoch"),
		     jsontext_get_u64(head, "number"), get(head, "time"));
	print_log(bytes ? jsontext_get_u64(s, "log_bytes") : UNKNOWN,
		  jsontext_get_u64(s, "log_end"), jsontext_get_u64(s, "durable_end"));
	if (reason[0] != '\0')
		printf("%s   %s\n",
		       json_is_false(json_object_get(s, "writable")) ? "stopped" : "warning",
		       reason);
	if (takeovers != 0)
		printf("takeovers %" PRIu64 ", the newest at %s\n", takeovers,
		       get(s, "takeover_time"));
	if (failure[0] != '\0')
		printf("upgrade   failed: %s\n", failure);
	json_array_foreach(json_object_get(s, "embassies"), i, e)
		print_embassy(e);
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

/* Print it once; ${t} is NULL: all of the server ${text}.  Returns 0 or a negative error. */
static int show(const char *text, const struct target *t, const struct status *st)
{
	struct copy c;
	int rc;

	if (!t) {
		rc = show_server(text, st);
	} else if (t->kind == TARGET_MOUNT) {
		rc = show_mount(t, st);
	} else {
		rc = t->kind == TARGET_FOLDER
			     ? folder_status(t->text, &c)
			     : remote_status(t->address, t->volume, st->tls_dir, &c);
		if (rc < 0)
			return rc;
		begin_screen(st);
		if (st->json)
			rc = jsontext_print(copy_json(&c));
		else
			print_copy(&c);
		copy_release(&c);
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
	struct target t = {0};
	bool is_server;
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
	is_server = target_is_server(argv[optind]);
	rc = is_server ? 0 : target_find(argv[optind], &t);
	if (rc == 0 && st.watch)
		cmd_catch_signals();
	if (rc == 0)
		rc = show(argv[optind], is_server ? NULL : &t, &st);
	while (rc == 0 && st.watch && !cmd_interrupted) {
		cmd_sleep(WATCH_MS);
		if (!cmd_interrupted)
			rc = show(argv[optind], is_server ? NULL : &t, &st);
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
