/*
 * What a server shows, proven to belong to one history.
 *
 * Key idea: the anchor is first the first head that the server shows, and then each later head
 * whose tree contains the anchor.  A segment header is requested together with its proof.  A
 * background thread does so as soon as somebody hints at the header, so that it is there when the
 * blocks of its segment are.
 *
 * Invariants:
 * 1. The anchor only ever becomes a later head whose tree holds it (anchor_admit()).  So anything
 *    proven under an earlier anchor is under the present one.
 * 2. A header is in kept[] only after its proof was verified.
 * 3. A number is in at most one flight, or in wanted[].  A thread that wants a header in flight
 *    waits for that flight.  If the flight failed, one of the waiting threads asks alone, and so
 *    on.  But if a patient flight found that the server is away, they all take its word:
 *    each would otherwise find out only after as long a wait again.
 * 4. Memory: HEADERS_KEPT headers of 124 bytes, touched as they come; HEADERS_ASKED numbers wanted.
 *
 * Lock order: mu is a leaf; it is not held during a question to the server.
 */

#include "proven.h"

#include "embassy.pb-c.h"
#include "err.h"
#include "locks.h"
#include "thread.h"
#include "wire.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define HEADERS_KEPT 4096u /* of 256 GiB of log */
#define HEADERS_ASKED WIRE_SEGMENTS_MAX

typedef unsigned long long ull;

struct kept {
	uint64_t number_1; /* 1 + the segment's number; 0: none */
	uint8_t block[SEGMENT_BLOCK_LEN];
};

/*
 * Headers that are being requested.  A thread that counted itself in ${refs} may look at it even
 * after it has landed.
 */
struct flight {
	LIST_ENTRY(flight) entry;
	unsigned refs;
	bool landed, patient;
	int rc;
	size_t n;
	segment_no numbers[HEADERS_ASKED]; /* ascending */
	uint8_t blocks[HEADERS_ASKED * SEGMENT_BLOCK_LEN];
};

struct proven {
	struct proven_config cfg;
	pthread_t thread;
	pthread_mutex_t mu;
	pthread_cond_t work;   /* something is wanted, or stopping */
	pthread_cond_t landed; /* a flight ended */
	/* Guarded by mu. */
	struct anchor anchor; /* number 0: none yet */
	bool stopping;
	struct kept *kept; /* each at its number modulo the size */
	segment_no wanted[HEADERS_ASKED];
	size_t n_wanted;
	LIST_HEAD(, flight) flights;
};

/* ---- heads ---- */

void proven_known(struct proven *p, struct anchor *out)
{
	pthread_mutex_lock(&p->mu);
	*out = p->anchor;
	pthread_mutex_unlock(&p->mu);
}

static int say_old(const struct proven *p)
{
	return err_say(-ERR_VERSION,
		       "%s: its embassyd is of an earlier version, which cannot prove that what it "
		       "sends is what was signed; upgrade it there, or read from another copy",
		       p->cfg.address);
}

static int say_forked(const struct proven *p, const struct anchor *known, const struct anchor *h)
{
	return err_say(
		-ERR_TAMPERED,
		"%s: its heads up to %llu are not of one history with head %llu, which it "
		"showed before: its copy was tampered with, or is a mixture of two logs; "
		"nothing of it is used. Read from another copy, and keep this one for whoever "
		"looks into it",
		p->cfg.address, (ull)h->number, (ull)(known->number ? known->number : h->number));
}

int proven_admit(struct proven *p, const struct anchor *known, const struct anchor *heads, size_t n,
		 const Embassyfs__V1__Proof *proof)
{
	struct anchor top = *known;
	int rc;

	if (!proof)
		return say_old(p);
	rc = anchor_admit(&top, heads, n, proof->hashes.data, proof->hashes.len);
	if (rc == -ERR_TAMPERED)
		return say_forked(p, known, &heads[n - 1]);
	if (rc < 0 || top.number == known->number)
		return rc;
	pthread_mutex_lock(&p->mu);
	/*
	 * Another thread's answer may have come first.  Two heads that both contain the known one
	 * may still contradict each other.
	 */
	if (p->anchor.number == known->number)
		p->anchor = top;
	else if (memcmp(&p->anchor, &top, sizeof(top)) != 0)
		rc = -ESTALE;
	pthread_mutex_unlock(&p->mu);
	return rc;
}

/* ---- headers: asking ---- */

static int say_header(const struct proven *p, const struct flight *f, const struct anchor *a)
{
	return err_say(
		-ERR_TAMPERED,
		"%s: what it sends as the header of segment %016llx is not what head %llu was "
		"signed over: its copy was tampered with, or is a mixture of two logs; nothing "
		"of it is used. Read from another copy, and keep this one for whoever looks "
		"into it",
		p->cfg.address, (ull)f->numbers[0], (ull)a->number);
}

static int check_reply(const struct proven *p, const struct anchor *a, struct flight *f,
		       const Embassyfs__V1__SegmentsReply *m)
{
	int rc;

	if (!m->proof || m->headers.len != f->n * SEGMENT_BLOCK_LEN)
		return say_header(p, f, a);
	rc = anchor_check_headers(a, p->cfg.volume, f->numbers, f->n, m->headers.data,
				  m->proof->hashes.data, m->proof->hashes.len);
	if (rc == -ERR_TAMPERED)
		return say_header(p, f, a);
	if (rc == 0)
		memcpy(f->blocks, m->headers.data, m->headers.len);
	return rc;
}

/* Request the headers of a flight, and verify them. */
static int fly(struct proven *p, struct flight *f, bool patient)
{
	Embassyfs__V1__SegmentsRequest request = EMBASSYFS__V1__SEGMENTS_REQUEST__INIT;
	struct anchor a;
	ProtobufCMessage *reply;
	int rc;

	proven_known(p, &a);
	request.volume = (ProtobufCBinaryData){.len = VOLUME_ID_LEN,
					       .data = (uint8_t *)p->cfg.volume};
	request.known = a.n_blocks;
	request.n_numbers = f->n;
	request.numbers = f->numbers;
	rc = p->cfg.ask(p->cfg.ctx, WIRE_SERVICE "Segments", &request.base,
			&embassyfs__v1__segments_reply__descriptor, patient, &reply);
	if (rc == -ERR_VERSION)
		return say_old(p);
	if (rc < 0)
		return rc;
	rc = check_reply(p, &a, f, (Embassyfs__V1__SegmentsReply *)reply);
	protobuf_c_message_free_unpacked(reply, NULL);
	return rc;
}

/* ---- headers: keeping ---- */

static const struct kept *kept_locked(struct proven *p, segment_no number) REQUIRES(p->mu);
static struct flight *flies_locked(struct proven *p, segment_no number) REQUIRES(p->mu);
static struct flight *flight_new(bool patient);
static void flight_put_locked(struct flight *f);
static int await_locked(struct proven *p, struct flight *f) REQUIRES(p->mu);
static void add_number(struct flight *f, segment_no number);
static void depart_locked(struct proven *p, struct flight *f) REQUIRES(p->mu);
static void land_locked(struct proven *p, struct flight *f, int rc) REQUIRES(p->mu);

static const struct kept *kept_locked(struct proven *p, segment_no number)
{
	const struct kept *k = &p->kept[number % HEADERS_KEPT];

	return k->number_1 == number + 1 ? k : NULL;
}

static struct flight *flies_locked(struct proven *p, segment_no number)
{
	struct flight *f;

	LIST_FOREACH(f, &p->flights, entry)
		for (size_t i = 0; i < f->n; i++)
			if (f->numbers[i] == number)
				return f;
	return NULL;
}

static struct flight *flight_new(bool patient)
{
	struct flight *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->refs = 1;
	f->patient = patient;
	return f;
}

static void flight_put_locked(struct flight *f)
{
	if (--f->refs == 0)
		free(f);
}

/* Wait for another thread's flight.  Returns 0: look again; or -ERR_UNREACHABLE. */
static int await_locked(struct proven *p, struct flight *f)
{
	int rc;

	f->refs++;
	while (!f->landed)
		pthread_cond_wait(&p->landed, &p->mu);
	rc = f->patient && f->rc == -ERR_UNREACHABLE ? f->rc : 0;
	flight_put_locked(f);
	return rc;
}

static bool is_wanted_locked(struct proven *p, segment_no number) REQUIRES(p->mu);
static bool is_wanted_locked(struct proven *p, segment_no number)
{
	for (size_t i = 0; i < p->n_wanted; i++)
		if (p->wanted[i] == number)
			return true;
	return false;
}

/* Insert at its place: numbers ascend. */
static void add_number(struct flight *f, segment_no number)
{
	size_t i = f->n++;

	for (; i > 0 && f->numbers[i - 1] > number; i--)
		f->numbers[i] = f->numbers[i - 1];
	f->numbers[i] = number;
}

/* Let the flight take along the wanted numbers, as far as there is room. */
static void depart_locked(struct proven *p, struct flight *f)
{
	while (p->n_wanted > 0 && f->n < HEADERS_ASKED) {
		segment_no number = p->wanted[--p->n_wanted];
		bool has = false;

		for (size_t i = 0; i < f->n; i++)
			has |= f->numbers[i] == number;
		if (!has)
			add_number(f, number);
	}
	LIST_INSERT_HEAD(&p->flights, f, entry);
}

static void land_locked(struct proven *p, struct flight *f, int rc)
{
	LIST_REMOVE(f, entry);
	f->landed = true;
	f->rc = rc;
	for (size_t i = 0; rc == 0 && i < f->n; i++) {
		struct kept *k = &p->kept[f->numbers[i] % HEADERS_KEPT];

		k->number_1 = f->numbers[i] + 1;
		memcpy(k->block, f->blocks + i * SEGMENT_BLOCK_LEN, SEGMENT_BLOCK_LEN);
	}
	pthread_cond_broadcast(&p->landed);
}

/* Fetch the header of ${number} from the server; if ${alone}, without other wanted ones. */
static int fetch_locked(struct proven *p, segment_no number, bool alone,
			uint8_t out[SEGMENT_BLOCK_LEN]) REQUIRES(p->mu);
static int fetch_locked(struct proven *p, segment_no number, bool alone,
			uint8_t out[SEGMENT_BLOCK_LEN])
{
	struct flight *f = flight_new(true);
	bool others;
	int rc;

	if (!f)
		return -ENOMEM;
	add_number(f, number);
	if (alone)
		LIST_INSERT_HEAD(&p->flights, f, entry);
	else
		depart_locked(p, f);
	pthread_mutex_unlock(&p->mu);
	others = f->n > 1;
	rc = fly(p, f, true);
	pthread_mutex_lock(&p->mu);
	land_locked(p, f, rc);
	for (size_t i = 0; rc == 0 && i < f->n; i++)
		if (f->numbers[i] == number)
			memcpy(out, f->blocks + i * SEGMENT_BLOCK_LEN, SEGMENT_BLOCK_LEN);
	flight_put_locked(f);
	/*
	 * The error may be about another number of the flight: ask alone.  But if the server is
	 * away, it is so for all.
	 */
	return rc < 0 && rc != -ERR_UNREACHABLE && others ? fetch_locked(p, number, true, out) : rc;
}

int proven_header(struct proven *p, segment_no number, uint8_t out[SEGMENT_BLOCK_LEN])
{
	const struct kept *k;
	struct flight *f;
	int rc = 0;

	pthread_mutex_lock(&p->mu);
	while (rc == 0 && !(k = kept_locked(p, number)) && (f = flies_locked(p, number)))
		rc = await_locked(p, f);
	if (rc < 0)
		rc = err_say(rc, "%s: %s", p->cfg.address, err_text(rc));
	else if (k)
		memcpy(out, k->block, SEGMENT_BLOCK_LEN);
	else
		rc = fetch_locked(p, number, false, out);
	pthread_mutex_unlock(&p->mu);
	return rc;
}

void proven_hint(struct proven *p, segment_no number)
{
	pthread_mutex_lock(&p->mu);
	if (p->n_wanted < HEADERS_ASKED && !kept_locked(p, number) && !flies_locked(p, number) &&
	    !is_wanted_locked(p, number)) {
		p->wanted[p->n_wanted++] = number;
		pthread_cond_signal(&p->work);
	}
	pthread_mutex_unlock(&p->mu);
}

/* Drop errors here: a reader that needs the header asks again. */
static void *fetch_ahead(void *arg)
{
	struct proven *p = arg;

	pthread_mutex_lock(&p->mu);
	while (!p->stopping) {
		struct flight *f;
		int rc;

		if (p->n_wanted == 0) {
			pthread_cond_wait(&p->work, &p->mu);
			continue;
		}
		f = flight_new(false);
		if (!f) {
			p->n_wanted = 0;
			continue;
		}
		depart_locked(p, f);
		pthread_mutex_unlock(&p->mu);
		rc = fly(p, f, false);
		pthread_mutex_lock(&p->mu);
		land_locked(p, f, rc);
		flight_put_locked(f);
	}
	pthread_mutex_unlock(&p->mu);
	return NULL;
}

/* ---- life ---- */

int proven_new(const struct proven_config *cfg, const struct anchor *newest, struct proven **out)
{
	struct proven *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return -ENOMEM;
	p->cfg = *cfg;
	p->anchor = *newest;
	/* calloc() of this size costs no memory before it is used. */
	p->kept = calloc(HEADERS_KEPT, sizeof(*p->kept));
	if (!p->kept) {
		free(p);
		return -ENOMEM;
	}
	pthread_mutex_init(&p->mu, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->landed, NULL);
	LIST_INIT(&p->flights);
	rc = thread_start(&p->thread, fetch_ahead, p);
	if (rc == 0) {
		*out = p;
		return 0;
	}
	pthread_cond_destroy(&p->landed);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->mu);
	free(p->kept);
	free(p);
	return rc;
}

void proven_free(struct proven *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->mu);
	p->stopping = true;
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->mu);
	pthread_join(p->thread, NULL);
	pthread_cond_destroy(&p->landed);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->mu);
	free(p->kept);
	free(p);
}
