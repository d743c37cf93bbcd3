/*
 * embassy status: where a volume and its embassies stand.
 *
 * A live mount tells by itself (MOUNT/.embassy/status); the copy in a folder or at a server is
 * looked at, without a key.  Either gives figures, and what is printed is made of these alone.
 */

#include "cmd.h"

#include "backlog.h"
#include "buf.h"
#include "clock.h"
#include "err.h"
#include "figures.h"
#include "jsontext.h"
#include "msg.h"
#include "params.h"
#include "remote.h"
#include "source.h"
#include "source_folder.h"
#include "target.h"
#include "units.h"
#include "when.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WATCH_MS 1000u

enum { OPT_JSON = 1, OPT_OPENMETRICS, OPT_WATCH, OPT_TLS };

struct status {
	const char *tls_dir;
	bool json, openmetrics, watch;
};

/* ---- figures of what is not mounted ---- */

static double seconds_since(int64_t time_ns)
{
	int64_t age_ns = time_ns != 0 ? clock_wall_ns() - time_ns : 0;

	return age_ns > 0 ? (double)(age_ns / NS_PER_S) : 0;
}

/* A copy's newest head, if it has any (else that has number 0), and where its log ends. */
static void copy_figures(const uint8_t id[VOLUME_ID_LEN], const struct head *head, log_pos end,
			 struct figures *f)
{
	char text[VOLUME_ID_TEXT_LEN];

	volume_id_format(id, text);
	figures_set_text(f, FIGURE_VOLUME, text);
	figures_set(f, FIGURE_MODE, FIGURE_MODE_VIEW);
	figures_set(f, FIGURE_EPOCH, head->epoch);
	if (head->number != 0)
		head_figures(head, f);
	figures_set(f, FIGURE_LOG_END, end);
	figures_set(f, FIGURE_DURABLE_END, end);
}

/* As the folder knows it, without asking. */
static void recorded_figures(const struct backlog_embassy *e, struct figures *f)
{
	char warning[LOSS_TEXT_LEN];

	loss_text(&e->loss, warning);
	figures_embassy(f, e->address);
	figures_set(f, FIGURE_STATE, FIGURE_STATE_RECORDED);
	figures_set_text(f, FIGURE_EMBASSY_REASON, "");
	figures_set_text(f, FIGURE_WARNING, warning);
	figures_set(f, FIGURE_ACKNOWLEDGED, e->acked.end);
	figures_set(f, FIGURE_ACKNOWLEDGED_HEAD, e->acked.number);
	figures_set_time(f, FIGURE_ACKNOWLEDGED_TIME, e->acked.number != 0 ? e->acked.time_ns : 0);
	figures_set(f, FIGURE_LAG_BYTES, e->bytes);
	figures_set(f, FIGURE_LAG_HEADS, e->heads);
	figures_set_seconds(f, FIGURE_LAG_SECONDS, seconds_since(e->missing_time_ns));
}

static int folder_figures(const char *dir, struct figures *f)
{
	struct backlog b = {0};
	struct source *src;
	int rc;

	rc = source_open_folder(dir, &src);
	if (rc < 0)
		return rc;
	rc = backlog_read(dir, src, &b);
	if (rc == 0) {
		copy_figures(src->params->id, &b.head, b.end, f);
		figures_set(f, FIGURE_LOG_BYTES, b.bytes);
		figures_set(f, FIGURE_COPY, b.copy);
		figures_set(f, FIGURE_EMBASSIES_KNOWN, b.known);
		for (size_t i = b.n; i > 0; i--)
			recorded_figures(&b.list[i - 1], f);
	}
	backlog_release(&b);
	source_free(src);
	return rc;
}

static int remote_figures(const char *address, const uint8_t *id, const char *tls_dir,
			  struct figures *f)
{
	const struct remote_config cfg = {.address = address, .volume = id, .tls_dir = tls_dir};
	struct remote_status s;
	int rc = remote_volume_status(&cfg, &s);

	if (rc == 0)
		copy_figures(id, &s.head, s.end, f);
	return rc;
}

/* ---- printing ---- */

static void begin_screen(const struct status *st)
{
	if (st->watch && isatty(STDOUT_FILENO))
		printf("\033[H\033[J");
}

/* Takes ${b}, which ${rc}, 0 or a negative error, is about. */
static int print_buf(int rc, struct buf *b)
{
	if (rc == 0) {
		(void)!fwrite(b->p, 1, b->len, stdout);
		rc = cmd_flush();
	}
	buf_release(b);
	return rc;
}

static int print(const struct status *st, const struct figures *f)
{
	struct buf b = {0};

	return print_buf(st->openmetrics ? figures_openmetrics(f, 1, &b)
			 : st->json	 ? figures_json(f, &b)
					 : figures_words(f, &b),
			 &b);
}

/* ---- all volumes of a server ---- */

struct server {
	const char *address;
	const struct status *st;
	unsigned n, n_failed;
	int rc;		     /* of the first that failed */
	struct figures *all; /* n_all, for OpenMetrics, which lists figure by figure */
	size_t n_all;
};

static int show_line(const struct figures *f)
{
	const struct figure_row *r = &f->volume;
	char time[WHEN_TEXT_LEN];

	if (figure_n(r, FIGURE_HEAD_NUMBER) == 0)
		return printf("%s  no head yet\n", figure_text(r, FIGURE_VOLUME)) < 0 ? -EIO : 0;
	when_format_seconds(figure_time_ns(r, FIGURE_HEAD_TIME), time);
	return printf("%s  epoch %" PRIu64 ", head %" PRIu64 " of %s, log up to position %" PRIu64
		      "\n",
		      figure_text(r, FIGURE_VOLUME), figure_n(r, FIGURE_EPOCH),
		      figure_n(r, FIGURE_HEAD_NUMBER), time, figure_n(r, FIGURE_LOG_END)) < 0
		       ? -EIO
		       : 0;
}

/* Print it, or keep it.  Takes ${f}. */
static int take_copy(struct server *s, struct figures *f)
{
	struct figures *all;
	int rc;

	if (f->no_memory || s->st->openmetrics) {
		all = f->no_memory ? NULL : realloc(s->all, (s->n_all + 1) * sizeof(*all));
		if (all) {
			s->all = all;
			all[s->n_all++] = *f;
			return 0;
		}
		rc = -ENOMEM;
	} else {
		rc = s->st->json ? print(s->st, f) : show_line(f);
	}
	figures_release(f);
	return rc;
}

static int show_copy(void *ctx, const uint8_t id[VOLUME_ID_LEN])
{
	struct server *s = ctx;
	char text[VOLUME_ID_TEXT_LEN];
	struct figures f = {0};
	int rc = remote_figures(s->address, id, s->st->tls_dir, &f);

	s->n++;
	if (rc == 0)
		return take_copy(s, &f);
	/* One that is damaged there is told, and does not hide the others. */
	if (rc == -ERR_UNREACHABLE)
		return rc;
	volume_id_format(id, text);
	msg_error("volume %s: %s", text, err_detail(rc));
	s->rc = s->n_failed++ == 0 ? rc : s->rc;
	return 0;
}

static int show_server(const char *address, const struct status *st)
{
	struct server s = {.address = address, .st = st};
	const struct remote_config cfg = {.address = address, .tls_dir = st->tls_dir};
	struct buf b = {0};
	int rc;

	begin_screen(st);
	rc = remote_list_volumes(&cfg, show_copy, &s);
	if (rc == 0 && st->openmetrics)
		rc = print_buf(figures_openmetrics(s.all, s.n_all, &b), &b);
	else if (rc == 0 && s.n == 0 && !st->json)
		printf("%s: no volumes yet\n", address);
	for (size_t i = 0; i < s.n_all; i++)
		figures_release(&s.all[i]);
	free(s.all);
	if (rc == 0 && s.n_failed > 0)
		rc = err_say(s.rc, "%s: %u of %u volumes could not be looked at", address,
			     s.n_failed, s.n);
	return rc == 0 ? cmd_flush() : rc;
}

/* ---- one ---- */

/* What another user may have mounted says, all of it, or what is known here. */
static int show_mount(const char *mount, const struct status *st)
{
	struct figures f = {0};
	json_t *s;
	int rc = target_read_status(mount, &s);

	if (rc < 0)
		return rc;
	begin_screen(st);
	if (st->json) {
		rc = jsontext_print(s);
		return rc == 0 ? cmd_flush() : rc;
	}
	rc = figures_from_json(s, &f);
	json_decref(s);
	if (rc == 0)
		rc = print(st, &f);
	figures_release(&f);
	return rc;
}

/* Print it once; ${t} is NULL: all of the server ${text}.  Returns 0 or a negative error. */
static int show(const char *text, const struct target *t, const struct status *st)
{
	struct figures f = {0};
	int rc;

	if (!t)
		return show_server(text, st);
	if (t->kind == TARGET_MOUNT)
		return show_mount(t->text, st);
	rc = t->kind == TARGET_FOLDER ? folder_figures(t->text, &f)
				      : remote_figures(t->address, t->volume, st->tls_dir, &f);
	if (rc == 0) {
		begin_screen(st);
		rc = print(st, &f);
	}
	figures_release(&f);
	return rc;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, OPT_JSON},
		{"openmetrics", no_argument, NULL, OPT_OPENMETRICS},
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
		st.openmetrics |= opt == OPT_OPENMETRICS;
		st.watch |= opt == OPT_WATCH;
		if (opt == OPT_TLS)
			st.tls_dir = optarg;
	}
	if (argc - optind != 1)
		return cmd_usage(cmd, "give one mount point, folder or HOST:PORT/VOLUME-ID");
	if (st.json && st.openmetrics)
		return cmd_usage(cmd, "--json and --openmetrics: give one of them");
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
	.help = "usage: embassy status TARGET [--json|--openmetrics] [--watch] [--tls DIR]\n\n"
		"TARGET is a mount point, a volume's folder, HOST:PORT/VOLUME-ID of a block\n"
		"server, or HOST:PORT for all its volumes.  No key is needed.\n\n"
		"  --json         one JSON object\n"
		"  --openmetrics  OpenMetrics text, for monitoring\n"
		"  --watch        again every second until interrupted\n"
		"  --tls DIR      ca.pem, cert.pem and key.pem for a server\n"
		"  --help\n\n"
		"example: embassy status /mnt/registers --watch\n",
	.run = run,
};
