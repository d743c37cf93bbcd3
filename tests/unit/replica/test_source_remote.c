/* A source over a server that serves a made-up log, and lies on demand. */

#include "client.h"
#include "embassy.pb-c.h"
#include "err.h"
#include "fake_server.h"
#include "frame.h"
#include "remote.h"
#include "remote_head.h"
#include "source.h"
#include "synth.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct scene {
	char tmp[256];
	struct synth log, other;
	struct fake_server fake;
	struct remote_config cfg;
};

static void path_in(const struct scene *sc, const char *name, char out[300])
{
	snprintf(out, 300, "%.250s/%s", sc->tmp, name);
}

static struct scene *scene_new(uint64_t bytes, unsigned n_heads)
{
	struct scene *sc = calloc(1, sizeof(*sc));
	char path[300];

	tmp_make(sc->tmp);
	path_in(sc, "home", path);
	synth_new(&sc->log, path, 1);
	path_in(sc, "other", path);
	synth_new(&sc->other, path, 2);
	synth_add(&sc->other, 1000, 500);
	for (unsigned i = 0; i < n_heads; i++)
		synth_add(&sc->log, bytes / n_heads, 128 << 10);
	path_in(sc, "sock", path);
	fake_start(&sc->fake, &sc->log, path);
	sc->fake.other = &sc->other;
	sc->cfg = (struct remote_config){.address = sc->fake.address,
					 .volume = sc->log.params.id,
					 .cache_bytes = 16 << 20,
					 .timeout_ms = 2000};
	return sc;
}

static void scene_free(struct scene *sc)
{
	fake_stop(&sc->fake);
	synth_close(&sc->log);
	synth_close(&sc->other);
	tmp_remove(sc->tmp);
	free(sc);
}

static int open_rc(struct scene *sc)
{
	struct source *s = NULL;
	int rc = source_open_remote(&sc->cfg, &s);

	source_free(s);
	return rc;
}

static struct source *open_it(struct scene *sc)
{
	struct source *s = NULL;

	cr_assert_eq(source_open_remote(&sc->cfg, &s), 0, "%s", err_detail(0));
	return s;
}

static void compare(struct scene *sc, struct source *s, uint64_t pos, size_t len)
{
	uint8_t *a = malloc(len), *b = malloc(len);

	cr_assert_eq(store_read(sc->log.store, pos, len, a), 0);
	cr_assert_eq(s->ops->read(s, pos, len, b), 0, "%s", err_detail(-ERR_UNREACHABLE));
	cr_assert(memcmp(a, b, len) == 0, "bytes at %llu", (unsigned long long)pos);
	free(a);
	free(b);
}

Test(source_remote, bytes_are_the_servers)
{
	struct scene *sc = scene_new(100 << 20, 3);
	struct source *s = open_it(sc);
	uint64_t end = head_end(&sc->log.newest);
	uint8_t p[100];

	cr_assert(memcmp(s->params->id, sc->log.params.id, VOLUME_ID_LEN) == 0);
	srandom(5);
	for (int i = 0; i < 300; i++) {
		size_t len = 1 + (size_t)random() % (i % 10 ? 3000 : 500000);
		uint64_t pos = (uint64_t)random() % (end - len);

		if (segment_of(pos) != segment_of(pos + len - 1) || pos % SEGMENT_SIZE > 60u << 20)
			continue;
		if (i % 5 == 0)
			s->ops->hint(s, pos, len);
		compare(sc, s, pos, len);
	}
	for (uint64_t pos = 0; pos < 20u << 20; pos += 65536)
		compare(sc, s, pos, 65536);
	cr_assert_eq(s->ops->read(s, end, 100, p), -ERR_ABSENT);
	cr_assert_eq(s->ops->read(s, 10 * SEGMENT_SIZE, 100, p), -ERR_ABSENT);
	source_free(s);
	scene_free(sc);
}

struct puller {
	struct source *s;
	struct synth *log;
	unsigned seed;
	bool ok;
};

static void *pull(void *arg)
{
	struct puller *p = arg;
	uint8_t *a = malloc(200000), *b = malloc(200000);

	p->ok = true;
	for (int i = 0; i < 60; i++) {
		uint64_t pos = (uint64_t)rand_r(&p->seed) % (18u << 20);

		if (store_read(p->log->store, pos, 200000, a) < 0 ||
		    p->s->ops->read(p->s, pos, 200000, b) < 0 || memcmp(a, b, 200000) != 0)
			p->ok = false;
	}
	free(a);
	free(b);
	return NULL;
}

Test(source_remote, eight_threads_at_once)
{
	struct scene *sc = scene_new(20 << 20, 1);
	struct source *s = open_it(sc);
	struct puller p[8];
	pthread_t t[8];

	for (unsigned i = 0; i < 8; i++) {
		p[i] = (struct puller){.s = s, .log = &sc->log, .seed = i};
		pthread_create(&t[i], NULL, pull, &p[i]);
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(t[i], NULL);
		cr_assert(p[i].ok);
	}
	source_free(s);
	scene_free(sc);
}

Test(source_remote, heads_by_number_and_by_time)
{
	struct scene *sc = scene_new(400000, 40);
	struct source *s = open_it(sc);
	struct head h, list[50];
	struct head_ref ref;
	size_t n;
	unsigned asked;

	cr_assert_eq(s->ops->head_at(s, INT64_MAX, &h), 0);
	cr_assert_eq(h.number, 40);
	cr_assert_eq(head_end(&h), head_end(&sc->log.newest));
	cr_assert_eq(catalog_head(sc->log.catalog, 17, &ref), 0);
	cr_assert_eq(s->ops->head_at(s, ref.time_ns, &h), 0);
	cr_assert_eq(h.number, 17);
	cr_assert_eq(s->ops->head_at(s, ref.time_ns - 1, &h), 0);
	cr_assert_eq(h.number, 16);
	cr_assert_eq(s->ops->head_at(s, 1000, &h), -ERR_TOO_EARLY);
	cr_assert_eq(s->ops->heads(s, 1, 50, list, &n), 0);
	cr_assert_eq(n, 40);
	for (size_t i = 0; i < n; i++)
		cr_assert(list[i].number == i + 1 && list[i].pos > 0);
	/* Those are kept. */
	asked = sc->fake.n_heads;
	cr_assert_eq(s->ops->heads(s, 10, 20, list, &n), 0);
	cr_assert(n == 20 && list[0].number == 10);
	cr_assert_eq(sc->fake.n_heads, asked);
	cr_assert_eq(s->ops->heads(s, 41, 1, list, &n), -ERR_ABSENT);
	/* The log goes on: what was not there is. */
	synth_add(&sc->log, 1000, 1000);
	sc->fake.committed = 41;
	cr_assert_eq(s->ops->heads(s, 41, 5, list, &n), 0);
	cr_assert(n == 1 && list[0].number == 41);
	compare(sc, s, list[0].pos, list[0].stored_len);
	source_free(s);
	scene_free(sc);
}

Test(source_remote, no_head_at_all_is_absent)
{
	struct scene *sc = scene_new(1000, 1);
	struct source *s;
	struct head h;

	sc->fake.committed = 0;
	s = open_it(sc);
	cr_assert_eq(s->ops->head_at(s, INT64_MAX, &h), -ERR_ABSENT);
	source_free(s);
	scene_free(sc);
}

Test(source_remote, lies_at_opening_are_noticed)
{
	struct scene *sc = scene_new(1000, 2);
	struct remote_status st;

	sc->fake.lie = FAKE_OTHER_VOLUME;
	cr_assert_eq(open_rc(sc), -ERR_TAMPERED);
	sc->fake.lie = FAKE_BAD_PARAMS;
	cr_assert_eq(open_rc(sc), -ERR_TAMPERED);
	sc->fake.lie = FAKE_BAD_SIGNATURE;
	cr_assert_eq(remote_volume_status(&sc->cfg, &st), -ERR_TAMPERED);
	sc->fake.lie = FAKE_WRONG_END;
	cr_assert_eq(remote_volume_status(&sc->cfg, &st), -ERR_TAMPERED);
	sc->fake.lie = FAKE_HONEST;
	cr_assert_eq(remote_volume_status(&sc->cfg, &st), 0);
	cr_assert_eq(st.head.number, 2);
	cr_assert_eq(st.end, head_end(&sc->log.newest));
	scene_free(sc);
}

Test(source_remote, lies_about_heads_are_noticed)
{
	struct scene *sc = scene_new(10000, 10);
	struct source *s = open_it(sc);
	struct head h, list[10];
	size_t n;

	sc->fake.lie = FAKE_BAD_SIGNATURE;
	cr_assert_eq(s->ops->head_at(s, INT64_MAX, &h), -ERR_TAMPERED);
	cr_assert_eq(s->ops->heads(s, 1, 3, list, &n), -ERR_TAMPERED);
	sc->fake.lie = FAKE_WRONG_HEAD;
	cr_assert_eq(s->ops->heads(s, 1, 3, list, &n), -ERR_TAMPERED);
	cr_assert_eq(s->ops->head_at(s, sc->log.params.created_ns + 3500000000, &h), -ERR_TAMPERED);
	sc->fake.lie = FAKE_TOO_MANY;
	cr_assert_eq(s->ops->heads(s, 1, 3, list, &n), -ERR_TAMPERED);
	sc->fake.lie = FAKE_NO_HEADS;
	cr_assert_eq(s->ops->head_at(s, INT64_MAX, &h), -ERR_TAMPERED);
	source_free(s);
	sc->fake.lie = FAKE_BAD_SIGNATURE;
	cr_assert_eq(open_rc(sc), -ERR_TAMPERED);
	scene_free(sc);
}

/* A head that is signed and older than it need be is a lie too. */
/* The leaf of a head is made of the position that the server gives. */
Test(source_remote, a_head_lies_where_its_note_says)
{
	struct scene *sc = scene_new(1000, 1);
	const struct head *newest = &sc->log.newest;
	const struct head_known k = {.params = &sc->log.params};
	Embassyfs__V1__Head h = EMBASSYFS__V1__HEAD__INIT;
	uint8_t block[HEAD_BLOCK_MAX];
	struct head out;

	cr_assert_eq(store_read(sc->log.store, newest->pos, newest->stored_len, block), 0);
	h.position = newest->pos;
	h.stored_len = newest->stored_len;
	h.note = (ProtobufCBinaryData){newest->stored_len - FRAME_LEN, block + FRAME_LEN};
	cr_assert_eq(remote_head_check(&k, &h, &out), 0);
	h.position++;
	cr_expect_eq(remote_head_check(&k, &h, &out), -ERR_TAMPERED);
	h.position = UINT64_MAX;
	cr_expect_eq(remote_head_check(&k, &h, &out), -ERR_TAMPERED);
	scene_free(sc);
}

Test(source_remote, an_older_head_than_was_asked_for_is_noticed)
{
	struct scene *sc = scene_new(10000, 10);
	struct source *s = open_it(sc);
	struct head_ref third, last;
	struct head h, list[3];
	size_t n;

	cr_assert_eq(catalog_head(sc->log.catalog, 3, &third), 0);
	cr_assert_eq(catalog_head(sc->log.catalog, 10, &last), 0);
	cr_assert_eq(s->ops->head_at(s, third.time_ns, &h), 0);
	cr_assert_eq(h.number, 3);
	sc->fake.lie = FAKE_OLD_TIME;
	cr_assert_eq(s->ops->head_at(s, third.time_ns, &h), -ERR_TAMPERED);
	cr_assert_eq(s->ops->head_at(s, INT64_MAX, &h), -ERR_TAMPERED);
	source_free(s);
	/* What was shown when the source was opened cannot be denied. */
	sc->fake.lie = FAKE_HONEST;
	s = open_it(sc);
	sc->fake.lie = FAKE_OLD_ONLY;
	cr_assert_eq(s->ops->head_at(s, last.time_ns + 1, &h), -ERR_TAMPERED);
	cr_assert_eq(s->ops->head_at(s, INT64_MAX, &h), -ERR_TAMPERED);
	cr_assert_eq(s->ops->heads(s, 5, 3, list, &n), -ERR_TAMPERED);
	/* Nor what it has shown since. */
	sc->fake.lie = FAKE_HONEST;
	source_free(s);
	sc->fake.committed = 8;
	s = open_it(sc);
	sc->fake.committed = 10;
	cr_assert_eq(s->ops->head_at(s, INT64_MAX, &h), 0);
	cr_assert_eq(h.number, 10);
	sc->fake.committed = 8;
	cr_assert_eq(s->ops->head_at(s, INT64_MAX, &h), -ERR_TAMPERED);
	sc->fake.committed = 10;
	/* The first is the right answer to its own time, and there is none before it. */
	cr_assert_eq(s->ops->head_at(s, last.time_ns + 1, &h), 0);
	cr_assert_eq(h.number, 10);
	source_free(s);
	scene_free(sc);
}

Test(source_remote, lengths_of_reads_are_checked)
{
	struct scene *sc = scene_new(4 << 20, 1);
	struct source *s = open_it(sc);
	uint8_t p[1000];

	sc->fake.lie = FAKE_LONG_READ;
	cr_assert_eq(s->ops->read(s, 1000, 1000, p), -EPROTO);
	sc->fake.lie = FAKE_SHORT_READ;
	cr_assert_eq(s->ops->read(s, 100000, 1000, p), -ERR_ABSENT);
	sc->fake.lie = FAKE_HONEST;
	compare(sc, s, 1000, 1000);
	compare(sc, s, 100000, 1000);
	source_free(s);
	scene_free(sc);
}

/* Said to be what it is, and not that the server did not answer in time. */
Test(source_remote, an_answer_without_an_end_is_malformed)
{
	struct scene *sc = scene_new(4 << 20, 1);
	struct source *s;
	struct head h;
	uint8_t p[1000];

	sc->cfg.timeout_ms = 60000;
	s = open_it(sc);
	sc->fake.lie = FAKE_ENDLESS;
	cr_expect_eq(s->ops->read(s, 1000, 1000, p), -EPROTO);
	cr_expect_eq(s->ops->head_at(s, INT64_MAX, &h), -EPROTO);
	cr_expect_eq(open_rc(sc), -EPROTO);
	sc->fake.lie = FAKE_HONEST;
	compare(sc, s, 1000, 1000);
	source_free(s);
	scene_free(sc);
}

static void *relent(void *arg)
{
	struct scene *sc = arg;

	while (sc->fake.n_open == 0)
		usleep(100);
	while (sc->fake.n_open > 0)
		usleep(100);
	sc->fake.lie = FAKE_HONEST;
	return NULL;
}

/* A server that stops, or has too many callers, is no reason for an application to see an error. */
Test(source_remote, what_passes_is_tried_again)
{
	static const int statuses[] = {GRPC_STATUS_CANCELLED, GRPC_STATUS_RESOURCE_EXHAUSTED};
	struct scene *sc = scene_new(4 << 20, 1);
	struct source *s;
	uint8_t p[100];
	pthread_t t;

	sc->cfg.timeout_ms = 60000;
	s = open_it(sc);
	while (sc->fake.n_open > 0)
		usleep(100);
	for (unsigned i = 0; i < 2; i++) {
		sc->fake.status = statuses[i];
		sc->fake.lie = FAKE_STATUS;
		cr_assert_eq(pthread_create(&t, NULL, relent, sc), 0);
		compare(sc, s, (uint64_t)(i + 1) << 20, 100);
		pthread_join(t, NULL);
	}
	source_free(s);
	/* Too late: it says so, and not that the reader's disk is full. */
	sc->cfg.timeout_ms = 100;
	s = open_it(sc);
	sc->fake.lie = FAKE_STATUS;
	cr_expect_eq(s->ops->read(s, 0, 100, p), -ERR_UNREACHABLE);
	cr_expect(strstr(err_detail(-ERR_UNREACHABLE), "the fake's words"));
	source_free(s);
	scene_free(sc);
}

Test(source_remote, each_status_has_its_error)
{
	static const struct {
		int status, rc;
	} table[] = {
		{GRPC_STATUS_UNAVAILABLE, -ERR_UNREACHABLE},
		{GRPC_STATUS_CANCELLED, -ERR_UNREACHABLE},
		{GRPC_STATUS_DEADLINE_EXCEEDED, -ERR_UNREACHABLE},
		{GRPC_STATUS_PERMISSION_DENIED, -ERR_FORBIDDEN},
		{GRPC_STATUS_UNAUTHENTICATED, -ERR_FORBIDDEN},
		{GRPC_STATUS_FAILED_PRECONDITION, -ERR_REFUSED},
		{GRPC_STATUS_NOT_FOUND, -ERR_NO_VOLUME},
		{GRPC_STATUS_DATA_LOSS, -ERR_DAMAGED},
		{GRPC_STATUS_OUT_OF_RANGE, -ERR_ABSENT},
		{GRPC_STATUS_UNIMPLEMENTED, -ERR_VERSION},
		{GRPC_STATUS_ABORTED, -EAGAIN},
		{GRPC_STATUS_RESOURCE_EXHAUSTED, -ENOSPC},
		{GRPC_STATUS_INTERNAL, -EIO},
	};
	struct scene *sc = scene_new(1000, 1);
	struct remote_status st;

	sc->fake.lie = FAKE_STATUS;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		sc->fake.status = table[i].status;
		cr_assert_eq(remote_volume_status(&sc->cfg, &st), table[i].rc, "status %d",
			     table[i].status);
		cr_assert(strstr(err_detail(table[i].rc), "the fake's words") != NULL);
		cr_assert(strstr(err_detail(table[i].rc), sc->fake.address) != NULL);
	}
	scene_free(sc);
}

Test(source_remote, a_server_that_went_is_unreachable_and_one_that_came_back_is_read)
{
	struct scene *sc = scene_new(4 << 20, 1);
	struct source *s;
	char path[300];
	uint8_t p[100];

	sc->cfg.timeout_ms = 300;
	s = open_it(sc);
	compare(sc, s, 0, 100);
	fake_stop(&sc->fake);
	cr_assert_eq(s->ops->read(s, 3 << 20, 100, p), -ERR_UNREACHABLE);
	/* What is in the cache still is. */
	compare(sc, s, 0, 100);
	path_in(sc, "sock", path);
	fake_start(&sc->fake, &sc->log, path);
	for (int i = 0; i < 20 && s->ops->read(s, 3 << 20, 100, p) < 0; i++)
		;
	compare(sc, s, 3 << 20, 100);
	source_free(s);
	scene_free(sc);
}

Test(source_remote, a_server_that_never_answers_is_unreachable_in_time)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct scene *sc = scene_new(1000, 1);
	struct remote_status st;
	char path[300], address[310];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	path_in(sc, "hole", path);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.100s", path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	cr_assert_eq(listen(fd, 10), 0);
	snprintf(address, sizeof(address), "unix:%s", path);
	sc->cfg.address = address;
	sc->cfg.timeout_ms = 200;
	cr_assert_eq(remote_volume_status(&sc->cfg, &st), -ERR_UNREACHABLE);
	cr_assert_eq(open_rc(sc), -ERR_UNREACHABLE);
	close(fd);
	scene_free(sc);
}

Test(source_remote, plain_text_to_another_host_is_forbidden)
{
	struct scene *sc = scene_new(1000, 1);
	struct remote_status st;

	sc->cfg.address = "192.0.2.1:7070";
	cr_assert_eq(open_rc(sc), -ERR_FORBIDDEN);
	cr_assert_eq(remote_volume_status(&sc->cfg, &st), -ERR_FORBIDDEN);
	sc->cfg.tls_dir = "/nonexistent";
	cr_assert_eq(open_rc(sc), -ENOENT);
	scene_free(sc);
}

/* ---- proofs ---- */

static int header(struct source *s, uint64_t number)
{
	uint8_t block[SEGMENT_BLOCK_LEN];

	return s->ops->header(s, number, block);
}

/* A log that was copied, and went on twice: "log" and "other" part within segment 0. */
static struct scene *forked_new(void)
{
	struct scene *sc = scene_new(60 << 20, 3);
	char path[300];

	path_in(sc, "fork", path);
	copy_volume(sc->log.dir, path);
	synth_close(&sc->other);
	synth_reopen(&sc->other, path, 1, 99);
	for (int i = 0; i < 3; i++) {
		synth_add(&sc->log, 5 << 20, 128 << 10);
		synth_add(&sc->other, 5 << 20, 128 << 10);
	}
	sc->fake.committed = sc->log.newest.number;
	cr_assert_eq(segment_of(sc->log.newest.pos), 1);
	cr_assert_eq(segment_of(sc->other.newest.pos), 1);
	return sc;
}

Test(source_remote, headers_come_once)
{
	struct scene *sc = scene_new(150 << 20, 3);
	struct source *s = open_it(sc);
	uint8_t want[SEGMENT_BLOCK_LEN], got[SEGMENT_BLOCK_LEN];

	s->ops->hint_header(s, 1);
	s->ops->hint_header(s, 1);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(s->ops->header(s, 1, got), 0, "%s", err_detail(-ERR_TAMPERED));
		cr_assert_eq(store_read(sc->log.store, segment_start(1), sizeof(want), want), 0);
		cr_assert_arr_eq(got, want, sizeof(got));
	}
	cr_assert_eq(sc->fake.n_segments, 1);
	cr_assert_eq(header(s, 7), -ERR_ABSENT);
	/* A hint at what is not there spoils nothing. */
	s->ops->hint_header(s, 7);
	s->ops->hint_header(s, 0);
	cr_assert_eq(header(s, 0), 0);
	cr_assert_eq(header(s, 2), 0);
	source_free(s);
	scene_free(sc);
}

static void *pull_headers(void *arg)
{
	struct puller *p = arg;
	struct head h, list[4];
	size_t n;

	p->ok = true;
	for (unsigned i = 0; i < 60; i++) {
		uint64_t number = (uint64_t)rand_r(&p->seed) % 3;

		p->s->ops->hint_header(p->s, (number + 1) % 3);
		p->ok &= header(p->s, number) == 0;
		p->ok &= p->s->ops->head_at(p->s, INT64_MAX, &h) == 0;
		p->ok &= p->s->ops->heads(p->s, 1 + i % 3, 4, list, &n) == 0;
	}
	return NULL;
}

Test(source_remote, eight_threads_while_heads_come)
{
	struct scene *sc = scene_new(150 << 20, 30);
	struct puller pullers[8];
	pthread_t threads[8];
	struct source *s;

	sc->fake.committed = 29;
	s = open_it(sc);
	sc->fake.committed = 30;
	for (unsigned i = 0; i < 8; i++) {
		pullers[i] = (struct puller){.s = s, .log = &sc->log, .seed = i};
		pthread_create(&threads[i], NULL, pull_headers, &pullers[i]);
	}
	for (unsigned i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		cr_expect(pullers[i].ok, "thread %u", i);
	}
	source_free(s);
	scene_free(sc);
}

Test(source_remote, another_history_is_noticed)
{
	struct scene *sc = forked_new();
	struct source *s = open_it(sc);
	struct head h, list[3];
	size_t n;

	/* Its signed heads, and the other's headers: what both have in common is right. */
	sc->fake.lie = FAKE_OTHER_HEADERS;
	cr_assert_eq(header(s, 1), -ERR_TAMPERED);
	cr_assert(strstr(err_detail(-ERR_TAMPERED), sc->fake.address) != NULL);
	cr_assert(strstr(err_detail(-ERR_TAMPERED), "segment 0000000000000001") != NULL);
	cr_assert(strstr(err_detail(-ERR_TAMPERED), "head 6") != NULL);
	cr_assert_eq(header(s, 0), 0);
	/* All of the other's. */
	sc->fake.lie = FAKE_HONEST;
	sc->fake.log = &sc->other;
	cr_assert_eq(header(s, 1), -ERR_TAMPERED);
	cr_assert_eq(err_exit(s->ops->head_at(s, INT64_MAX, &h)), 21);
	cr_assert_eq(err_exit(s->ops->heads(s, 4, 3, list, &n)), 21);
	cr_assert_eq(err_exit(s->ops->heads(s, 5, 1, list, &n)), 21);
	/* The longer one of them. */
	synth_add(&sc->other, 1000, 100);
	sc->fake.committed = sc->other.newest.number;
	cr_assert_eq(s->ops->head_at(s, INT64_MAX, &h), -ERR_TAMPERED);
	cr_assert(strstr(err_detail(-ERR_TAMPERED), sc->fake.address) != NULL);
	cr_assert_eq(s->ops->heads(s, 7, 1, list, &n), -ERR_TAMPERED);
	/* It has told the truth once, and may do so again. */
	sc->fake.log = &sc->log;
	sc->fake.committed = sc->log.newest.number;
	cr_assert_eq(header(s, 1), 0);
	cr_assert_eq(s->ops->head_at(s, INT64_MAX, &h), 0);
	cr_assert_eq(h.number, 6);
	source_free(s);
	/* Whoever comes now is shown one history, whichever. */
	sc->fake.log = &sc->other;
	sc->fake.committed = sc->other.newest.number;
	s = open_it(sc);
	cr_assert_eq(header(s, 1), 0);
	cr_assert_eq(s->ops->heads(s, 4, 3, list, &n), 0);
	source_free(s);
	sc->fake.log = &sc->log;
	scene_free(sc);
}

Test(source_remote, proofs_are_checked)
{
	static const int lies[] = {FAKE_WRONG_PROOF, FAKE_LONG_PROOF, FAKE_SHORT_PROOF};
	struct scene *sc = scene_new(20000, 10);
	struct source *s = open_it(sc);
	struct head list[3];
	size_t n;

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		sc->fake.lie = lies[i];
		cr_expect_eq(header(s, 0), -ERR_TAMPERED, "lie %d", lies[i]);
		cr_expect_eq(s->ops->heads(s, 2, 3, list, &n), -ERR_TAMPERED, "lie %d", lies[i]);
	}
	sc->fake.lie = FAKE_LONG_HEADERS;
	cr_expect_eq(header(s, 0), -ERR_TAMPERED);
	/* A server of before does not know what it is asked for. */
	sc->fake.lie = FAKE_NO_PROOF;
	cr_expect_eq(header(s, 0), -ERR_TAMPERED);
	cr_expect_eq(s->ops->heads(s, 2, 3, list, &n), -ERR_VERSION);
	cr_expect(strstr(err_detail(-ERR_VERSION), "upgrade") != NULL);
	sc->fake.lie = FAKE_OLD_VERSION;
	cr_expect_eq(header(s, 0), -ERR_VERSION);
	cr_expect(strstr(err_detail(-ERR_VERSION), "upgrade") != NULL);
	/* Nothing of all that was kept. */
	sc->fake.lie = FAKE_HONEST;
	sc->fake.n_heads = 0;
	cr_expect_eq(header(s, 0), 0);
	cr_expect_eq(s->ops->heads(s, 2, 3, list, &n), 0);
	cr_expect_eq(sc->fake.n_heads, 1);
	source_free(s);
	scene_free(sc);
}
