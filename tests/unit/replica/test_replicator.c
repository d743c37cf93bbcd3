/* The replicator against a fake server that lies on demand; test_replicate.c has the real one. */

#include "err.h"
#include "fake_server.h"
#include "look.h"
#include "msg.h"
#include "synth.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 20000

struct scene {
	char tmp[256], sock[300], address[310];
	struct synth home;
	struct fake_server fake;
	struct replicator_config cfg;
	struct replicator *r;
};

static struct scene *scene_new(void)
{
	struct scene *sc = calloc(1, sizeof(*sc));
	char path[300];

	msg_init("test");
	tmp_make(sc->tmp);
	snprintf(path, sizeof(path), "%.250s/home", sc->tmp);
	synth_new(&sc->home, path, 1);
	snprintf(sc->sock, sizeof(sc->sock), "%.250s/sock", sc->tmp);
	snprintf(sc->address, sizeof(sc->address), "unix:%s", sc->sock);
	sc->cfg = (struct replicator_config){.address = sc->address,
					     .params = &sc->home.params,
					     .store = sc->home.store,
					     .catalog = sc->home.catalog,
					     .newest = synth_newest,
					     .ctx = &sc->home};
	return sc;
}

static void start(struct scene *sc)
{
	cr_assert_eq(replicator_start(&sc->cfg, &sc->r), 0);
}

static void scene_free(struct scene *sc)
{
	replicator_stop(sc->r);
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

/* Wait until the state is ${state} and, if ${words} is not NULL, the reason holds them. */
static void await(struct scene *sc, enum replicator_state state, const char *words,
		  const struct figure_row **out)
{
	int64_t end = now_ms() + WAIT_MS;

	do {
		*out = look(sc->r);
		if (figure_n(*out, FIGURE_STATE) == state &&
		    (!words || strstr(figure_text(*out, FIGURE_EMBASSY_REASON), words)))
			return;
		usleep(2000);
	} while (now_ms() < end);
	cr_assert_fail("state %d, reason '%s', acknowledged %llu",
		       (int)figure_n(*out, FIGURE_STATE), figure_text(*out, FIGURE_EMBASSY_REASON),
		       (unsigned long long)figure_n(*out, FIGURE_ACKNOWLEDGED));
}

static void check_all_there(struct scene *sc)
{
	const struct figure_row *st;

	await(sc, REPLICATOR_IDLE, NULL, &st);
	cr_assert_eq(figure_n(st, FIGURE_ACKNOWLEDGED), head_end(&sc->home.newest));
	cr_assert_eq(figure_n(st, FIGURE_ACKNOWLEDGED_HEAD), sc->home.newest.number);
	cr_assert(figure_time_ns(st, FIGURE_ACKNOWLEDGED_TIME) == sc->home.newest.time_ns);
	cr_assert_eq(figure_n(st, FIGURE_LAG_BYTES), 0);
	cr_assert(figure_seconds(st, FIGURE_LAG_SECONDS) == 0 &&
		  figure_seconds(st, FIGURE_ETA_SECONDS) == 0);
	cr_assert(figure_text(st, FIGURE_EMBASSY_REASON)[0] == '\0');
	cr_assert(!(sc->fake.bad_open));
	cr_assert(!(sc->fake.bad_data));
}

Test(replicator, ships_all_and_then_what_is_new)
{
	struct scene *sc = scene_new();

	synth_add(&sc->home, 70 << 20, 1 << 20);
	fake_start(&sc->fake, &sc->home, sc->sock);
	sc->fake.lacks_volume = true;
	sc->fake.committed = 0;
	start(sc);
	check_all_there(sc);
	cr_assert_eq(sc->fake.n_put, 1);
	for (int i = 0; i < 20; i++) {
		synth_add(&sc->home, 200000, 50000);
		replicator_wake(sc->r);
		check_all_there(sc);
	}
	cr_assert_eq(sc->fake.n_append, 1);
	replicator_stop(sc->r);
	sc->r = NULL;
	fake_stop(&sc->fake);
	scene_free(sc);
}

Test(replicator, a_server_away_is_told_and_found_when_it_comes)
{
	struct scene *sc = scene_new();
	const struct figure_row *st;

	synth_add(&sc->home, 1 << 20, 50000);
	start(sc);
	await(sc, REPLICATOR_CONNECTING, sc->address, &st);
	cr_assert_eq(figure_n(st, FIGURE_LAG_BYTES), head_end(&sc->home.newest));
	cr_assert(figure_seconds(st, FIGURE_LAG_SECONDS) > 0 &&
		  isnan(figure_seconds(st, FIGURE_ETA_SECONDS)));
	fake_start(&sc->fake, &sc->home, sc->sock);
	sc->fake.committed = 0;
	check_all_there(sc);
	/* And again, from where it stood. */
	fake_stop(&sc->fake);
	await(sc, REPLICATOR_CONNECTING, sc->address, &st);
	/* An hour without news, or a clock that was set, is no hour behind. */
	sc->home.time_ns += INT64_C(3600) * 1000000000;
	synth_add(&sc->home, 1 << 20, 50000);
	replicator_wake(sc->r);
	st = look(sc->r);
	cr_assert(figure_n(st, FIGURE_LAG_BYTES) > 0 &&
		  figure_seconds(st, FIGURE_LAG_SECONDS) > 0 &&
		  figure_seconds(st, FIGURE_LAG_SECONDS) < 600);
	fake_start(&sc->fake, &sc->home, sc->sock);
	sc->fake.committed = 1;
	check_all_there(sc);
	replicator_stop(sc->r);
	sc->r = NULL;
	fake_stop(&sc->fake);
	scene_free(sc);
}

Test(replicator, the_lag_grows_while_the_embassy_is_away)
{
	struct scene *sc = scene_new();
	int64_t end = now_ms() + WAIT_MS;
	const struct figure_row *st;

	synth_add(&sc->home, 1 << 20, 50000);
	fake_start(&sc->fake, &sc->home, sc->sock);
	sc->fake.committed = 0;
	start(sc);
	check_all_there(sc);
	fake_stop(&sc->fake);
	/* The one head that is missing follows at once, and no other does. */
	synth_add(&sc->home, 1000, 1000);
	st = look(sc->r);
	sc->home.newest.time_ns = figure_time_ns(st, FIGURE_ACKNOWLEDGED_TIME) + 1;
	replicator_wake(sc->r);
	do {
		cr_assert(now_ms() < end);
		usleep(2000);
		st = look(sc->r);
	} while (figure_seconds(st, FIGURE_LAG_SECONDS) < 0.2);
	scene_free(sc);
}

static void refused(enum fake_lie lie, const char *words)
{
	struct scene *sc = scene_new();
	const struct figure_row *st;

	for (int i = 0; i < 3; i++)
		synth_add(&sc->home, 3 << 20, 50000);
	fake_start(&sc->fake, &sc->home, sc->sock);
	sc->fake.committed = 0;
	sc->fake.lie = lie;
	start(sc);
	await(sc, REPLICATOR_REFUSED, words, &st);
	cr_assert_eq(figure_n(st, FIGURE_ACKNOWLEDGED), 0);
	replicator_stop(sc->r);
	sc->r = NULL;
	fake_stop(&sc->fake);
	scene_free(sc);
}

Test(replicator, an_acknowledgement_of_what_was_not_sent_is_refused)
{
	refused(FAKE_ACK_TOO_MUCH, "not sent");
}

Test(replicator, an_acknowledgement_of_no_head_is_refused)
{
	refused(FAKE_ACK_NONSENSE, "not one of this log");
}

Test(replicator, a_malformed_acknowledgement_is_refused)
{
	refused(FAKE_ACK_GARBAGE, "malformed");
}

Test(replicator, another_volumes_answer_is_refused)
{
	refused(FAKE_BAD_PARAMS, "volume.conf");
}

/* An embassy that says of itself what cannot be is refused before anything is sent. */
static void refused_at_once(enum fake_lie lie, const char *words)
{
	struct scene *sc = scene_new();
	const struct figure_row *st;

	synth_add(&sc->home, 100000, 50000);
	fake_start(&sc->fake, &sc->home, sc->sock);
	sc->fake.lie = lie;
	start(sc);
	await(sc, REPLICATOR_REFUSED, words, &st);
	cr_assert_eq(sc->fake.n_append, 0);
	replicator_stop(sc->r);
	sc->r = NULL;
	fake_stop(&sc->fake);
	scene_free(sc);
}

Test(replicator, an_end_that_is_not_the_heads_is_refused)
{
	refused_at_once(FAKE_WRONG_END, "do not fit");
}

/* A catalog is made anew beside a live volume, and is empty at first: the log has the heads. */
Test(replicator, a_catalog_that_lacks_heads_makes_no_embassy_a_liar)
{
	struct scene *sc = scene_new();
	const struct figure_row *st;
	char path[300];

	synth_add(&sc->home, 100000, 5000);
	synth_add(&sc->home, 100000, 5000);
	fake_start(&sc->fake, &sc->home, sc->sock);
	snprintf(path, sizeof(path), "%.250s/anew", sc->tmp);
	cr_assert_eq(mkdir(path, 0700), 0);
	cr_assert_eq(catalog_open(path, sc->home.params.id, CATALOG_WRITE, &sc->cfg.catalog), 0);
	start(sc);
	await(sc, REPLICATOR_IDLE, NULL, &st);
	cr_assert_eq(figure_n(st, FIGURE_ACKNOWLEDGED), head_end(&sc->home.newest));
	replicator_stop(sc->r);
	sc->r = NULL;
	catalog_close(sc->cfg.catalog);
	fake_stop(&sc->fake);
	scene_free(sc);
}

/* What nobody signed is no evidence that this home was rolled back. */
Test(replicator, a_head_that_was_not_signed_is_the_embassys_fault)
{
	refused_at_once(FAKE_BAD_SIGNATURE, "was not signed");
}

/* Count how often a stream is opened in a second by an embassy that always drops it. */
static unsigned drops(int status, enum replicator_state state)
{
	struct scene *sc = scene_new();
	const struct figure_row *st;
	int64_t begin = now_ms();
	unsigned n;

	synth_add(&sc->home, 100000, 50000);
	fake_start(&sc->fake, &sc->home, sc->sock);
	sc->fake.committed = 0;
	sc->fake.lie = FAKE_DROP;
	sc->fake.status = status;
	start(sc);
	while (now_ms() < begin + 1000)
		usleep(1000);
	await(sc, state, "the fake's words", &st);
	n = sc->fake.n_append;
	replicator_stop(sc->r);
	sc->r = NULL;
	fake_stop(&sc->fake);
	scene_free(sc);
	return n;
}

Test(replicator, a_server_that_drops_streams_is_not_asked_in_a_busy_loop)
{
	unsigned n = drops(GRPC_STATUS_UNAVAILABLE, REPLICATOR_CONNECTING);

	cr_assert(n >= 2 && n <= 6, "%u", n);
}

/* Its stream stays open, and what it is asked beside it is cancelled. */
Test(replicator, a_server_that_cancels_questions_is_not_asked_in_a_busy_loop)
{
	struct scene *sc = scene_new();
	const struct figure_row *st;
	int64_t begin;
	unsigned n;

	synth_add(&sc->home, 100000, 50000);
	fake_start(&sc->fake, &sc->home, sc->sock);
	start(sc);
	check_all_there(sc);
	n = sc->fake.n_get;
	sc->fake.lie = FAKE_GET_STATUS;
	sc->fake.status = GRPC_STATUS_CANCELLED;
	replicator_probe(sc->r);
	begin = now_ms();
	await(sc, REPLICATOR_CONNECTING, "the fake's words", &st);
	while (now_ms() < begin + 1000)
		usleep(1000);
	n = sc->fake.n_get - n;
	cr_assert(n >= 2 && n <= 8, "%u", n);
	sc->fake.lie = FAKE_HONEST;
	check_all_there(sc);
	replicator_stop(sc->r);
	sc->r = NULL;
	fake_stop(&sc->fake);
	scene_free(sc);
}

Test(replicator, a_server_that_refuses_is_asked_twice_and_then_rarely)
{
	unsigned n = drops(GRPC_STATUS_FAILED_PRECONDITION, REPLICATOR_REFUSED);

	cr_assert_eq(n, 2);
}

Test(replicator, stopping_does_not_wait_for_the_embassy)
{
	struct scene *sc = scene_new();
	const struct figure_row *st;
	int64_t begin;

	synth_add(&sc->home, 30 << 20, 50000);
	fake_start(&sc->fake, &sc->home, sc->sock);
	sc->fake.committed = 0;
	sc->fake.lie = FAKE_MUTE;
	start(sc);
	await(sc, REPLICATOR_STREAMING, NULL, &st);
	begin = now_ms();
	replicator_stop(sc->r);
	cr_assert(now_ms() - begin < 1000);
	sc->r = NULL;
	fake_stop(&sc->fake);
	scene_free(sc);
}

Test(replicator, the_last_acknowledgement_is_known_after_a_restart)
{
	struct scene *sc = scene_new();
	const struct figure_row *st;

	synth_add(&sc->home, 1 << 20, 50000);
	fake_start(&sc->fake, &sc->home, sc->sock);
	sc->fake.committed = 0;
	start(sc);
	check_all_there(sc);
	replicator_stop(sc->r);
	fake_stop(&sc->fake);
	start(sc);
	st = look(sc->r);
	cr_assert(figure_n(st, FIGURE_STATE) == REPLICATOR_CONNECTING);
	cr_assert_eq(figure_n(st, FIGURE_ACKNOWLEDGED), head_end(&sc->home.newest));
	cr_assert_eq(figure_n(st, FIGURE_ACKNOWLEDGED_HEAD), 1);
	scene_free(sc);
}

Test(replicator, homes_that_differ_are_refused_and_send_nothing)
{
	struct scene *sc = scene_new();
	const struct figure_row *st;
	struct synth back;
	char path[300];

	/* A copy of the home as it was at head 2; the home goes on to head 4. */
	synth_add(&sc->home, 100000, 5000);
	synth_add(&sc->home, 100000, 5000);
	snprintf(path, sizeof(path), "%.250s/back", sc->tmp);
	copy_volume(sc->home.dir, path);
	synth_add(&sc->home, 100000, 5000);
	synth_add(&sc->home, 100000, 5000);
	fake_start(&sc->fake, &sc->home, sc->sock);

	synth_reopen(&back, path, 1, 77);
	sc->cfg.params = &back.params;
	sc->cfg.store = back.store;
	sc->cfg.catalog = back.catalog;
	sc->cfg.ctx = &back;
	start(sc);
	await(sc, REPLICATOR_REFUSED, "holds head 4, which this log does not", &st);
	replicator_stop(sc->r);

	/* It goes on in another way: the embassy's head is one of another history. */
	for (int i = 0; i < 5; i++)
		synth_add(&back, 100000, 5000);
	start(sc);
	await(sc, REPLICATOR_REFUSED, "is not this log's head 4", &st);
	replicator_stop(sc->r);
	sc->r = NULL;
	cr_assert_eq(sc->fake.n_append, 0);
	fake_stop(&sc->fake);
	synth_close(&back);
	scene_free(sc);
}

Test(replicator, plain_text_to_another_host_is_forbidden)
{
	struct scene *sc = scene_new();

	sc->cfg.address = "192.0.2.1:7070";
	cr_assert_eq(replicator_start(&sc->cfg, &sc->r), -ERR_FORBIDDEN);
	sc->cfg.tls_dir = "/nonexistent";
	cr_assert(replicator_start(&sc->cfg, &sc->r) < 0);
	sc->r = NULL;
	scene_free(sc);
}
