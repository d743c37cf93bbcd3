/*
 * Home and embassy together: the replicator and the remote source against the real server program.
 */

#include "embassyd_child.h"
#include "err.h"
#include "look.h"
#include "msg.h"
#include "remote.h"
#include "serial.h"
#include "source.h"
#include "synth.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 60000

struct scene {
	char tmp[256], store[300], listen[310], tls_server[300], tls_home[300], copy[400];
	struct synth home;
	struct embassyd server;
	struct replicator_config cfg;
	struct replicator *r;
	bool tls;
	const char *volume_dir; /* where key changes are looked for; NULL: nowhere */
};

static struct scene *scene_new(bool tls)
{
	struct scene *sc;
	char id[VOLUME_ID_TEXT_LEN], path[300];

	if (!embassyd_path())
		cr_skip("the server program was not built");
	sc = calloc(1, sizeof(*sc));
	msg_init("test");
	tmp_make(sc->tmp);
	snprintf(path, sizeof(path), "%.250s/home", sc->tmp);
	synth_new(&sc->home, path, 1);
	snprintf(sc->store, sizeof(sc->store), "%.250s/store", sc->tmp);
	snprintf(sc->listen, sizeof(sc->listen), "unix:%.250s/sock", sc->tmp);
	sc->tls = tls;
	if (tls) {
		snprintf(path, sizeof(path), "%.250s", sc->tmp);
		if (!make_tls(path))
			cr_skip("openssl is not there");
		snprintf(sc->tls_server, sizeof(sc->tls_server), "%.250s/server", sc->tmp);
		snprintf(sc->tls_home, sizeof(sc->tls_home), "%.250s/home-tls", sc->tmp);
		snprintf(sc->listen, sizeof(sc->listen), "127.0.0.1:0");
	}
	volume_id_format(sc->home.params.id, id);
	snprintf(sc->copy, sizeof(sc->copy), "%s/%s", sc->store, id);
	return sc;
}

static void server_start(struct scene *sc)
{
	embassyd_start(&sc->server, sc->store, sc->listen, sc->tls ? sc->tls_server : NULL);
	/* The same port again when it comes back. */
	if (sc->tls)
		snprintf(sc->listen, sizeof(sc->listen), "%.300s", sc->server.address);
}

static void home_start(struct scene *sc, struct synth *home)
{
	sc->cfg = (struct replicator_config){.address = sc->server.address,
					     .tls_dir = sc->tls ? sc->tls_home : NULL,
					     .params = &home->params,
					     .volume_dir = sc->volume_dir,
					     .store = home->store,
					     .catalog = home->catalog,
					     .newest = synth_newest,
					     .ctx = home};
	cr_assert_eq(replicator_start(&sc->cfg, &sc->r), 0);
}

static void scene_free(struct scene *sc)
{
	replicator_stop(sc->r);
	if (sc->server.pid)
		embassyd_end(&sc->server, SIGTERM);
	synth_close(&sc->home);
	tmp_remove(sc->tmp);
	free(sc);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Wait until at least ${position} is acknowledged. */
static void await_position(struct scene *sc, uint64_t position)
{
	int64_t end = now_ms() + WAIT_MS;
	const struct figure_row *st;

	do {
		st = look(sc->r);
		if (figure_n(st, FIGURE_ACKNOWLEDGED) >= position)
			return;
		usleep(1000);
	} while (now_ms() < end);
	cr_assert_fail("state %d, reason '%s', acknowledged %llu of %llu",
		       (int)figure_n(st, FIGURE_STATE), figure_text(st, FIGURE_EMBASSY_REASON),
		       (unsigned long long)figure_n(st, FIGURE_ACKNOWLEDGED),
		       (unsigned long long)position);
}

static void await_state(struct scene *sc, enum replicator_state state, const char *words)
{
	int64_t end = now_ms() + WAIT_MS;
	const struct figure_row *st;

	do {
		st = look(sc->r);
		if (figure_n(st, FIGURE_STATE) == state &&
		    strstr(figure_text(st, FIGURE_EMBASSY_REASON), words))
			return;
		usleep(1000);
	} while (now_ms() < end);
	cr_assert_fail("state %d, reason '%s'", (int)figure_n(st, FIGURE_STATE),
		       figure_text(st, FIGURE_EMBASSY_REASON));
}

static void check_same(struct scene *sc, struct synth *home)
{
	cr_assert(same_log(home->dir, sc->copy, head_end(&home->newest)));
}

Test(replicate, killed_midway_again_and_again, .timeout = 240)
{
	struct scene *sc = scene_new(false);
	uint64_t end;

	for (int i = 0; i < 40; i++)
		synth_add(&sc->home, 5 << 20, i % 4 ? 128 << 10 : 1 << 20);
	end = head_end(&sc->home.newest);
	server_start(sc);
	home_start(sc, &sc->home);
	for (uint64_t part = 1; part <= 5; part++) {
		await_position(sc, end / 6 * part);
		embassyd_end(&sc->server, SIGKILL);
		/* What was acknowledged is there, whatever else is. */
		if (part == 3) {
			const struct figure_row *st;

			st = look(sc->r);
			cr_assert(same_log(sc->home.dir, sc->copy,
					   figure_n(st, FIGURE_ACKNOWLEDGED)));
		}
		server_start(sc);
	}
	await_position(sc, end);
	check_same(sc, &sc->home);
	/* And it goes on, head by head. */
	for (int i = 0; i < 10; i++) {
		synth_add(&sc->home, 100000, 20000);
		replicator_wake(sc->r);
	}
	await_position(sc, head_end(&sc->home.newest));
	embassyd_end(&sc->server, SIGTERM);
	check_same(sc, &sc->home);
	scene_free(sc);
}

/* Each line begins with ${program}, ends in ${id}, and comes after the one before, at ${*at}. */
static void expect_line(const char **at, const char *program, const char *id)
{
	for (const char *next; (next = strchr(*at, '\n')); *at = next + 1) {
		size_t len = (size_t)(next - *at), id_len = strlen(id);

		if (len > id_len && strncmp(*at, program, strlen(program)) == 0 &&
		    memcmp(next - id_len, id, id_len) == 0) {
			*at = next + 1;
			return;
		}
	}
	cr_expect_fail("no line of %s with %s", program, id);
}

Test(replicate, both_sides_tell_what_happened, .timeout = 120)
{
	struct scene *sc = scene_new(false);
	char path[300], text[16384];
	const char *home = text, *server = text;
	size_t len;
	FILE *log;

	snprintf(path, sizeof(path), "%.250s/log", sc->tmp);
	cr_assert(freopen(path, "a", stderr));
	setvbuf(stderr, NULL, _IOLBF, 0);
	synth_add(&sc->home, 1 << 20, 50000);
	server_start(sc);
	home_start(sc, &sc->home);
	await_position(sc, head_end(&sc->home.newest));
	embassyd_end(&sc->server, SIGKILL);
	await_state(sc, REPLICATOR_CONNECTING, "");
	server_start(sc);
	synth_add(&sc->home, 1 << 20, 50000);
	replicator_wake(sc->r);
	await_position(sc, head_end(&sc->home.newest));
	replicator_stop(sc->r);
	sc->r = NULL;
	embassyd_end(&sc->server, SIGTERM);

	log = fopen(path, "r");
	cr_assert(log);
	len = fread(text, 1, sizeof(text) - 1, log);
	text[len] = '\0';
	fclose(log);
	expect_line(&home, "test: ", " [stream-opened]");
	expect_line(&home, "test: ", " [stream-ended]");
	expect_line(&home, "test: ", " [embassy-trouble]");
	expect_line(&home, "test: ", " [stream-opened]");
	expect_line(&home, "test: ", " [embassy-works]");
	expect_line(&server, "embassyd: ", " [volume-created]");
	expect_line(&server, "embassyd: ", " [stream-opened]");
	expect_line(&server, "embassyd: ", " [volume-opened]");
	expect_line(&server, "embassyd: ", " [stream-opened]");
	expect_line(&server, "embassyd: ", " [stream-ended]");
	expect_line(&server, "embassyd: ", " [server-stopped]");
	scene_free(sc);
}

Test(replicate, over_tls_and_a_home_restarted, .timeout = 120)
{
	struct scene *sc = scene_new(true);
	struct remote_config cfg;
	struct remote_status st;
	char command[900];

	/* home/ is the volume's folder here. */
	snprintf(command, sizeof(command), "mkdir -p '%s' && cp '%.250s'/home/*.pem '%s'",
		 sc->tls_home, sc->tmp, sc->tls_home);
	cr_assert_eq(system(command), 0);
	synth_add(&sc->home, 70 << 20, 128 << 10);
	server_start(sc);
	home_start(sc, &sc->home);
	await_position(sc, head_end(&sc->home.newest));
	replicator_stop(sc->r);
	synth_add(&sc->home, 1 << 20, 128 << 10);
	home_start(sc, &sc->home);
	await_position(sc, head_end(&sc->home.newest));
	check_same(sc, &sc->home);

	cfg = (struct remote_config){.address = sc->server.address,
				     .volume = sc->home.params.id,
				     .tls_dir = sc->tls_home};
	cr_assert_eq(remote_volume_status(&cfg, &st), 0);
	cr_assert_eq(st.head.number, 2);
	/* Without certificates the server is not reached. */
	cfg.tls_dir = NULL;
	cfg.timeout_ms = 1000;
	cr_assert_eq(remote_volume_status(&cfg, &st), -ERR_UNREACHABLE);
	scene_free(sc);
}

Test(replicate, a_home_that_was_rolled_back_or_went_another_way_is_refused, .timeout = 120)
{
	struct scene *sc = scene_new(false);
	struct synth back;
	char path[300];

	synth_add(&sc->home, 1 << 20, 50000);
	synth_add(&sc->home, 1 << 20, 50000);
	snprintf(path, sizeof(path), "%.250s/back", sc->tmp);
	copy_volume(sc->home.dir, path);
	synth_add(&sc->home, 1 << 20, 50000);
	server_start(sc);
	home_start(sc, &sc->home);
	await_position(sc, head_end(&sc->home.newest));
	replicator_stop(sc->r);

	synth_reopen(&back, path, 1, 99);
	home_start(sc, &back);
	await_state(sc, REPLICATOR_REFUSED, "holds head 3, which this log does not");
	replicator_stop(sc->r);
	synth_add(&back, 1 << 20, 50000);
	synth_add(&back, 1 << 20, 50000);
	home_start(sc, &back);
	await_state(sc, REPLICATOR_REFUSED, "is not this log's head 3");
	replicator_stop(sc->r);
	sc->r = NULL;
	check_same(sc, &sc->home);
	synth_close(&back);
	scene_free(sc);
}

Test(replicate, a_newer_volume_conf_is_put, .timeout = 120)
{
	struct scene *sc = scene_new(false);
	struct params p;

	synth_add(&sc->home, 1 << 20, 50000);
	server_start(sc);
	home_start(sc, &sc->home);
	await_position(sc, head_end(&sc->home.newest));
	replicator_stop(sc->r);
	synth_new_serial(&sc->home);
	synth_add(&sc->home, 1000, 1000);
	home_start(sc, &sc->home);
	await_position(sc, head_end(&sc->home.newest));
	cr_assert_eq(params_load(sc->copy, &p), 0);
	cr_assert_eq(p.serial, 2);
	params_release(&p);
	scene_free(sc);
}

Test(replicate, a_remote_source_reads_what_the_home_wrote, .timeout = 120)
{
	struct scene *sc = scene_new(false);
	struct remote_config cfg;
	struct head h, list[30];
	struct head_ref ref;
	struct source *s;
	uint64_t end;
	size_t n;

	for (int i = 0; i < 25; i++)
		synth_add(&sc->home, 3 << 20, 128 << 10);
	end = head_end(&sc->home.newest);
	server_start(sc);
	home_start(sc, &sc->home);
	await_position(sc, end);
	cfg = (struct remote_config){.address = sc->server.address,
				     .volume = sc->home.params.id,
				     .cache_bytes = 20 << 20};
	cr_assert_eq(source_open_remote(&cfg, &s), 0);
	srandom(3);
	for (int i = 0; i < 200; i++) {
		size_t len = 1 + (size_t)random() % 300000;
		uint64_t pos = (uint64_t)random() % (end - len);
		uint8_t *a = malloc(len), *b = malloc(len);

		if (store_read(sc->home.store, pos, len, a) == 0) {
			cr_assert_eq(s->ops->read(s, pos, len, b), 0);
			cr_assert(memcmp(a, b, len) == 0);
		}
		free(a);
		free(b);
	}
	for (uint64_t number = 1; number <= 25; number++) {
		cr_assert_eq(catalog_head(sc->home.catalog, number, &ref), 0);
		cr_assert_eq(s->ops->head_at(s, ref.time_ns, &h), 0);
		cr_assert(h.number == number && h.pos == ref.pos);
	}
	cr_assert_eq(s->ops->head_at(s, 5, &h), -ERR_TOO_EARLY);
	cr_assert_eq(s->ops->heads(s, 1, 30, list, &n), 0);
	cr_assert_eq(n, 25);
	cr_assert_eq(s->ops->heads(s, 26, 1, list, &n), -ERR_ABSENT);
	source_free(s);

	cfg.volume = (const uint8_t *)"no such volume!!";
	cr_assert_eq(source_open_remote(&cfg, &s), -ERR_NO_VOLUME);
	scene_free(sc);
}

/* Wait until the copy at the embassy has a volume.conf of this serial. */
static void await_serial(struct scene *sc, uint64_t serial)
{
	int64_t end = now_ms() + WAIT_MS;
	struct params p;

	do {
		if (params_load(sc->copy, &p) == 0) {
			bool there = p.serial == serial;

			params_release(&p);
			if (there)
				return;
		}
		usleep(10000);
	} while (now_ms() < end);
	cr_assert_fail("serial %llu did not come", (unsigned long long)serial);
}

/* What 'embassy keys' does while the volume is mounted. */
static void change_keys(const struct synth *home, uint64_t serial)
{
	struct synth changed = *home;

	changed.params.serial = serial - 1;
	synth_new_serial(&changed);
	cr_assert_eq(params_store(&changed.params, home->dir), 0);
}

Test(replicate, a_key_change_while_it_runs_reaches_the_embassy, .timeout = 120)
{
	struct scene *sc = scene_new(false);
	uint64_t serial = sc->home.params.serial;

	synth_add(&sc->home, 1 << 20, 50000);
	cr_assert_eq(params_store(&sc->home.params, sc->home.dir), 0);
	server_start(sc);
	sc->volume_dir = sc->home.dir;
	home_start(sc, &sc->home);
	await_position(sc, head_end(&sc->home.newest));
	await_serial(sc, serial);
	change_keys(&sc->home, serial + 1);
	await_serial(sc, serial + 1);
	/* An older one, or one that is damaged, is not taken, and nothing stops for it. */
	cr_assert_eq(params_store(&sc->home.params, sc->home.dir), 0);
	synth_add(&sc->home, 1 << 20, 50000);
	replicator_wake(sc->r);
	await_position(sc, head_end(&sc->home.newest));
	change_keys(&sc->home, serial + 2);
	await_serial(sc, serial + 2);
	scene_free(sc);
}

/* A volume.conf of the same authority that is not ours: bytes go on, and a person is told. */
Test(replicate, another_volume_conf_at_the_embassy_is_told, .timeout = 120)
{
	struct scene *sc = scene_new(false);
	struct params ours = sc->home.params;
	const struct figure_row *st;
	int64_t end = now_ms() + WAIT_MS;
	uint64_t noted;

	synth_add(&sc->home, 1 << 20, 50000);
	server_start(sc);
	sc->home.params.serial += 4;
	synth_new_serial(&sc->home);
	home_start(sc, &sc->home);
	await_position(sc, head_end(&sc->home.newest));
	replicator_stop(sc->r);

	sc->home.params = ours;
	synth_add(&sc->home, 1 << 20, 50000);
	sc->volume_dir = sc->home.dir;
	home_start(sc, &sc->home);
	await_position(sc, head_end(&sc->home.newest));
	do
		st = look(sc->r);
	while (!strstr(figure_text(st, FIGURE_WARNING), "another volume.conf") && now_ms() < end);
	cr_expect(strstr(figure_text(st, FIGURE_WARNING), "another volume.conf"));
	replicator_stop(sc->r);
	/* The next change that is made here goes beyond it, and reaches the embassy. */
	cr_assert_eq(serial_newest(sc->home.dir, &noted), 0);
	cr_expect_eq(noted, ours.serial + 5);
	change_keys(&sc->home, noted + 1);
	home_start(sc, &sc->home);
	await_serial(sc, noted + 1);
	do
		st = look(sc->r);
	while (figure_text(st, FIGURE_WARNING)[0] && now_ms() < end);
	cr_expect_str_empty(figure_text(st, FIGURE_WARNING));
	scene_free(sc);
}
